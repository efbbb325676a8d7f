// Colours of points: apart from each other for categories, from dark to light for numbers, on light and on dark.

import { hasValue, range } from './map-file.js';

/** Okabe and Ito's colours, which most eyes tell apart, and lighter and darker ones between them. */
const CATEGORIES = [
  [0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [213, 94, 0], [86, 180, 233], [148, 115, 214],
  [176, 160, 40], [110, 170, 90], [190, 90, 110], [70, 140, 150], [160, 120, 90],
];
const OTHER = [140, 145, 152];
/** Viridis at five places. */
const SCALE = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const STEPS = 255;
const OPAQUE = 235;

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
export const shownCategories = CATEGORIES.length;

/** A place in the palette for each point, the palette, and its legend. */
export function coloured(map) {
  if (map.codes) return categories(map);
  if (map.numbers) return scale(map);
  return { shades: new Uint8Array(map.count), colours: [[...CATEGORIES[0], OPAQUE]], legend: null };
}

function categories({ codes, count, head }) {
  const most = Math.min(CATEGORIES.length, head.categories.length);
  const shades = new Uint8Array(count);
  for (let at = 0; at < count; at += 1) shades[at] = hasValue(codes[at]) && codes[at] < most ? codes[at] : most;
  const colours = [...CATEGORIES.slice(0, most), OTHER].map((colour) => [...colour, OPAQUE]);
  const entries = head.categories.slice(0, most).map((value, code) => ({ code, text: String(value), colour: css(CATEGORIES[code]) }));
  const others = head.categories.length - most;
  return { shades, colours, legend: { entries, others, other: css(OTHER) } };
}

function scale({ numbers, count }) {
  const [low, high] = range(numbers.filter((value) => !Number.isNaN(value)));
  const shades = new Uint8Array(count);
  for (let at = 0; at < count; at += 1) {
    const part = (numbers[at] - low) / (high - low || 1);
    shades[at] = Number.isNaN(part) ? STEPS : Math.round(part * (STEPS - 1));
  }
  const colours = Array.from({ length: STEPS }, (_, at) => [...mixed(at / (STEPS - 1)), OPAQUE]);
  return { shades, colours: [...colours, [...OTHER, OPAQUE]], legend: { low, high, stops: SCALE.map(css) } };
}

function mixed(part) {
  const at = part * (SCALE.length - 1);
  const from = Math.min(SCALE.length - 2, Math.floor(at));
  return SCALE[from].map((value, channel) => Math.round(value + (SCALE[from + 1][channel] - value) * (at - from)));
}

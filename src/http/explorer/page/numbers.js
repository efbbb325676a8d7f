// Numbers as people read them.

const GROUPED = new Intl.NumberFormat('en');

export const whole = (value) => GROUPED.format(value);

/** A number with about so many significant digits. */
export function short(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(digits - 1).replace('e+', 'e');
  return String(Number(value.toPrecision(digits)));
}

export function fixed(value, digits = 2) {
  return value === null || value === undefined ? '–' : value.toFixed(digits);
}

export function percent(value) {
  return `${short(100 * value, 3)} %`;
}

export function bytes(count) {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) {
    count /= 1000;
    at += 1;
  }
  return `${at ? short(count, 3) : count} ${units[at]}`;
}

/** `1 item`, `2 items`. */
export function plural(count, noun) {
  return `${whole(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** `Server-Timing` as pairs of a stage and milliseconds. */
export function stages(timing) {
  return timing.split(',').map((part) => part.trim().match(/^(\w+);dur=([\d.]+)$/)).filter(Boolean)
    .map(([, name, ms]) => [name, Number(ms)]);
}

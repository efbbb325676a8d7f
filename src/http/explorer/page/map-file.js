// The binary form of a map, as the server documents it: a head in JSON, then arrays.

import { collectionPath, patiently, send } from './api.js';

const NO_CATEGORY = 0xffffffff;
const MOST_POINTS = 200_000;

export const mapRequest = (collection, method, key) => ({
  path: collectionPath(collection, 'map'),
  query: { method, key, points: method === 'pca' ? MOST_POINTS : undefined },
  accept: 'application/octet-stream',
});

/** The map of a collection: its points in −1…1, their ids, and what they are coloured by. */
export async function readMap(request, signal, onWait) {
  const read = async (asked) => {
    const { response, timing } = await send(asked, signal);
    return { map: parse(await response.arrayBuffer()), timing, request: asked };
  };
  return patiently(read, request, signal, onWait);
}

export function parse(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const count = head.points;
  let at = 4 + length;
  const take = (Kind) => {
    const array = new Kind(buffer, at, count);
    at += 4 * count;
    return array;
  };
  const x = take(Float32Array).slice();
  const y = take(Float32Array).slice();
  const codes = head.column === 'categories' ? take(Uint32Array) : null;
  const numbers = head.column === 'numbers' ? take(Float32Array) : null;
  const ends = take(Uint32Array);
  const text = new Uint8Array(buffer, at);
  const decoder = new TextDecoder();
  const id = (place) => decoder.decode(text.subarray(place ? ends[place - 1] : 0, ends[place]));
  centre(x, y);
  return { head, count, x, y, codes, numbers, id, places: placesOf(count, id) };
}

/** Moves the points into the square −1…1, with the same scale along both axes. */
function centre(x, y) {
  const [left, right] = range(x);
  const [bottom, top] = range(y);
  const half = Math.max(right - left, top - bottom) / 2 || 1;
  for (let at = 0; at < x.length; at += 1) {
    x[at] = (x[at] - (left + right) / 2) / half;
    y[at] = (y[at] - (bottom + top) / 2) / half;
  }
}

export function range(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** Where the item of an id is; the table is made when it is first asked for. */
function placesOf(count, id) {
  let table;
  return (wanted) => {
    if (!table) {
      table = new Map();
      for (let place = 0; place < count; place += 1) table.set(id(place), place);
    }
    return table.get(wanted);
  };
}

export const hasValue = (code) => code !== NO_CATEGORY;

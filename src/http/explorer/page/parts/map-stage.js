// The stage of the map within the page: what is hovered, selected, dropped on it.

import { html, useEffect, useRef, useState } from '../html.js';
import { change } from '../address.js';
import { collectionPath, json } from '../api.js';
import { useFeatures } from '../features.js';
import { fromFile, imagesOf, letGo } from '../images.js';
import { Sprites } from '../sprites.js';
import { Stage } from '../stage.js';
import { Trouble } from './states.js';
import { Thumb } from './thumb.js';

const NEAREST = 5;
const SETTLE_MS = 400;

export function MapStage({ collection, map, colours, tool, selected, hovered, at, query, onSelect, onOpen }) {
  const [tip, setTip] = useState(null);
  const [guest, setGuest] = useState(null);
  const [error, setError] = useState(null);
  const { canvas, over, stage } = useStage({ collection, map, colours, selected, query, marks: { hovered, at, guest },
    tell: { hover: (point, left, top) => setTip(point < 0 ? null : { point, left, top }), pick: (point) => (point < 0 ? onSelect([]) : onOpen(point)), lasso: onSelect } });
  useEffect(() => { if (stage.current) stage.current.tool = tool; }, [tool]);
  useEffect(() => () => letGo(guest?.image), [guest]);
  const drop = async (event) => {
    event.preventDefault();
    const [file] = imagesOf(event.dataTransfer);
    if (!file) return;
    try {
      const image = fromFile(file);
      const place = await placeOf(collection, map, image);
      setError(null);
      setGuest({ image, ...place, bitmap: await createImageBitmap(file) });
      stage.current.lookAt(place.x, place.y);
    } catch (failed) {
      setError(failed);
    }
  };
  return html`<div class="stage" onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
    <canvas ref=${canvas} class="stage-points" aria-hidden="true"></canvas>
    <canvas ref=${over} class=${`stage-over is-${tool}`} tabindex="0" role="application"
      aria-label=${`Map of ${map.count} items. Arrows move, plus and minus zoom, 0 shows all, Enter opens the item in the middle.`}></canvas>
    ${tip && html`<${Tip} collection=${collection} id=${map.id(tip.point)} value=${valueAt(map, tip.point)} at=${tip} box=${over.current} />`}
    ${error && html`<div class="stage-note"><${Trouble} error=${error} /></div>`}
    ${guest && html`<p class="stage-note"><span>Your image lies among its nearest: ${guest.ids.slice(0, 3).join(', ')}</span>
      <button type="button" class="button button-quiet" onClick=${() => setGuest(null)}>Take it away</button></p>`}
    <div class="stage-zoom">
      <button type="button" class="button" aria-label="Nearer" onClick=${() => stage.current.nearer(1.6)}>+</button>
      <button type="button" class="button" aria-label="Further" onClick=${() => stage.current.nearer(1 / 1.6)}>−</button>
      <button type="button" class="button" onClick=${() => stage.current.look({ x: 0, y: 0, zoom: 1 })}>All</button>
    </div>
  </div>`;
}

/** A new image has no point of its own: it is shown in the middle of its nearest items, the nearer the heavier. */
async function placeOf(collection, map, image) {
  const request = { method: 'POST', path: collectionPath(collection.name, 'search'), query: { limit: NEAREST }, file: image.file };
  const { data } = await json(request);
  const hits = data.data.map((hit) => ({ ...hit, point: map.places(hit.id) })).filter((hit) => hit.point !== undefined);
  if (!hits.length) throw new Error('None of the nearest items is among the points of this map.');
  const least = hits.at(-1).score;
  const spread = hits[0].score - least || 1;
  let [x, y, sum] = [0, 0, 0];
  for (const { point, score } of hits) {
    const weight = 0.1 + (score - least) / spread;
    x += weight * map.x[point];
    y += weight * map.y[point];
    sum += weight;
  }
  return { x: x / sum, y: y / sum, ids: hits.map((hit) => hit.id) };
}

/** The stage, kept in step with what the view says. */
function useStage({ collection, map, colours, selected, query, marks, tell }) {
  const canvas = useRef(null);
  const over = useRef(null);
  const stage = useRef(null);
  const latest = useRef({});
  const sprites = useRef(null);
  const { sprites: has } = useFeatures();
  latest.current = { tell, marks, map };
  useEffect(() => {
    let timer;
    const made = stage.current = new Stage(canvas.current, over.current, {
      hover: (...about) => latest.current.tell.hover(...about),
      pick: (point) => latest.current.tell.pick(point),
      lasso: (points) => latest.current.tell.lasso(points),
      view: (view) => {
        latest.current.tell.hover(-1);
        sprites.current?.look(made);
        clearTimeout(timer);
        timer = setTimeout(() => change({ v: view.zoom === 1 && !view.x && !view.y ? undefined
          : [view.x, view.y, view.zoom].map((one) => one.toFixed(4)).join(',') }), SETTLE_MS);
      },
      paint: (context) => paint(context, made, latest.current, sprites.current),
    });
    const [x, y, zoom] = (query.v || '').split(',').map(Number);
    if (zoom > 0) made.scatter.view = { x, y, zoom };
    return () => {
      clearTimeout(timer);
      made.end();
    };
  }, []);
  useEffect(() => {
    stage.current.setPoints(map.x, map.y);
    stage.current.scatter.setShades(colours.shades, colours.colours);
  }, [map]);
  useEffect(() => {
    if (!has || collection.store === 'none') return undefined;
    const made = sprites.current = new Sprites(collection.name, map, () => stage.current.scatter.ask());
    made.look(stage.current);
    return () => {
      made.end();
      sprites.current = null;
    };
  }, [map, has]);
  useEffect(() => {
    const chosen = new Uint8Array(map.count);
    for (const point of selected) chosen[point] = 1;
    stage.current.scatter.setChosen(chosen, selected.length > 0);
  }, [selected, map]);
  useEffect(() => { if (marks.at !== undefined) stage.current.lookAt(map.x[marks.at], map.y[marks.at]); }, [marks.at, map]);
  useEffect(() => stage.current.scatter.ask(), [marks.hovered, marks.guest]);
  return { canvas, over, stage };
}

function paint(context, { scatter }, { marks, map }, sprites) {
  sprites?.paint(context, scatter, map);
  for (const [point, radius] of [[marks.at, 11], [marks.hovered, 8]]) {
    if (point === undefined || point < 0) continue;
    ring(context, scatter.toScreen(map.x[point], map.y[point]), radius);
  }
  if (marks.guest) {
    const [left, top] = scatter.toScreen(marks.guest.x, marks.guest.y);
    context.fillStyle = '#d55e00';
    context.fillRect(left - 27, top - 27, 54, 54);
    context.drawImage(marks.guest.bitmap, left - 24, top - 24, 48, 48);
  }
}

function ring(context, [left, top], radius) {
  for (const [colour, width] of [['#fff', 5], ['#d55e00', 2.5]]) {
    context.beginPath();
    context.arc(left, top, radius, 0, 2 * Math.PI);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
}

function valueAt({ head, codes, numbers }, point) {
  if (codes) return head.categories[codes[point]];
  return numbers && !Number.isNaN(numbers[point]) ? numbers[point] : undefined;
}

function Tip({ collection, id, value, at, box }) {
  const onRight = at.left > box.clientWidth / 2;
  const below = at.top > box.clientHeight / 2;
  const style = {
    [onRight ? 'right' : 'left']: `${(onRight ? box.clientWidth - at.left : at.left) + 14}px`,
    [below ? 'bottom' : 'top']: `${(below ? box.clientHeight - at.top : at.top) + 14}px`,
  };
  return html`<div class="tip" style=${style} role="status">
    <${Thumb} collection=${collection.name} id=${id} has=${collection.store !== 'none'} />
    <span class="card-name">${id}</span>
    ${value !== undefined && html`<span class="hint">${String(value)}</span>`}
  </div>`;
}

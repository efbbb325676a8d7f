// Small images at the places where many points are, once the view is near enough: cut out of sheets that the server
// makes, and kept.

import { collectionPath, pause, send } from './api.js';

const SIDE = 40;
const SPRITE = 48;
const COLUMNS = 16;
const MOST = 48;
const KEPT = 1500;
const NEAR = 2;
const SETTLE_MS = 200;

export class Sprites {
  constructor(collection, map, redraw) {
    Object.assign(this, { collection, map, redraw, known: new Map(), shown: [] });
  }

  /** Chooses the places of a view, and asks for what is not there yet when the view has come to rest. */
  async look(stage) {
    this.control?.abort();
    const { scatter, cells } = stage;
    if (scatter.view.zoom < NEAR || !cells) {
      this.shown = [];
      return;
    }
    const control = this.control = new AbortController();
    try {
      await pause(SETTLE_MS, control.signal);
      this.shown = this.peaks(scatter, cells);
      this.redraw();
      const missing = this.shown.filter((at) => !this.known.has(at));
      if (missing.length) await this.fetch(missing, control.signal);
      this.redraw();
    } catch (error) {
      if (error.name !== 'AbortError') this.shown = [];
    }
  }

  peaks(scatter, cells) {
    const { clientWidth, clientHeight } = scatter.canvas;
    const [left, top] = scatter.toMap(0, 0);
    const [right, bottom] = scatter.toMap(clientWidth, clientHeight);
    const tile = 2.2 * SIDE / (scatter.unit() * scatter.view.zoom);
    return cells.peaks({ left, bottom, right, top, tile, most: MOST });
  }

  async fetch(points, signal) {
    const query = { ids: points.map((at) => this.map.id(at)), size: SPRITE };
    const { response } = await send({ path: collectionPath(this.collection, 'sprites'), query }, signal);
    const sheet = await createImageBitmap(await response.blob());
    if (this.known.size > KEPT) this.known.clear();
    points.forEach((at, place) => this.known.set(at, { sheet, left: SPRITE * (place % COLUMNS), top: SPRITE * Math.floor(place / COLUMNS) }));
  }

  paint(context, scatter, { x, y }) {
    for (const at of this.shown) {
      const sprite = this.known.get(at);
      if (!sprite) continue;
      const [left, top] = scatter.toScreen(x[at], y[at]).map((one) => Math.round(one - SIDE / 2));
      context.fillStyle = '#fff';
      context.fillRect(left - 1.5, top - 1.5, SIDE + 3, SIDE + 3);
      context.drawImage(sprite.sheet, sprite.left, sprite.top, SPRITE, SPRITE, left, top, SIDE, SIDE);
    }
  }

  end() {
    this.control?.abort();
  }
}

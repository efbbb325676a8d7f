// The map under the hand: pan, zoom, hover, lasso. It knows no items, only points by their number.

import { Cells, inside } from './cells.js';
import { Scatter } from './scatter.js';

const REACH = 12;
const STILL = 4;
const ZOOMS = [0.5, 400];
const STEP = 60;

export class Stage {
  /** `tell` has hover, pick, lasso, view and paint, each called with what happened. */
  constructor(canvas, over, tell) {
    this.canvas = canvas;
    this.over = over;
    this.tell = tell;
    this.tool = 'move';
    this.path = null;
    this.scatter = new Scatter(canvas, () => this.paint());
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
    const listen = (kind, call, options) => over.addEventListener(kind, call, options);
    listen('pointerdown', (event) => this.down(event));
    listen('pointermove', (event) => this.move(event));
    listen('pointerup', (event) => this.up(event));
    listen('pointercancel', () => this.drop());
    listen('pointerleave', () => this.tell.hover(-1));
    listen('wheel', (event) => this.wheel(event), { passive: false });
    listen('keydown', (event) => this.key(event));
    this.pointers = new Map();
  }

  end() {
    this.observer.disconnect();
    this.scatter.end();
  }

  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    this.over.width = Math.round(this.canvas.clientWidth * ratio);
    this.over.height = Math.round(this.canvas.clientHeight * ratio);
    this.scatter.resize();
  }

  setPoints(x, y) {
    this.cells = new Cells(x, y);
    this.scatter.setPoints(x, y);
  }

  place(event) {
    const box = this.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  at(left, top) {
    const [x, y] = this.scatter.toMap(left, top);
    return this.cells ? this.cells.nearest(x, y, REACH / (this.scatter.unit() * this.scatter.view.zoom)) : -1;
  }

  down(event) {
    this.over.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    this.from = this.place(event);
    this.moved = 0;
    if (this.pointers.size === 1 && (this.tool === 'lasso' || event.shiftKey)) this.path = [this.from];
    else this.path = null;
  }

  move(event) {
    const now = this.place(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.tell.hover(this.at(...now), ...now);
      return;
    }
    this.moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (this.pointers.size === 2) this.pinch(event.pointerId, before, now);
    else if (this.path) {
      this.path.push(now);
      this.scatter.ask();
    } else this.pan(now[0] - before[0], now[1] - before[1]);
    this.pointers.set(event.pointerId, now);
  }

  up(event) {
    const now = this.place(event);
    this.pointers.delete(event.pointerId);
    if (this.moved < STILL) this.tell.pick(this.at(...now));
    else if (this.path) this.tell.lasso(this.within(this.path));
    this.drop();
  }

  drop() {
    this.pointers.clear();
    this.path = null;
    this.scatter.ask();
  }

  pan(right, down) {
    const { view } = this.scatter;
    const k = this.scatter.unit() * view.zoom;
    this.look({ ...view, x: view.x - right / k, y: view.y + down / k });
  }

  pinch(moved, before, now) {
    const other = [...this.pointers].find(([id]) => id !== moved)?.[1];
    const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
    this.zoom(apart(now, other) / Math.max(1, apart(before, other)), ...middle);
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...this.place(event));
  }

  /** Zooms towards the point that is nearest to the middle: the middle itself may be empty. */
  nearer(by) {
    const { view } = this.scatter;
    const at = this.cells.nearest(view.x, view.y, 4);
    if (at < 0) this.zoom(by);
    else this.zoom(by, ...this.scatter.toScreen(this.cells.x[at], this.cells.y[at]));
  }

  /** Zooms so that what is under a place stays there. */
  zoom(by, left = this.canvas.clientWidth / 2, top = this.canvas.clientHeight / 2) {
    const { view } = this.scatter;
    const zoom = Math.min(ZOOMS[1], Math.max(ZOOMS[0], view.zoom * by));
    const [x, y] = this.scatter.toMap(left, top);
    const kept = view.zoom / zoom;
    this.look({ x: x + (view.x - x) * kept, y: y + (view.y - y) * kept, zoom });
  }

  key(event) {
    const pans = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    if (pans[event.key]) this.pan(...pans[event.key]);
    else if (event.key === '+' || event.key === '=') this.nearer(1.4);
    else if (event.key === '-') this.nearer(1 / 1.4);
    else if (event.key === '0') this.look({ x: 0, y: 0, zoom: 1 });
    else if (event.key === 'Escape') this.tell.lasso([]);
    else if (event.key === 'Enter') this.tell.pick(this.at(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2));
    else return;
    event.preventDefault();
  }

  look(view) {
    this.scatter.setView(view);
    this.tell.view(view);
  }

  /** Shows the place of a point, near enough to tell it from others. */
  lookAt(x, y) {
    this.look({ x, y, zoom: Math.max(this.scatter.view.zoom, 4) });
  }

  within(path) {
    const polygon = path.map(([left, top]) => this.scatter.toMap(left, top));
    const xs = polygon.map(([x]) => x);
    const ys = polygon.map(([, y]) => y);
    const found = [];
    this.cells.within(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys), (at) => {
      if (inside(polygon, this.cells.x[at], this.cells.y[at])) found.push(at);
    });
    return found;
  }

  /** What lies over the points: the lasso, and whatever the view paints. */
  paint() {
    const context = this.over.getContext('2d');
    const ratio = this.over.width / Math.max(1, this.canvas.clientWidth);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    this.tell.paint(context);
    if (!this.path) return;
    context.beginPath();
    this.path.forEach(([left, top], at) => (at ? context.lineTo(left, top) : context.moveTo(left, top)));
    context.closePath();
    context.fillStyle = 'rgb(120 150 220 / 0.15)';
    context.fill();
    context.strokeStyle = 'rgb(90 120 200)';
    context.lineWidth = 1.5;
    context.stroke();
  }
}

// Points sorted into the cells of a grid, to find those near a place and the places where many are.

const PER_CELL = 4;

export class Cells {
  /** `x` and `y` are in −1…1. */
  constructor(x, y) {
    this.x = x;
    this.y = y;
    this.side = Math.max(1, Math.min(1024, Math.ceil(Math.sqrt(x.length / PER_CELL))));
    const starts = new Uint32Array(this.side * this.side + 1);
    for (let at = 0; at < x.length; at += 1) starts[this.cellOf(x[at], y[at]) + 1] += 1;
    for (let cell = 0; cell < starts.length - 1; cell += 1) starts[cell + 1] += starts[cell];
    const next = starts.slice();
    this.points = new Uint32Array(x.length);
    for (let at = 0; at < x.length; at += 1) this.points[next[this.cellOf(x[at], y[at])]++] = at;
    this.starts = starts;
  }

  column(value) {
    return Math.min(this.side - 1, Math.max(0, Math.floor((value + 1) / 2 * this.side)));
  }

  cellOf(x, y) {
    return this.column(y) * this.side + this.column(x);
  }

  /** Calls for each point of the cells that a rectangle touches. */
  within(left, bottom, right, top, call) {
    for (let row = this.column(bottom); row <= this.column(top); row += 1) {
      for (let column = this.column(left); column <= this.column(right); column += 1) {
        const cell = row * this.side + column;
        for (let at = this.starts[cell]; at < this.starts[cell + 1]; at += 1) call(this.points[at]);
      }
    }
  }

  /** The nearest point no further than `reach`, or −1. */
  nearest(x, y, reach) {
    let best = -1;
    let least = reach * reach;
    this.within(x - reach, y - reach, x + reach, y + reach, (at) => {
      const far = (this.x[at] - x) ** 2 + (this.y[at] - y) ** 2;
      if (far <= least) {
        least = far;
        best = at;
      }
    });
    return best;
  }

  /** In each tile of a rectangle with at least two points, the one that is nearest to their middle: the fullest first. */
  peaks({ left, bottom, right, top, tile, most }) {
    const tiles = new Map();
    this.within(left, bottom, right, top, (at) => {
      const name = `${Math.floor(this.x[at] / tile)} ${Math.floor(this.y[at] / tile)}`;
      const one = tiles.get(name);
      if (one) one.push(at);
      else tiles.set(name, [at]);
    });
    return [...tiles.values()].sort((a, b) => b.length - a.length).slice(0, most).map((points) => this.middle(points));
  }

  middle(points) {
    let [x, y] = [0, 0];
    for (const at of points) {
      x += this.x[at] / points.length;
      y += this.y[at] / points.length;
    }
    let best = points[0];
    let least = Infinity;
    for (const at of points) {
      const far = (this.x[at] - x) ** 2 + (this.y[at] - y) ** 2;
      if (far < least) [best, least] = [at, far];
    }
    return best;
  }
}

/** Whether a place lies in a polygon of `[x, y]`, by the even–odd rule. */
export function inside(polygon, x, y) {
  let is = false;
  for (let at = 0, before = polygon.length - 1; at < polygon.length; before = at, at += 1) {
    const [ax, ay] = polygon[at];
    const [bx, by] = polygon[before];
    if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) is = !is;
  }
  return is;
}

// Bars of how many scores lie where, and marks on them. One mark may be a threshold that is dragged.

import { html, useMemo } from '../html.js';
import { short } from '../numbers.js';

const BINS = 40;

/** `scores` ascending or not; `marks` are `{ at, label, kind }`; `onDrag` makes the threshold movable. */
export function Histogram({ scores, marks = [], threshold, onDrag, label }) {
  const { low, high, counts, most } = useMemo(() => binned(scores, marks, threshold), [scores, marks, threshold === undefined]);
  const x = (value) => 100 * (value - low) / (high - low);
  return html`<figure class="histogram" aria-label=${label}>
    <div class="histogram-plot">
      <svg viewBox="0 0 100 40" preserveAspectRatio="none" aria-hidden="true">
        ${counts.map((count, bin) => {
          const middle = low + (high - low) * (bin + 0.5) / BINS;
          return html`<rect key=${bin} class=${threshold !== undefined && middle >= threshold ? 'bar bar-over' : 'bar'}
            x=${bin * 100 / BINS + 0.2} width=${100 / BINS - 0.4} y=${40 - 38 * count / most} height=${38 * count / most} />`;
        })}
      </svg>
      ${marks.map((mark) => html`<span key=${mark.label} class=${`mark mark-${mark.kind}`}
        style=${{ left: `${Math.min(100, Math.max(0, x(mark.at)))}%` }}><em>${mark.label}</em></span>`)}
      ${threshold !== undefined && html`<span class="mark mark-threshold" style=${{ left: `${Math.min(100, Math.max(0, x(threshold)))}%` }}></span>`}
      ${onDrag && html`<input type="range" min=${low} max=${high} step=${(high - low) / 500} value=${threshold}
        aria-label="Threshold" aria-valuetext=${short(threshold)} onInput=${(event) => onDrag(Number(event.target.value))} />`}
    </div>
    <figcaption><span>${short(low)}</span><span>${short(high)}</span></figcaption>
  </figure>`;
}

function binned(scores, marks, threshold) {
  const all = [...scores, ...marks.map((mark) => mark.at), ...(threshold === undefined ? [] : [threshold])];
  let low = Math.min(...all);
  let high = Math.max(...all);
  if (!(high > low)) {
    low -= 0.5;
    high += 0.5;
  }
  const counts = new Array(BINS).fill(0);
  for (const score of scores) counts[Math.min(BINS - 1, Math.floor(BINS * (score - low) / (high - low)))] += 1;
  return { low, high, counts, most: Math.max(1, ...counts) };
}

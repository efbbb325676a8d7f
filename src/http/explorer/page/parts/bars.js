// Numbers as bars: the parts of a vector, or units of a latent.

import { html, useEffect, useRef } from '../html.js';

/** A long vector as a strip of bars from zero, which lies at the edge where all are of one sign. */
export function Strip({ values, label }) {
  const canvas = useRef(null);
  useEffect(() => {
    const element = canvas.current;
    const ratio = devicePixelRatio || 1;
    const width = element.width = element.clientWidth * ratio;
    const height = element.height = element.clientHeight * ratio;
    const context = element.getContext('2d');
    context.fillStyle = getComputedStyle(element).color;
    const high = values.reduce((most, value) => Math.max(most, value), 0);
    const low = values.reduce((least, value) => Math.min(least, value), 0);
    const scale = (height - 2) / (high - low || 1);
    const step = width / values.length;
    values.forEach((value, at) => {
      context.fillRect(at * step, 1 + (high - Math.max(value, 0)) * scale, Math.max(step * 0.8, 0.6), Math.abs(value) * scale);
    });
  }, [values]);
  return html`<canvas class="strip" ref=${canvas} role="img" aria-label=${label}></canvas>`;
}

/** Values of 0 and more as bars, those of `off` and less paler. */
export function Units({ values, off, label }) {
  const most = Math.max(...values, 1e-9);
  const width = 100 / values.length;
  return html`<svg class="units" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${label}>
    ${values.map((value, at) => html`<rect key=${at} class=${value > off ? 'bar' : 'bar bar-off'}
      x=${at * width} width=${width * 0.8} y=${24 - Math.max(0.4, 23 * value / most)} height=${Math.max(0.4, 23 * value / most)} />`)}
  </svg>`;
}

// What the colours of the map mean. A category can be selected by its entry.

import { html } from '../html.js';
import { short } from '../numbers.js';

export function Legend({ legend, map, onSelect }) {
  if (!legend) return null;
  if (legend.stops) {
    return html`<p class="legend-scale"><span>${short(legend.low)}</span>
      <span class="legend-ramp" aria-hidden="true">${legend.stops.map((colour) => html`<i key=${colour} style=${{ background: colour }}></i>`)}</span>
      <span>${short(legend.high)}</span></p>`;
  }
  const pick = (code) => {
    const points = [];
    for (let at = 0; at < map.count; at += 1) if (map.codes[at] === code) points.push(at);
    onSelect(points);
  };
  return html`<ul class="legend" aria-label="Colours">
    ${legend.entries.map(({ code, text, colour }) => html`<li key=${code}>
      <button type="button" title="Select these" onClick=${() => pick(code)}><i style=${{ background: colour }}></i>${text}</button></li>`)}
    ${legend.others > 0 && html`<li><span><i style=${{ background: legend.other }}></i>${legend.others} others</span></li>`}
  </ul>`;
}

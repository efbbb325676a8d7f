// Two images of one thing, one over the other, with a divider between them that is dragged or moved by keys.

import { html, useState } from '../html.js';

export function Compare({ before, after, labels }) {
  const [at, setAt] = useState(50);
  return html`<figure class="compare">
    <div class="compare-stack" style=${{ '--at': `${at}%` }}>
      <img class="pixelated" src=${before} alt=${labels[0]} />
      <img class="pixelated compare-after" src=${after} alt=${labels[1]} />
      <span class="compare-line" aria-hidden="true"></span>
      <input type="range" min="0" max="100" value=${at} aria-label=${`Divider between ${labels[0]} and ${labels[1]}`}
        onInput=${(event) => setAt(Number(event.target.value))} />
    </div>
    <figcaption><span>${labels[0]}</span><span>${labels[1]}</span></figcaption>
  </figure>`;
}

/** An image with its name below. */
export function Shown({ src, label, children }) {
  return html`<figure class="shown">
    <div class="shown-image">${src && html`<img class="pixelated" src=${src} alt=${label} />`}${children}</div>
    <figcaption>${label}</figcaption>
  </figure>`;
}

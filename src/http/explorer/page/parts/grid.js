// Items as a grid of images. It asks for more when its end comes near.

import { html, useEffect, useRef } from '../html.js';
import { fixed } from '../numbers.js';
import { Thumb } from './thumb.js';

/** `items` are `{ id, score?, image? }`. */
export function Grid({ collection, items, onOpen, onHover, marked, more, busy }) {
  return html`<ul class="grid">
      ${items.map((item) => html`<li key=${item.id}>
        <button type="button" class=${`card ${marked?.has(item.id) ? 'is-marked' : ''}`} title=${item.id}
          onClick=${() => onOpen(item)} onMouseEnter=${() => onHover?.(item)} onFocus=${() => onHover?.(item)}
          onMouseLeave=${() => onHover?.(null)} onBlur=${() => onHover?.(null)}>
          <${Thumb} collection=${collection} id=${item.id} has=${item.image !== null} />
          <span class="card-name">${item.id}</span>
          ${item.score !== undefined && html`<span class="card-score">${fixed(item.score, 3)}</span>`}
        </button>
      </li>`)}
    </ul>
    ${more && html`<${End} reached=${more} busy=${busy} />`}`;
}

function End({ reached, busy }) {
  const mark = useRef(null);
  const call = useRef(reached);
  call.current = reached;
  useEffect(() => {
    const observer = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && call.current(),
      { rootMargin: '600px' });
    observer.observe(mark.current);
    return () => observer.disconnect();
  }, [busy]);
  return html`<div class="grid-end" ref=${mark} role="status">${busy ? 'Loading more…' : ''}</div>`;
}

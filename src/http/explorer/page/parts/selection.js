// The items that the lasso holds, as a grid beside the map. Who looks at one sees its point.

import { html, useEffect, useState } from '../html.js';
import { format } from '../address.js';
import { plural } from '../numbers.js';
import { Grid } from './grid.js';

const PAGE = 60;

export function Selection({ collection, map, selected, clear, onHover, onOpen }) {
  const [shown, setShown] = useState(PAGE);
  useEffect(() => setShown(PAGE), [selected]);
  const items = selected.slice(0, shown).map((point) => ({ id: map.id(point), point, image: collection.store === 'none' ? null : undefined }));
  const likes = items.slice(0, 10).map((item) => item.id);
  return html`<aside class="selection" aria-label="Selected items">
    <header class="panel-head">
      <h2 role="status">${plural(selected.length, 'item')}</h2>
      <div class="actions">
        <a class="button" href=${format(['collections', collection.name], { like: JSON.stringify(likes) })}>Find more like these</a>
        <button type="button" class="button button-quiet" onClick=${clear}>Clear</button>
      </div>
    </header>
    <${Grid} collection=${collection.name} items=${items} onOpen=${(item) => onOpen(item.id)}
      onHover=${(item) => onHover(item ? item.point : -1)} more=${shown < selected.length ? () => setShown(shown + PAGE) : null} />
  </aside>`;
}

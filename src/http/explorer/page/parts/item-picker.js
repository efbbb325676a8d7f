// The images of a collection, to take one of them.

import { html, useState } from '../html.js';
import { Choice } from './fields.js';
import { Grid } from './grid.js';
import { Outcome } from './states.js';
import { usePages } from '../pages.js';

export function ItemPicker({ collections, onPick }) {
  const [name, setName] = useState(collections[0].name);
  return html`<div class="stack">
    <${Choice} label="Collection" value=${name} options=${collections.map((one) => one.name)} onChange=${setName} />
    <${Items} key=${name} name=${name} onPick=${onPick} />
  </div>`;
}

function Items({ name, onPick }) {
  const pages = usePages(name, '');
  return html`<${Outcome} of=${pages}>
    ${(items) => html`<${Grid} collection=${name} items=${items.filter((item) => item.image)} more=${pages.more} busy=${pages.busy}
      onOpen=${(item) => onPick(name, item.id)} />`}
  <//>`;
}

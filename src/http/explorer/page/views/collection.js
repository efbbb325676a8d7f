// One collection: its images, what is twice in it, and how its vectors are.

import { html, useState } from '../html.js';
import { change, go, useAddress } from '../address.js';
import { collectionPath, json, useWork } from '../api.js';
import { plural } from '../numbers.js';
import { Confirm } from '../parts/dialog.js';
import { Outcome } from '../parts/states.js';
import { Upload } from '../parts/upload.js';
import { Duplicates } from './duplicates.js';
import { Health } from './health.js';
import { Items } from './items.js';

const TABS = [['items', 'Images'], ['duplicates', 'Duplicates'], ['health', 'Health']];

export function Collection({ name }) {
  const { query } = useAddress();
  const [version, setVersion] = useState(0);
  const work = useWork(async (signal) => (await json({ path: collectionPath(name) }, signal)).data, [name, version]);
  const changed = () => setVersion((before) => before + 1);
  return html`<main class="view">
    ${!work.value && html`<h1>${name}</h1>`}
    <${Outcome} of=${work}>
      ${(collection) => html`<${Opened} key=${name} collection=${collection} query=${query} version=${version} changed=${changed} />`}
    <//>
  </main>`;
}

function Opened({ collection, query, version, changed }) {
  const tab = query.tab || 'items';
  const [dropping, setDropping] = useState(false);
  const drop = async () => {
    await json({ method: 'DELETE', path: collectionPath(collection.name) });
    go(['collections']);
  };
  return html`<header class="view-head">
      <div>
        <p class="crumb"><a href="#/collections">Collections</a></p>
        <h1>${collection.name}</h1>
        <p class="hint">${plural(collection.count, 'item')} · ${collection.model || `vectors of ${collection.dimension} numbers`} · ${collection.metric}</p>
      </div>
      <div class="actions">
        ${collection.count > 0 && html`<a class="button" href=${`#/map?collection=${encodeURIComponent(collection.name)}`}>Map</a>`}
        ${collection.model && html`<${Upload} collection=${collection} done=${changed} />`}
        <button type="button" class="button button-quiet" onClick=${() => setDropping(true)}>Drop…</button>
      </div>
    </header>
    <nav class="tabs" aria-label="Of this collection">
      ${TABS.map(([key, text]) => html`<button key=${key} type="button" aria-current=${key === tab ? 'page' : undefined}
        onClick=${() => change({ tab: key === 'items' ? undefined : key })}>${text}</button>`)}
    </nav>
    ${tab === 'duplicates' ? html`<${Duplicates} collection=${collection} version=${version} changed=${changed} />`
      : tab === 'health' ? html`<${Health} collection=${collection} version=${version} />`
        : html`<${Items} collection=${collection} query=${query} version=${version} changed=${changed} />`}
    ${dropping && html`<${Confirm} title=${`Drop ${collection.name}?`} action="Drop it" onYes=${drop} close=${() => setDropping(false)}>
      <p>${plural(collection.count, 'item')} and the images kept with them are deleted. This cannot be undone.</p>
    <//>`}`;
}

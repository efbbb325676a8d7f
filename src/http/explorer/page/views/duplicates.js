// What is in a collection more than once, side by side.

import { html, useState } from '../html.js';
import { collectionPath, json, patiently, useWork } from '../api.js';
import { fixed, plural } from '../numbers.js';
import { CopyCurl } from '../parts/copy.js';
import { Slider } from '../parts/fields.js';
import { Empty, Outcome, Trouble } from '../parts/states.js';
import { Thumb } from '../parts/thumb.js';

const SETTLE_MS = 300;
const SHOWN = 12;

export function Duplicates({ collection, version, changed }) {
  const cosine = collection.metric === 'cosine';
  const [least, setLeast] = useState(cosine ? 0.98 : -1);
  const [error, setError] = useState(null);
  const request = { path: collectionPath(collection.name, 'duplicates'), query: { min_score: least, limit: 50 } };
  const work = useWork((signal) => patiently(json, request, signal), [collection.name, version, least], SETTLE_MS);
  const remove = async (ids) => {
    try {
      await json({ method: 'POST', path: collectionPath(collection.name, 'items', 'delete'), json: { ids } });
      setError(null);
      changed();
    } catch (failed) {
      setError(failed);
    }
  };
  return html`<section class="stack">
    <div class="result-line">
      ${cosine && html`<${Slider} label="At least this alike" min="0.8" max="1" step="0.005" value=${least} onInput=${setLeast} text=${fixed(least, 3)} />`}
      <${CopyCurl} request=${request} />
    </div>
    ${error && html`<${Trouble} error=${error} />`}
    <${Outcome} of=${work} waiting="Comparing every item with its neighbours…">
      ${({ data }) => (data.groups.length
        ? html`<p class="hint" role="status">${plural(data.total, 'group')} among ${plural(data.count, 'item')}</p>
            ${data.groups.map((group) => html`<${Group} key=${group.ids[0]} group=${group} collection=${collection} remove=${remove} />`)}`
        : html`<${Empty} title="No duplicates">No two items are at least ${fixed(least, 3)} alike.<//>`)}
    <//>
  </section>`;
}

function Group({ group, collection, remove }) {
  const rest = group.ids.slice(1);
  return html`<article class="panel">
    <header class="panel-head">
      <h2>${plural(group.size, 'item')} <span class="hint">${fixed(group.min_score, 3)} to ${fixed(group.max_score, 3)} alike</span></h2>
      <button type="button" class="button" onClick=${() => remove(rest)}>Keep the first, delete ${rest.length === 1 ? 'the other' : `the other ${rest.length}`}</button>
    </header>
    <ul class="grid">
      ${group.ids.slice(0, SHOWN).map((id) => html`<li key=${id}>
        <div class="card">
          <${Thumb} collection=${collection.name} id=${id} has=${collection.store !== 'none'} />
          <span class="card-name" title=${id}>${id}</span>
          <button type="button" class="button button-quiet" aria-label=${`Delete ${id}`} onClick=${() => remove([id])}>Delete</button>
        </div>
      </li>`)}
    </ul>
    ${group.ids.length > SHOWN && html`<p class="hint">and ${group.size - SHOWN} more</p>`}
  </article>`;
}

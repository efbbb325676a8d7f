// One item: its image, its metadata, and what can be done with it.

import { html, useState } from '../html.js';
import { change, format, go } from '../address.js';
import { collectionPath, json, useWork } from '../api.js';
import { CopyCurl } from './copy.js';
import { Confirm, Dialog } from './dialog.js';
import { Outcome, Trouble } from './states.js';
import { Thumb } from './thumb.js';

const LARGE = 512;

export function ItemDialog({ collection, id, close, examples, changed }) {
  const work = useWork((signal) => json({ path: collectionPath(collection.name, 'items', id) }, signal), [collection.name, id]);
  const [deleting, setDeleting] = useState(false);
  const [error, setError] = useState(null);
  const example = (kind) => {
    if (!examples) {
      go(['collections', collection.name], { like: JSON.stringify([id]) });
      return;
    }
    const [own, other] = kind === 'like' ? ['positive', 'negative'] : ['negative', 'positive'];
    const both = { [own]: [...new Set([...examples[own], id])], [other]: examples[other].filter((one) => one !== id) };
    change({ item: undefined, like: JSON.stringify(both.positive), unlike: both.negative.length ? JSON.stringify(both.negative) : undefined });
  };
  const remove = async () => {
    try {
      await json({ method: 'DELETE', path: collectionPath(collection.name, 'items', id) });
      close();
      changed();
    } catch (failed) {
      setError(failed);
    }
  };
  return html`<${Dialog} title=${id} close=${close} wide>
    <${Outcome} of=${work}>
      ${({ data, request }) => html`<div class="item">
        <div class="item-image"><${Thumb} collection=${collection.name} id=${id} size=${LARGE} has=${data.image !== null} /></div>
        <div class="stack">
          <${Metadata} of=${data.metadata} />
          <div class="actions">
            <button type="button" class="button button-main" onClick=${() => example('like')}>More like this</button>
            ${examples && examples.positive.length > 0 && html`<button type="button" class="button" onClick=${() => example('unlike')}>Less like this</button>`}
            <a class="button" href=${format(['map'], { collection: collection.name, at: id })}>On the map</a>
            ${data.image && html`<button type="button" class="button" onClick=${() => go(['playground'], { collection: collection.name, item: id, model: collection.model })}>In the Playground</button>`}
            <button type="button" class="button button-quiet" onClick=${() => setDeleting(true)}>Delete…</button>
            <${CopyCurl} request=${request} />
          </div>
          ${error && html`<${Trouble} error=${error} />`}
        </div>
      </div>`}
    <//>
    ${deleting && html`<${Confirm} title="Delete this item?" action="Delete it" onYes=${remove} close=${() => setDeleting(false)}>
      <p>${id} and its image leave the collection. This cannot be undone.</p>
    <//>`}
  <//>`;
}

function Metadata({ of }) {
  const entries = Object.entries(of);
  if (!entries.length) return html`<p class="hint">It has no metadata.</p>`;
  return html`<table class="metadata"><tbody>
    ${entries.map(([name, value]) => html`<tr key=${name}><th scope="row">${name}</th>
      <td>${typeof value === 'string' ? value : JSON.stringify(value)}</td></tr>`)}
  </tbody></table>`;
}

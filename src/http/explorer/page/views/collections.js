// The collections, and a form that makes a new one.

import { html, useState } from '../html.js';
import { go } from '../address.js';
import { collectionPath, json } from '../api.js';
import { can, useCollections, useModels } from '../models.js';
import { bytes, plural } from '../numbers.js';
import { Dialog } from '../parts/dialog.js';
import { Choice, Text } from '../parts/fields.js';
import { Empty, Outcome, Trouble } from '../parts/states.js';

export function Collections() {
  const all = useCollections();
  const [making, setMaking] = useState(false);
  const make = html`<button type="button" class="button button-main" onClick=${() => setMaking(true)}>New collection</button>`;
  return html`<main class="view">
    <header class="view-head"><h1>Collections</h1>${make}</header>
    <${Outcome} of=${all}>
      ${(list) => (list.length
        ? html`<ul class="cards">${list.map((one) => html`<${Card} key=${one.name} of=${one} />`)}</ul>`
        : html`<${Empty} title="No collection yet">
            A collection keeps images with their vectors, so that they can be searched, mapped and compared. It is made for one model.
          <//>`)}
    <//>
    ${making && html`<${NewCollection} close=${() => setMaking(false)} />`}
  </main>`;
}

function Card({ of }) {
  return html`<li class="panel">
    <h2><a href=${`#/collections/${encodeURIComponent(of.name)}`}>${of.name}</a></h2>
    <p class="big">${plural(of.count, 'item')}</p>
    <dl class="figures">
      <div><dt>Model</dt><dd>${of.model || `vectors of ${of.dimension}`}</dd></div>
      <div><dt>Metric</dt><dd>${of.metric}</dd></div>
      <div><dt>Images</dt><dd>${{ none: 'not kept', thumbnail: 'thumbnails', original: 'originals' }[of.store]}</dd></div>
      <div><dt>Size</dt><dd>${bytes(of.bytes)}</dd></div>
    </dl>
  </li>`;
}

function NewCollection({ close }) {
  const models = useModels();
  const [name, setName] = useState('');
  const [chosen, setModel] = useState('');
  const [store, setStore] = useState('original');
  const [error, setError] = useState(null);
  return html`<${Dialog} title="New collection" close=${close}>
    <${Outcome} of=${models}>
      ${(all) => {
        const fitting = all.filter((model) => can(model, 'embed')).map((model) => model.id);
        const model = chosen || fitting[0];
        const make = async (event) => {
          event.preventDefault();
          try {
            await json({ method: 'PUT', path: collectionPath(name), json: { model, store } });
            close();
            go(['collections', name]);
          } catch (failed) {
            setError(failed);
          }
        };
        if (!fitting.length) return html`<${Empty} title="No model that embeds is ready">A collection takes one.<//>`;
        return html`<form class="stack" onSubmit=${make}>
          <${Text} label="Name" value=${name} onInput=${setName} required placeholder="shop" />
          <${Choice} label="Model" value=${model} options=${fitting} onChange=${setModel} />
          <${Choice} label="Keep of each image" value=${store} onChange=${setStore}
            options=${[['original', 'the file as it came'], ['thumbnail', 'a thumbnail'], ['none', 'nothing but its vector']]} />
          ${error && html`<${Trouble} error=${error} />`}
          <p class="dialog-actions"><button class="button button-main">Make it</button></p>
        </form>`;
      }}
    <//>
  <//>`;
}

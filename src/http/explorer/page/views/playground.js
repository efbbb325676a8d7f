// An image and what one model, or two side by side, make of it.

import { html, useEffect, useState } from '../html.js';
import { change, useAddress } from '../address.js';
import { useWork } from '../api.js';
import { useFeatures } from '../features.js';
import { fromFile, fromItem, letGo } from '../images.js';
import { can, useCollections, useModels } from '../models.js';
import { drawn } from '../sample.js';
import { Anomaly, useCalibrations } from '../panels/anomaly.js';
import { Completion, Denoising, Reconstruction } from '../panels/decoding.js';
import { Embedding, Neighbours } from '../panels/embedding.js';
import { Interpolation, Samples } from '../panels/latent.js';
import { Dialog } from '../parts/dialog.js';
import { Choice } from '../parts/fields.js';
import { ImageInput } from '../parts/image-input.js';
import { ItemPicker } from '../parts/item-picker.js';
import { Empty, Outcome, Trouble } from '../parts/states.js';

export function Playground() {
  const { query } = useAddress();
  const models = useModels();
  const collections = useCollections().value || [];
  const [image, setImage, failed] = useImage(query);
  return html`<main class="view">
    <h1 class="visually-hidden">Playground</h1>
    <${Outcome} of=${models} waiting="Asking which models there are…">
      ${(all) => html`<${Bench} all=${all} collections=${collections} query=${query}
        image=${image} setImage=${setImage} failed=${failed} />`}
    <//>
  </main>`;
}

/** The image of this view: a file of this tab, or the item that the address names. */
function useImage({ collection, item }) {
  const [given, setGiven] = useState(null);
  const stored = useWork(collection && item ? (signal) => fromItem(collection, item, signal) : null, [collection, item]);
  useEffect(() => () => letGo(given), [given]);
  const setImage = (image) => {
    setGiven(image);
    change({ collection: undefined, item: undefined });
  };
  return [collection && item ? stored.value : given, setImage, stored.error];
}

function Bench({ all, collections, query, image, setImage, failed }) {
  const ready = all.filter((model) => model.state === 'ready');
  if (!ready.length) {
    return html`<${Empty} title="No model is ready">
      ${all.length ? html`The page <a href="#/models">Models</a> tells why.` : 'Put a model into the folder of models and start the server again.'}
    <//>`;
  }
  const first = ready.find((model) => model.id === query.model) || ready[0];
  const second = ready.find((model) => model.id === query.with);
  const names = ready.map((model) => model.id);
  return html`<div class="bench">
    <aside class="bench-side">
      <${ImageInput} image=${image} onImage=${setImage} pastes />
      ${failed && html`<${Trouble} error=${failed} />`}
      <${Sources} collections=${collections} setImage=${setImage} />
      <${Choice} label="Model" value=${first.id} options=${names} onChange=${(model) => change({ model })} />
      <${Choice} label="Beside it" value=${second?.id || ''} empty="no second model"
        options=${names.filter((name) => name !== first.id)} onChange=${(name) => change({ with: name })} />
    </aside>
    <div class=${`bench-models ${second ? 'is-double' : ''}`}>
      ${[first, second].filter(Boolean).map((model) => html`<${Column} key=${model.id} model=${model} image=${image} collections=${collections} />`)}
    </div>
  </div>`;
}

/** Other places to take an image from. */
function Sources({ collections, setImage }) {
  const [open, setOpen] = useState(false);
  const withImages = collections.filter((one) => one.store !== 'none' && one.count > 0);
  const pick = (collection, item) => {
    setOpen(false);
    change({ collection, item });
  };
  return html`<div class="sources">
    ${withImages.length > 0 && html`<button type="button" class="button" onClick=${() => setOpen(true)}>From a collection</button>`}
    <button type="button" class="button" onClick=${async () => setImage(fromFile(await drawn(), 'drawing'))}>Draw one for me</button>
    ${open && html`<${Dialog} title="An image of a collection" close=${() => setOpen(false)} wide>
      <${ItemPicker} collections=${withImages} onPick=${pick} />
    <//>`}
  </div>`;
}

function Column({ model, image, collections }) {
  const { calibrations: known } = useFeatures();
  const calibrations = useCalibrations(model, known && can(model, 'score')).value;
  const panels = [
    image && can(model, 'embed') && html`<${Embedding} model=${model} image=${image} />`,
    image && can(model, 'embed') && html`<${Neighbours} model=${model} image=${image} collections=${collections} />`,
    image && can(model, 'reconstruct') && html`<${Reconstruction} model=${model} image=${image} />`,
    image && can(model, 'denoise') && html`<${Denoising} model=${model} image=${image} />`,
    image && can(model, 'inpaint') && html`<${Completion} model=${model} image=${image} />`,
    image && can(model, 'score') && html`<${Anomaly} model=${model} image=${image} calibrations=${calibrations} />`,
    can(model, 'generate') && html`<${Samples} model=${model} />`,
    image && can(model, 'interpolate') && html`<${Interpolation} model=${model} image=${image} />`,
  ].filter(Boolean);
  return html`<section class="column" aria-labelledby=${`model-${model.id}`}>
    <header class="column-head">
      <h2 id=${`model-${model.id}`}>${model.id}</h2>
      <p class="hint">${model.family} · ${model.input.width} × ${model.input.height} ${model.input.channels}</p>
    </header>
    <div class="panels">${panels}</div>
    ${!image && html`<${Empty} title="Give it an image">
      Drop one, paste one, choose a file${collections.length ? ', take one from a collection' : ''}, or have one drawn: what ${model.id} makes of it appears here.
    <//>`}
  </section>`;
}

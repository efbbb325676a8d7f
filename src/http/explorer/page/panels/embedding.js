// What the encoder makes of an image: its vector, and the items that are nearest to it.

import { html, useState } from '../html.js';
import { collectionPath, json, useWork } from '../api.js';
import { go } from '../address.js';
import { fixed, short } from '../numbers.js';
import { Choice } from '../parts/fields.js';
import { Figures, Panel } from '../parts/panel.js';
import { Strip } from '../parts/bars.js';
import { Empty } from '../parts/states.js';
import { Thumb } from '../parts/thumb.js';

const NEAREST = 8;

export function Embedding({ model, image }) {
  const work = useWork((signal) => json({
    method: 'POST', path: '/v1/embeddings', query: { model: model.id }, file: image.file,
  }, signal), [model.id, image]);
  return html`<${Panel} title="Embedding" work=${work} image=${image}>
    ${({ data }) => {
      const values = data.data[0].embedding;
      const norm = Math.hypot(...values);
      return html`<${Strip} values=${values} label=${`${values.length} numbers of the embedding as bars`} />
        <${Figures} of=${[
          ['Dimension', values.length],
          ['Norm', fixed(norm, 4)],
          ['Largest', short(values.reduce((high, value) => Math.max(high, value), -Infinity))],
          ['Space', html`<code>${data.space_key}</code>`, 'Vectors compare only when their space keys are equal'],
        ]} />`;
    }}
  <//>`;
}

/** Shown where there is a collection in the space of the model. */
export function Neighbours({ model, image, collections }) {
  const fitting = collections.filter((one) => one.space_key === model.space_key && one.count > 0);
  const [chosen, setChosen] = useState('');
  const collection = fitting.find((one) => one.name === chosen) || fitting[0];
  const work = useWork(collection && (async (signal) => {
    const request = { method: 'POST', path: collectionPath(collection.name, 'search'), query: { limit: NEAREST }, file: image.file };
    return { ...await json(request, signal), of: collection };
  }), [model.id, image, collection?.name]);
  if (!collection) {
    return html`<${Panel} title="Nearest neighbours">
      <${Empty} title="Nothing to compare with yet">
        Make a collection with ${model.id} and add images: the nearest of them are shown here.
      <//>
    <//>`;
  }
  const controls = fitting.length > 1 && html`<${Choice} label="Collection" value=${collection.name}
    options=${fitting.map((one) => one.name)} onChange=${setChosen} />`;
  return html`<${Panel} title="Nearest neighbours" work=${work} image=${image} controls=${controls}>
    ${({ data, of }) => html`<ul class="row-of-thumbs">
      ${data.data.map((hit) => html`<li key=${hit.id}>
        <button type="button" class="card" title=${hit.id} onClick=${() => go(['collections', of.name], { item: hit.id })}>
          <${Thumb} collection=${of.name} id=${hit.id} has=${of.store !== 'none'} />
          <span class="card-name">${hit.id}</span><span class="card-score">${fixed(hit.score, 3)}</span>
        </button>
      </li>`)}
    </ul>`}
  <//>`;
}

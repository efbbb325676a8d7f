// The images of a collection: all of them, those that pass a filter, or those nearest to an image or to examples.

import { html, useEffect, useState } from '../html.js';
import { change } from '../address.js';
import { collectionPath, json, useWork } from '../api.js';
import { letGo } from '../images.js';
import { pageRequest, usePages } from '../pages.js';
import { plural } from '../numbers.js';
import { CopyCurl } from '../parts/copy.js';
import { Filters, filterOf } from '../parts/filters.js';
import { Grid } from '../parts/grid.js';
import { ImageInput } from '../parts/image-input.js';
import { ItemDialog } from '../parts/item-dialog.js';
import { Timing } from '../parts/panel.js';
import { Empty, Outcome } from '../parts/states.js';
import { Thumb } from '../parts/thumb.js';

const FOUND = 60;

export function Items({ collection, query, version, changed }) {
  const [image, setImage] = useState(null);
  useEffect(() => () => letGo(image), [image]);
  const filter = filterOf(query.filter);
  const examples = { positive: list(query.like), negative: list(query.unlike) };
  const searching = Boolean(image || examples.positive.length);
  const pages = usePages(collection.name, filter);
  useEffect(() => { if (version) pages.again(); }, [version]);
  const request = searchRequest(collection.name, { image, examples, filter });
  const found = useWork(searching ? (signal) => json(request, signal) : null,
    [collection.name, image, query.like, query.unlike, filter, version]);
  const items = searching ? found.value?.data.data : pages.value;
  const shown = searching ? found : pages;
  return html`<section class="items">
    <div class="toolbar">
      ${collection.model && html`<${ImageInput} small image=${image} label="image to search by"
        onImage=${(next) => { setImage(next); change({ like: undefined, unlike: undefined }); }} />`}
      <${Filters} collection=${collection} value=${query.filter} onChange=${(next) => change({ filter: next })} />
    </div>
    ${(image || examples.positive.length > 0 || examples.negative.length > 0) && html`<${Examples} collection=${collection}
      examples=${examples} clear=${() => { setImage(null); change({ like: undefined, unlike: undefined }); }} />`}
    <div class="result-line">
      <p role="status">${items ? said(items.length, searching, pages.cursor, filter, collection) : ''}</p>
      <${CopyCurl} request=${searching ? request : pageRequest(collection.name, filter)} image=${image} />
    </div>
    <${Outcome} of=${shown}>
      ${() => (items?.length ? html`<${Grid} collection=${collection.name}
          items=${items.map((item) => ({ ...item, image: collection.store === 'none' ? null : item.image }))}
          more=${searching ? null : pages.more} busy=${pages.busy} onOpen=${(item) => change({ item: item.id })} />`
        : html`<${None} filtered=${filter} collection=${collection} />`)}
    <//>
    ${searching && found.value && html`<${Timing} timing=${found.value.timing} />`}
    ${query.item && html`<${ItemDialog} collection=${collection} id=${query.item} close=${() => change({ item: undefined })}
      examples=${examples} changed=${changed} />`}
  </section>`;
}

/** A list of ids in the address. */
export function list(text) {
  try {
    const value = JSON.parse(text || '[]');
    return Array.isArray(value) ? value.map(String) : [];
  } catch {
    return [];
  }
}

function searchRequest(name, { image, examples, filter }) {
  if (image) {
    return { method: 'POST', path: collectionPath(name, 'search'), query: { limit: FOUND, filter }, file: image.file };
  }
  const parsed = filter ? JSON.parse(filter) : undefined;
  return { method: 'POST', path: collectionPath(name, 'recommend'), json: { ...examples, limit: FOUND, filter: parsed } };
}

function said(count, searching, cursor, filter, collection) {
  if (searching) return `The ${plural(count, 'nearest item')}`;
  if (!filter) return plural(collection.count, 'item');
  return cursor ? `${count} and more pass the filter` : `${plural(count, 'item')} pass${count === 1 ? 'es' : ''} the filter`;
}

function None({ filtered, collection }) {
  if (filtered) return html`<${Empty} title="Nothing passes the filter">Change it, or take it away.<//>`;
  return html`<${Empty} title="Nothing in here yet">
    ${collection.model ? 'Upload a folder of images, or drop some files on the upload button.' : 'This collection takes vectors of your own through the interface.'}
  <//>`;
}

/** What the search is by: more like these, less like those. */
function Examples({ collection, examples, clear }) {
  const without = (kind, id) => {
    const left = examples[kind === 'like' ? 'positive' : 'negative'].filter((one) => one !== id);
    change({ [kind]: left.length ? JSON.stringify(left) : undefined });
  };
  const chips = (kind, ids, word) => ids.map((id) => html`<li key=${kind + id} class=${`chip chip-${kind}`}>
    <${Thumb} collection=${collection.name} id=${id} size=${96} has=${collection.store !== 'none'} />
    <span>${word} ${id}</span>
    <button type="button" aria-label=${`Without the example ${id}`} onClick=${() => without(kind, id)}>✕</button>
  </li>`);
  return html`<ul class="chips" aria-label="Examples of the search">
    ${chips('like', examples.positive, 'like')}${chips('unlike', examples.negative, 'unlike')}
    <li><button type="button" class="button button-quiet" onClick=${clear}>Show all items</button></li>
  </ul>`;
}

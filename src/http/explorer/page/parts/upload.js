// Files go into a collection in batches, with progress, a way to stop, and what is wrong with each file that fails.

import { html, useRef, useState } from '../html.js';
import { collectionPath, pause, send } from '../api.js';
import { filesOf, isImageName } from '../images.js';
import { plural } from '../numbers.js';
import { Dialog } from './dialog.js';
import { Check } from './fields.js';
import { Empty } from './states.js';

const BATCH = 16;
const BATCH_BYTES = 8 << 20;
const TRIES = 8;

export function Upload({ collection, done }) {
  const [open, setOpen] = useState(false);
  const [files, setFiles] = useState([]);
  const drop = async (event) => {
    event.preventDefault();
    setFiles((await filesOf(event.dataTransfer)).filter(({ path }) => isImageName(path)));
    setOpen(true);
  };
  return html`<button type="button" class="button button-main" onClick=${() => { setFiles([]); setOpen(true); }}
      onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>Upload</button>
    ${open && html`<${UploadDialog} collection=${collection} dropped=${files} close=${() => setOpen(false)} done=${done} />`}`;
}

function UploadDialog({ collection, dropped, close, done }) {
  const [files, setFiles] = useState(dropped);
  const [labels, setLabels] = useState(true);
  const [progress, setProgress] = useState(null);
  const control = useRef(null);
  const folder = useRef(null);
  const single = useRef(null);
  const take = (list) => setFiles([...list].map((file) => ({ file, path: file.webkitRelativePath || file.name }))
    .filter(({ path }) => isImageName(path)).sort((a, b) => (a.path < b.path ? -1 : 1)));
  const start = async () => {
    control.current = new AbortController();
    await uploadAll({ collection: collection.name, files, labels, signal: control.current.signal, tell: setProgress });
    done();
  };
  const stop = () => {
    control.current?.abort();
    close();
  };
  const hasFolders = files.some(({ path }) => path.includes('/'));
  return html`<${Dialog} title=${`Upload to ${collection.name}`} close=${stop}>
    <div class="stack">
      ${!progress && html`<div class="actions">
          <button type="button" class="button" onClick=${() => folder.current.click()}>Choose a folder</button>
          <button type="button" class="button" onClick=${() => single.current.click()}>Choose files</button>
        </div>
        <input ref=${folder} type="file" webkitdirectory multiple class="visually-hidden" tabindex="-1" aria-label="Folder of images" onChange=${(event) => take(event.target.files)} />
        <input ref=${single} type="file" accept="image/*,.tif,.tiff" multiple class="visually-hidden" tabindex="-1" aria-label="Image files" onChange=${(event) => take(event.target.files)} />
        ${files.length
          ? html`<p>${plural(files.length, 'image')} to upload. Each gets its path as its id, so that uploading it again changes nothing.</p>
              ${hasFolders && html`<${Check} label="The folder of an image is its label" checked=${labels} onChange=${setLabels} />`}
              <p class="dialog-actions"><button type="button" class="button button-main" onClick=${start}>Upload ${plural(files.length, 'image')}</button></p>`
          : html`<${Empty} title="Nothing chosen yet">JPEG, PNG, WebP, GIF, BMP and TIFF are read.<//>`}`}
      ${progress && html`<${Progress} of=${progress} total=${files.length} stop=${() => control.current.abort()} close=${close} />`}
    </div>
  <//>`;
}

function Progress({ of, total, stop, close }) {
  return html`<div class="stack">
    <progress max=${total} value=${of.stored + of.errors.length} aria-label="Progress of the upload"></progress>
    <p role="status">${of.ended ? `${plural(of.stored, 'image')} stored${of.cancelled ? '; stopped before the rest' : ''}.` : `${of.stored} of ${total} stored${of.waiting ? '; the server is busy, going on in a moment' : ''}…`}</p>
    ${of.errors.length > 0 && html`<details open><summary>${plural(of.errors.length, 'file')} could not be stored</summary>
      <ul class="errors">${of.errors.map(({ path, message }) => html`<li key=${path}><strong>${path}</strong> ${message}</li>`)}</ul></details>`}
    <p class="dialog-actions">${of.ended
      ? html`<button type="button" class="button button-main" onClick=${close}>Done</button>`
      : html`<button type="button" class="button" onClick=${stop}>Stop</button>`}</p>
  </div>`;
}

/** Batches of at most so many files and bytes. */
function batches(files) {
  const all = [];
  let bytes = Infinity;
  for (const one of files) {
    if (bytes + one.file.size > BATCH_BYTES || all.at(-1).length === BATCH) {
      all.push([]);
      bytes = 0;
    }
    all.at(-1).push(one);
    bytes += one.file.size;
  }
  return all;
}

async function uploadAll({ collection, files, labels, signal, tell }) {
  const state = { stored: 0, errors: [], ended: false };
  const say = (patch) => tell({ ...Object.assign(state, patch) });
  say({});
  for (const batch of batches(files)) {
    if (signal.aborted) break;
    try {
      const { data, errors } = await uploadBatch({ collection, batch, labels, signal, say });
      state.errors.push(...errors.map(({ index, message }) => ({ path: batch[index].path, message })));
      say({ stored: state.stored + data.length, waiting: false });
    } catch (error) {
      if (error.name === 'AbortError') break;
      state.errors.push(...batch.map(({ path }) => ({ path, message: error.message })));
      say({ waiting: false });
    }
  }
  say({ ended: true, cancelled: signal.aborted });
}

async function uploadBatch({ collection, batch, labels, signal, say }) {
  for (let tried = 1; ; tried += 1) {
    try {
      const { response } = await send({ method: 'POST', path: collectionPath(collection, 'items'), form: formOf(batch, labels) }, signal);
      return await response.json();
    } catch (error) {
      if (!(error.status === 429 || error.status === 503) || tried === TRIES) {
        if (batch.length === 1 && error.status === 422) return { data: [], errors: [{ index: 0, message: error.message }] };
        throw error;
      }
      say({ waiting: true });
      await pause(error.retryMs || 1000, signal);
    }
  }
}

function formOf(batch, labels) {
  const form = new FormData();
  for (const { file, path } of batch) {
    const folder = path.includes('/') ? path.split('/').at(-2) : undefined;
    form.append('image', file, file.name);
    form.append('id', path);
    form.append('metadata', JSON.stringify({ file: path, ...(labels && folder && { label: folder }) }));
  }
  return form;
}

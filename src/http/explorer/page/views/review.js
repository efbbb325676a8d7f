// Anomalies of a collection, worst first, for a person to judge: what is fine goes into the calibration.

import { html, useEffect, useMemo, useState } from '../html.js';
import { change, useAddress } from '../address.js';
import { collectionPath, json, patiently, useWork } from '../api.js';
import { calibrationPath, pValue, scoresOf, thresholdAt } from '../calibrations.js';
import { useFeatures } from '../features.js';
import { fromItem, letGo } from '../images.js';
import { can, useCollections, useModels } from '../models.js';
import { fixed, percent, plural, short } from '../numbers.js';
import { useCalibrations } from '../panels/anomaly.js';
import { CopyCurl } from '../parts/copy.js';
import { Choice } from '../parts/fields.js';
import { Histogram } from '../parts/histogram.js';
import { Figures } from '../parts/panel.js';
import { Empty, Outcome, Trouble } from '../parts/states.js';
import { Thumb } from '../parts/thumb.js';

const MOST = 200;
const AT_ONCE = 4;
const FIRST_RATE = 0.05;

export function Review() {
  const { query } = useAddress();
  const { calibrations: known } = useFeatures();
  const models = useModels();
  const collections = useCollections().value || [];
  const scoring = (models.value || []).filter((model) => can(model, 'score'));
  const model = scoring.find((one) => one.id === query.model) || scoring[0];
  const calibrations = useCalibrations(model, known);
  const calibration = calibrations.value.find((one) => one.name === query.calibration) || calibrations.value[0];
  const kept = collections.filter((one) => one.store !== 'none' && one.count > 0);
  const collection = kept.find((one) => one.name === query.collection) || kept[0];
  return html`<main class="view">
    <header class="view-head"><h1>Review</h1></header>
    <div class="controls">
      <${Choice} label="Model" value=${model?.id || ''} options=${scoring.map((one) => one.id)} onChange=${(id) => change({ model: id, calibration: undefined })} />
      <${Choice} label="Calibration" value=${calibration?.name || ''} options=${calibrations.value.map((one) => one.name)} onChange=${(name) => change({ calibration: name })} />
      <${Choice} label="Collection" value=${collection?.name || ''} options=${kept.map((one) => one.name)} onChange=${(name) => change({ collection: name })} />
    </div>
    ${calibrations.error && html`<${Trouble} error=${calibrations.error} />`}
    ${!calibration && !calibrations.busy
      ? html`<${NoCalibration} model=${model} collection=${collection} made=${calibrations.again} />`
      : !collection ? html`<${Empty} title="Nothing to review">A collection that keeps its images holds what is to be judged.<//>`
        : calibration && html`<${Judging} key=${`${model.id} ${calibration.name} ${collection.name}`} model=${model} calibration=${calibration} collection=${collection} />`}
  </main>`;
}

/** The way to a first calibration: a collection of images known to be normal. */
function NoCalibration({ model, collection, made }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const make = async () => {
    setBusy(true);
    try {
      await json({ method: 'PUT', path: calibrationPath(model.id, collection.name), json: { collection: collection.name } });
      made();
    } catch (failed) {
      setError(failed);
      setBusy(false);
    }
  };
  return html`<${Empty} title="No calibration yet">
    <p>A calibration holds the scores of images known to be normal. By it, a score becomes the probability that a normal image has one as high.</p>
    ${model && collection && html`<p><button type="button" class="button button-main" disabled=${busy} onClick=${make}>
      Calibrate on ${collection.name}, if all of it is normal</button></p>`}
    ${error && html`<${Trouble} error=${error} />`}
  <//>`;
}

/** The scores of the first items of a collection. */
async function scored({ model, calibration, collection, signal, tell }) {
  const { data } = await json({ path: collectionPath(collection.name, 'items'), query: { limit: MOST } }, signal);
  const items = data.data.filter((item) => item.image);
  const found = [];
  const next = items.values();
  const worker = async () => {
    for (const item of next) {
      const image = await fromItem(collection.name, item.id, signal);
      const request = { method: 'POST', path: '/v1/anomaly', query: { model: model.id, calibration: calibration.name, map: 'overlay' }, file: image.file };
      try {
        const answer = (await patiently(json, request, signal)).data.data[0];
        found.push({ ...item, ...answer });
        tell(`${found.length} of ${items.length} scored`);
      } finally {
        letGo(image);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return found.sort((a, b) => b.score - a.score);
}

function Judging({ model, calibration, collection }) {
  const [said, tell] = useState('Scoring the images…');
  const [rate, setRate] = useState(FIRST_RATE);
  const [at, setAt] = useState(0);
  const [judged, setJudged] = useState({});
  const [error, setError] = useState(null);
  const normal = useWork((signal) => scoresOf(model.id, calibration, signal), [calibration.version]);
  const work = useWork((signal) => scored({ model, calibration, collection, signal, tell }), []);
  const items = work.value || [];
  const item = items[at];
  const judge = async (fine) => {
    if (!item) return;
    try {
      const image = await fromItem(collection.name, item.id);
      const form = new FormData();
      form.append('image', image.file, 'image');
      form.append('label', fine ? 'normal' : 'defect');
      await json({ method: 'POST', path: calibrationPath(model.id, calibration.name, 'items'), form });
      letGo(image);
      setJudged({ ...judged, [item.id]: fine ? 'fine' : 'defect' });
      setAt(Math.min(items.length - 1, at + 1));
      setError(null);
    } catch (failed) {
      setError(failed);
    }
  };
  useEffect(() => {
    const keys = (event) => {
      if (event.target.closest?.('input, select, textarea, dialog') || event.metaKey || event.ctrlKey || event.altKey) return;
      if (event.key === 'j') setAt((now) => Math.min(items.length - 1, now + 1));
      else if (event.key === 'k') setAt((now) => Math.max(0, now - 1));
      else if (event.key === 'f') judge(true);
      else if (event.key === 'd') judge(false);
      else return;
      event.preventDefault();
    };
    addEventListener('keydown', keys);
    return () => removeEventListener('keydown', keys);
  });
  return html`<${Outcome} of=${normal}>${(scores) => html`<${Outcome} of=${work} waiting=${said}>
    ${() => html`<${Table} ...${{ scores, items, item, at, setAt, rate, setRate, judged, judge, error, collection, model, calibration }} />`}
  <//>`}<//>`;
}

function Table({ scores, items, item, at, setAt, rate, setRate, judged, judge, error, collection, model, calibration }) {
  const threshold = useMemo(() => thresholdAt(scores, rate), [scores, rate]);
  const over = items.filter((one) => one.score > threshold).length;
  const drag = (score) => setRate(Math.max(1 / (scores.length + 1), pValue(scores, score)));
  return html`<section class="review">
    <div class="stack">
      <${Histogram} label="Scores of the normal images" scores=${scores} threshold=${Number.isFinite(threshold) ? threshold : scores.at(-1)}
        onDrag=${drag} marks=${item ? [{ at: item.score, label: 'this one', kind: 'here' }] : []} />
      <p role="status">At ${percent(rate)} false alarms ${plural(over, 'image')} of ${items.length} ${over === 1 ? 'is' : 'are'} anomalous.</p>
      <${CopyCurl} request=${{ path: calibrationPath(model.id, calibration.name) }} />
      ${item && html`<article class="panel review-item">
        ${item.map && html`<img class="pixelated review-map" src=${item.map} alt=${`${item.id}, with the heat of where it is strange`} />`}
        <${Figures} of=${[['Item', item.id], ['Score', short(item.score, 4)], ['p-value', short(item.p_value ?? pValue(scores, item.score))], judged[item.id] && ['Judged', judged[item.id]]]} />
        <div class="actions">
          <button type="button" class="button" onClick=${() => judge(true)}>Fine <kbd>F</kbd></button>
          <button type="button" class="button button-danger" onClick=${() => judge(false)}>Defect <kbd>D</kbd></button>
          <span class="hint"><kbd>J</kbd> next, <kbd>K</kbd> back</span>
        </div>
        ${error && html`<${Trouble} error=${error} />`}
      </article>`}
    </div>
    <ol class="review-list" aria-label="Images, the most anomalous first">
      ${items.map((one, place) => html`<li key=${one.id}>
        <button type="button" class=${`card ${place === at ? 'is-marked' : ''}`} aria-current=${place === at} onClick=${() => setAt(place)}>
          <${Thumb} collection=${collection.name} id=${one.id} />
          <span class="card-name">${one.id}</span>
          <span class=${`verdict verdict-${one.score > threshold ? 'anomalous' : 'ok'}`}>${judged[one.id] || (one.score > threshold ? 'anomalous' : 'OK')} · ${fixed(pValue(scores, one.score), 3)}</span>
        </button></li>`)}
    </ol>
  </section>`;
}

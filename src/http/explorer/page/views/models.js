// The models as cards: what they are, what they do, how they are doing now.

import { html, useEffect, useState } from '../html.js';
import { CAPABILITIES, useModels } from '../models.js';
import { loadOf } from '../metrics.js';
import { pathOf } from '../api.js';
import { short, whole } from '../numbers.js';
import { CopyCurl } from '../parts/copy.js';
import { Units } from '../parts/bars.js';
import { Figures } from '../parts/panel.js';
import { Empty, Outcome } from '../parts/states.js';

const EVERY_MS = 2000;
/** Nats below which a unit of a latent is drawn as idle. */
const IDLE_NATS = 0.01;

export function Models() {
  const models = useModels();
  const load = useLoad();
  return html`<main class="view">
    <header class="view-head"><h1>Models</h1></header>
    <${Outcome} of=${models}>
      ${(all) => (all.length
        ? html`<ul class="cards cards-wide">${all.map((model) => html`<${Card} key=${model.id} model=${model} load=${load[model.id]} />`)}</ul>`
        : html`<${Empty} title="No models">Put a model into the folder of models and start the server again.<//>`)}
    <//>
  </main>`;
}

/** What the metrics say, again and again while the page is seen. */
function useLoad() {
  const [load, setLoad] = useState({});
  useEffect(() => {
    const control = new AbortController();
    const look = () => document.hidden || loadOf(control.signal).then(setLoad, () => {});
    look();
    const timer = setInterval(look, EVERY_MS);
    return () => {
      clearInterval(timer);
      control.abort();
    };
  }, []);
  return load;
}

function Card({ model, load }) {
  const { input, embedding } = model;
  return html`<li class="panel">
    <header class="panel-head">
      <h2>${model.id}</h2>
      <span class=${`badge badge-${model.state}`}>${model.state}</span>
    </header>
    ${model.description && html`<p class="hint">${model.description}</p>`}
    ${model.reason && html`<p class="reason">${model.reason}</p>`}
    ${model.capabilities && html`<ul class="tags">${model.capabilities.map((one) => html`<li key=${one}>${CAPABILITIES[one] || one}</li>`)}</ul>`}
    <${Figures} of=${[
      model.family && ['Family', model.family],
      input && ['Input', `${input.width} × ${input.height} ${input.channels}`],
      embedding?.dimension && ['Embedding', `${embedding.dimension} numbers${embedding.normalized ? ', normalised' : ''}`],
      model.device && ['Runs on', `${model.device}, ${model.provider}`],
      model.space_key && ['Space', html`<code>${model.space_key}</code>`, 'Vectors compare only when their space keys are equal'],
    ]} />
    ${load && html`<${Figures} of=${[
      ['In the queue', whole(load.queue), 'Images that wait for a run or are in one'],
      ['Runs', whole(load.runs), 'Since the server started'],
      ['A run takes', load.runs ? `${short(1000 * load.runSeconds / load.runs)} ms` : '–', 'On average since the server started'],
      ['Wait for it', load.waits ? `${short(1000 * load.waitSeconds / load.waits)} ms` : '–', 'On average since the server started'],
    ]} />`}
    <${Measured} figures=${model.metrics?.figures || model.metrics} />
    <footer class="card-foot">
      ${model.state === 'ready' && html`<a class="button" href=${`#/playground?model=${encodeURIComponent(model.id)}`}>Try it</a>`}
      <${CopyCurl} request=${{ path: pathOf('/v1/models', model.id) }} />
    </footer>
  </li>`;
}

/** What its author measured: single numbers as a table, the units of a latent as bars. */
function Measured({ figures }) {
  if (!figures) return null;
  const nats = figures.kl_per_dimension_nats;
  const single = Object.entries(figures).filter(([, value]) => typeof value === 'number');
  return html`${Array.isArray(nats) && html`<figure class="measure">
      <${Units} values=${[...nats].sort((a, b) => b - a)} off=${IDLE_NATS} label=${`KL divergence of each of ${nats.length} units`} />
      <figcaption>${figures.active_units ?? '–'} of ${nats.length} units active · KL in nats, largest ${short(Math.max(...nats))}</figcaption>
    </figure>`}
    ${single.length > 0 && html`<details><summary>What its author measured</summary>
      <table class="metadata"><tbody>${single.map(([name, value]) => html`<tr key=${name}>
        <th scope="row">${name.replaceAll('_', ' ')}</th><td>${short(value, 4)}</td></tr>`)}</tbody></table></details>`}`;
}

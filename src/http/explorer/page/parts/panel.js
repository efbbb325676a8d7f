// A panel: one question to the server, its answer, how long that took, and the command that asks the same.

import { html } from '../html.js';
import { short, stages } from '../numbers.js';
import { CopyCurl } from './copy.js';
import { Loading, Trouble } from './states.js';

/** `work` is what useWork gives; its value has `request` and `timing` beside what `children` make of it. */
export function Panel({ title, hint, work, controls, image, children }) {
  const value = work?.value;
  return html`<section class="panel" aria-busy=${Boolean(work?.busy)}>
    <header class="panel-head">
      <h3>${title}</h3>
      ${value?.request && html`<${CopyCurl} request=${value.request} image=${image} />`}
    </header>
    ${hint && html`<p class="hint">${hint}</p>`}
    ${controls && html`<div class="controls">${controls}</div>`}
    <div class=${`panel-body ${work?.busy && value ? 'is-stale' : ''}`}>
      ${work?.error
        ? html`<${Trouble} error=${work.error} again=${work.again} />`
        : value === undefined && work
          ? work.busy && html`<${Loading} />`
          : typeof children === 'function' ? children(value) : children}
    </div>
    ${value?.timing && html`<${Timing} timing=${value.timing} />`}
  </section>`;
}

/** How long the server took, stage by stage. */
export function Timing({ timing }) {
  const all = stages(timing);
  const total = all.find(([name]) => name === 'total');
  const rest = all.filter(([name]) => name !== 'total');
  return html`<footer class="timing">
    <strong>${total ? `${short(total[1])} ms` : ''}</strong>
    ${rest.map(([name, ms]) => html`<span key=${name}>${name} ${short(ms)}</span>`)}
  </footer>`;
}

/** Figures with their names. */
export function Figures({ of }) {
  return html`<dl class="figures">
    ${of.filter(Boolean).map(([name, value, title]) => html`<div key=${name} title=${title}>
      <dt>${name}</dt><dd>${value}</dd>
    </div>`)}
  </dl>`;
}

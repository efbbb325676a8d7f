// What is shown while there is nothing to show yet, when there is nothing, and when something went wrong.

import { html } from '../html.js';

export function Loading({ children = 'Loading…' }) {
  return html`<p class="state state-busy" role="status"><span class="spinner" aria-hidden="true"></span>${children}</p>`;
}

/** Nothing there yet: what it would be, and how to get it. */
export function Empty({ title, children }) {
  return html`<div class="state state-empty">
    <p class="state-title">${title}</p>
    ${children && html`<div class="state-text">${children}</div>`}
  </div>`;
}

/** An error in the server's words, with what names it in the log. */
export function Trouble({ error, again }) {
  return html`<div class="state state-trouble" role="alert">
    <p class="state-title">${error.title ? capital(error.title) : 'That did not work'}</p>
    <p class="state-text">${error.message}</p>
    ${again && html`<p><button type="button" class="button" onClick=${again}>Try again</button></p>`}
    ${error.requestId && html`<p class="state-small">Request ${error.requestId}</p>`}
  </div>`;
}

/** The state of work, or what it came to. */
export function Outcome({ of, waiting, children }) {
  if (of.error) return html`<${Trouble} error=${of.error} again=${of.again} />`;
  if (of.value === undefined) return of.busy ? html`<${Loading}>${waiting}<//>` : null;
  return children(of.value);
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

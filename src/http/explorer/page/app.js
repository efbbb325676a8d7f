// The page: its head, and the view that the address names.

import { html, render, useEffect } from './html.js';
import { useAddress } from './address.js';
import { useFeatures } from './features.js';
import { KeyDialog } from './parts/key.js';
import { Empty } from './parts/states.js';
import { Collection } from './views/collection.js';
import { Collections } from './views/collections.js';
import { MapView } from './views/map.js';
import { Models } from './views/models.js';
import { Playground } from './views/playground.js';
import { Review } from './views/review.js';

const VIEWS = [['playground', 'Playground'], ['collections', 'Collections'], ['map', 'Map'], ['review', 'Review'], ['models', 'Models']];

function App() {
  const { path: [view = 'playground', name] } = useAddress();
  const { calibrations } = useFeatures();
  const shown = VIEWS.filter(([key]) => key !== 'review' || calibrations);
  const title = VIEWS.find(([key]) => key === view)?.[1];
  useEffect(() => {
    document.title = `${name || title || 'Explorer'} · latentd`;
  }, [name, title]);
  return html`<a class="skip" href="#content" onClick=${skip}>Skip to the content</a>
    <header class="head">
      <a class="brand" href="#/playground"><img src="/ui/icon.svg" alt="" width="24" height="24" />latentd</a>
      <nav class="head-nav" aria-label="Views">
        ${shown.map(([key, text]) => html`<a key=${key} href=${`#/${key}`} aria-current=${key === view ? 'page' : undefined}>${text}</a>`)}
        <a class="head-docs" href="/docs/">API</a>
      </nav>
    </header>
    <div id="content" tabindex="-1">${content(view, name)}</div>
    <${KeyDialog} />`;
}

function content(view, name) {
  switch (view) {
    case 'playground': return html`<${Playground} />`;
    case 'collections': return name ? html`<${Collection} key=${name} name=${name} />` : html`<${Collections} />`;
    case 'map': return html`<${MapView} />`;
    case 'review': return html`<${Review} />`;
    case 'models': return html`<${Models} />`;
    default: return html`<main class="view"><h1 class="visually-hidden">No such view</h1><${Empty} title="There is no such view">The address may be mistyped. <a href="#/playground">To the Playground</a><//></main>`;
  }
}

/** The address is taken by views, so the way past the head is one of its own. */
function skip(event) {
  event.preventDefault();
  document.getElementById('content').focus();
}

render(html`<${App} />`, document.getElementById('app'));

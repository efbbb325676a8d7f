// How the vectors of a collection are: figures, each with a sentence on what it says.

import { html } from '../html.js';
import { collectionPath, json, patiently, useWork } from '../api.js';
import { fixed, percent, plural, short, whole } from '../numbers.js';
import { CopyCurl } from '../parts/copy.js';
import { Empty, Outcome } from '../parts/states.js';

export function Health({ collection, version }) {
  const request = { path: collectionPath(collection.name, 'health') };
  const work = useWork((signal) => patiently(json, request, signal), [collection.name, version]);
  return html`<section class="stack">
    <div class="result-line">
      <p>${work.value ? `Of ${work.value.data.sampled < work.value.data.count ? 'a sample of ' : ''}${plural(work.value.data.sampled, 'item')}` : ''}</p>
      <${CopyCurl} request=${request} />
    </div>
    <${Outcome} of=${work} waiting="Looking at the vectors…">
      ${({ data }) => (data.sampled
        ? html`<dl class="health">${figures(data).map(([name, value, says]) => html`<div key=${name} class="panel">
            <dt>${name}</dt><dd class="big">${value}</dd><dd class="hint">${says}</dd></div>`)}</dl>`
        : html`<${Empty} title="Nothing to look at yet">Add items first.<//>`)}
    <//>
  </section>`;
}

function figures(data) {
  const { dimension, effective_rank: rank, active_units: active, nearest, drift, norms } = data;
  const all = [];
  if (rank !== null) {
    all.push(['Effective rank', `${short(rank)} of ${dimension}`, rank < Math.min(dimension, data.sampled - 1) / 20
      ? 'Few directions hold nearly all of the spread: the encoder may have collapsed.'
      : 'So many directions would hold the spread if it were even in all of them.']);
  }
  if (active.count !== null) {
    all.push(['Active units', `${active.count} of ${dimension}`, active.count < dimension
      ? `${dimension - active.count} of the numbers hardly change from item to item and say little.`
      : 'Every number of the vectors changes from item to item.']);
  }
  if (nearest) {
    all.push(['Nearest neighbour', fixed(nearest.mean_score, 3), 'The score of the nearest other item, on average: the nearer, the denser the collection.']);
  }
  if (norms && data.metric !== 'cosine') {
    all.push(['Length', `${short(norms.mean)} ± ${short(norms.std)}`, `Lengths of the vectors, from ${short(norms.min)} to ${short(norms.max)}.`]);
  }
  all.push(['Drift of the queries', drift.score === null ? '–' : percent(drift.score), drift.score === null
    ? `Told after 50 queries; there have been ${whole(drift.queries)}.`
    : drift.score > 0.5 ? 'What is searched for lies far from what is stored.' : 'What is searched for is like what is stored.']);
  return all;
}

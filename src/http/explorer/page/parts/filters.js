// Conditions on the metadata, written as the server's filters. In the address they are `[[key, comparison, value], …]`.

import { html, useState } from '../html.js';
import { json, collectionPath, useWork } from '../api.js';
import { Choice, Text } from './fields.js';

const COMPARISONS = [['is', 'is'], ['not', 'is not'], ['least', 'is at least'], ['most', 'is at most']];
const LOOKED_AT = 20;

function conditions(text) {
  try {
    const value = JSON.parse(text || '[]');
    return Array.isArray(value) ? value.filter((one) => Array.isArray(one) && one.length === 3) : [];
  } catch {
    return [];
  }
}

/** A value as its kind in JSON: what looks like a number or a truth value is one. */
function valueOf(text) {
  if (text === 'true' || text === 'false') return text === 'true';
  return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** The server's filter of what stands in the address, as JSON; empty for none. */
export function filterOf(text) {
  const all = conditions(text);
  if (!all.length) return '';
  const must = [];
  const mustNot = [];
  for (const [key, comparison, value] of all) {
    if (comparison === 'not') mustNot.push({ key, match: valueOf(value) });
    else if (comparison === 'least') must.push({ key, range: { gte: Number(value) } });
    else if (comparison === 'most') must.push({ key, range: { lte: Number(value) } });
    else must.push({ key, match: valueOf(value) });
  }
  return JSON.stringify({ ...(must.length && { must }), ...(mustNot.length && { must_not: mustNot }) });
}

/** The dotted keys of some items of a collection. */
export function useKeys(collection) {
  return useWork(async (signal) => {
    const { data } = await json({ path: collectionPath(collection, 'items'), query: { limit: LOOKED_AT } }, signal);
    return [...new Set(data.data.flatMap((item) => dotted(item.metadata)))].sort();
  }, [collection]).value || [];
}

function dotted(object, before = '') {
  return Object.entries(object).flatMap(([name, value]) => (
    value && typeof value === 'object' && !Array.isArray(value) ? dotted(value, `${before}${name}.`) : [`${before}${name}`]));
}

export function Filters({ collection, value, onChange }) {
  const all = conditions(value);
  const [open, setOpen] = useState(false);
  const set = (next) => onChange(next.length ? JSON.stringify(next) : undefined);
  return html`<div class="filters">
    <ul class="chips">
      ${all.map(([key, comparison, text], at) => html`<li key=${at} class="chip">
        <span>${key} ${COMPARISONS.find(([one]) => one === comparison)?.[1]} <strong>${text}</strong></span>
        <button type="button" aria-label=${`Without the condition on ${key}`} onClick=${() => set(all.filter((_, other) => other !== at))}>✕</button>
      </li>`)}
      <li><button type="button" class="button" aria-expanded=${open} onClick=${() => setOpen(!open)}>Filter</button></li>
    </ul>
    ${open && html`<${NewCondition} collection=${collection} add=${(one) => { set([...all, one]); setOpen(false); }} />`}
  </div>`;
}

function NewCondition({ collection, add }) {
  const keys = useKeys(collection.name);
  const [key, setKey] = useState('');
  const [comparison, setComparison] = useState('is');
  const [value, setValue] = useState('');
  const [values, setValues] = useState([]);
  const choose = async (next) => {
    setKey(next);
    if (!keys.includes(next)) return;
    const request = { method: 'POST', path: collectionPath(collection.name, 'facets'), json: { key: next, limit: LOOKED_AT } };
    const facets = await json(request).catch(() => null);
    setValues(facets ? facets.data.data.map((one) => String(one.value)) : []);
  };
  const submit = (event) => {
    event.preventDefault();
    add([key, comparison, value]);
  };
  return html`<form class="controls" onSubmit=${submit}>
    <${Text} label="Key" value=${key} onInput=${choose} list=${keys} required />
    <${Choice} label="Comparison" value=${comparison} options=${COMPARISONS} onChange=${setComparison} />
    <${Text} label="Value" value=${value} onInput=${setValue} list=${values} required
      type=${['least', 'most'].includes(comparison) ? 'number' : 'text'} />
    <button class="button button-main">Add</button>
  </form>`;
}

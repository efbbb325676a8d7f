// The map of a collection: every item a point, near vectors near each other.

import { html, useEffect, useMemo, useState } from '../html.js';
import { change, useAddress } from '../address.js';
import { useWork } from '../api.js';
import { coloured } from '../colours.js';
import { mapRequest, readMap } from '../map-file.js';
import { useCollections } from '../models.js';
import { percent, plural, whole } from '../numbers.js';
import { CopyCurl } from '../parts/copy.js';
import { Choice, Switch } from '../parts/fields.js';
import { useKeys } from '../parts/filters.js';
import { ItemDialog } from '../parts/item-dialog.js';
import { Legend } from '../parts/legend.js';
import { MapStage } from '../parts/map-stage.js';
import { Selection } from '../parts/selection.js';
import { Empty, Outcome } from '../parts/states.js';

const METHODS = [['pca', 'Main directions'], ['tsne', 'Neighbours']];

export function MapView() {
  const { query } = useAddress();
  const collections = useCollections();
  return html`<main class="view view-map">
    <h1 class="visually-hidden">Map</h1>
    <${Outcome} of=${collections}>
      ${(all) => {
        const filled = all.filter((one) => one.count > 0);
        const collection = filled.find((one) => one.name === query.collection) || filled[0];
        return collection
          ? html`<${Mapped} key=${collection.name} collection=${collection} names=${filled.map((one) => one.name)} query=${query} />`
          : html`<${Empty} title="Nothing to map yet">A map shows the items of a collection. <a href="#/collections">Make one, and add images.</a><//>`;
      }}
    <//>
  </main>`;
}

function Mapped({ collection, names, query }) {
  const method = query.method === 'tsne' ? 'tsne' : 'pca';
  const keys = useKeys(collection.name);
  const [tool, setTool] = useState('move');
  const [selected, setSelected] = useState([]);
  const [hovered, setHovered] = useState(-1);
  const [version, setVersion] = useState(0);
  const request = mapRequest(collection.name, method, query.key);
  const work = useWork((signal) => readMap(request, signal), [collection.name, method, query.key, version]);
  useEffect(() => setSelected([]), [collection.name, method]);
  return html`<div class="map-bar">
      <${Choice} label="Collection" value=${collection.name} options=${names}
        onChange=${(name) => change({ collection: name, key: undefined, at: undefined, v: undefined })} />
      <${Choice} label="Colour by" value=${query.key || ''} empty="nothing" options=${keys} onChange=${(key) => change({ key })} />
      <${Switch} label="How points are laid out" value=${method} options=${METHODS}
        onChange=${(next) => change({ method: next, v: undefined })} />
      <${Switch} label="What dragging does" value=${tool} onChange=${setTool} options=${[['move', 'Move'], ['lasso', 'Lasso']]} />
      <${CopyCurl} request=${request} />
    </div>
    <${Outcome} of=${work} waiting="Laying the map out…">
      ${({ map }) => html`<${Shown} ...${{ collection, map, query, tool, selected, setSelected, hovered, setHovered }}
        busy=${work.busy} changed=${() => setVersion(version + 1)} />`}
    <//>`;
}

function Shown({ collection, map, query, tool, selected, setSelected, hovered, setHovered, busy, changed }) {
  const colours = useMemo(() => coloured(map), [map]);
  const at = query.at !== undefined ? map.places(query.at) : undefined;
  return html`<div class=${`map ${selected.length ? 'has-selection' : ''} ${busy ? 'is-stale' : ''}`}>
      <${MapStage} ...${{ collection, map, colours, tool, selected, hovered, at, query }}
        onSelect=${setSelected} onOpen=${(point) => change({ item: map.id(point) })} />
      ${selected.length > 0 && html`<${Selection} collection=${collection} map=${map} selected=${selected}
        clear=${() => setSelected([])} onHover=${setHovered} onOpen=${(id) => change({ item: id })} />`}
    </div>
    <footer class="map-foot">
      <${Legend} legend=${colours.legend} map=${map} onSelect=${setSelected} />
      <p class="hint">${about(map)}</p>
    </footer>
    ${query.item && html`<${ItemDialog} collection=${collection} id=${query.item} close=${() => change({ item: undefined })}
      examples=${null} changed=${changed} />`}`;
}

function about({ count, head }) {
  const sampled = count < head.count ? ` of ${whole(head.count)}, drawn evenly` : '';
  const shares = head.explained ? ` · these two directions hold ${percent(head.explained[0] + head.explained[1])} of the variance`
    : ' · distances between groups mean little';
  return `${plural(count, 'point')}${sampled}${shares}`;
}

// The small image of an item, or what stands for it. Its place has its size before it is there.

import { html, useEffect, useState } from '../html.js';
import { needsKey, thumbnailBlob, thumbnailPath } from '../images.js';

export const SIZE = 192;

export function Thumb({ collection, id, size = SIZE, has = true }) {
  const [failed, setFailed] = useState(false);
  const source = useSource(collection, id, size, has);
  useEffect(() => setFailed(false), [collection, id]);
  if (!has || failed) return html`<span class="thumb thumb-none" aria-hidden="true">no image</span>`;
  return html`<span class="thumb">
    ${source && html`<img src=${source} alt="" loading="lazy" decoding="async" onError=${() => setFailed(true)} />`}
  </span>`;
}

/** An address that the browser may load by itself, or one of a blob where a key has to go along. */
function useSource(collection, id, size, has) {
  const [blob, setBlob] = useState(null);
  const withKey = needsKey();
  useEffect(() => {
    if (!withKey || !has) return undefined;
    const control = new AbortController();
    let made;
    thumbnailBlob(collection, id, size, control.signal).then((address) => setBlob(made = address), () => {});
    return () => {
      control.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [collection, id, size, withKey, has]);
  return withKey ? blob : thumbnailPath(collection, id, size);
}

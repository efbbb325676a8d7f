// Where an image comes in: dropped, pasted, picked, or taken from a collection.

import { html, useEffect, useRef, useState } from '../html.js';
import { fromFile, imagesOf } from '../images.js';

export function ImageInput({ image, onImage, label = 'image', pastes = false, small = false }) {
  const input = useRef(null);
  const [over, setOver] = useState(false);
  const take = (files) => files.length && onImage(fromFile(files[0]));
  useEffect(() => {
    if (!pastes) return undefined;
    const paste = (event) => {
      const files = imagesOf(event.clipboardData);
      if (files.length) {
        event.preventDefault();
        take(files);
      }
    };
    addEventListener('paste', paste);
    return () => removeEventListener('paste', paste);
  });
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take(imagesOf(event.dataTransfer));
  };
  return html`<div class=${`drop ${over ? 'is-over' : ''} ${small ? 'drop-small' : ''}`}
    onDragOver=${(event) => { event.preventDefault(); setOver(true); }}
    onDragLeave=${() => setOver(false)} onDrop=${drop}>
    ${image && html`<img class="drop-image pixelated" src=${image.shown} alt=${`The ${label}: ${image.name}`} />`}
    <div class="drop-text">
      <button type="button" class="button" onClick=${() => input.current.click()}>
        ${image ? 'Another one' : `Choose ${label}`}
      </button>
      <span class="hint">${pastes ? 'or drop it here, or paste it' : 'or drop it here'}</span>
    </div>
    <input ref=${input} type="file" accept="image/*,.tif,.tiff" class="visually-hidden" tabindex="-1"
      aria-label=${`Choose ${label}`} onChange=${(event) => { take([...event.target.files]); event.target.value = ''; }} />
  </div>`;
}

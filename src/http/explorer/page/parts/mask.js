// A mask that is painted over an image: what is painted is hidden from the model. Also with the keyboard: arrows move
// the brush, Space paints.

import { html, useEffect, useRef, useState } from '../html.js';

const SIDE = 224;
const BRUSH = 44;

export function MaskPainter({ image, onMask }) {
  const canvas = useRef(null);
  const [cursor, setCursor] = useState(null);
  const painting = useRef(false);
  const clear = () => {
    canvas.current.getContext('2d').clearRect(0, 0, SIDE, SIDE);
    onMask(null);
  };
  useEffect(clear, [image]);
  const paint = (x, y) => {
    const context = canvas.current.getContext('2d');
    context.beginPath();
    context.arc(x, y, BRUSH / 2, 0, 2 * Math.PI);
    context.fill();
  };
  const at = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return [(event.clientX - box.left) * SIDE / box.width, (event.clientY - box.top) * SIDE / box.height];
  };
  const done = () => maskOf(canvas.current).then(onMask);
  const keys = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const [x, y] = cursor || [SIDE / 2, SIDE / 2];
    if (step) setCursor([x + step[0] * BRUSH / 2, y + step[1] * BRUSH / 2].map((one) => Math.min(SIDE, Math.max(0, one))));
    else if (event.key === ' ') {
      paint(x, y);
      done();
    } else return;
    event.preventDefault();
  };
  return html`<figure class="shown">
    <div class="shown-image painter">
      <img class="pixelated" src=${image.shown} alt="" />
      <canvas ref=${canvas} width=${SIDE} height=${SIDE} tabindex="0" role="application"
        aria-label="Paint what to hide: with the mouse, or with the arrow keys and Space"
        onPointerDown=${(event) => { painting.current = true; event.target.setPointerCapture(event.pointerId); paint(...at(event)); }}
        onPointerMove=${(event) => painting.current && paint(...at(event))}
        onPointerUp=${() => { painting.current = false; done(); }}
        onKeyDown=${keys} onBlur=${() => setCursor(null)}></canvas>
      ${cursor && html`<span class="brush" style=${{ left: `${100 * cursor[0] / SIDE}%`, top: `${100 * cursor[1] / SIDE}%` }}></span>`}
    </div>
    <figcaption>Hidden <button type="button" class="button button-quiet" onClick=${clear}>Clear</button></figcaption>
  </figure>`;
}

/** What was painted, dark on white, as the server takes masks. */
function maskOf(painted) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, SIDE, SIDE);
  context.drawImage(painted, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

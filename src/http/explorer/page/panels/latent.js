// What a variational model draws by itself, and the way between two images through its latents.

import { html, useState } from '../html.js';
import { json, useWork } from '../api.js';
import { base64 } from '../curl.js';
import { Slider } from '../parts/fields.js';
import { ImageInput } from '../parts/image-input.js';
import { Panel } from '../parts/panel.js';
import { Empty } from '../parts/states.js';
import { fixed } from '../numbers.js';

const COUNT = 12;
const STEPS = 9;
const SETTLE_MS = 150;

export function Samples({ model }) {
  const [seed, setSeed] = useState(7);
  const [temperature, setTemperature] = useState(1);
  const work = useWork((signal) => json({
    method: 'POST', path: '/v1/generate', json: { model: model.id, count: COUNT, seed, temperature },
  }, signal), [model.id, seed, temperature], SETTLE_MS);
  const controls = html`<${Slider} label="Temperature" min="0" max="1.5" step="0.05" value=${temperature}
      onInput=${setTemperature} text=${fixed(temperature)} />
    <button type="button" class="button" onClick=${() => setSeed(seed + 1)}>Draw again</button>`;
  return html`<${Panel} title="Samples" work=${work} controls=${controls}>
    ${({ data }) => html`<ul class="samples">
      ${data.data.map((one, at) => html`<li key=${at}><img class="pixelated" src=${one.image} alt=${`Sample ${at + 1} of seed ${seed}`} /></li>`)}
    </ul>`}
  <//>`;
}

export function Interpolation({ model, image }) {
  const [other, setOther] = useState(null);
  const [at, setAt] = useState((STEPS - 1) / 2);
  const work = useWork(other && (async (signal) => {
    const images = await Promise.all([base64(image.file), base64(other.file)]);
    return json({ method: 'POST', path: '/v1/interpolate', json: { model: model.id, images, steps: STEPS } }, signal);
  }), [model.id, image, other]);
  const controls = html`<${ImageInput} small image=${other} onImage=${setOther} label="second image" />`;
  return html`<${Panel} title="Interpolation" work=${other ? work : undefined} controls=${controls}>
    ${(value) => {
      if (!value) {
        return html`<${Empty} title="The way to another image">
          Choose a second image, and the slider walks from the first to it.
        <//>`;
      }
      const steps = value.data.data;
      const step = steps[Math.min(at, steps.length - 1)];
      return html`<div class="walk">
        <img class="walk-image pixelated" src=${step.image} alt=${`Decoded at ${fixed(step.t)} of the way`} />
        <${Slider} label="Way" min="0" max=${steps.length - 1} step="1" value=${at} onInput=${setAt} text=${fixed(step.t)} />
        <ul class="film" aria-hidden="true">
          ${steps.map((one, place) => html`<li key=${place} class=${place === at ? 'is-marked' : ''}>
            <img class="pixelated" src=${one.image} alt="" onClick=${() => setAt(place)} /></li>`)}
        </ul>
      </div>`;
    }}
  <//>`;
}

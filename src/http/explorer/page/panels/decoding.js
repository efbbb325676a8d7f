// What a decoder gives back: reconstructions, denoised images, hidden parts filled in.

import { html, useState } from '../html.js';
import { json, useWork } from '../api.js';
import { fixed, short } from '../numbers.js';
import { Slider, Switch } from '../parts/fields.js';
import { Compare, Shown } from '../parts/compare.js';
import { Figures, Panel } from '../parts/panel.js';
import { MaskPainter } from '../parts/mask.js';
import { base64 } from '../curl.js';
import { can } from '../models.js';

const SETTLE_MS = 150;

export function Reconstruction({ model, image }) {
  const [beside, setBeside] = useState('reconstruction');
  const work = useWork((signal) => json({
    method: 'POST', path: '/v1/reconstruct', query: { model: model.id }, file: image.file,
  }, signal), [model.id, image]);
  const errors = useWork(beside === 'error' ? (signal) => json({
    method: 'POST', path: '/v1/anomaly', query: { model: model.id, metric: 'l1', map: 'png' }, file: image.file,
  }, signal) : null, [model.id, image, beside]);
  const controls = can(model, 'score') && html`<${Switch} label="Beside the original" value=${beside} onChange=${setBeside}
    options=${[['reconstruction', 'Reconstruction'], ['error', 'Error map']]} />`;
  return html`<${Panel} title="Reconstruction" work=${work} image=${image} controls=${controls}>
    ${({ data }) => {
      const one = data.data[0];
      const map = beside === 'error' && errors.value?.data.data[0].map;
      return html`<div class="split">
        <${Compare} before=${image.shown} after=${map || one.image}
          labels=${['Original', map ? 'Where it differs' : 'Reconstruction']} />
        <${Figures} of=${[['PSNR', `${fixed(one.psnr)} dB`], ['SSIM', fixed(one.ssim, 3)], ['MSE', short(one.mse)]]} />
      </div>`;
    }}
  <//>`;
}

export function Denoising({ model, image }) {
  const [sigma, setSigma] = useState(0.1);
  const query = { model: model.id, add_noise: sigma > 0 ? `gaussian:${sigma}` : undefined, seed: sigma > 0 ? 1 : undefined };
  const work = useWork((signal) => json({ method: 'POST', path: '/v1/denoise', query, file: image.file }, signal),
    [model.id, image, sigma], SETTLE_MS);
  const controls = html`<${Slider} label="Noise" min="0" max="0.4" step="0.01" value=${sigma} onInput=${setSigma}
    text=${sigma > 0 ? `σ = ${sigma}` : 'none added'} />`;
  return html`<${Panel} title="Denoising" work=${work} image=${image} controls=${controls}>
    ${({ data }) => {
      const one = data.data[0];
      return html`<div class="split">
        <${Compare} before=${one.noisy || image.shown} after=${one.image} labels=${[one.noisy ? 'Noisy' : 'Original', 'Denoised']} />
        ${one.psnr_before !== undefined && html`<${Figures} of=${[
          ['PSNR before', `${fixed(one.psnr_before)} dB`], ['PSNR after', `${fixed(one.psnr_after)} dB`],
          ['SSIM before', fixed(one.ssim_before, 3)], ['SSIM after', fixed(one.ssim_after, 3)],
        ]} />`}
      </div>`;
    }}
  <//>`;
}

export function Completion({ model, image }) {
  const [way, setWay] = useState('random');
  const [ratio, setRatio] = useState(0.75);
  const [seed, setSeed] = useState(0);
  const [mask, setMask] = useState(null);
  const ask = async (signal) => {
    if (way === 'random') {
      const query = { model: model.id, mask_ratio: ratio, seed };
      return json({ method: 'POST', path: '/v1/inpaint', query, file: image.file }, signal);
    }
    const [whole, hidden] = await Promise.all([base64(image.file), base64(mask)]);
    return json({ method: 'POST', path: '/v1/inpaint', json: { model: model.id, images: [whole], mask: hidden } }, signal);
  };
  const work = useWork(way === 'random' || mask ? ask : null, [model.id, image, way, ratio, seed, mask], SETTLE_MS);
  const controls = html`<${Switch} label="What is hidden" value=${way} onChange=${setWay}
      options=${[['random', 'At random'], ['painted', 'Painted']]} />
    ${way === 'random' && html`<${Slider} label="Hidden" min="0.05" max="0.95" step="0.05" value=${ratio} onInput=${setRatio}
        text=${`${Math.round(100 * ratio)} %`} />
      <button type="button" class="button" onClick=${() => setSeed(seed + 1)}>Draw again</button>`}`;
  const shown = (value) => {
    const one = value?.data.data[0];
    return html`<div class="shown-row">
      ${way === 'painted'
        ? html`<${MaskPainter} image=${image} onMask=${setMask} />`
        : one && html`<${Shown} src=${one.masked} label="What the model saw" />`}
      ${one ? html`<${Shown} src=${one.image} label="Filled in" />`
        : html`<${Shown} label="Paint over what to hide" />`}
    </div>
    ${one && html`<${Figures} of=${[['Hidden patches', one.patches.length]]} />`}`;
  };
  // while nothing is there yet, the painter stays, with what was painted
  const settled = way === 'painted' && !work.value && !work.error ? undefined : work;
  return html`<${Panel} title="Completion" work=${settled} image=${image} controls=${controls}>${shown}<//>`;
}

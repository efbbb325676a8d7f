// How strange an image is, and where: the raw score, and by a calibration its p-value, its verdict and its regions.

import { html, useState } from '../html.js';
import { json, pathOf, useWork } from '../api.js';
import { lowestRate, scoresOf, verdictText } from '../calibrations.js';
import { useFeatures } from '../features.js';
import { can } from '../models.js';
import { short } from '../numbers.js';
import { Check, Choice, Slider } from '../parts/fields.js';
import { Figures, Panel } from '../parts/panel.js';
import { Histogram } from '../parts/histogram.js';

const METRICS = {
  mse: 'mean squared error', l1: 'mean absolute error', ssim: '1 − SSIM', gms: '1 − gradient similarity',
  hidden: 'error on hidden patches', kl: 'KL divergence', elbo: 'negative ELBO',
  graph: 'the model’s own', knn: 'distance to the nearest', 'patch-knn': 'distance of patches to the memory',
};
const OF_FAMILY = { 'masked-autoencoder': ['hidden'], variational: ['kl', 'elbo'] };
const WITHOUT_MAP = ['kl', 'elbo', 'knn'];
const RATES = [['0.2', '20 %'], ['0.1', '10 %'], ['0.05', '5 %'], ['0.01', '1 %'], ['0.001', '0.1 %']];

export function Anomaly({ model, image, calibrations }) {
  const metrics = [...(can(model, 'reconstruct') ? ['mse', 'l1', 'ssim'] : []), ...(OF_FAMILY[model.family] || [])];
  const [metric, setMetric] = useState('');
  const [name, setName] = useState('');
  const [wanted, setRate] = useState('0.05');
  const { known, regions } = useFeatures();
  const [heat, setHeat] = useState(0.7);
  const calibration = calibrations.find((one) => one.name === name);
  const rates = calibration ? RATES.filter(([one]) => Number(one) >= lowestRate(calibration)) : [];
  const rate = rates.some(([one]) => one === wanted) ? wanted : rates.at(-1)?.[0];
  const [where, setWhere] = useState(true);
  const mappable = !WITHOUT_MAP.includes(calibration ? calibration.metric : metric);
  const mapped = where && mappable;
  const query = calibration
    ? { model: model.id, calibration: name, false_positive_rate: rate, regions: (mapped && regions) || undefined, map: mapped ? 'overlay' : undefined }
    : { model: model.id, metric, regions: (mapped && regions) || undefined, map: mapped ? 'overlay' : undefined };
  const work = useWork(known && ((signal) => json({ method: 'POST', path: '/v1/anomaly', query, file: image.file }, signal)),
    [known, model.id, image, metric, name, rate, mapped]);
  const spread = useWork(calibration ? (signal) => scoresOf(model.id, calibration, signal) : null, [model.id, name]);
  const controls = html`
    ${calibrations.length > 0 && html`<${Choice} label="Calibration" value=${name} empty="none" onChange=${setName}
      options=${calibrations.map((one) => one.name)} />`}
    ${calibration
      ? rates.length > 0 && html`<${Choice} label="False alarms" value=${rate} options=${rates} onChange=${setRate} />`
      : html`<${Choice} label="Score" value=${metric} empty="the usual" onChange=${setMetric} options=${metrics.map((one) => [one, METRICS[one]])} />`}
    ${mappable && html`<${Check} label="Show where" checked=${where} onChange=${setWhere} />`}
    ${mapped && html`<${Slider} label="Heat" min="0" max="1" step="0.05" value=${heat} onInput=${setHeat} text=${`${Math.round(100 * heat)} %`} />`}`;
  return html`<${Panel} title="Anomaly" work=${work} image=${image} controls=${controls}>
    ${({ data }) => {
      const one = data.data[0];
      return html`<div class="split">
          ${one.map && html`<${HeatMap} image=${image} one=${one} heat=${heat} />`}
          <${Figures} of=${[
            ['Score', short(one.score, 4)],
            ['By', METRICS[one.metric] || one.metric],
            one.p_value !== undefined && ['p-value', short(one.p_value)],
            one.threshold !== undefined && ['Threshold', short(one.threshold, 4)],
            one.verdict && ['Verdict', html`<span class=${`verdict verdict-${one.verdict}`}>${verdictText(one.verdict)}</span>`],
            one.regions && ['Regions', one.regions.length],
          ]} />
        </div>
        ${calibration && spread.value && html`<${Histogram} label="Scores of the normal images of the calibration"
          scores=${spread.value} threshold=${one.threshold ?? undefined} marks=${[{ at: one.score, label: 'this image', kind: 'here' }]} />`}`;
    }}
  <//>`;
}

/** The heat over the image, with the boxes of regions in the pixels of the image as it was sent. */
function HeatMap({ image, one, heat }) {
  const [size, setSize] = useState(null);
  return html`<div class="heat">
    <img class="pixelated" src=${image.shown} alt="The image" onLoad=${({ target }) => setSize([target.naturalWidth, target.naturalHeight])} />
    <img class="pixelated heat-over" src=${one.map} alt="Where it is strange" style=${{ opacity: heat }} />
    ${size && one.regions && html`<svg class="heat-over" viewBox=${`0 0 ${size[0]} ${size[1]}`} preserveAspectRatio="none" aria-hidden="true">
      ${one.regions.map(({ box: [x, y, width, height] }, at) => html`<rect key=${at} class="region" x=${x} y=${y} width=${width} height=${height} />`)}
    </svg>`}
  </div>`;
}

/** The calibrations of a model; none where the server knows none. */
export function useCalibrations(model, known) {
  const path = pathOf('/v1/models', model?.id || '', 'calibrations');
  const work = useWork(model && known ? async (signal) => (await json({ path }, signal)).data.data : null, [model?.id, known]);
  return { ...work, value: work.value || [] };
}

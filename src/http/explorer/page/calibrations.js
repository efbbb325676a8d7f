// Calibrations as the page needs them: the scores of their normal images, and what verdicts are called.

import { json, pathOf } from './api.js';

export const calibrationPath = (model, name, ...rest) => pathOf('/v1/models', model, 'calibrations', name, ...rest);

const VERDICTS = { ok: 'OK', review: 'Look at it', anomalous: 'Anomalous' };
export const verdictText = (verdict) => VERDICTS[verdict] || verdict;

/** The labels of normal images; images of other labels evaluate a calibration and do not make it. */
const NORMAL = ['normal', 'good', 'ok'];

/** The scores of the normal images, ascending. */
export async function scoresOf(model, calibration, signal) {
  const { data } = await json({ path: calibrationPath(model, calibration.name, 'export') }, signal);
  const normal = data.samples.filter(({ label }) => label === undefined || NORMAL.includes(label));
  return normal.map(({ score }) => score).sort((a, b) => a - b);
}

/** The lowest rate of false alarms that a calibration can give. */
export const lowestRate = ({ count, groups }) => 1 / ((groups ?? count) + 1);

/** The score above which an image is anomalous at this rate of false alarms. */
export function thresholdAt(scores, rate) {
  const over = Math.floor(rate * (scores.length + 1) + 1e-9);
  return over < 1 ? Infinity : scores[scores.length - over];
}

/** (1 + the number of normal scores that are no smaller) / (n + 1), as the server has it without ties. */
export function pValue(scores, score) {
  let low = 0;
  let high = scores.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scores[middle] < score) low = middle + 1;
    else high = middle;
  }
  return (1 + scores.length - low) / (scores.length + 1);
}

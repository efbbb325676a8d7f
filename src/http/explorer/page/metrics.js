// The metrics of the server, as far as the page shows them: the queue and the latency of each model.

import { send } from './api.js';

const LINE = /^([a-z_]+)(?:\{(.*)\})? (\S+)/;

/** Samples of the text format of Prometheus, as `{ name, labels, value }`. */
export function parseMetrics(text) {
  return text.split('\n').map((line) => line.match(LINE)).filter(Boolean).map(([, name, labels = '', value]) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, one]) => [key, one])),
    value: Number(value),
  }));
}

/** By model: items in its queues, runs so far, and the mean time of a run and of the wait for it in ms. */
export async function loadOf(signal) {
  const { response } = await send({ path: '/metrics' }, signal);
  const models = {};
  for (const { name, labels, value } of parseMetrics(await response.text())) {
    if (!labels.model) continue;
    const of = models[labels.model] ||= { queue: 0, runs: 0, runSeconds: 0, waits: 0, waitSeconds: 0 };
    if (name === 'latentd_queue_depth') of.queue += value;
    if (name === 'latentd_run_seconds_count') of.runs += value;
    if (name === 'latentd_run_seconds_sum') of.runSeconds += value;
    if (name === 'latentd_queue_seconds_count') of.waits += value;
    if (name === 'latentd_queue_seconds_sum') of.waitSeconds += value;
  }
  return models;
}

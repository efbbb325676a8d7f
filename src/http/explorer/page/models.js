// The models of the server, asked for once and again when somebody wants to know.

import { json, useWork } from './api.js';

export const can = (model, capability) => model.state === 'ready' && (model.capabilities || []).includes(capability);

export async function models(signal) {
  return (await json({ path: '/v1/models' }, signal)).data.data;
}

export async function collections(signal) {
  return (await json({ path: '/v1/collections' }, signal)).data.data;
}

export const useModels = () => useWork(models, []);
export const useCollections = (inputs = []) => useWork(collections, inputs);

/** What people read for the names of the interface. */
export const CAPABILITIES = {
  embed: 'embeds',
  reconstruct: 'reconstructs',
  denoise: 'denoises',
  inpaint: 'fills in',
  generate: 'generates',
  interpolate: 'interpolates',
  score: 'scores anomalies',
};

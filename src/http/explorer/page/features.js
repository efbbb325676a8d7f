// What this server can do: an older or a newer one has other routes, and what it lacks is not shown.

import { json, useWork } from './api.js';

let asked;

/** The routes that the server documents. */
export function features() {
  asked ||= json({ path: '/openapi.json' }).then(({ data }) => {
    const route = (path) => path in data.paths;
    const anomaly = data.paths['/v1/anomaly']?.post.parameters.map((parameter) => parameter.name) || [];
    return {
      known: true,
      calibrations: route('/v1/models/{model}/calibrations/{name}/export') && anomaly.includes('calibration'),
      regions: anomaly.includes('regions'),
      sprites: route('/v1/collections/{collection}/sprites'),
    };
  }).catch((error) => {
    asked = undefined;
    throw error;
  });
  return asked;
}

export function useFeatures() {
  return useWork(features, []).value || {};
}

// Requests to the server that this page came from. A request is a plain description, so that the same one can be sent
// and be shown as a command: see curl.js.
//
//   { method, path, query, json, file, accept }
//
// `file` is a blob that goes as the body; `json` is a value that does.

import { useEffect, useRef, useState } from './html.js';

const KEY = 'latentd.key';
const LONGEST_WAIT_MS = 60_000;

/** An answer that is an error, in the server's own words. */
export class Problem extends Error {
  constructor(status, body, headers) {
    super(body?.detail || body?.title || `The server answered ${status}.`);
    this.status = status;
    this.code = body?.code || '';
    this.title = body?.title || '';
    this.requestId = body?.request_id || headers?.get('x-request-id') || '';
    const ms = Number(headers?.get('retry-after-ms') ?? NaN);
    this.retryMs = Number.isFinite(ms) ? ms : 1000 * Number(headers?.get('retry-after') || 0);
  }
}

/** The key of this tab, if one was entered. */
export const key = {
  get: () => sessionStorage.getItem(KEY) || '',
  set(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
    dispatchEvent(new Event('latentd:key'));
  },
};

/** The path of a request with its query. */
export function target({ path, query = {} }) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const text = new URLSearchParams(given.map(([name, value]) => [name, plain(value)])).toString();
  return text ? `${path}?${text}` : path;
}

function plain(value) {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** A path of names that may hold anything. */
export function pathOf(...parts) {
  return `/${parts.map((part) => (part.startsWith('/') ? part.slice(1) : encodeURIComponent(part))).join('/')}`;
}

export function collectionPath(name, ...rest) {
  return pathOf('/v1/collections', name, ...rest);
}

export function headersOf(request) {
  const headers = {};
  if (request.json !== undefined) headers['content-type'] = 'application/json';
  else if (request.file) headers['content-type'] = 'application/octet-stream';
  if (request.accept) headers.accept = request.accept;
  return headers;
}

/** Sends a request: its answer with what was measured, or a Problem. */
export async function send(request, signal) {
  const headers = headersOf(request);
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  const body = request.json !== undefined ? JSON.stringify(request.json) : request.file || request.form;
  let response;
  try {
    response = await fetch(target(request), { method: request.method || 'GET', headers, body, signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { detail: 'The server does not answer. Is it still running?', code: 'no_answer' });
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    if (response.status === 401) dispatchEvent(new Event('latentd:unauthorized'));
    throw new Problem(response.status, problem, response.headers);
  }
  return { response, timing: response.headers.get('server-timing') || '' };
}

/** Sends a request and reads its JSON. */
export async function json(request, signal) {
  const { response, timing } = await send(request, signal);
  const data = response.status === 204 ? null : await response.json();
  return { data, timing, request };
}

/** As `json`, but asks again while the answer is being computed, as the server says. */
export async function patiently(read, request, signal, onWait = () => {}) {
  const started = performance.now();
  for (;;) {
    try {
      return await read(request, signal);
    } catch (error) {
      const waits = (error.status === 503 || error.status === 429) && error.retryMs > 0;
      if (!waits || performance.now() - started > LONGEST_WAIT_MS) throw error;
      onWait();
      await pause(error.retryMs, signal);
    }
  }
}

export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(new DOMException('cancelled', 'AbortError'));
    }, { once: true });
  });
}

/**
 * What work with a signal comes to: `{ value, error, busy }`. It runs again when one of `inputs` changes; what ran
 * before is cancelled, and its value stays until the new one is there. Nothing runs while `work` is null.
 */
export function useWork(work, inputs, delayMs = 0) {
  const [state, setState] = useState({ busy: Boolean(work) });
  const latest = useRef(null);
  const run = () => {
    latest.current?.abort();
    if (!work) {
      setState({ busy: false });
      return undefined;
    }
    const control = new AbortController();
    latest.current = control;
    setState((before) => ({ ...before, busy: true }));
    pause(delayMs, control.signal)
      .then(() => work(control.signal))
      .then((value) => control.signal.aborted || setState({ value, busy: false }))
      .catch((error) => {
        if (error.name !== 'AbortError' && !control.signal.aborted) setState({ error, busy: false });
      });
    return () => control.abort();
  };
  useEffect(run, inputs);
  return { ...state, again: run };
}

// A request as a command line that does the same, ready to be pasted into a shell.

import { headersOf, key, target } from './api.js';

/** Files up to this size stand in the command itself. */
const INLINE_BYTES = 48 << 10;

/** Text as one word of a POSIX shell. */
export function quoted(text) {
  return `'${String(text).replaceAll("'", "'\\''")}'`;
}

/** The command of a request. `image` says where the body's file came from, if that is known. */
export async function curl(request, image) {
  const words = ['curl'];
  const method = request.method || 'GET';
  const body = request.json !== undefined || request.file;
  if (method !== (body ? 'POST' : 'GET')) words.push('-X', method);
  if (key.get()) words.push('-H', '"Authorization: Bearer $LATENTD_KEY"');
  for (const [name, value] of Object.entries(headersOf(request))) words.push('-H', quoted(`${name}: ${value}`));
  const url = quoted(new URL(target(request), location.href).href);
  if (request.json !== undefined) {
    const text = JSON.stringify(request.json);
    if (text.length <= 2048) return [...words, '--data-binary', quoted(text), url].join(' ');
    return `${[...words, '--data-binary', '@-', url].join(' ')} <<'JSON'\n${text}\nJSON`;
  }
  if (!request.file) return [...words, url].join(' ');
  return withFile(words, url, request.file, image);
}

async function withFile(words, url, file, image) {
  const command = (from) => [...words, '--data-binary', from, url].join(' ');
  if (image?.path) {
    const source = quoted(new URL(image.path, location.href).href);
    const secret = key.get() ? '-H "Authorization: Bearer $LATENTD_KEY" ' : '';
    return `curl -s ${secret}${source} | ${command('@-')}`;
  }
  if (file.size <= INLINE_BYTES) {
    const lines = (await base64(file)).replace(/.{76}/g, '$&\n').trimEnd();
    return `base64 -d <<'IMAGE' | ${command('@-')}\n${lines}\nIMAGE`;
  }
  return `# in the folder that holds the file\n${command(quoted(`@${image?.name || 'image'}`))}`;
}

/** The bytes of a blob as base64. */
export async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

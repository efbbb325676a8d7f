// Images on their way through the page: files of the user's, and stored images of items.

import { collectionPath, key, send } from './api.js';

/** An image that a person gave: its file, and an address of it for the browser to show. */
export function fromFile(file, name = file.name || 'pasted image') {
  return { file, name, shown: URL.createObjectURL(file) };
}

/** The stored image of an item. */
export async function fromItem(collection, id, signal) {
  const path = collectionPath(collection, 'items', id, 'image');
  const { response } = await send({ path }, signal);
  const file = await response.blob();
  return { file, name: id, shown: URL.createObjectURL(file), path, item: { collection, id } };
}

/** A PNG of a data URI as an image of the user's. */
export async function fromDataUri(uri, name) {
  return fromFile(blobOf(uri), name);
}

export function blobOf(uri) {
  const [head, text] = uri.split(',');
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: head.match(/^data:([^;]+)/)?.[1] || 'application/octet-stream' });
}

/** Forgets the address of an image that is shown no more. */
export function letGo(image) {
  if (image?.shown.startsWith('blob:')) URL.revokeObjectURL(image.shown);
}

/** The address of an item's thumbnail, for browsers that need no key. */
export function thumbnailPath(collection, id, size) {
  return `${collectionPath(collection, 'items', id, 'image')}?size=${size}`;
}

/** A thumbnail that takes the key of this tab along: an address that only this page has. */
export async function thumbnailBlob(collection, id, size, signal) {
  const { response } = await send({ path: collectionPath(collection, 'items', id, 'image'), query: { size } }, signal);
  return URL.createObjectURL(await response.blob());
}

export const needsKey = () => key.get() !== '';

/** The images among what was dropped or pasted. */
export function imagesOf(transfer) {
  return [...(transfer?.files || [])].filter((file) => file.type.startsWith('image/') || file.type === '');
}

/** The files of dropped folders too, each with its path. */
export async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return imagesOf(transfer).map((file) => ({ file, path: file.name }));
  const found = [];
  for (const entry of entries) await walk(entry, '', found);
  return found;
}

async function walk(entry, folder, found) {
  const path = folder ? `${folder}/${entry.name}` : entry.name;
  if (entry.isFile) {
    found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const inside = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!inside.length) return;
    for (const one of inside) await walk(one, path, found);
  }
}

export const isImageName = (path) => /\.(jpe?g|png|webp|gif|bmp|tiff?)$/i.test(path);

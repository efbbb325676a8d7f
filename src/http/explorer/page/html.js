// Views are functions from data to trees of elements; htm writes such a tree as a template. Text in a template stays
// text, whoever wrote it.

import { h, render, Fragment } from './vendor/preact.js';
import htm from './vendor/htm.js';

export const html = htm.bind(h);
export { render, Fragment };
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.js';

// The items of a collection, page by page.

import { useEffect, useRef, useState } from './html.js';
import { collectionPath, json } from './api.js';

const PAGE = 60;

export const pageRequest = (collection, filter, cursor, limit = PAGE) => (
  { path: collectionPath(collection, 'items'), query: { limit, filter, cursor } });

/** The items so far, and `more`, which reads on; null at the end. `filter` is JSON or empty. */
export function usePages(collection, filter) {
  const [state, setState] = useState({ busy: true });
  const run = useRef(0);
  const read = async (cursor, before) => {
    const mine = run.current;
    setState((old) => ({ ...old, busy: true }));
    try {
      const { data } = await json(pageRequest(collection, filter, cursor));
      if (mine === run.current) setState({ value: [...before, ...data.data], cursor: data.cursor, busy: false });
    } catch (error) {
      if (mine === run.current) setState({ error, busy: false });
    }
  };
  const again = () => {
    run.current += 1;
    read(undefined, []);
  };
  useEffect(() => {
    setState({ busy: true });
    again();
    return () => { run.current += 1; };
  }, [collection, filter]);
  const forget = (ids) => setState((old) => ({ ...old, value: old.value?.filter((item) => !ids.has(item.id)) }));
  const more = state.cursor ? () => state.busy || read(state.cursor, state.value) : null;
  return { ...state, more, again, forget };
}

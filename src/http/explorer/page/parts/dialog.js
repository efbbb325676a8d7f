// A question above the page. The browser keeps the focus inside, and Escape closes it.

import { html, useEffect, useRef } from '../html.js';

export function Dialog({ title, close, children, wide }) {
  const dialog = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.focus?.();
  }, []);
  return html`<dialog ref=${dialog} class=${`dialog ${wide ? 'dialog-wide' : ''}`} aria-label=${title}
    onClose=${close} onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
    <div class="dialog-inside" tabindex="-1" autofocus>
      <header class="dialog-head">
        <h2>${title}</h2>
        <button type="button" class="button button-quiet" aria-label="Close" onClick=${() => dialog.current.close()}>✕</button>
      </header>
      ${children}
    </div>
  </dialog>`;
}

export function Confirm({ title, action, onYes, close, children }) {
  return html`<${Dialog} title=${title} close=${close}>
    ${children}
    <p class="dialog-actions">
      <button type="button" class="button" onClick=${close}>Cancel</button>
      <button type="button" class="button button-danger" onClick=${() => { close(); onYes(); }}>${action}</button>
    </p>
  <//>`;
}

// A key is asked for only where the server wants one, and is kept for this tab alone.

import { html, useEffect, useState } from '../html.js';
import { key } from '../api.js';
import { Dialog } from './dialog.js';
import { Text } from './fields.js';

export function KeyDialog() {
  const [open, setOpen] = useState(false);
  const [value, setValue] = useState('');
  useEffect(() => {
    const ask = () => setOpen(true);
    addEventListener('latentd:unauthorized', ask);
    return () => removeEventListener('latentd:unauthorized', ask);
  }, []);
  if (!open) return null;
  const keep = (event) => {
    event.preventDefault();
    key.set(value.trim());
    setOpen(false);
    location.reload();
  };
  return html`<${Dialog} title="This server asks for a key" close=${() => setOpen(false)}>
    <form class="stack" onSubmit=${keep}>
      <p>It is kept in this tab until you close it, and is sent to this server alone.</p>
      <${Text} label="Key" type="password" value=${value} onInput=${setValue} required />
      <p class="dialog-actions"><button class="button button-main">Use this key</button></p>
    </form>
  <//>`;
}

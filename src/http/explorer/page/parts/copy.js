// The button that copies the command of a panel's request.

import { html, useEffect, useRef, useState } from '../html.js';
import { curl } from '../curl.js';

const SAID_MS = 2000;

export function CopyCurl({ request, image }) {
  const [said, setSaid] = useState('');
  const [text, setText] = useState('');
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(''), SAID_MS);
    return () => clearTimeout(timer);
  }, [said]);
  if (!request) return null;
  const copy = async () => {
    const command = await curl(request, image);
    try {
      await navigator.clipboard.writeText(command);
      setSaid('Copied');
    } catch {
      // a page that is not served securely has no clipboard
      setText(command);
    }
  };
  return html`<button type="button" class="button button-quiet copy" onClick=${copy}>
      <span aria-live="polite">${said || 'Copy as curl'}</span>
    </button>
    ${text && html`<${ByHand} text=${text} close=${() => setText('')} />`}`;
}

function ByHand({ text, close }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  return html`<dialog ref=${dialog} class="dialog" onClose=${close} aria-label="The command">
    <p>The browser lets this page not write to the clipboard. The command is:</p>
    <textarea class="code" readonly rows="8" autofocus onFocus=${(event) => event.target.select()}>${text}</textarea>
    <form method="dialog"><button class="button">Close</button></form>
  </dialog>`;
}

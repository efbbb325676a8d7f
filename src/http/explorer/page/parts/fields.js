// Fields of forms, each with its label.

import { html, useId } from '../html.js';

export function Choice({ label, value, options, onChange, empty }) {
  const id = useId();
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${empty !== undefined && html`<option value="">${empty}</option>`}
      ${options.map((option) => {
        const [key, text] = Array.isArray(option) ? option : [option, option];
        return html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`;
      })}
    </select>
  </div>`;
}

export function Text({ label, value, onInput, placeholder, list, type = 'text', required, pattern, title }) {
  const id = useId();
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input id=${id} type=${type} value=${value} placeholder=${placeholder} required=${required} pattern=${pattern}
      title=${title} list=${list && `${id}-list`} autocomplete="off" spellcheck=${false}
      onInput=${(event) => onInput(event.target.value)} />
    ${list && html`<datalist id=${`${id}-list`}>${list.map((one) => html`<option key=${one} value=${one} />`)}</datalist>`}
  </div>`;
}

export function Slider({ label, value, min, max, step, onInput, text }) {
  const id = useId();
  return html`<div class="field field-slider">
    <label for=${id}>${label}</label>
    <input id=${id} type="range" min=${min} max=${max} step=${step} value=${value} aria-valuetext=${text}
      onInput=${(event) => onInput(Number(event.target.value))} />
    <output for=${id}>${text ?? value}</output>
  </div>`;
}

/** One of a few, side by side. */
export function Switch({ label, value, options, onChange }) {
  const name = useId();
  return html`<fieldset class="switch">
    <legend class="visually-hidden">${label}</legend>
    ${options.map(([key, text]) => html`<label key=${key}>
      <input type="radio" name=${name} value=${key} checked=${key === value} onChange=${() => onChange(key)} />
      <span>${text}</span>
    </label>`)}
  </fieldset>`;
}

export function Check({ label, checked, onChange }) {
  return html`<label class="check">
    <input type="checkbox" checked=${checked} onChange=${(event) => onChange(event.target.checked)} />
    <span>${label}</span>
  </label>`;
}

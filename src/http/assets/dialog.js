// Asking before something is done that cannot be undone with a click.

import { el, problem } from "./dom.js";

/**
 * Asks; does `work` when it is confirmed, and stays open with what was refused. `field` is `{ label, value, min, max }` for a
 * number that `work` gets.
 */
export function confirm({ title, text, action, field, work }) {
  const refused = problem();
  const input = field && el("input", { type: "number", id: "asked", required: true, ...field, label: null });
  const yes = el("button", { type: "submit", class: "danger", text: action });
  const no = el("button", { type: "button", text: "Cancel", onclick: () => dialog.close() });
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", { id: "asked-title", text: title }),
    el("p", { text }),
    field ? el("p", { class: "inline" }, el("label", { for: "asked", text: field.label }), input) : null,
    refused.node,
    el("p", { class: "actions" }, no, yes),
  );
  const dialog = el("dialog", { "aria-labelledby": "asked-title" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    yes.disabled = true;
    try {
      await work(input ? Number(input.value) : undefined);
      dialog.close();
    } catch (error) {
      refused.say(error);
      yes.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  (input ?? no).focus();
}

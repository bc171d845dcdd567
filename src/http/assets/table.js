// Tables whose rows stay what they are while their cells change: focus and selection are not lost.

import { el, fill } from "./dom.js";

/**
 * A table. `columns` are `{ title, cell, number, minor, mono }`, where `cell` makes a row's content for `fill`; `key` names
 * a row; `empty` is said where there is none.
 */
export function table({ label, columns, key, empty, mark }) {
  const heads = columns.map((column) => el("th", { scope: "col", class: of(column), text: column.title }));
  const body = el("tbody");
  const nothing = el("p", { class: "quiet", text: empty, hidden: true });
  const grid = el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, ...heads)), body);
  const node = el(
    "div",
    {},
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, grid),
    nothing,
  );
  const rows = new Map();
  return {
    node,
    /** Shows these, in this order, and no others. */
    update(items) {
      const gone = new Set(rows.keys());
      let place = body.firstChild;
      for (const item of items) {
        const name = key(item);
        gone.delete(name);
        let row = rows.get(name);
        if (!row) {
          row = el("tr", {}, ...columns.map((column) => el("td", { class: of(column) })));
          rows.set(name, row);
        }
        columns.forEach((column, at) => fill(row.children[at], column.cell(item)));
        mark?.(row, item);
        if (row === place) place = place.nextSibling;
        else body.insertBefore(row, place);
      }
      for (const name of gone) {
        rows.get(name).remove();
        rows.delete(name);
      }
      nothing.hidden = items.length > 0;
      grid.parentNode.hidden = items.length === 0;
    },
  };
}

function of({ number, minor, mono, wide }) {
  const classes = [number && "number", minor && "minor", mono && "mono", wide && "wide"].filter(Boolean);
  return classes.length ? classes.join(" ") : null;
}

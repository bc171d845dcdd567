// Tables whose rows stay what they are while their cells change: focus and selection are not lost.

import { el, fill, say } from "./dom.js";

/**
 * A table. `columns` are `{ title, cell, number, mono, wide, name, bare }`, where `cell` makes a row's content for `fill`;
 * `key` names a row; `empty` is said where there is none. On a phone a row is a card, in which each cell says its title, unless it is a
 * `name` or `bare`: the roles are there since what is no table to the eye is none to a screen reader, either.
 */
export function table({ label, columns, key, empty, mark }) {
  const heads = columns.map((column) => el("th", { scope: "col", role: "columnheader", class: of(column), text: column.title }));
  const body = el("tbody", { role: "rowgroup" });
  const nothing = el("p", { class: "quiet", text: empty, hidden: true });
  const grid = el(
    "table",
    { role: "table", "aria-label": label },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)),
    body,
  );
  const node = el(
    "div",
    {},
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label}, a table` }, grid),
    nothing,
  );
  const rows = new Map();
  return {
    node,
    /** Shows these, in this order, and no others; `none` is said in place of `empty`. */
    update(items, none = empty) {
      const gone = new Set(rows.keys());
      let place = body.firstChild;
      for (const item of items) {
        const name = key(item);
        gone.delete(name);
        let row = rows.get(name);
        if (!row) {
          const cells = columns.map((column) => el("td", { role: "cell", class: of(column), "data-title": column.title }));
          row = el("tr", { role: "row" }, ...cells);
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
      say(nothing, none);
      nothing.hidden = items.length > 0;
      grid.parentNode.hidden = items.length === 0;
    },
  };
}

const CLASSES = ["number", "mono", "wide", "name", "bare"];

function of(column) {
  const classes = CLASSES.filter((word) => column[word]);
  return classes.length ? classes.join(" ") : null;
}

// A channel's elements as rows, the newest first. What becomes of a future is told by later records: it changes its row.

import { count, duration, moment, state, task, value } from "./format.js";
import { table } from "./table.js";

/** Most rows of a page: further ones push the oldest out. */
const ROWS_MAX = 500;

const WORDS = { caught_up: "caught up", trimmed: "trimmed", damaged: "damaged" };

/** Fields of a record that have a place of their own, and those that a row gets here. */
const SHOWN = new Set([
  "offset", "time", "kind", "key", "value", "headers", "stored", "state", "error", "worker", "word", "begun", "took",
]);

export class Elements {
  #rows = [];
  #futures = new Map();
  #words = "";
  #table = table({
    label: "Elements",
    empty: "Nothing here yet.",
    key: ({ offset, marker }) => (marker ? `${marker} ${offset}` : offset),
    columns: [
      { title: "Offset", number: true, cell: ({ offset }) => count(offset) },
      { title: "Time", mono: true, cell: ({ time }) => ({ text: moment(time), title: time }) },
      { title: "Element", mono: true, name: true, cell: element },
      { title: "State", bare: true, cell: (row) => (row.word ? state(row.word) : "") },
      { title: "Value", mono: true, wide: true, bare: true, cell: said },
      { title: "Took", number: true, cell: (row) => (row.took === undefined ? "" : duration(row.took)) },
      { title: "Worker", mono: true, cell: ({ worker }) => worker ?? "" },
    ],
    mark: (row, { offset, marker }) => {
      if (!marker) row.dataset.offset = offset;
      row.className = marker || row.cells[2].textContent === "" ? "event" : "";
    },
  });

  get node() {
    return this.#table.node;
  }

  clear() {
    this.#rows = [];
    this.#futures.clear();
    this.show();
  }

  /** Takes records and markers, in their order. */
  take(entries) {
    for (const entry of entries) this.#takeOne(entry);
    const gone = this.#rows.splice(0, Math.max(0, this.#rows.length - ROWS_MAX));
    for (const { key } of gone) this.#futures.delete(key);
    this.show();
  }

  #takeOne(entry) {
    if (entry.marker === "caught_up") return;
    if (entry.marker) return void this.#rows.push({ ...entry, offset: entry.from, word: WORDS[entry.marker] });
    if (entry.kind === "progress") return void this.#progress(entry);
    const row = { ...entry, word: entry.kind === "appended" ? (entry.key ? "pending" : "") : entry.kind };
    this.#rows.push(row);
    // The same future may be on a channel more than once.
    if (row.key && row.kind === "appended") {
      this.#futures.set(row.key, [...(this.#futures.get(row.key) ?? []), row]);
    }
  }

  #progress({ key, state: word, value: result, stored, error, worker, time }) {
    for (const row of this.#futures.get(key) ?? []) {
      if (word === "advanced") continue;
      row.word = { started: "running", renewed: "pending" }[word] ?? word;
      if (word === "started") Object.assign(row, { begun: time, worker });
      else if (row.begun) row.took = new Date(time) - new Date(row.begun);
      Object.assign(row, { value: result, stored, error });
    }
  }

  /** Only rows that have these words in them. */
  filter(words) {
    this.#words = words.toLowerCase();
    this.show();
  }

  show() {
    const has = (row) =>
      [row.key, row.word, row.worker, row.error, value(row.value)].some((text) => text?.toLowerCase().includes(this.#words));
    const rows = this.#words ? this.#rows.filter(has) : this.#rows;
    this.#table.update(rows.toReversed());
  }
}

function element(row) {
  if (row.marker) return "";
  if (row.key) return task(row.key);
  return row.kind === "appended" ? "value" : "";
}

/** A value, a result, an error, or what else a record says. */
function said(row) {
  if (row.marker) return row.marker === "trimmed" ? `offsets ${row.from} to ${row.first} are gone` : `${row.why}`;
  if (row.error) return { text: row.error, class: "failed" };
  if (row.stored) return `${count(row.stored.bytes)} bytes on workers`;
  const headers = row.headers ? ` ${value(row.headers)}` : "";
  if (row.value !== undefined) return { text: value(row.value) + headers, title: value(row.value, 4000) };
  const others = Object.fromEntries(Object.entries(row).filter(([name]) => !SHOWN.has(name)));
  return Object.keys(others).length ? value(others) : "";
}

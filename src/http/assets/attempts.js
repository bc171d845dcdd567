// Attempts of tasks, from the records of the task log: when each began, where, and how it ended.

import { el } from "./dom.js";
import { duration, label, moment } from "./format.js";

/** Records that end an attempt, and the word for how. */
const ENDS = {
  finished: "finished", failed: "failed", retried: "failed", cancelled: "cancelled", requeued: "requeued", died: "died",
  returned: "returned", deferred: "deferred",
};

/** The attempts of one task. */
export function attempts(history) {
  const open = new Attempts();
  const all = [];
  for (const row of history) open.take(row, (attempt) => all.push(attempt));
  return all;
}

/** Attempts that have begun, by task: each is changed when it ends. */
export class Attempts {
  #open = new Map();

  /** Takes a record. `begin` gets an attempt that it begins. */
  take(row, begin) {
    if (row.kind === "started") {
      const known = this.#open.get(row.key.slice(-32));
      // A worker said that it runs before its record came.
      if (known?.number === row.attempt) return void Object.assign(known, { begun: row.time, from: Date.parse(row.time) });
      const attempt = {
        key: row.key, number: row.attempt, worker: row.worker, session: row.session, begun: row.time,
        from: Date.parse(row.time), to: null, took: null, ended: "running", why: null,
      };
      this.#open.set(row.key.slice(-32), attempt);
      begin(attempt);
      return;
    }
    const ended = ENDS[row.kind];
    const id = ended && row.key?.slice(-32);
    const attempt = id && this.#open.get(id);
    if (!attempt) return;
    this.#open.delete(id);
    attempt.to = Date.parse(row.time);
    Object.assign(attempt, { took: attempt.to - attempt.from, ended, why: row.error ?? row.because ?? null });
  }
}

const HUES = new Map();

/** The same colour for the same function; those that follow each other are a golden angle apart, as far as can be. */
export function hue(key) {
  const name = label(key);
  if (!HUES.has(name)) HUES.set(name, Math.round(200 + HUES.size * 137.5) % 360);
  return HUES.get(name);
}

/** What a bar says to who points at it or hears it. */
export function words({ key, number, worker, begun, took, ended }) {
  const time = took === null ? "" : ` after ${duration(took)}`;
  return `${key}, attempt ${number} on ${worker ?? "a worker"}, from ${begun ? moment(begun) : "long ago"}, ${ended}${time}`;
}

/** The attempts of one task as bars over its time. */
export function bars() {
  const node = el("ol", { class: "bars", "aria-label": "Attempts over time" });
  return {
    node,
    update(all) {
      const now = Date.now();
      const from = Math.min(...all.map((attempt) => attempt.from));
      const whole = Math.max(1, Math.max(...all.map(({ to }) => to ?? now)) - from);
      node.hidden = all.length < 2;
      node.replaceChildren(
        ...all.map((attempt) => {
          const bar = el("li", { class: attempt.ended, title: words(attempt) }, el("span", { text: `${attempt.number}` }));
          bar.style.marginInlineStart = `${(100 * (attempt.from - from)) / whole}%`;
          bar.style.inlineSize = `${(100 * ((attempt.to ?? now) - attempt.from)) / whole}%`;
          return bar;
        }),
      );
    },
  };
}

// A task between those that it needs and those that need it, as three columns.

import { get } from "./api.js";
import { el, fill } from "./dom.js";
import { label } from "./format.js";
import { moment } from "./moment.js";

/** Neighbours of one side that are shown. */
const NEIGHBOURS_MAX = 12;

export class Graph {
  node = el("div", { class: "graph" });
  #sides = { needs: side("Needs"), self: side("This task"), needed: side("Needed by") };
  #known = new Map();

  constructor() {
    this.node.append(...Object.values(this.#sides).map(({ node }) => node));
  }

  async update({ key, status, dependencies = [], dependents = [] }, signal) {
    const [needs, needed] = [dependencies.slice(0, NEIGHBOURS_MAX), dependents.slice(0, NEIGHBOURS_MAX)];
    for (const neighbour of [...needs, ...needed]) await this.#ask(neighbour, signal);
    const known = (neighbour) => this.#known.get(neighbour) ?? { key: neighbour, status: "unknown" };
    this.#sides.needs.show(needs.map(known), dependencies.length - needs.length, "nothing");
    this.#sides.self.show([{ key, status, isSelf: true }], 0, "");
    this.#sides.needed.show(needed.map(known), dependents.length - needed.length, "no task");
  }

  /** How a neighbour stands: one that has ended is not asked again. */
  async #ask(key, signal) {
    const status = this.#known.get(key)?.status;
    if (["finished", "error", "cancelled", "forgotten"].includes(status)) return;
    if (moment.at !== null) return;
    try {
      const found = await get(`/api/v1/tasks/${encodeURIComponent(key)}/explanation`, { signal });
      this.#known.set(key, { key: found.key, status: found.status });
    } catch (error) {
      if (error.status !== 404) throw error;
      this.#known.set(key, { key, status: "forgotten" });
    }
  }
}

function side(title) {
  const list = el("ul");
  const node = el("section", { "aria-label": title }, el("h3", { text: title }), list);
  return {
    node,
    show(tasks, more, none) {
      const nodes = tasks.map(({ key, status, isSelf }) => {
        const link = el(isSelf ? "b" : "a", { href: isSelf ? null : `#/task/${encodeURIComponent(key)}`, text: label(key) });
        const word = el("span");
        fill(word, { text: status, class: `state ${status}` });
        return el("li", { class: "node", title: key }, link, word);
      });
      if (more > 0) nodes.push(el("li", { class: "quiet", text: `and ${more} more` }));
      if (nodes.length === 0) nodes.push(el("li", { class: "quiet", text: none }));
      const words = (all) => [...all].map((one) => `${one.title} ${one.textContent}`).join("\n");
      // What stands still keeps the focus.
      if (words(list.children) !== words(nodes)) list.replaceChildren(...nodes);
      node.classList.toggle("none", tasks.length === 0);
    },
  };
}

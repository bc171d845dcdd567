// The workers: what each has, and what it runs.

import { get } from "./api.js";
import { el, fill, problem } from "./dom.js";
import { bytes, count, state, task } from "./format.js";
import { moment } from "./moment.js";
import { table } from "./table.js";
import { poll } from "./vitals.js";

const EVERY_MS = 1000;

/** What it runs in its slots, of how many it has: one that has paused takes none. As of another moment neither is known. */
export function slots({ running, slots, runs }) {
  if (moment.at !== null) return "–";
  const paused = runs.filter((run) => run.has_paused).length;
  return `${count(Math.max(0, running - paused))} / ${count(slots)}`;
}

/** How much of a resource is free, of how much there is. */
export function free({ resources }, wanted) {
  const found = resources.find(({ name }) => name === wanted);
  return found ? amounts(found) : "–";
}

export function showWorkers(main, { signal }) {
  const refused = problem();
  const workers = table({
    label: "Workers",
    empty: "No worker has joined: headwater worker starts one.",
    key: ({ session }) => session,
    columns: [
      { title: "Worker", mono: true, name: true, cell: ({ name }) => name },
      { title: "State", bare: true, cell: (worker) => state(worker.state) },
      { title: "Slots used", number: true, cell: slots },
      { title: "Runs", number: true, cell: ({ running }) => count(running) },
      { title: "Resources free", wide: true, cell: resources },
      { title: "Results", number: true, cell: ({ results }) => count(moment.at === null ? results : null) },
      { title: "Size", number: true, cell: ({ result_bytes: size }) => (moment.at === null ? bytes(size) : "–") },
      { title: "Host", mono: true, cell: ({ host }) => host },
      { title: "Labels", cell: ({ labels }) => labels.join(", ") },
    ],
  });
  const running = el("div", { class: "columns" });
  const heading = el("h2", { text: "What they run", hidden: true });
  main.append(el("h1", { text: "Workers" }), refused.node, workers.node, heading, running);
  const lists = new Map();
  const work = async () => {
    const listed = (await get("/api/v1/workers", { signal })).workers;
    workers.update(listed);
    heading.hidden = listed.length === 0;
    const gone = new Set(lists.keys());
    for (const worker of listed) {
      gone.delete(worker.session);
      if (!lists.has(worker.session)) {
        const list = runs(worker.name);
        lists.set(worker.session, list);
        running.append(list.node);
      }
      lists.get(worker.session).update(worker.runs);
    }
    for (const session of gone) {
      lists.get(session).node.remove();
      lists.delete(session);
    }
  };
  poll(signal, EVERY_MS, work, refused.say);
}

/** What one runs: 16 tasks at most are told. */
function runs(name) {
  const list = table({
    label: `What ${name} runs`,
    empty: "Nothing now.",
    key: ({ key }) => key,
    columns: [
      { title: "Task", mono: true, wide: true, bare: true, cell: ({ key }) => task(key) },
      { title: "Attempt", number: true, cell: ({ attempt }) => count(attempt) },
      // Who has paused is in no log.
      { title: "As", cell: (run) => (moment.at !== null ? "–" : run.has_paused ? "waits for others" : "in a slot") },
    ],
  });
  const heading = el("h3");
  fill(heading, name);
  return { node: el("section", { class: "panel", "aria-label": name }, heading, list.node), update: list.update };
}

function resources({ resources: all }) {
  return all.map((resource) => `${resource.name} ${amounts(resource)}`).join(", ");
}

function amounts({ name, total, free: left }) {
  if (name !== "memory") return `${left} / ${total}`;
  const [some, all] = [bytes(Number(left)), bytes(Number(total))];
  const unit = all.slice(all.indexOf(" "));
  // A unit that both have is said once.
  return `${some.endsWith(unit) ? some.slice(0, -unit.length) : some} / ${all}`;
}

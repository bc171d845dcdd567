// The tasks: the newest, those that stand somehow, those that have some words in their key or function.

import { get } from "./api.js";
import { el, problem, say } from "./dom.js";
import { count, state, task } from "./format.js";
import { moment } from "./moment.js";
import { table } from "./table.js";
import { heard, poll } from "./vitals.js";

const EVERY_MS = 1500;

/** Tasks that are looked for, and how many more each time. */
const WANTED = 100;

/** The list is by submission, the oldest first: so far back the newest are looked for at first. */
const LOOK_BACK_RECORDS = 500;

/** Most tasks of a page. */
const PAGE_MAX = 1000;

const STATES = ["pending", "running", "finished", "error", "cancelled", "lost"];

export function showTasks(main, { signal, query }) {
  const refused = problem();
  const said = el("p", { class: "quiet", role: "status" });
  const tasks = table({
    label: "Tasks",
    empty: "",
    key: ({ key }) => key,
    columns: [
      { title: "Task", mono: true, wide: true, bare: true, cell: ({ key }) => task(key) },
      { title: "State", bare: true, cell: ({ status }) => state(status) },
      { title: "Function", mono: true, cell: (row) => row.function },
      { title: "Attempt", number: true, cell: ({ attempt }) => count(attempt) },
      { title: "Worker", mono: true, cell: ({ worker }) => worker ?? "" },
      { title: "Waits for", cell: (row) => row.waits_for ?? "" },
      { title: "Tags", cell: ({ tags }) => tags?.join(", ") ?? "" },
      { title: "Submitted at", number: true, cell: (row) => count(row.submitted_at) },
    ],
  });
  const words = el("input", { type: "search", id: "words", autocomplete: "off", spellcheck: "false" });
  const which = el("select", { id: "which" }, el("option", { value: "", text: "all" }));
  which.append(...STATES.map((word) => el("option", { value: word, text: word })));
  // The overview counts what has failed or was cancelled together.
  which.value = { failed: "error" }[query.get("state")] ?? query.get("state") ?? "";
  const more = el("button", { type: "button", text: "Older ones" });
  let [wanted, floor] = [WANTED, null];
  const look = async () => {
    const head = moment.at ?? (await heard()).tasks_head;
    const asked = [words.value, which.value].join(" ");
    const { found, from } = await newest(wanted, floor ?? head - LOOK_BACK_RECORDS, head, (from, most) =>
      range(from, most, words.value.trim(), which.value, signal),
    );
    if (asked !== [words.value, which.value].join(" ")) return look();
    const shown = found.slice(-wanted);
    // What was shown begins what is asked for next: it does not become older.
    floor = from === 0 && found.length <= wanted ? 0 : (shown[0]?.submitted_at ?? null);
    const none = asked === " " ? "No task has been submitted yet: headwater submit -- COMMAND" : "There is no such task.";
    tasks.update(shown.reverse(), none);
    more.hidden = floor === 0;
    say(said, floor === 0 ? `${count(found.length)} in all.` : `The newest ${count(shown.length)}.`);
  };
  const ask = () => {
    [wanted, floor] = [WANTED, null];
    look().then(() => refused.say(null), refuse);
  };
  const refuse = (error) => signal.aborted || refused.say(error);
  words.addEventListener("input", ask);
  which.addEventListener("change", ask);
  more.addEventListener("click", () => ((wanted += WANTED), look().catch(refuse)));
  const controls = el("div", { class: "controls", role: "search" });
  const named = (text, of) => el("span", { class: "inline" }, el("label", { for: of.id, text }), of);
  controls.append(named("Search", words), named("State", which));
  main.append(el("h1", { text: "Tasks" }), refused.node, controls, said, tasks.node, more);
  poll(signal, EVERY_MS, look, refused.say);
}

/**
 * The newest of a listing that goes from the oldest on: so many, and up to four times as many, with where they begin. It looks
 * back ever further, and then between what was too near and what was too far, so that never more than that is read.
 */
async function newest(wanted, first, head, range) {
  let [from, far, near] = [Math.max(0, first), null, head];
  for (;;) {
    const { found, isMore } = await range(from, 4 * wanted);
    if (isMore) far = from;
    else if (found.length >= wanted || from === 0) return { found, from };
    else near = from;
    if (far !== null && near - far <= 1) return { found, from };
    from = far === null ? Math.max(0, head - 4 * Math.max(LOOK_BACK_RECORDS, head - near)) : Math.floor((far + near) / 2);
  }
}

/** Those that were submitted from there on: so many, and whether there are more. */
async function range(from, most, words, which, signal) {
  const found = [];
  for (let next = from; next !== null && found.length < most; ) {
    const query = new URLSearchParams({ from: next, limit: Math.min(PAGE_MAX, most - found.length) });
    if (words) query.set("contains", words);
    if (which) query.set("status", which);
    const page = await get(`/api/v1/tasks?${query}`, { signal });
    found.push(...page.tasks);
    if (page.next === null) return { found, isMore: false };
    next = page.next;
  }
  return { found, isMore: true };
}

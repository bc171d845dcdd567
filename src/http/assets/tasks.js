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

/** The list is by submission, the oldest first: so the newest are found by looking back ever further. */
const LOOK_BACK_RECORDS = 500;

const STATES = ["pending", "running", "finished", "error", "cancelled", "lost"];

export function showTasks(main, { signal, query }) {
  const refused = problem();
  const said = el("p", { class: "quiet", role: "status" });
  const tasks = table({
    label: "Tasks",
    empty: "There is no such task.",
    key: ({ key }) => key,
    columns: [
      { title: "Task", mono: true, wide: true, cell: ({ key }) => task(key) },
      { title: "State", cell: ({ status }) => state(status) },
      { title: "Function", mono: true, cell: (row) => row.function },
      { title: "Attempt", number: true, cell: ({ attempt }) => count(attempt) },
      { title: "Worker", mono: true, cell: ({ worker }) => worker ?? "" },
      { title: "Waits for", minor: true, cell: (row) => row.waits_for ?? "" },
      { title: "Tags", minor: true, cell: ({ tags }) => tags?.join(", ") ?? "" },
      { title: "Submitted at", number: true, minor: true, cell: (row) => count(row.submitted_at) },
    ],
  });
  const words = el("input", { type: "search", id: "words", autocomplete: "off", spellcheck: "false" });
  const which = el("select", { id: "which" }, el("option", { value: "", text: "all" }));
  which.append(...STATES.map((word) => el("option", { value: word, text: word })));
  // The overview counts what has failed or was cancelled together.
  which.value = { failed: "error" }[query.get("state")] ?? query.get("state") ?? "";
  const more = el("button", { type: "button", text: "Older ones" });
  let [wanted, back] = [WANTED, LOOK_BACK_RECORDS];
  const look = async () => {
    const head = moment.at ?? (await heard()).tasks_head;
    const asked = [words.value, which.value].join(" ");
    for (;;) {
      const from = Math.max(0, head - back);
      const found = await range(from, words.value.trim(), which.value, signal);
      if (asked !== [words.value, which.value].join(" ")) return look();
      if (found.length >= wanted || from === 0) {
        tasks.update(found.slice(-wanted).reverse());
        const areAll = from === 0 && found.length <= wanted;
        more.hidden = areAll;
        say(said, areAll ? `${count(found.length)} in all.` : `The newest ${count(Math.min(found.length, wanted))}.`);
        return;
      }
      back *= 4;
    }
  };
  const ask = () => {
    [wanted, back] = [WANTED, LOOK_BACK_RECORDS];
    look().then(() => refused.say(null), refuse);
  };
  const refuse = (error) => signal.aborted || refused.say(error);
  words.addEventListener("input", ask);
  which.addEventListener("change", ask);
  more.addEventListener("click", () => ((wanted += WANTED), look().catch(refuse)));
  const controls = el("div", { class: "controls", role: "search" });
  controls.append(el("label", { for: "words", text: "Search" }), words, el("label", { for: "which", text: "State" }), which);
  main.append(el("h1", { text: "Tasks" }), refused.node, controls, said, tasks.node, more);
  poll(signal, EVERY_MS, look, refused.say);
}

/** Those that were submitted from there on. */
async function range(from, words, which, signal) {
  const found = [];
  for (let next = from; next !== null; ) {
    const query = new URLSearchParams({ from: next });
    if (words) query.set("contains", words);
    if (which) query.set("status", which);
    const page = await get(`/api/v1/tasks?${query}`, { signal });
    found.push(...page.tasks);
    next = page.next;
  }
  return found;
}

// One task: how it stands and why, what it needs and who needs it, each attempt, and all its events.

import { get, post } from "./api.js";
import { confirm } from "./dialog.js";
import { el, facts, panel, problem } from "./dom.js";
import { attempts, bars } from "./attempts.js";
import { count, duration, moment as at, state, value } from "./format.js";
import { Graph } from "./graph.js";
import { moment } from "./moment.js";
import { table } from "./table.js";
import { poll } from "./vitals.js";

const EVERY_MS = 1500;

/** Most characters of a result that are shown. */
const RESULT_CHARACTERS_MAX = 10_000;

/** Fields of a row that have a column of their own. */
const SHOWN = new Set(["offset", "time", "kind", "key", "error", "worker"]);

export function showTask(main, { signal, what: key }) {
  const path = `/api/v1/tasks/${encodeURIComponent(key)}`;
  const [refused, has, graph] = [problem(), facts("The task"), new Graph()];
  const result = el("pre", { tabindex: "0", role: "group", "aria-label": "Result" });
  const [runs, events] = [attemptsTable(), eventsTable()];
  const timeline = bars();
  const end = el("button", { type: "button", text: "Cancel…", hidden: true, onclick: () => askToEnd(key, path) });
  const parts = el(
    "div",
    {},
    el("div", { class: "controls" }, end),
    has.node,
    panel("Needs, and is needed by", graph.node),
    panel("Attempts", timeline.node, runs.node),
    panel("Result", result),
    panel("Events", events.node),
  );
  main.append(el("h1", {}, "Task ", el("code", { text: key })), refused.node, parts);
  const work = async () => {
    const task = await get(path, { signal });
    // Why it stands so is known of now only.
    const why = moment.at === null ? await get(`${path}/explanation`, { signal }).catch(() => null) : null;
    describe(has, task, why);
    const tried = attempts(task.history);
    runs.update(tried.toReversed());
    timeline.update(tried);
    events.update(task.history.toReversed());
    result.textContent = brought(task);
    result.parentNode.hidden = result.textContent === "";
    end.hidden = moment.at !== null || !["pending", "running", "lost"].includes(task.status);
    await graph.update(task, signal);
  };
  poll(signal, EVERY_MS, work, (error) => {
    refused.say(error);
    // Of one that is not there nothing is to be seen.
    parts.hidden = error?.status === 404;
  });
}

function askToEnd(key, path) {
  confirm({
    title: "Cancel this task?",
    text: `${key} is ended for all who wait for it, whoever submitted it.`,
    action: "Cancel the task",
    work: () => post(`${path}/cancel`),
  });
}

function attemptsTable() {
  return table({
    label: "Attempts",
    empty: "No worker has tried it yet.",
    key: ({ number, begun }) => `${number} ${begun}`,
    columns: [
      { title: "Attempt", number: true, cell: ({ number }) => count(number) },
      { title: "Worker", mono: true, cell: ({ worker }) => worker ?? "" },
      { title: "Started", mono: true, cell: ({ begun }) => ({ text: at(begun), title: begun }) },
      { title: "Took", number: true, cell: ({ took }) => duration(took) },
      { title: "Ended", bare: true, cell: ({ ended }) => state(ended) },
      { title: "Why", wide: true, bare: true, cell: ({ why }) => (why ? { text: why, class: "failed" } : "") },
    ],
  });
}

function eventsTable() {
  return table({
    label: "Events",
    empty: "The task log has nothing of it any more.",
    key: ({ offset }) => offset,
    columns: [
      { title: "Offset", number: true, cell: ({ offset }) => count(offset) },
      { title: "Time", mono: true, cell: ({ time }) => ({ text: at(time), title: time }) },
      { title: "Event", bare: true, cell: ({ kind }) => kind.replaceAll("_", " ") },
      { title: "Worker", mono: true, cell: ({ worker }) => worker ?? "" },
      { title: "What it says", mono: true, wide: true, bare: true, cell: said },
    ],
  });
}

function said(row) {
  if (row.error) return { text: row.error, class: "failed" };
  const others = Object.fromEntries(Object.entries(row).filter(([name]) => !SHOWN.has(name)));
  return Object.keys(others).length ? { text: value(others), title: value(others, 4000) } : "";
}

function describe(has, task, why) {
  has.set("state", state(task.status));
  has.set("because", why?.because ?? null);
  const points = why?.points.map(({ of, words }) => `${of}: ${words}`).join("; ");
  has.set("in detail", points ? { text: points } : null);
  has.set("function", { text: task.function, class: "mono" });
  has.set("attempt", count(task.attempt));
  has.set("worker", task.worker ?? null);
  has.set("kept by", task.kept_by);
  has.set("tags", task.tags?.join(", ") ?? null);
  has.set("next attempt", task.next_attempt_at ? at(task.next_attempt_at) : null);
  has.set("deadline", task.deadline_at ? at(task.deadline_at) : null);
  const { advance } = task;
  has.set("done", advance ? [advance.done, advance.total].filter(Boolean).map(count).join(" of ") : null);
}

function brought({ value: result, stored, error }) {
  if (error) {
    const causes = error.causes.map((cause) => `because: ${cause}`);
    return [error.message, ...causes, ...error.path.map((key) => `through: ${key}`)].join("\n");
  }
  if (stored) {
    const holders = stored.holders.map(({ worker }) => worker).join(", ");
    return `${count(stored.bytes)} bytes, kept by ${holders || "nobody now"}`;
  }
  return value(result, RESULT_CHARACTERS_MAX);
}

// The overview: how the log and the cluster stand.

import { get } from "./api.js";
import { look } from "./channels.js";
import { el, facts, panel, problem, say } from "./dom.js";
import { channel, count, rate, state, moment as time } from "./format.js";
import { moment } from "./moment.js";
import { plot } from "./plots.js";
import { Rates } from "./rates.js";
import { table } from "./table.js";
import { poll, pulse, vitals } from "./vitals.js";
import { free, slots } from "./workers.js";

/** Most channels: those that grow fastest. */
const CHANNELS_MAX = 8;

const EVERY_MS = 1000;

export function showOverview(main, { signal }) {
  const figures = el("div", { class: "figures" });
  const tasks = ["pending", "running", "finished", "failed"].map((word) => figure(word, `#/tasks?state=${word}`, word));
  const others = ["records", "channels", "workers"].map((word) => figure(word, word === "records" ? null : `#/${word}`));
  figures.append(...[...tasks, ...others].map(({ node }) => node));
  const plots = live(signal);
  const workers = table({
    label: "Workers",
    empty: "No worker has joined: headwater worker starts one.",
    key: ({ session }) => session,
    columns: [
      { title: "Worker", mono: true, name: true, cell: ({ name }) => name },
      { title: "State", bare: true, cell: (worker) => state(worker.state) },
      { title: "Slots used", number: true, cell: slots },
      { title: "Memory free", number: true, cell: (worker) => free(worker, "memory") },
    ],
  });
  const rates = new Rates();
  const channels = table({
    label: "Channels by activity",
    empty: "There is no channel yet.",
    key: ({ name }) => name,
    columns: [
      { title: "Channel", mono: true, name: true, cell: ({ name }) => channel(name) },
      { title: "Records/s", number: true, cell: ({ name }) => rate(rates.of(name)) },
      { title: "Head", number: true, cell: ({ head }) => count(head) },
      { title: "Elements", number: true, cell: ({ elements }) => count(elements) },
    ],
  });
  const less = el("p", { class: "quiet", role: "status", hidden: true });
  const starts = table({
    label: "Starts",
    empty: "None is kept in the task log.",
    key: ({ epoch }) => epoch,
    columns: [
      { title: "Epoch", number: true, cell: ({ epoch }) => count(epoch) },
      { title: "Recovered", cell: ({ time: at, offset }) => ({ text: time(at), title: `offset ${count(offset)} of $tasks` }) },
      { title: "Commit", number: true, cell: ({ seq }) => count(seq) },
      { title: "Tasks", cell: (found) => tasksOf(found) },
      { title: "Damage", wide: true, cell: ({ damage }) => damaged(damage) },
    ],
  });
  const receipt = facts("What the last start found");
  const refused = problem();
  main.append(
    el("h1", { text: "Overview" }),
    refused.node,
    figures,
    plots,
    el(
      "div",
      { class: "columns" },
      panel("Channels by activity", channels.node, less),
      panel("Workers", workers.node),
      panel("Last start", receipt.node),
    ),
    panel("Last starts", starts.node),
  );
  const work = async () => {
    const [overview, listed, looked] = await Promise.all([
      get("/api/v1/overview", { signal }),
      get("/api/v1/workers", { signal }),
      look(signal),
    ]);
    if (signal.aborted) return;
    const known = looked.found;
    say(less, looked.less);
    less.hidden = looked.less === "";
    tasks.forEach(({ set, word }) => set(overview.tasks[word]));
    others.forEach(({ set, word }) => set(overview[word]));
    workers.update(listed.workers);
    rates.take(known);
    known.sort((one, other) => (rates.of(other.name) ?? 0) - (rates.of(one.name) ?? 0) || other.head - one.head);
    channels.update(known.slice(0, CHANNELS_MAX));
    starts.update(overview.starts);
    showReceipt(receipt, overview);
  };
  poll(signal, EVERY_MS, work, refused.say);
}

function took(ms) {
  return ms === null ? "–" : `${ms.toFixed(ms < 10 ? 2 : 0)} ms`;
}

function figure(word, href, colour) {
  const number = el("b", { text: "–" });
  const node = el(href ? "a" : "div", { class: `figure ${colour ?? ""}`, href }, number, el("span", { text: word }));
  return { node, word, set: (value) => (number.textContent = count(value)) };
}

/** The plots, which are of now: as of another moment there are none. */
function live(signal) {
  const plots = [
    plot(
      "Log",
      [
        { name: "records/s", colour: "accent", of: ({ records }) => records, say: rate },
        { name: "commits/s", colour: "second", of: ({ commits }) => commits, say: rate },
      ],
      signal,
    ),
    plot(
      "Tasks",
      [
        { name: "pending", colour: "pending", of: ({ overview }) => overview.tasks.pending, say: count },
        { name: "running", colour: "running", of: ({ overview }) => overview.tasks.running, say: count },
      ],
      signal,
    ),
    plot(
      "Commits, until they are durable",
      [
        { name: "mean", colour: "accent", of: ({ latency }) => latency.mean, say: took, spans: true },
        { name: "99 % within", colour: "second", of: ({ latency }) => latency.most, say: took, spans: true },
      ],
      signal,
    ),
  ];
  const node = el("div", { class: "plots" }, ...plots.map((each) => each.node));
  const update = () => {
    node.hidden = moment.at !== null;
    plots.forEach((each) => each.update(vitals.samples));
  };
  pulse.addEventListener("beat", update, { signal });
  moment.addEventListener("change", update, { signal });
  update();
  return node;
}

/** What a start found of tasks. */
function tasksOf({ tasks_kept: kept, tasks_requeued: again, tasks_running: running }) {
  return `${count(kept)} kept, ${count(again)} requeued, ${count(running)} running`;
}

function damaged(damage) {
  return damage ? { text: damage, class: "state failed" } : "none";
}

function showReceipt(receipt, { epoch, seq, store, version, receipt: newest, starts }) {
  // As of another moment it is one of the last starts until then, if it is kept.
  const found = newest ?? starts.find((start) => start.epoch === epoch);
  receipt.set("epoch", { text: count(epoch), title: "How often it was started" });
  receipt.set("commit now", count(seq));
  const of = (say) => (found ? say(found) : null);
  receipt.set("durable at the start", of(({ seq, digest }) => `commit ${count(seq)}, digest ${digest}`));
  receipt.set("records then", of(({ records }) => count(records)));
  receipt.set("channels then", of(({ channels }) => count(channels)));
  receipt.set("tasks then", of(tasksOf));
  receipt.set("damage", of(({ damage }) => damaged(damage)));
  receipt.set("store", store);
  receipt.set("version", version);
  receipt.set("task log", channel("$tasks"));
}

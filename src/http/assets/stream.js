// The task stream: a row for each slot, a bar for each attempt, a colour for each function. It follows the task log.

import { get } from "./api.js";
import { Attempts, hue, words } from "./attempts.js";
import { el, problem, say } from "./dom.js";
import { follow } from "./follow.js";
import { label } from "./format.js";
import { moment } from "./moment.js";
import { heard, poll } from "./vitals.js";

/** How far back the task log is read at first. */
const LOOK_BACK_RECORDS = 6000;

/** Most bars: of those that have ended the oldest go first. */
const BARS_MAX = 1500;

/** Functions that are named, and tasks whose names are asked for at a time. */
const FUNCTIONS_MAX = 12;
const ASKED_MAX = 8;

const DRAW_EVERY_MS = 250;
const NAMES_EVERY_MS = 5000;
const WINDOWS = [[10, "10 s"], [60, "1 min"], [300, "5 min"], [1800, "30 min"]];

export function showStream(main, { signal }) {
  const stream = new Stream();
  const refused = problem();
  const span = el("select", { id: "span" });
  span.append(...WINDOWS.map(([seconds, text]) => el("option", { value: seconds, text })));
  span.value = "60";
  span.addEventListener("change", () => stream.draw(Number(span.value)));
  const said = el("p", { class: "quiet", text: "Reading the task log…" });
  main.append(
    el("h1", { text: "Task stream" }),
    refused.node,
    el("div", { class: "controls" }, el("label", { for: "span", text: "Window" }), span, stream.legend),
    said,
    stream.node,
    stream.nothing,
  );
  const names = async () => {
    const { workers } = await get("/api/v1/workers", { signal });
    stream.learn(workers);
    await stream.name(signal);
  };
  poll(signal, NAMES_EVERY_MS, names, refused.say);
  if (moment.at === null) followed(stream, said, signal);
  else poll(signal, NAMES_EVERY_MS, () => past(stream, said, signal, Number(span.value)), refused.say);
  const drawn = setInterval(() => stream.draw(Number(span.value)), DRAW_EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(drawn), { once: true });
}

async function followed(stream, said, signal) {
  const from = Math.max(0, (await heard()).tasks_head - LOOK_BACK_RECORDS);
  const words = "Attempts as they begin and end. One that waits for others as a client has a row, and no slot.";
  const state = (word) => say(said, word === "following" ? words : word);
  if (!signal.aborted) follow("$tasks", String(from), { signal, take: (rows) => stream.take(rows), state });
}

/** What there was until a moment. */
async function past(stream, said, signal) {
  const { workers } = await get("/api/v1/workers", { signal });
  const from = Math.max(0, moment.at - LOOK_BACK_RECORDS);
  const path = `/api/v1/channels/%24tasks/records?from=${from}&until=${moment.at}&limit=${LOOK_BACK_RECORDS}`;
  const { records } = await get(path, { signal });
  stream.clear(Date.parse(records.findLast((row) => row.time)?.time ?? new Date()));
  // With what began before that part of the log, and ran then.
  stream.learn(workers);
  stream.take([...records, { marker: "caught_up" }]);
  await stream.name(signal);
  say(said, "Attempts until then.");
}

class Stream {
  node = el("div", { class: "stream", role: "region", "aria-label": "Attempts by worker and slot" });
  nothing = el("p", { class: "quiet", text: "Nothing ran in this time.", hidden: true });
  legend = el("span", { class: "functions", "aria-label": "Functions" });
  #attempts = new Attempts();
  #bars = [];
  #lanes = new Map();
  #names = new Map();
  #functions = new Set();
  #end = null;
  #isCaughtUp = false;
  #workers = [];

  /** Forgets all; the window ends at this time. */
  clear(end) {
    this.#attempts = new Attempts();
    for (const { node } of this.#bars) node.remove();
    this.#bars = [];
    for (const lane of this.#lanes.values()) lane.node.remove();
    this.#lanes.clear();
    this.#end = end;
  }

  /** Takes what workers say: their names, and what began before the part of the log that was read. */
  learn(workers) {
    this.#workers = workers;
    for (const { session, name } of workers) this.#names.set(session, name);
    for (const lane of this.#lanes.values()) this.#say(lane);
    if (!this.#isCaughtUp) return;
    const running = workers.flatMap(({ session, runs }) => runs.map((run) => ({ ...run, session })));
    const known = new Set(this.#bars.map(({ attempt }) => attempt.key));
    for (const { key, attempt, session } of running) {
      if (known.has(key)) continue;
      const started = { kind: "started", key, attempt, session, time: new Date(0).toISOString() };
      this.#attempts.take(started, (begun) => this.#begin(Object.assign(begun, { begun: null, isOld: true })));
    }
    const keys = new Set(running.map(({ key }) => key));
    for (const { attempt } of this.#bars) {
      const isOver = attempt.isOld && attempt.to === null && !keys.has(attempt.key);
      if (isOver) Object.assign(attempt, { to: Date.now(), ended: "ended" });
    }
  }

  /** Asks for the names of tasks that were submitted before the part of the log that was read. */
  async name(signal) {
    for (const bar of this.#bars.filter(({ attempt }) => label(attempt.key) === "task").slice(0, ASKED_MAX)) {
      const found = await get(`/api/v1/tasks/${encodeURIComponent(bar.attempt.key)}/explanation`, { signal }).catch(() => null);
      if (signal.aborted) return;
      bar.attempt.key = found?.key ?? bar.attempt.key.replace("task-", "forgotten-");
      this.#colour(bar);
    }
  }

  take(rows) {
    for (const row of rows) {
      if (row.kind === "session_opened" && row.of?.startsWith("worker ")) this.#names.set(row.session, row.of.slice(7));
      if (row.marker === "caught_up") this.#isCaughtUp = true;
      this.#attempts.take(row, (attempt) => this.#begin(attempt));
    }
    if (rows.some(({ marker }) => marker === "caught_up")) this.learn(this.#workers);
    const excess = this.#bars.filter(({ attempt }) => attempt.to !== null).slice(0, Math.max(0, this.#bars.length - BARS_MAX));
    if (excess.length === 0) return;
    for (const { node } of excess) node.remove();
    const gone = new Set(excess);
    this.#bars = this.#bars.filter((bar) => !gone.has(bar));
  }

  #begin(attempt) {
    attempt.worker ??= this.#names.get(attempt.session);
    const lane = this.#lane(attempt);
    lane.until = attempt;
    // Hidden until it is drawn, and has words.
    const href = `#/task/${encodeURIComponent(attempt.key)}`;
    const node = el("a", { class: "attempt", href, tabindex: "-1", hidden: true });
    const bar = { attempt, node, lane };
    this.#bars.push(bar);
    lane.bars.append(node);
    if (label(attempt.key) !== "task") this.#colour(bar);
  }

  /** The colour of its function, and the function among those that are named. */
  #colour({ attempt, node }) {
    const name = label(attempt.key);
    node.style.setProperty("--hue", hue(attempt.key));
    if (this.#functions.has(name) || this.#functions.size >= FUNCTIONS_MAX) return;
    this.#functions.add(name);
    const key = el("span", { class: "function", text: name });
    key.style.setProperty("--hue", hue(attempt.key));
    this.legend.append(key);
  }

  /** The first row of its worker that is free; the log does not say which slot it was. */
  #lane({ session, from }) {
    for (let number = 1; ; number += 1) {
      const known = this.#lanes.get(`${session} ${number}`);
      if (known && (known.until.to === null || known.until.to > from)) continue;
      return known ?? this.#add(session, number);
    }
  }

  #add(session, number) {
    const [name, bars] = [el("span", { class: "name" }), el("span", { class: "track" })];
    const lane = { session, number, name, bars, until: null, node: el("div", { class: "lane" }, name, bars) };
    name.append(el("span"), el("span", { text: `· ${number}` }));
    this.#say(lane);
    this.#lanes.set(`${session} ${number}`, lane);
    const sorted = [...this.#lanes.values()].sort((one, other) => one.session - other.session || one.number - other.number);
    const place = sorted.indexOf(lane);
    this.node.insertBefore(lane.node, sorted[place + 1]?.node ?? null);
    return lane;
  }

  /** Its worker's name, of which there may be less than all to be seen, and beside it the number. */
  #say({ session, name }) {
    const worker = this.#names.get(session) ?? `worker ${session}`;
    say(name.firstChild, worker);
    name.title = worker;
  }

  draw(seconds) {
    const end = this.#end ?? Date.now();
    const from = end - seconds * 1000;
    for (const { attempt, node } of this.#bars) {
      const to = attempt.to ?? end;
      node.hidden = to < from;
      if (node.hidden) continue;
      const begun = Math.max(from, attempt.from);
      node.style.left = `${(100 * (begun - from)) / (end - from)}%`;
      node.style.width = `max(2px, ${(100 * (to - begun)) / (end - from)}%)`;
      const text = words(attempt);
      if (node.title !== text) {
        node.title = text;
        node.setAttribute("aria-label", text);
        node.className = `attempt ${attempt.ended}`;
      }
    }
    for (const lane of this.#lanes.values()) lane.node.hidden = !lane.bars.querySelector(":not([hidden])");
    this.nothing.hidden = !this.#isCaughtUp || [...this.#lanes.values()].some(({ node }) => !node.hidden);
  }
}

// One channel: what it has, its elements as they come or from a place on, and what is done to all of it. The task log is
// read like one.

import { get, post } from "./api.js";
import { confirm } from "./dialog.js";
import { el, facts, panel, problem, say } from "./dom.js";
import { Elements } from "./elements.js";
import { follow } from "./follow.js";
import { bytes, count, duration, rate, state } from "./format.js";
import { moment } from "./moment.js";
import { Rates } from "./rates.js";
import { table } from "./table.js";
import { heard, poll } from "./vitals.js";

const EVERY_MS = 1000;

/** Elements that are seen of what is followed, and records of a page. */
const LAST = 100;
const PAGE = 200;

export const TASKS = "$tasks";

export function showChannel(main, { signal, what: name, query }) {
  const [elements, refused] = [new Elements(), problem()];
  const shown = { channel: null };
  const reading = reader(name, elements, signal);
  main.append(el("h1", {}, "Channel ", el("code", { text: name })), refused.node);
  const title = name === TASKS ? "Records" : "Elements";
  const records = panel(title, controls(reading, elements), reading.refused.node, reading.said, elements.node);
  const begin = () => reading.start(query.get("from"));
  if (name === TASKS) {
    main.append(records);
    return begin();
  }
  // Of one that is not there nothing is to be seen; it is read from when it is there.
  const parts = el("div", { hidden: true });
  let isRead = false;
  const told = (error) => {
    refused.say(error);
    parts.hidden = error?.status === 404 || !shown.channel;
    if (error?.status === 404 && moment.at === null) isRead = reading.stop();
    else if (shown.channel && !isRead) [isRead] = [true, begin()];
  };
  parts.append(about(name, shown, signal, told), records);
  main.append(parts);
}

/** What it has, and what may be done to it. */
function about(name, shown, signal, told) {
  const path = `/api/v1/channels/${encodeURIComponent(name)}`;
  const [has, rates] = [facts("The channel"), new Rates()];
  const readers = table({
    label: "Cursors and groups",
    empty: "Nobody has a cursor or a group here.",
    key: ({ kind, name }) => `${kind} ${name}`,
    columns: [
      { title: "Reader", mono: true, cell: (reader) => reader.name },
      { title: "Kind", cell: ({ kind }) => kind },
      { title: "At", number: true, cell: (reader) => count(reader.offset ?? reader.next) },
      { title: "Lag", number: true, cell: ({ lag }) => count(lag) },
      { title: "Holds back", cell: ({ holds_back: holds }) => (holds ? "yes" : "no") },
    ],
  });
  const show = (channel) => {
    shown.channel = channel;
    rates.take([channel]);
    describe(has, channel, rates.of(name));
    const kind = (rows, word) => (rows ?? []).map((row) => ({ ...row, kind: word }));
    readers.update([...kind(channel.cursors, "cursor"), ...kind(channel.groups, "group")]);
    say(turn, channel.stopped ? "Resume…" : "Stop…");
    for (const button of [turn, trim]) button.disabled = moment.at !== null;
  };
  const done = async (place, body) => (await post(`${path}/${place}`, body), show(await get(path)));
  const turn = el("button", { type: "button", text: "Stop…", disabled: true, onclick: () => askToTurn(shown.channel, done) });
  const trim = el("button", { type: "button", text: "Trim…", disabled: true, onclick: () => askToTrim(shown.channel, done) });
  poll(signal, EVERY_MS, async () => show(await get(path, { signal })), told);
  const parts = el("div", { class: "columns" }, panel("Readers", readers.node));
  return el("div", {}, el("div", { class: "controls" }, turn, trim), has.node, parts);
}

function askToTurn({ name, stopped }, done) {
  confirm({
    title: stopped ? `Resume ${name}?` : `Stop ${name}?`,
    text: stopped
      ? "It takes elements again."
      : "It takes no more elements, and who appends is refused, until it is resumed. Futures on it go on.",
    action: stopped ? "Resume" : "Stop",
    work: () => done(stopped ? "resume" : "stop"),
  });
}

function askToTrim({ name, first, head }, done) {
  confirm({
    title: `Trim ${name}?`,
    text: "The records before this offset are gone for good, and futures that nothing else keeps are forgotten.",
    action: "Trim",
    field: { label: "Keep from offset", value: first, min: first, max: head, step: 1 },
    work: (before) => done("trim", { before }),
  });
}

function describe(has, channel, perSecond) {
  const { head, first, elements, bytes: size, stopped, subscribers, durability, retention, digest, pinned_by: pins } = channel;
  has.set("state", state(stopped ? "stopped" : "open"));
  has.set("offsets", `${count(first)} to ${count(head)}`);
  has.set("elements", count(elements));
  has.set("bytes of values", bytes(size));
  has.set("records/s", rate(perSecond));
  has.set("subscribers", subscribers === undefined ? null : count(subscribers));
  has.set("appends", durability ?? null);
  has.set("keeps", retention ? kept(retention) : null);
  has.set("held back by", pins?.length ? pins.join(", ") : null);
  has.set("digest", { text: digest, class: "mono" });
}

function kept({ max_elements: most, max_age_ms: age, max_bytes: size }) {
  const bounds = [
    most === undefined ? null : `${count(most)} elements`,
    age === undefined ? null : duration(age),
    size === undefined ? null : bytes(size),
  ].filter(Boolean);
  return bounds.length ? `at most ${bounds.join(", ")}` : "everything";
}

/** Reads: what comes, or a page from a place on. */
function reader(name, elements, signal) {
  // Its own: what the channel answers each second does not take it away.
  const refused = problem();
  const said = el("p", { class: "quiet", id: "following" });
  let [stop, page] = [null, null];
  const channel = `/api/v1/channels/${encodeURIComponent(name)}`;
  const path = (from) => `${channel}/records?limit=${PAGE}&from=${encodeURIComponent(from)}`;
  const begin = () => {
    stop?.abort();
    stop = new AbortController();
    signal.addEventListener("abort", () => stop.abort(), { once: true });
    elements.clear();
    refused.say(null);
  };
  const live = async () => {
    begin();
    const mine = stop.signal;
    page = null;
    const words = {
      following: "Following: what comes is shown as it comes.",
      waiting: "Waiting for the scheduler, to go on where it was cut off.",
    };
    // The task log has records, and no elements.
    const from = name === TASKS ? String(Math.max(0, (await heard()).tasks_head - LAST)) : `last:${LAST}`;
    const state = (word) => say(said, words[word] ?? word);
    if (!mine.aborted) follow(name, from, { signal: mine, take: (entries) => elements.take(entries), state });
  };
  const from = async (place) => {
    try {
      const answer = await get(path(place), { signal });
      // What is refused leaves what was shown, and what is followed, as it is.
      begin();
      elements.take(answer.records);
      const first = answer.records.find((record) => record.offset !== undefined && !record.marker)?.offset;
      page = { first: first ?? answer.next, next: answer.next };
      const end = answer.is_end ? ", where it ends now" : "";
      say(said, `Offsets ${count(page.first)} to ${count(page.next)}${end}. Nothing is followed.`);
    } catch (error) {
      if (!signal.aborted) refused.say(error);
    }
  };
  /** What there was at a moment. */
  const past = async () => {
    const head = name === TASKS ? moment.at : (await get(channel, { signal })).head;
    const answer = await get(`${path(Math.max(0, head - PAGE))}&until=${head}`, { signal });
    begin();
    elements.take(answer.records);
    page = { first: head - PAGE, next: head };
    say(said, `The records before offset ${count(head)}, as they were then.`);
  };
  return {
    said,
    refused,
    live,
    from,
    /** Reads no more. */
    stop: () => (stop?.abort(), false),
    earlier: () => from(Math.max(0, (page?.first ?? 0) - PAGE)),
    later: () => (page ? from(page.next) : undefined),
    start: (place) => {
      if (moment.at !== null) poll(signal, EVERY_MS, past, refused.say);
      else if (place) from(place);
      else live();
    },
  };
}

/** Where to read, and what of it to show. */
function controls(reading, elements) {
  const filter = el("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: "false" });
  filter.addEventListener("input", () => elements.filter(filter.value));
  // Nothing that came later is to be seen as of then.
  const isPast = moment.at !== null;
  const place = el("input", {
    id: "place", disabled: isPast, autocomplete: "off", spellcheck: "false", size: "22",
    placeholder: "offset, or time like -10m",
  });
  const go = el("button", { text: "Go", disabled: isPast });
  const jump = el("form", { class: "inline" }, el("label", { for: "place", text: "Go to" }), place, go);
  jump.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = place.value.trim();
    if (text) reading.from(/^(\d+|start|end|last:.*|time:.*)$/.test(text) ? text : `time:${text}`);
  });
  const button = (text, onclick, isOfNow) => el("button", { type: "button", text, onclick, disabled: isOfNow && isPast });
  return el(
    "div",
    { class: "controls" },
    el("label", { for: "filter", text: "Filter" }),
    filter,
    jump,
    button("Earlier", reading.earlier, false),
    button("Later", reading.later, true),
    button("Follow", reading.live, true),
  );
}

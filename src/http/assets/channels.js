// The channels: how far each has come, how fast, and who reads.

import { all, get } from "./api.js";
import { el, problem, say } from "./dom.js";
import { bytes, channel, count, rate, state } from "./format.js";
import { moment } from "./moment.js";
import { Rates } from "./rates.js";
import { table } from "./table.js";
import { poll } from "./vitals.js";

const EVERY_MS = 1000;

/** Most rows: a browser takes seconds for 20,000, and nobody reads them. */
const ROWS_MAX = 1000;

/** Who reads is asked channel by channel: of so many, so often, so many at a time. */
const ASKED_MAX = 40;
const ASKED_EVERY_MS = 3000;
const ASKED_AT_A_TIME = 3;

/** Pages of channels that are looked at: 100,000 channels. */
const PAGES_MAX = 10;

/** The channels by name, and what is to be said where they are not all. */
export async function look(signal) {
  const { found, isAll } = await all("/api/v1/channels", "channels", "after", PAGES_MAX);
  const there = isAll ? found.length : (await get("/api/v1/overview", { signal })).channels;
  const less = `Only the first ${count(found.length)} of ${count(there)} channels, by name, are looked at.`;
  return { found, less: there > found.length ? less : "" };
}

export function showChannels(main, { signal }) {
  const [rates, readers, refused] = [new Rates(), new Map(), problem()];
  const channels = table({
    label: "Channels",
    empty: "There is no channel yet. One is made by who appends to it: headwater channel append NAME VALUE",
    key: ({ name }) => name,
    columns: [
      { title: "Channel", mono: true, name: true, cell: ({ name }) => channel(name) },
      { title: "Head", number: true, cell: ({ head }) => count(head) },
      { title: "Records/s", number: true, cell: ({ name }) => rate(rates.of(name)) },
      { title: "State", bare: true, cell: ({ stopped }) => state(stopped ? "stopped" : "open") },
      { title: "First", number: true, cell: ({ first }) => count(first) },
      { title: "Elements", number: true, cell: ({ elements }) => count(elements) },
      { title: "Bytes of values", number: true, cell: ({ bytes: size }) => bytes(size) },
      { title: "Subscribers", number: true, cell: ({ name }) => count(readers.get(name)?.subscribers) },
      { title: "Cursors and groups", number: true, cell: ({ name }) => cursors(readers.get(name)) },
    ],
  });
  const said = el("p", { class: "quiet", role: "status", hidden: true });
  let [known, less, shown, isAsking] = [[], "", [], false];
  const filter = el("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: "false" });
  const show = () => {
    const words = filter.value.toLowerCase();
    const found = known.filter(({ name }) => name.toLowerCase().includes(words));
    const more = found.length > ROWS_MAX;
    const first = more ? `The first ${count(ROWS_MAX)} of ${count(found.length)}: the filter finds the others.` : "";
    say(said, [first, less].filter(Boolean).join(" "));
    said.hidden = said.textContent === "";
    shown = found.slice(0, ROWS_MAX);
    channels.update(shown, known.length ? "No channel has this in its name." : undefined);
  };
  filter.addEventListener("input", show);
  main.append(
    el("h1", { text: "Channels" }),
    refused.node,
    el(
      "div",
      { class: "controls" },
      el("label", { for: "filter", text: "Filter" }),
      filter,
      el("a", { href: "#/channel/%24tasks", text: "the task log" }),
    ),
    said,
    channels.node,
  );
  const list = async () => {
    ({ found: known, less } = await look(signal));
    rates.take(known);
    show();
    if (!isAsking) poll(signal, ASKED_EVERY_MS, ask);
    isAsking = true;
  };
  const ask = async () => {
    if (moment.at !== null) return readers.clear();
    const waiting = shown.slice(0, ASKED_MAX).map(({ name }) => name);
    const some = async () => {
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
        const found = await get(`/api/v1/channels/${encodeURIComponent(name)}`, { signal }).catch(() => null);
        if (found) readers.set(name, found);
      }
    };
    await Promise.all(Array.from({ length: ASKED_AT_A_TIME }, some));
    show();
  };
  poll(signal, EVERY_MS, list, refused.say);
}

function cursors(found) {
  if (!found) return "–";
  const all = [...found.cursors, ...found.groups];
  return all.length ? `${count(all.length)}, ${count(Math.max(...all.map(({ lag }) => lag)))} behind` : "none";
}

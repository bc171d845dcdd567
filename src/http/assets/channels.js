// The channels: how far each has come, how fast, and who reads.

import { all, get } from "./api.js";
import { el, problem } from "./dom.js";
import { bytes, channel, count, rate, state } from "./format.js";
import { moment } from "./moment.js";
import { Rates } from "./rates.js";
import { table } from "./table.js";
import { poll } from "./vitals.js";

const EVERY_MS = 1000;

/** Who reads is asked channel by channel: of so many, so often, so many at a time. */
const ASKED_MAX = 40;
const ASKED_EVERY_MS = 3000;
const ASKED_AT_A_TIME = 3;

export function showChannels(main, { signal }) {
  const [rates, readers, refused] = [new Rates(), new Map(), problem()];
  const channels = table({
    label: "Channels",
    empty: "There is no such channel.",
    key: ({ name }) => name,
    columns: [
      { title: "Channel", mono: true, cell: ({ name }) => channel(name) },
      { title: "Head", number: true, cell: ({ head }) => count(head) },
      { title: "Records/s", number: true, cell: ({ name }) => rate(rates.of(name)) },
      { title: "State", cell: ({ stopped }) => state(stopped ? "stopped" : "open") },
      { title: "First", number: true, cell: ({ first }) => count(first) },
      { title: "Elements", number: true, cell: ({ elements }) => count(elements) },
      { title: "Size", number: true, cell: ({ bytes: size }) => bytes(size) },
      { title: "Subscribers", number: true, cell: ({ name }) => count(readers.get(name)?.subscribers) },
      { title: "Cursors, and most lag", number: true, cell: ({ name }) => cursors(readers.get(name)) },
    ],
  });
  let [known, isAsking] = [[], false];
  const filter = el("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: "false" });
  const show = () => {
    const words = filter.value.toLowerCase();
    channels.update(known.filter(({ name }) => name.toLowerCase().includes(words)));
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
    channels.node,
  );
  const list = async () => {
    known = await all("/api/v1/channels", "channels", "after", 10);
    rates.take(known);
    show();
    if (!isAsking) poll(signal, ASKED_EVERY_MS, ask);
    isAsking = true;
  };
  const ask = async () => {
    if (moment.at !== null) return readers.clear();
    const waiting = known.slice(0, ASKED_MAX).map(({ name }) => name);
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
  return all.length ? `${count(all.length)}, ${count(Math.max(...all.map(({ lag }) => lag)))}` : "0";
}

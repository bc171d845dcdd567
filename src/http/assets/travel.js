// Time travel: a slider over the task log. While it is not at its end, all pages are as of then, and say so.

import { get } from "./api.js";
import { el, problem, say } from "./dom.js";
import { count, moment as clock } from "./format.js";
import { moment } from "./moment.js";
import { pulse, vitals } from "./vitals.js";

/** How often it goes on while it plays, and over how many steps it plays all. */
const PLAY_EVERY_MS = 500;
const PLAY_STEPS = 120;

/** How long the slider must stand before the past is asked for. */
const SETTLE_MS = 150;

/** Begins; `open` shows the page again, when it goes from now to then or back. */
export function startTravel(open) {
  const panel = document.getElementById("travel");
  const toggle = document.getElementById("travel-open");
  const refused = problem();
  const slider = el("input", { type: "range", id: "offset", min: 0, max: 0, step: 1 });
  const label = el("output", { for: "offset", id: "offset-time" });
  const button = (text, title, onclick) => el("button", { type: "button", text, title, onclick });
  const play = button("Play", "Go on by itself", () => turn());
  // What was asked before the newest is not shown when it is answered late.
  let [playing, settling, asked] = [null, null, 0];

  const to = async (offset) => {
    const [first, head] = [Number(slider.min), Number(slider.max)];
    const wanted = Math.max(first, Math.min(head, offset));
    slider.value = wanted;
    if (wanted === head && playing) turn();
    const mine = (asked += 1);
    try {
      const { as_of: of } = await get("/api/v1/overview", { at: wanted });
      if (mine !== asked) return;
      refused.say(null);
      become(of);
    } catch (error) {
      if (mine !== asked) return;
      refused.say(error);
      if (playing) turn();
    }
  };
  /** All pages are as of this, which is between commits; as of now where it is null. */
  const become = (of) => {
    const wasNow = moment.at === null;
    moment.at = of && of.offset;
    document.body.classList.toggle("past", of !== null);
    const lost = of?.lost ? `; ${of.lost}` : "";
    const words = of ? `As of offset ${count(of.offset)}, ${of.time ? clock(of.time) : "the beginning"}: not live${lost}` : "";
    say(label, words);
    slider.setAttribute("aria-valuetext", words);
    back.hidden = of === null;
    moment.dispatchEvent(new Event("change"));
    if (wasNow !== (of === null)) open();
  };
  const now = () => {
    if (playing) turn();
    clearTimeout(settling);
    asked += 1;
    slider.value = slider.max;
    if (moment.at !== null) become(null);
  };
  const turn = () => {
    say(play, playing ? "Play" : "Pause");
    clearInterval(playing);
    const step = Math.max(1, Math.round((slider.max - slider.min) / PLAY_STEPS));
    playing = playing ? null : setInterval(() => to(Number(slider.value) + step), PLAY_EVERY_MS);
  };
  const back = button("Back to live", "Show what is now", now);
  back.hidden = true;
  slider.addEventListener("input", () => {
    clearTimeout(settling);
    settling = setTimeout(() => to(Number(slider.value)), SETTLE_MS);
  });
  panel.append(
    el("label", { for: "offset", text: "Task log" }),
    slider,
    el(
      "span",
      { class: "inline" },
      button("−1", "One record back", () => to(Number(slider.value) - 1)),
      button("+1", "One record on", () => to(Number(slider.value) + 1)),
      play,
      back,
    ),
    label,
    refused.node,
  );
  toggle.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    toggle.setAttribute("aria-expanded", String(!panel.hidden));
    if (panel.hidden) now();
    else begin();
  });
  const begin = async () => {
    const { tasks_head: head } = vitals.overview ?? {};
    slider.max = head ?? 0;
    slider.value = slider.max;
    slider.min = await first();
    slider.focus();
  };
  // The end of the slider is now, as long as nobody looks at then.
  pulse.addEventListener("beat", () => {
    if (panel.hidden) return;
    const atEnd = moment.at === null;
    slider.max = vitals.overview.tasks_head;
    if (atEnd && document.activeElement !== slider) slider.value = slider.max;
  });
}

/** The first offset of the task log that is kept. */
async function first() {
  const page = await get("/api/v1/channels/%24tasks/records?from=0&limit=1").catch(() => null);
  return page?.records.find((entry) => entry.marker === undefined)?.offset ?? 0;
}

// Lines over time, drawn by uPlot in the page's colours.

import { el } from "./dom.js";
import { SECONDS } from "./vitals.js";

/* global uPlot */

const HEIGHT = 130;

/** A plot that has just begun is not all empty. */
const SECONDS_MIN = 30;

/** There is not room for all digits beside a plot, and who sees the last ones only sees another number. */
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });

/** Samples are a second apart. */
const GAP_SECONDS = 3;

/** Colours are read when a plot is made; another scheme makes it anew. */
const DARK = matchMedia("(prefers-color-scheme: dark)");

/**
 * A plot of the last minutes. `lines` are `{ name, colour, of, say }`: a CSS variable, what of a sample it shows, and how
 * that is said; `spans`, whether the line goes on where a sample has nothing of it.
 */
export function plot(title, lines, signal) {
  const said = lines.map(() => el("b"));
  const legend = el(
    "p",
    { class: "legend" },
    ...lines.map(({ name, colour }, at) => el("span", { class: `key ${colour}` }, name, " ", said[at])),
  );
  const canvas = el("div", { class: "plot", role: "img" });
  const node = el("figure", {}, el("figcaption", { text: title }), legend, canvas);
  let [drawn, data] = [null, [[], ...lines.map(() => [])]];
  const make = () => {
    drawn?.destroy();
    drawn = new uPlot(options(lines, canvas.clientWidth || 300), data, canvas);
  };
  const sized = new ResizeObserver(() => {
    if (drawn) drawn.setSize({ width: canvas.clientWidth, height: HEIGHT });
    else if (canvas.clientWidth > 0) make();
  });
  sized.observe(canvas);
  DARK.addEventListener("change", make, { signal });
  signal.addEventListener("abort", () => (sized.disconnect(), drawn?.destroy()), { once: true });
  return {
    node,
    update(samples) {
      const whole = samples.flatMap((sample, at) => (isBehindGap(samples, at) ? [{ time: sample.time - 1 }, sample] : [sample]));
      data = [
        whole.map(({ time }) => time),
        ...lines.map(({ of }) => whole.map((sample) => (sample.overview ? (of(sample) ?? null) : null))),
      ];
      drawn?.setData(data, false);
      const now = samples.at(-1)?.time ?? Date.now() / 1000;
      const from = Math.min(now - SECONDS_MIN, Math.max(now - SECONDS, samples[0]?.time ?? now));
      drawn?.setScale("x", { min: from, max: now });
      const words = lines.map(({ of, say }) => say(samples.length ? of(samples.at(-1)) : null));
      said.forEach((place, at) => (place.textContent = words[at]));
      canvas.setAttribute("aria-label", `${title}: ${lines.map(({ name }, at) => `${name} ${words[at]}`).join(", ")}`);
    },
  };
}

/** Whether nothing was heard for a while before a sample: no line goes over that. */
function isBehindGap(samples, at) {
  return at > 0 && samples[at].time - samples[at - 1].time > GAP_SECONDS;
}

function options(lines, width) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const grid = { stroke: colour("line"), width: 1 };
  const axis = { stroke: colour("dim"), grid, ticks: { show: false }, font: "11px system-ui" };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { auto: false }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
    axes: [
      { ...axis, size: 26, space: 60, values: (_, all) => all.map((time) => clock(time)) },
      { ...axis, size: 44, space: 30, values: (_, all) => all.map((number) => SHORT.format(number)) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.name, stroke: colour(line.colour), width: 1.5, points: { show: false }, spanGaps: Boolean(line.spans),
      })),
    ],
  };
}

function clock(time) {
  return new Date(time * 1000).toLocaleTimeString("en-GB");
}

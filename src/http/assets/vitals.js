// The scheduler's pulse: asked once a second, whatever page is shown. It says whether there is a connection, and keeps what
// the plots of the overview show.

import { Away, get } from "./api.js";
import { commitLatency } from "./figures.js";
import { moment } from "./moment.js";

/** Seconds that plots show. */
export const SECONDS = 180;

const EVERY_MS = 1000;

/** Tells `beat` when an answer came, and `change` when there is a connection, there is none, or a token is wanted. */
export const pulse = new EventTarget();

/** The newest answer, and one sample for each. */
export const vitals = { overview: null, samples: [], state: "connecting", why: "" };

export async function run() {
  for (;;) {
    const begun = performance.now();
    try {
      const overview = await get("/api/v1/overview", { at: null });
      take(overview, await commitLatency().catch(() => ({ mean: null, most: null })));
      become("connected", "");
      pulse.dispatchEvent(new Event("beat"));
    } catch (error) {
      if (error.status === 401 || error.code === "too_many_tries") become("token", "");
      else become("lost", error instanceof Away ? error.message : `${error.message}`);
    }
    await new Promise((done) => setTimeout(done, Math.max(200, EVERY_MS - (performance.now() - begun))));
  }
}

/** The newest answer, once there is one. */
export async function heard() {
  while (!vitals.overview) await new Promise((done) => pulse.addEventListener("beat", done, { once: true }));
  return vitals.overview;
}

function become(state, why) {
  if (vitals.state === state && vitals.why === why) return;
  Object.assign(vitals, { state, why });
  pulse.dispatchEvent(new Event("change"));
}

function take(overview, latency) {
  const [now, before] = [Date.now() / 1000, vitals.samples.at(-1)];
  const again = before && overview.epoch === before.overview.epoch;
  const passed = again ? now - before.time : null;
  const per = (name) => (again ? Math.max(0, overview[name] - before.overview[name]) / passed : null);
  vitals.samples.push({ time: now, overview, records: per("records"), commits: per("seq"), latency });
  while (vitals.samples.length > SECONDS) vitals.samples.shift();
  vitals.overview = overview;
}

/** What takes long is asked for less often: of the scheduler's time no page takes more than one part in so many. */
const SHARE = 5;

/** Asks again and again while a page is shown; what is refused is told to `refused`. As of a moment, once for each. */
export function poll(signal, every, work, refused) {
  (async () => {
    while (!signal.aborted) {
      const [asked, begun] = [moment.at, performance.now()];
      let pause = every;
      try {
        await work();
        refused?.(null);
        pause = Math.max(every, (SHARE - 1) * (performance.now() - begun));
        if (moment.at !== null && moment.at === asked) pause = null;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Away)) {
          if (!error.status) console.error(error);
          refused?.(error);
        }
        if (error.status && moment.at !== null) pause = null;
      }
      if (moment.at === asked) await woken(signal, pause);
    }
  })();
}

/** Waits for a time, or for ever; for another moment, or the end of the page, in any case. */
function woken(signal, pause) {
  return new Promise((done) => {
    const ends = new AbortController();
    const end = () => (ends.abort(), clearTimeout(timer), done());
    const timer = pause === null ? undefined : setTimeout(end, pause);
    signal.addEventListener("abort", end, { signal: ends.signal });
    moment.addEventListener("change", end, { signal: ends.signal });
  });
}

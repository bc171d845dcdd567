// Asking the scheduler: `docs/openapi.json` says what there is.

import { moment } from "./moment.js";

/** It is not reached, or is not ready. */
export class Away extends Error {}

/** What to do next where the scheduler says it for who asks without a page: a page has words of its own, or none. */
const HINTS = {
  unknown_channel: "Channels lists those there are",
  unknown_task: "Tasks lists those that are kept",
  unknown_worker: "Workers lists those there are",
  channel_stopped: "Resume lets it go on",
  past_head: null,
  bad_request: null,
  unknown_path: null,
  unknown_method: null,
  media_type: null,
};

/** It was reached, and refuses. */
export class Refused extends Error {
  constructor(status, { code, message, hint }) {
    super(message);
    Object.assign(this, { status, code, hint: code in HINTS ? HINTS[code] : hint });
  }
}

/** How long an answer is waited for. */
const ANSWER_MS_MAX = 10_000;

/** The paths that answer as of a moment, too. */
const OF_A_MOMENT = /^\/api\/v1\/(overview|workers|(channels|tasks)(\/[^/?]+)?)(\?|$)/;

export function get(path, options = {}) {
  const { at, ...rest } = { at: moment.at, ...options };
  return ask(at !== null && OF_A_MOMENT.test(path) ? joined(path, `at=${at}`) : path, rest);
}

export function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

/** The rows of what comes in pages, of so many pages at most, and whether there may be more. */
export async function all(path, rows, next, pagesMax) {
  const found = [];
  let answer = await get(path);
  for (let pages = 1; ; pages += 1) {
    found.push(...answer[rows]);
    const isAll = answer.next === null || answer[rows].length === 0;
    if (isAll || pages === pagesMax) return { found, isAll };
    answer = await get(joined(path, `${next}=${encodeURIComponent(answer.next)}`));
  }
}

function joined(path, parameter) {
  return `${path}${path.includes("?") ? "&" : "?"}${parameter}`;
}

async function ask(path, { signal, ...options }) {
  const ended = AbortSignal.timeout(ANSWER_MS_MAX);
  let response, text;
  try {
    response = await fetch(path, { ...options, signal: signal ? AbortSignal.any([signal, ended]) : ended });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Away("the scheduler does not answer");
  }
  let answer;
  try {
    answer = parse(text);
  } catch {
    throw new Away("what answers is no scheduler");
  }
  if (response.ok) return answer;
  if (response.status >= 502 || response.status === 503) {
    throw new Away(answer.error?.message ?? answer.recovering ?? "the scheduler is not ready");
  }
  throw new Refused(response.status, answer.error ?? { message: text });
}

/** JSON whose whole numbers stay what they are where JavaScript's are too small for them. */
export function parse(text) {
  if (!JSON.rawJSON) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)
      ? JSON.rawJSON(context.source)
      : value,
  );
}

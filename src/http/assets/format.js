// How numbers, moments and values are written.

const WHOLE = new Intl.NumberFormat("en");
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});
const DAY = new Intl.DateTimeFormat("sv-SE", { year: "numeric", month: "2-digit", day: "2-digit" });

/** Most characters of a value that stands in a table. */
const VALUE_CHARACTERS_MAX = 240;

/** A whole number, in groups of three digits. */
export function count(number) {
  return number === null || number === undefined ? "–" : WHOLE.format(number);
}

/** So many a second. */
export function rate(number) {
  if (number === null || number === undefined) return "–";
  return number < 10 ? number.toFixed(1) : WHOLE.format(Math.round(number));
}

export function bytes(number) {
  let [size, unit] = [number, 0];
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  while (size >= 1024 && unit < units.length - 1) [size, unit] = [size / 1024, unit + 1];
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** A moment in this zone: the time, and the day where it is another one than today. */
export function moment(rfc3339) {
  if (!rfc3339) return "–";
  const date = new Date(rfc3339);
  const day = DAY.format(date);
  return day === DAY.format(new Date()) ? CLOCK.format(date) : `${day} ${CLOCK.format(date)}`;
}

/** How long something took. */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
  return `${Math.floor(ms / 3_600_000)} h ${Math.round((ms % 3_600_000) / 60_000)} min`;
}

/** A value of a log as JSON, cut where it is long. */
export function value(any, charactersMax = VALUE_CHARACTERS_MAX) {
  if (any === undefined) return "";
  const text = JSON.stringify(any);
  return text.length > charactersMax ? `${text.slice(0, charactersMax)}…` : text;
}

/** What stands before the number in a task's key. */
export function label(key) {
  return key?.replace(/-[0-9a-f]{32}$/, "") ?? "";
}

/** A task's key as a link to it. */
export function task(key) {
  return key ? { text: key, href: `#/task/${encodeURIComponent(key)}` } : "";
}

export function channel(name) {
  return { text: name, href: `#/channel/${encodeURIComponent(name)}` };
}

/** How a task, a future, a channel or a worker stands: a word, with a colour beside it. */
export function state(word) {
  return { text: word, class: `state ${word}` };
}

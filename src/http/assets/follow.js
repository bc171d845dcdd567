// Following a log: history, then what comes, in one read without a gap. The browser goes on behind the last record by itself
// (`Last-Event-ID`) when it was cut off; where it was refused instead, as by a scheduler that recovers, this asks again.

import { parse } from "./api.js";

const PAUSE_MS = 500;

/** How often what has come is given on: a page is not drawn for each record. */
const GIVE_MS = 100;

/** Most records of one delivery: of more that came at once the page has the newest. */
const GIVEN_MAX = 5000;

/**
 * Follows until `signal` aborts. `take` gets what came, records and markers as they are; `state` is told `following`,
 * `waiting` or an error's words.
 */
export function follow(name, from, { signal, take, state }) {
  const path = `/api/v1/channels/${encodeURIComponent(name)}/records`;
  let [place, source, came, timer] = [from, null, [], null];
  const give = () => {
    timer = null;
    if (signal.aborted || came.length === 0) return;
    const all = came;
    came = [];
    take(all.slice(-GIVEN_MAX));
  };
  const receive = (entry) => {
    came.push(entry);
    timer ??= setTimeout(give, GIVE_MS);
  };
  const open = () => {
    if (signal.aborted) return;
    source = new EventSource(`${path}?from=${encodeURIComponent(place)}`);
    source.addEventListener("open", () => state("following"));
    source.addEventListener("record", (event) => {
      const record = parse(event.data);
      place = String(record.offset + 1);
      receive(record);
    });
    source.addEventListener("marker", (event) => {
      const marker = parse(event.data);
      if (marker.marker === "caught_up") place = String(marker.offset);
      receive(marker);
    });
    source.addEventListener("error", (event) => {
      // One of the log is a message; one of the connection is not.
      const told = typeof event.data === "string" ? parse(event.data).error.message : null;
      state(told ?? "waiting");
      if (told !== null || source.readyState === EventSource.CLOSED) {
        source.close();
        setTimeout(open, PAUSE_MS);
      }
    });
  };
  signal.addEventListener("abort", () => (source?.close(), clearTimeout(timer)), { once: true });
  open();
}

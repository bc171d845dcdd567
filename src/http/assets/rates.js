// How fast heads move: differences between one asking and the next.

import { moment } from "./moment.js";

/** Over so many seconds at most: one asking is too short for what comes once in a while. */
const SECONDS = 10;

export class Rates {
  #seen = new Map();

  /** Notes where the heads are now. As of another moment nothing moves. */
  take(channels) {
    const now = performance.now() / 1000;
    if (moment.at !== null) return this.#seen.clear();
    for (const { name, head } of channels) {
      const seen = this.#seen.get(name) ?? [];
      // A head that went back is another channel's of this name.
      if (seen.length && seen.at(-1).head > head) seen.length = 0;
      seen.push({ now, head });
      while (seen.length > 2 && now - seen[0].now > SECONDS) seen.shift();
      this.#seen.set(name, seen);
    }
  }

  /** Records a second; null where it is not known yet. */
  of(name) {
    const seen = this.#seen.get(name);
    if (!seen || seen.length < 2) return null;
    return (seen.at(-1).head - seen[0].head) / (seen.at(-1).now - seen[0].now);
  }
}

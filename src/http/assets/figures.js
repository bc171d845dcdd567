// The scheduler's own figures, as it gives them to Prometheus: how long commits took.

/** The newest scrape: what is shown is the difference between one and the next. */
let before = null;

/**
 * How long the commits since the last asking took, in milliseconds: on average, and 99 of 100 at most. Nulls where there
 * were none.
 */
export async function commitLatency() {
  const response = await fetch("/metrics", { signal: AbortSignal.timeout(5000) });
  if (!response.ok) return { mean: null, most: null };
  const now = read(await response.text());
  const passed = before && now.count > before.count ? since(before, now) : { mean: null, most: null };
  before = now;
  return passed;
}

/** A histogram: its count, its sum, and how many were at most how long. */
function read(text) {
  const histogram = { count: 0, sum: 0, buckets: [] };
  for (const line of text.split("\n")) {
    const [, what, bound, value] = /^headwater_commit_seconds_(count|sum|bucket)(?:\{le="([^"]+)"\})? (\S+)/.exec(line) ?? [];
    if (what === "bucket") histogram.buckets.push([bound === "+Inf" ? Infinity : Number(bound), Number(value)]);
    else if (what) histogram[what] = Number(value);
  }
  return histogram;
}

function since(before, now) {
  const count = now.count - before.count;
  const found = now.buckets.find(([, upTo], at) => upTo - (before.buckets[at]?.[1] ?? 0) >= 0.99 * count);
  const most = found && Number.isFinite(found[0]) ? found[0] * 1000 : null;
  return { mean: ((now.sum - before.sum) / count) * 1000, most };
}

//! How long things took, counted by how long: a histogram that takes many of the same at once, without a lock. Those of
//! prometheus-client take one at a time, under a lock, which is too much for what is asked a million times a second.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Cheap to clone: all clones are the same.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// The upper bounds, in microseconds, growing.
    bounds_us: Box<[u64]>,
    /// How many were at most so long, and longer than the bound before; behind the last those that were longer still.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Histogram {
    /// Bounds from `first`, each so many times the one before.
    pub fn new(first: Duration, factor: u64, bounds: u32) -> Histogram {
        let first_us = micros(first);
        let bounds_us: Box<[u64]> = (0..bounds).map(|at| first_us * factor.pow(at)).collect();
        let counts = (0..=bounds_us.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Counts { bounds_us, counts, sum_us: AtomicU64::new(0) }))
    }

    /// So many took so long.
    pub fn observe(&self, took: Duration, times: u64) {
        let Counts { bounds_us, counts, sum_us } = &*self.0;
        let us = micros(took);
        let at = bounds_us.iter().position(|bound| us <= *bound).unwrap_or(bounds_us.len());
        counts[at].fetch_add(times, Ordering::Relaxed);
        sum_us.fetch_add(us.saturating_mul(times), Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Histogram {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Counts { bounds_us, counts, sum_us } = &*self.0;
        let bounds = bounds_us.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.zip(counts.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(sum_us.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn each_is_counted_where_it_belongs_and_many_at_once() {
        let histogram = Histogram::new(Duration::from_micros(100), 10, 3);
        for (us, times) in [(0, 1), (100, 2), (101, 4), (1_000, 8), (10_000, 16), (10_001, 32), (500_000, 64)]
        {
            histogram.observe(Duration::from_micros(us), times);
        }
        let mut registry = Registry::default();
        registry.register_with_unit("wait", "Waiting", Unit::Seconds, histogram.clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let sum_us = 2 * 100 + 4 * 101 + 8 * 1_000 + 16 * 10_000 + 32 * 10_001 + 64 * 500_000;
        assert_eq!(
            lines,
            [
                &format!("wait_seconds_sum {}", f64::from(sum_us) / 1e6),
                "wait_seconds_count 127",
                "wait_seconds_bucket{le=\"0.0001\"} 3",
                "wait_seconds_bucket{le=\"0.001\"} 15",
                "wait_seconds_bucket{le=\"0.01\"} 31",
                "wait_seconds_bucket{le=\"+Inf\"} 127",
            ]
        );
    }
}

//! What is seen at a moment.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::load::Times;
use crate::cli::bench::figures::{Runs, quantile};
use crate::cli::bench::ground::Ground;
use crate::cli::bench::store::Store;
use crate::cli::bench::workers::Workers;

/// One sample. Latencies and counts are of the time since the sample before.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// Of which scenario.
    sample: &'static str,
    seconds: f64,
    rss_bytes: Option<u64>,
    workers_rss_bytes: Option<u64>,
    open_files: Option<u64>,
    disk_bytes: u64,
    appends: usize,
    append_p50_us: Option<f64>,
    append_p99_us: Option<f64>,
    tasks: usize,
    task_p50_us: Option<f64>,
    task_p99_us: Option<f64>,
    records_read: u64,
}

impl Sample {
    /// Looks at all.
    pub fn take(at: Duration, ground: &Ground, workers: &Workers, mut times: Times) -> Sample {
        times.appends.sort_unstable_by(f64::total_cmp);
        times.tasks.sort_unstable_by(f64::total_cmp);
        let of = |times: &[f64], part| (!times.is_empty()).then(|| quantile(times, part));
        Sample {
            sample: "soak",
            seconds: at.as_secs_f64(),
            rss_bytes: ground.rss_bytes(),
            workers_rss_bytes: workers.rss_bytes(),
            open_files: ground.scheduler().and_then(|scheduler| scheduler.process.open_files()),
            disk_bytes: Store::disk_bytes(ground.dir()),
            appends: times.appends.len(),
            append_p50_us: of(&times.appends, 0.5),
            append_p99_us: of(&times.appends, 0.99),
            tasks: times.tasks.len(),
            task_p50_us: of(&times.tasks, 0.5),
            task_p99_us: of(&times.tasks, 0.99),
            records_read: times.read,
        }
    }

    /// Counts it as a run.
    pub fn add_to(&self, runs: &mut Runs) {
        runs.add_bytes("rss_bytes", self.rss_bytes);
        runs.add_bytes("workers_rss_bytes", self.workers_rss_bytes);
        runs.add_bytes("disk_bytes", Some(self.disk_bytes));
        let known = [
            ("open_files", self.open_files.map(|files| files as f64), "files"),
            ("append_p50_us", self.append_p50_us, "us"),
            ("append_p99_us", self.append_p99_us, "us"),
            ("task_p50_us", self.task_p50_us, "us"),
            ("task_p99_us", self.task_p99_us, "us"),
        ];
        for (name, value, unit) in known {
            if let Some(value) = value {
                runs.add(name, value, unit);
            }
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: Option<u64>| bytes.unwrap_or_default() as f64 / f64::from(1 << 20);
        let us = |time: Option<f64>| time.unwrap_or_default();
        write!(
            f,
            "{:>7.0} s  scheduler {:.1} MiB, {} files; workers {:.1} MiB; disk {:.1} MiB; {} appends, p50 {:.0} us, \
             p99 {:.0} us; {} tasks, p50 {:.0} us, p99 {:.0} us; {} records read",
            self.seconds,
            mebibytes(self.rss_bytes),
            self.open_files.unwrap_or_default(),
            mebibytes(self.workers_rss_bytes),
            mebibytes(Some(self.disk_bytes)),
            self.appends,
            us(self.append_p50_us),
            us(self.append_p99_us),
            self.tasks,
            us(self.task_p50_us),
            us(self.task_p99_us),
            self.records_read,
        )
    }
}

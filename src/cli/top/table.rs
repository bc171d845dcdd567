//! What was seen, in rows. Pure.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::model::Seen;
use crate::cli::worker::free;
use crate::protocol::ChannelName;
use crate::protocol::channel::ChannelInfo;
use crate::protocol::command::Overview;
use crate::protocol::size::Bytes;
use crate::protocol::task::{TaskInfo, TaskStatus};
use crate::rows::worker::state;

/// How many of the tasks that a worker runs are named in its row.
const RUNS_NAMED_MAX: usize = 4;

/// Rows under a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// What is said where there are no rows.
    pub none: String,
}

/// The tasks: those that run, then those that wait, then the others, each the newest first.
pub fn of_tasks(seen: &Seen) -> Table {
    let header = vec!["TASK", "STATUS", "ATTEMPT", "FUNCTION", "WORKER OR WHAT IT WAITS FOR"];
    let mut tasks: Vec<&TaskInfo> = seen.tasks.iter().collect();
    tasks.sort_by_key(|info| (order(info.status), Reverse(info.submitted_at)));
    let known: HashSet<_> = tasks.iter().map(|info| info.key.id).collect();
    // Those that were submitted long ago are seen where they run.
    let runs = seen.workers.iter().flat_map(|worker| worker.runs.iter().map(move |run| (worker, run)));
    let older = runs.filter(|(_, run)| !known.contains(&run.key.id)).map(|(worker, run)| {
        let [key, attempt] = [run.key.to_string(), run.attempt.to_string()];
        let function = seen.functions.get(&run.key.id).map(ToString::to_string).unwrap_or_default();
        vec![key, TaskStatus::Running.word().to_owned(), attempt, function, worker.name.to_string()]
    });
    let mut rows: Vec<Vec<String>> = older.collect();
    rows.extend(tasks.into_iter().map(|info| {
        let last = info.worker.as_deref().or(info.waits_for.as_deref()).unwrap_or_default().to_owned();
        let [key, attempt] = [info.key.to_string(), info.attempt.to_string()];
        vec![key, info.status.to_string(), attempt, info.function.to_string(), last]
    }));
    Table { header, rows, none: no_tasks(&seen.overview) }
}

fn no_tasks(overview: &Overview) -> String {
    let Overview { pending, running, finished, failed, .. } = overview;
    match pending + running + finished + failed {
        0 => "no tasks: `headwater submit -- COMMAND` submits one".to_owned(),
        1 => "the one task was submitted long ago: `headwater task list` shows it".to_owned(),
        all => format!("the {all} tasks were submitted long ago: `headwater task list` shows them"),
    }
}

fn order(status: TaskStatus) -> u8 {
    match status {
        TaskStatus::Running => 0,
        TaskStatus::Pending => 1,
        _ => 2,
    }
}

/// The workers, with what they run.
pub fn of_workers(seen: &Seen) -> Table {
    let header = vec!["WORKER", "STATE", "SLOTS", "RUNNING", "FREE", "RUNS"];
    let rows = seen.workers.iter().map(|worker| {
        let named = worker.runs.iter().take(RUNS_NAMED_MAX).map(|run| run.key.to_string());
        let mut runs = named.collect::<Vec<_>>().join(" ");
        let more = (worker.running as usize).saturating_sub(RUNS_NAMED_MAX);
        if more > 0 {
            runs.push_str(&format!(" and {more} more"));
        }
        let [slots, running] = [worker.slots, worker.running].map(|number| number.to_string());
        vec![worker.name.to_string(), state(worker).to_owned(), slots, running, free(worker), runs]
    });
    Table { header, rows: rows.collect(), none: "no workers: `headwater worker` starts one".to_owned() }
}

/// The channels with their records a second, the busiest first.
pub fn busiest<'a>(seen: &'a Seen, rates: &HashMap<ChannelName, f64>) -> Vec<(&'a ChannelInfo, f64)> {
    let rate = |info: &ChannelInfo| rates.get(&info.name).copied().unwrap_or_default();
    let mut channels: Vec<_> = seen.channels.iter().map(|info| (info, rate(info))).collect();
    channels.sort_by(|(a, one), (b, other)| other.total_cmp(one).then_with(|| a.name.cmp(&b.name)));
    channels
}

/// The channels, the busiest first.
pub fn of_channels(seen: &Seen, rates: &HashMap<ChannelName, f64>) -> Table {
    let header = vec!["CHANNEL", "RECORDS/S", "HEAD", "ELEMENTS", "BYTES", "STATE"];
    let rows = busiest(seen, rates).into_iter().map(|(info, rate)| {
        let state = if info.stopped { "stopped" } else { "open" };
        let [head, elements] = [info.head, info.elements].map(|number| number.to_string());
        vec![
            info.name.to_string(),
            format!("{rate:.1}"),
            head,
            elements,
            Bytes(info.bytes).to_string(),
            state.to_owned(),
        ]
    });
    let none = "no channels: `headwater channel append NAME VALUE` makes one".to_owned();
    Table { header, rows: rows.collect(), none }
}

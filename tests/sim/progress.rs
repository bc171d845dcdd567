//! Holds what channels say of their futures against what the task log says: whoever reads a channel
//! needs nothing else to know what became of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headwater::log::{Log, Memory};
use headwater::protocol::channel::Progress;
use headwater::protocol::{AttemptNumber, ChannelEvent, Element, LogId, Outcome, Seq, TaskEvent, TaskId};
use headwater::scheduler::core::State;
use serde::de::DeserializeOwned;

/// What a channel says of one future.
struct Told {
    /// The commit that appended it first.
    since: Seq,
    started: BTreeSet<AttemptNumber>,
    last: Option<Progress>,
}

/// Panics if any channel has left out a start, or the end, of a future that was on it.
pub fn audit(log: &Memory, state: &State) {
    let started =
        records::<TaskEvent>(log, LogId::TASKS).into_iter().filter_map(|(seq, event)| match event {
            TaskEvent::Started { task, attempt, .. } | TaskEvent::StartedWith { task, attempt, .. } => {
                Some((seq, task, attempt))
            }
            _ => None,
        });
    let started: Vec<(Seq, TaskId, AttemptNumber)> = started.collect();
    for (channel, info) in &state.channels {
        let told = futures(log, *channel);
        for (seq, task, attempt) in &started {
            let Some(told) = told.get(task).filter(|told| told.since < *seq) else { continue };
            assert!(told.started.contains(attempt), "{} does not tell of {task} {attempt}", info.name);
        }
        for (task, told) in told {
            let phase = &state.tasks[&task].phase;
            let outcome = match told.last {
                Some(Progress::Stored { result }) => {
                    let there = phase.stored().map(|stored| stored.result);
                    assert_eq!(there, Some(result), "how {task} ended, on {}", info.name);
                    continue;
                }
                Some(Progress::Finished { result }) => Some(Outcome::Finished(result)),
                Some(Progress::Failed { error }) => Some(Outcome::Failed(error)),
                Some(Progress::Cancelled) => Some(Outcome::Cancelled),
                Some(
                    Progress::Started { .. }
                    | Progress::Lost { .. }
                    | Progress::Renewed
                    | Progress::Advanced(_),
                )
                | None => None,
            };
            assert_eq!(outcome, phase.outcome(), "how {task} ended, on {}", info.name);
        }
    }
}

fn futures(log: &Memory, channel: LogId) -> BTreeMap<TaskId, Told> {
    let mut futures: BTreeMap<TaskId, Told> = BTreeMap::new();
    // Elements that are kept, and their futures.
    let mut kept: VecDeque<Option<TaskId>> = VecDeque::new();
    let mut first = 0;
    for (since, event) in records::<ChannelEvent>(log, channel) {
        match event.appended().map(|appended| appended.element) {
            Some(Element::Value(_)) => kept.push_back(None),
            Some(Element::Future(key)) => {
                kept.push_back(Some(key.id));
                futures.entry(key.id).or_insert(Told { since, started: BTreeSet::new(), last: None });
            }
            None => {}
        }
        match event {
            ChannelEvent::Progress { key, progress } => {
                let told = futures.get_mut(&key.id).expect("progress of a future that is on the channel");
                if let Progress::Started { attempt, .. } = progress {
                    told.started.insert(attempt);
                }
                told.last = Some(progress);
            }
            ChannelEvent::Trimmed { index, .. } | ChannelEvent::Deleted { count: index, .. } => {
                let gone = kept.drain(..(index - first) as usize);
                let gone: Vec<TaskId> = gone.flatten().collect();
                futures.retain(|task, _| !gone.contains(task) || kept.contains(&Some(*task)));
                first = index;
            }
            _ => {}
        }
    }
    futures
}

fn records<R: DeserializeOwned>(log: &Memory, of: LogId) -> Vec<(Seq, R)> {
    let batches = log.read(of, 0, usize::MAX).expect("the log can be read");
    let mut all = Vec::new();
    for batch in &batches {
        let records = batch.records().map(|record| (batch.header().seq, record.expect("records decode").1));
        all.extend(records);
    }
    all
}

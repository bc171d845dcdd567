//! Answers to questions.

use std::collections::Bound;

use super::LogFacts;
use super::presence::Presence;
use super::state::{Channel, Phase, State};
use crate::protocol::channel::{ChannelInfo, TASKS_CHANNEL};
use crate::protocol::command::{Answer, Overview, Query, Rejection};
use crate::protocol::limits::LISTING_ROWS_MAX;
use crate::protocol::session::{SessionKind, WorkerInfo};
use crate::protocol::task::TaskInfo;
use crate::protocol::{ChannelName, Digest, LogId, TaskId, TaskKey};

/// Answers a question from the state and from who is there.
pub(super) fn answer(
    state: &State,
    presence: &Presence,
    facts: &LogFacts,
    query: Query,
) -> Result<Answer, Rejection> {
    match query {
        Query::Channels { after } => {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let logs = state.names.range((from, Bound::Unbounded)).take(LISTING_ROWS_MAX);
            Ok(Answer::Channels(logs.map(|(_, log)| info(*log, &state.channels[log])).collect()))
        }
        Query::Channel { name } => channel(state, &name).map(Answer::Channel),
        Query::Tasks { from } => {
            let tasks = state.order.range(from..).take(LISTING_ROWS_MAX);
            Ok(Answer::Tasks(tasks.filter_map(|(_, id)| task_info(state, presence, *id)).collect()))
        }
        Query::Task { task } => {
            let mut info = task_info(state, presence, task).ok_or(Rejection::UnknownTask(task))?;
            info.outcome = state.tasks[&task].phase.outcome();
            Ok(Answer::Task(info))
        }
        Query::Overview => Ok(Answer::Overview(overview(state, presence, facts))),
    }
}

/// What is known of a channel, or of the task log under its name.
pub(super) fn channel(state: &State, name: &ChannelName) -> Result<ChannelInfo, Rejection> {
    if name.as_str() == TASKS_CHANNEL {
        let (head, digest) = (state.tasks_head, Digest::default());
        return Ok(ChannelInfo {
            name: name.clone(),
            log: LogId::TASKS,
            head,
            elements: 0,
            stopped: false,
            digest,
        });
    }
    let log = state.names.get(name).ok_or_else(|| Rejection::UnknownChannel(format!("`{name}`")))?;
    Ok(info(*log, &state.channels[log]))
}

pub(super) fn info(log: LogId, channel: &Channel) -> ChannelInfo {
    ChannelInfo {
        name: channel.name.clone(),
        log,
        head: channel.head,
        elements: channel.elements,
        stopped: channel.stopped,
        digest: channel.digest,
    }
}

fn task_info(state: &State, presence: &Presence, id: TaskId) -> Option<TaskInfo> {
    let task = state.tasks.get(&id)?;
    let worker = match task.phase {
        Phase::Running { worker } => Some(state.worker_name(worker)),
        _ => None,
    };
    Some(TaskInfo {
        key: TaskKey { id, label: task.label.clone() },
        function: task.function.name.clone(),
        status: task.phase.status(),
        attempt: task.attempt,
        worker,
        submitted_at: task.submitted_at,
        waits_for: waits_for(state, presence, id),
        kept_by: kept_by(state, id),
        outcome: None,
    })
}

fn waits_for(state: &State, presence: &Presence, id: TaskId) -> Option<String> {
    let task = &state.tasks[&id];
    match &task.phase {
        Phase::Waiting { missing } => {
            let call = task.call.as_ref()?;
            let first = call.dependencies.iter().find(|dependency| {
                state.tasks.get(dependency).is_some_and(|task| !matches!(task.phase, Phase::Finished(_)))
            })?;
            Some(format!("{missing} of its dependencies, {} among them", state.key_of(*first)?))
        }
        Phase::Ready => {
            let offering = presence
                .workers()
                .values()
                .filter(|worker| worker.functions.contains(&task.function))
                .count();
            let connected = presence.workers().len();
            Some(match (connected, offering) {
                (0, _) => "a worker: none is connected".to_owned(),
                (_, 0) => not_offered(presence, connected, &task.function.name, task.function.version),
                _ => format!("a free slot on {offering} of {connected} workers"),
            })
        }
        _ => None,
    }
}

/// Most function names that an explanation lists.
const FUNCTIONS_SHOWN_MAX: usize = 20;

fn not_offered(presence: &Presence, connected: usize, function: &str, version: u32) -> String {
    let mut offered: Vec<String> = presence
        .workers()
        .values()
        .flat_map(|worker| &worker.functions)
        .map(|f| format!("{} version {}", f.name, f.version))
        .collect();
    offered.sort();
    offered.dedup();
    offered.truncate(FUNCTIONS_SHOWN_MAX);
    format!(
        "a worker with `{function}` version {version}: none of the {connected} connected has it; they have {}",
        offered.join(", ")
    )
}

fn kept_by(state: &State, id: TaskId) -> String {
    let keepers = &state.tasks[&id].keepers;
    let mut words = Vec::new();
    if keepers.detached {
        words.push("detached".to_owned());
    }
    if keepers.sessions > 0 {
        words.push(format!("sessions: {}", keepers.sessions));
    }
    if keepers.dependents > 0 {
        words.push(format!("tasks that need it: {}", keepers.dependents));
    }
    for (log, elements) in &keepers.channels {
        words.push(format!("channel {}: {elements} elements", state.channels[log].name));
    }
    words.join(", ")
}

fn overview(state: &State, presence: &Presence, facts: &LogFacts) -> Overview {
    let workers = state.sessions.iter().filter_map(|(producer, session)| {
        let SessionKind::Worker { name } = &session.kind else { return None };
        let connected = presence.workers().get(producer);
        Some(WorkerInfo {
            name: name.clone(),
            slots: connected.map_or(0, |worker| worker.slots),
            running: u32::try_from(session.running.len()).unwrap_or(u32::MAX),
            connected: connected.is_some(),
        })
    });
    Overview {
        epoch: facts.epoch,
        seq: facts.seq,
        receipt: facts.receipt.clone(),
        store: facts.store.clone(),
        tasks_head: state.tasks_head,
        records: state.records(),
        pending: state.counts.pending,
        running: state.counts.running,
        finished: state.counts.finished,
        failed: state.counts.failed,
        channels: state.channels.len() as u64,
        workers: workers.collect(),
    }
}

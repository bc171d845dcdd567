//! Answers to questions.

use std::collections::{BTreeSet, Bound};

use super::consumers::Consumers;
use super::moments::Moment;
use super::presence::Presence;
use super::retention::Retaining;
use super::state::{Channel, Produced, State};
use super::task::Phase;
use super::{Core, LogFacts, effect, explain, place, upkeep};
use crate::protocol::channel::{ChannelInfo, TASKS_CHANNEL};
use crate::protocol::command::{Answer, Overview, Query, Rejection};
use crate::protocol::counted::counted;
use crate::protocol::cursor::{CursorInfo, CursorName};
use crate::protocol::equipment::{Equipment, Supply};
use crate::protocol::group::GroupInfo;
use crate::protocol::limits::{LISTING_BYTES_MAX, LISTING_ROWS_MAX, RUNS_SHOWN_MAX, TooLarge};
use crate::protocol::producer::{ProducerInfo, ProducerName};
use crate::protocol::session::{
    FunctionOffer, HeldAttempt, RunningAttempt, SessionKind, WorkerInfo, WorkerStatus,
};
use crate::protocol::task::TaskInfo;
use crate::protocol::terms::Terms;
use crate::protocol::{ChannelName, LogId, Outcome, Producer, TaskId};

/// What is known beside the state and who is there.
#[derive(Clone, Copy)]
struct Known<'a> {
    facts: &'a LogFacts,
    retaining: &'a Retaining,
    consumers: &'a Consumers,
}

impl Core {
    /// Answers a session's question.
    ///
    /// # Errors
    /// When what it asks for is not there.
    pub fn ask(&self, producer: Producer, query: Query) -> Result<Answer, Rejection> {
        let Core { facts, retaining, consumers, .. } = self;
        let known = Known { facts, retaining, consumers };
        answer(&self.state, &self.presence, known, producer, query)
    }
}

fn of_log(state: &State, log: LogId) -> Result<&Channel, Rejection> {
    state.channels.get(&log).ok_or_else(|| Rejection::UnknownChannel(format!("with log {log}")))
}

/// Answers a question from the state and from who is there.
fn answer(
    state: &State,
    presence: &Presence,
    known: Known<'_>,
    producer: Producer,
    query: Query,
) -> Result<Answer, Rejection> {
    let Known { facts, retaining, consumers } = known;
    match query {
        Query::Groups { log, after } => {
            let channel = of_log(state, log)?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let groups = channel.groups.range((from, Bound::Unbounded)).take(LISTING_ROWS_MAX);
            let infos = groups.map(|(_, id)| {
                let info = state.group_info(*id, &state.groups[id]);
                let holds_back = retaining.group_holds_back(*id, channel, &state.groups[id]);
                GroupInfo { members: consumers.infos(state, *id), holds_back, ..info }
            });
            Ok(Answer::Groups(infos.collect()))
        }
        Query::Cursors { log, after } => cursors(state, retaining, log, after),
        Query::Producers { log, after } => producers(state, log, after),
        Query::Channels { after } => {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let channels =
                state.names.range((from, Bound::Unbounded)).map(|(_, log)| (*log, &state.channels[log]));
            let there = channels.filter(|(_, channel)| !channel.deleted).take(LISTING_ROWS_MAX);
            let rows = there.map(|(log, channel)| channel.info(log)).collect();
            Ok(Answer::Channels(rows))
        }
        Query::Channel { name } => channel(state, &name).map(Answer::Channel),
        Query::Tasks { from } => {
            let tasks = state.tasks.submitted_from(from).take(LISTING_ROWS_MAX);
            let mut bytes = 0;
            let rows = tasks.filter_map(|(id, _)| task_info(state, presence, facts, id)).take_while(|info| {
                let is_first = bytes == 0;
                bytes += row_bytes(info);
                is_first || bytes <= LISTING_BYTES_MAX
            });
            Ok(Answer::Tasks(rows.collect()))
        }
        Query::Task { task } => {
            let mut info = task_info(state, presence, facts, task).ok_or(Rejection::UnknownTask(task))?;
            let stored = || effect::located(state, presence, task).map(Outcome::Stored);
            info.outcome = state.tasks[&task].phase.outcome().or_else(stored);
            if let (Some(waits_for), Some(offered)) =
                (&mut info.waits_for, offered_instead(state, presence, task))
            {
                waits_for.push_str(&offered);
            }
            Ok(Answer::Task(Box::new(info)))
        }
        Query::Explain { task } => {
            let explanation = explain::task(state, presence, facts, task);
            explanation.map(|words| Answer::Explained(Box::new(words))).ok_or(Rejection::UnknownTask(task))
        }
        Query::Workers { after } => {
            let sessions = state.sessions.range((Bound::Excluded(after), Bound::Unbounded));
            let rows = sessions.filter_map(|(producer, _)| worker(state, presence, *producer));
            let mut bytes = 0;
            let rows = rows.take(LISTING_ROWS_MAX).take_while(|row| {
                let is_first = bytes == 0;
                bytes += worker_bytes(row);
                is_first || bytes <= LISTING_BYTES_MAX
            });
            Ok(Answer::Workers(rows.collect()))
        }
        Query::Worker { worker: producer } => {
            let row = worker(state, presence, producer).ok_or_else(|| {
                Rejection::UnknownWorker(format!("with session {producer}: it has left, or never was"))
            })?;
            Ok(Answer::Workers(vec![row]))
        }
        Query::Overview => Ok(Answer::Overview(overview(state, presence, facts))),
        Query::Unwanted { results } => {
            let hint = "ask for the others with another query";
            TooLarge::check("the number of results", results.len(), LISTING_ROWS_MAX, hint)?;
            let is_unwanted = |held: &HeldAttempt| !is_wanted(state, presence, producer, *held);
            Ok(Answer::Unwanted(results.into_iter().filter(is_unwanted).collect()))
        }
        // It waits for what it tells of, as every answer.
        Query::Durable { acked } => match facts.starts.check(&acked) {
            Ok(()) => Ok(Answer::Durable),
            Err(regress) => Err(Rejection::Undone(regress)),
        },
        // The server asks the logs.
        Query::Stored { .. } | Query::SnapshotPieces { .. } | Query::Subscribers { .. } => Err(
            Rejection::Invalid("the state does not know what is stored: ask a server with a log".to_owned()),
        ),
    }
}

/// Whether a worker is to keep a result.
fn is_wanted(state: &State, presence: &Presence, worker: Producer, held: HeldAttempt) -> bool {
    let Some(task) = state.tasks.get(&held.task).filter(|task| task.attempt == held.attempt) else {
        return false;
    };
    let keeps =
        |holders: &[Producer]| holders.contains(&worker) || presence.copier(held.task) == Some(worker);
    task.phase.stored().is_some_and(|stored| keeps(&stored.holders))
}

/// The cursors of a channel, by name.
fn cursors(
    state: &State,
    retaining: &Retaining,
    log: LogId,
    after: Option<CursorName>,
) -> Result<Answer, Rejection> {
    let channel = of_log(state, log)?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let cursors = channel.cursors.range((from, Bound::Unbounded)).take(LISTING_ROWS_MAX);
    let infos = cursors.map(|(name, cursor)| CursorInfo {
        channel: channel.name.clone(),
        name: name.clone(),
        offset: cursor.offset,
        lag: channel.elements - channel.kept.index_at(cursor.offset, channel.elements),
        pin_ms: cursor.pin_ms,
        holds_back: retaining.holds_back(log, channel, name, cursor),
    });
    Ok(Answer::Cursors(infos.collect()))
}

/// The named producers of a channel, by name.
fn producers(state: &State, log: LogId, after: Option<ProducerName>) -> Result<Answer, Rejection> {
    let channel =
        state.channels.get(&log).ok_or_else(|| Rejection::UnknownChannel(format!("with log {log}")))?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let producers = channel.producers.range((from, Bound::Unbounded)).take(LISTING_ROWS_MAX);
    let infos = producers.map(|(name, newest)| {
        let Produced { number, first, count, seq } = *newest;
        ProducerInfo { name: name.clone(), number, first, count, seq }
    });
    Ok(Answer::Producers(infos.collect()))
}

/// What is known of a channel, or of the task log under its name.
pub(super) fn channel(state: &State, name: &ChannelName) -> Result<ChannelInfo, Rejection> {
    if name.as_str() == TASKS_CHANNEL {
        return Ok(ChannelInfo::of_records(name.clone(), LogId::TASKS, 0, state.tasks_head));
    }
    let log = state.names.get(name).filter(|log| !state.channels[log].deleted);
    let log = log.ok_or_else(|| Rejection::UnknownChannel(format!("`{name}`")))?;
    Ok(state.channels[log].info(*log))
}

impl Channel {
    pub(super) fn info(&self, log: LogId) -> ChannelInfo {
        let Channel { name, head, elements, digest, stopped, kept, durability, .. } = self;
        ChannelInfo {
            name: name.clone(),
            log,
            first: kept.first.offset,
            head: *head,
            elements: *elements,
            trimmed: kept.first.index,
            bytes: kept.bytes - kept.first.bytes,
            retention: kept.retention,
            stopped: *stopped,
            digest: *digest,
            durability: *durability,
        }
    }
}

fn task_info(state: &State, presence: &Presence, facts: &LogFacts, id: TaskId) -> Option<TaskInfo> {
    let task = state.tasks.get(&id)?;
    let worker = match task.phase {
        Phase::Running { worker } => Some(state.worker_name(worker)),
        _ => None,
    };
    Some(TaskInfo {
        key: task.key(id),
        function: task.function.name.clone(),
        status: task.phase.status(),
        attempt: task.attempt,
        worker,
        submitted_at: task.submitted_at,
        waits_for: waits_for(state, presence, facts, id),
        next_attempt_at: state.moments.of(id, Moment::Retry),
        advance: presence.advance_of(id).cloned(),
        deadline_at: state.moments.of(id, Moment::Deadline),
        tags: task.terms().into_iter().flat_map(Terms::tags).cloned().collect(),
        kept_by: kept_by(state, id),
        outcome: None,
    })
}

pub(super) fn waits_for(state: &State, presence: &Presence, facts: &LogFacts, id: TaskId) -> Option<String> {
    let task = &state.tasks[&id];
    match &task.phase {
        Phase::Waiting { missing } => {
            let call = task.call.as_ref()?;
            let first = call.dependencies.iter().find(|dependency| {
                state.tasks.get(dependency).is_some_and(|task| !task.phase.has_result())
            })?;
            Some(format!("{missing} of its dependencies, {} among them", state.key_of(*first)?))
        }
        Phase::Delayed => Some(format!("its next attempt, since attempt {} has failed", task.attempt)),
        Phase::Ready if facts.shortage.is_some() => Some("room on the scheduler's disk".to_owned()),
        Phase::Ready => Some(match upkeep::out_of_reach(state, presence, id) {
            Some(of) => format!("the result of {}: the worker that keeps it is away", state.key_of(of)?),
            None => place::obstacle(state, presence, id),
        }),
        _ => None,
    }
}

/// Most function names that an explanation lists.
const FUNCTIONS_SHOWN_MAX: usize = 20;

/// Most channels that are named of those that keep a task.
const CHANNELS_SHOWN_MAX: usize = 5;

/// How many bytes a row of a listing takes, or more.
fn row_bytes(info: &TaskInfo) -> usize {
    let worker = info.worker.as_ref().map_or(0, |worker| worker.len());
    let waits_for = info.waits_for.as_ref().map_or(0, String::len);
    let tags: usize = info.tags.iter().map(|tag| tag.as_str().len() + 1).sum();
    let message = info.advance.as_ref().map_or(0, |advance| advance.message.len());
    128 + tags
        + message
        + info.key.label.len()
        + info.function.len()
        + worker
        + waits_for
        + info.kept_by.len()
}

/// What the workers have, for a task that waits for a worker with something else.
fn offered_instead(state: &State, presence: &Presence, id: TaskId) -> Option<String> {
    let task = &state.tasks[&id];
    let slots = presence.slots();
    if task.phase != Phase::Ready || slots.taking() == 0 || slots.offering(&task.function) > 0 {
        return None;
    }
    let offered: BTreeSet<&FunctionOffer> = slots.functions().collect();
    let shown = offered.iter().take(FUNCTIONS_SHOWN_MAX).map(|f| format!("{} version {}", f.name, f.version));
    Some(format!("; they have {}", shown.collect::<Vec<_>>().join(", ")))
}

fn kept_by(state: &State, id: TaskId) -> String {
    let keepers = &state.tasks[&id].keepers;
    let mut words = Vec::new();
    if keepers.detached {
        words.push("detached".to_owned());
    }
    if !keepers.sessions.is_empty() {
        words.push(format!("sessions: {}", keepers.sessions.len()));
    }
    if keepers.dependents > 0 {
        words.push(format!("tasks that need it: {}", keepers.dependents));
    }
    if keepers.lineage > 0 {
        words.push(format!("tasks that may need it again: {}", keepers.lineage));
    }
    for (log, elements) in keepers.channels().iter().take(CHANNELS_SHOWN_MAX) {
        words.push(format!("channel {}: {}", state.channels[log].name, counted(*elements, "element")));
    }
    if keepers.channels().len() > CHANNELS_SHOWN_MAX {
        let more = keepers.channels().len() - CHANNELS_SHOWN_MAX;
        words.push(counted(more as u64, "more channel"));
    }
    words.join(", ")
}

fn overview(state: &State, presence: &Presence, facts: &LogFacts) -> Overview {
    let workers = state.sessions.iter().filter_map(|(producer, session)| {
        let SessionKind::Worker { name } = &session.kind else { return None };
        let connected = presence.slots().workers().get(producer);
        Some(WorkerInfo {
            name: name.clone(),
            slots: connected.map_or(0, |worker| worker.slots),
            running: u32::try_from(session.running.len()).unwrap_or(u32::MAX),
            connected: connected.is_some(),
        })
    });
    Overview {
        epoch: facts.starts.newest().epoch,
        seq: facts.seq,
        receipt: facts.receipt.clone(),
        store: facts.store.clone(),
        tasks_head: state.tasks_head,
        records: state.records(),
        pending: state.counts.pending,
        running: state.counts.running,
        finished: state.counts.finished,
        failed: state.counts.failed,
        channels: state.channels.values().filter(|channel| !channel.deleted).count() as u64,
        workers: workers.collect(),
    }
}

/// What is known of a worker, and what it runs: those that are clients first, as they may run for ever.
fn worker(state: &State, presence: &Presence, producer: Producer) -> Option<WorkerStatus> {
    let session = state.sessions.get(&producer)?;
    let SessionKind::Worker { name } = &session.kind else { return None };
    let connected = presence.slots().workers().get(&producer);
    let (clients, others): (Vec<TaskId>, Vec<TaskId>) =
        session.running.iter().partition(|task| presence.is_client(**task));
    let stored_bytes = |task: &TaskId| Some(state.tasks.get(task)?.phase.stored()?.result.bytes);
    let runs = clients.into_iter().chain(others).take(RUNS_SHOWN_MAX);
    let runs = runs.filter_map(|task| {
        let (key, attempt) = (state.key_of(task)?, state.tasks.get(&task)?.attempt);
        let (is_client, has_paused) = (presence.is_client(task), presence.has_paused(task));
        Some(RunningAttempt { key, attempt, is_client, has_paused })
    });
    Some(WorkerStatus {
        session: producer,
        name: name.clone(),
        slots: connected.map_or(0, |worker| worker.slots),
        running: u32::try_from(session.running.len()).unwrap_or(u32::MAX),
        connected: connected.is_some(),
        retiring: presence.retiring(producer).is_some(),
        results: session.stored.len() as u64,
        result_bytes: session.stored.iter().filter_map(stored_bytes).sum(),
        runs: runs.collect(),
        equipment: presence.equipped(producer).map(|equipped| equipped.equipment.clone()).unwrap_or_default(),
        free: presence.equipped(producer).map(|equipped| equipped.stock.free()).unwrap_or_default(),
    })
}

/// How many bytes a row of the listing of workers takes, or more.
fn worker_bytes(row: &WorkerStatus) -> usize {
    let Equipment { host, labels, resources } = &row.equipment;
    let labels: usize = labels.iter().map(|label| label.as_str().len() + 1).sum();
    let told_apart = |supply: &Supply| match supply {
        Supply::Sum(_) => 0,
        Supply::Each(ones) => ones.iter().map(|one| one.len() + 1).sum(),
    };
    let resources: usize =
        resources.iter().map(|of| 32 + of.name.as_str().len() + told_apart(&of.supply)).sum();
    64 + host.len()
        + labels
        + resources
        + row.name.len()
        + row.runs.iter().map(|run| 32 + run.key.label.len()).sum::<usize>()
}

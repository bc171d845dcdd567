//! Why a task is where it is, or does not run, in words: by the rules that decide it, asked again now.

use super::effect;
use super::moments::Moment;
use super::place::{self, Reserved};
use super::presence::Presence;
use super::state::State;
use super::task::{Phase, Task};
use super::{LogFacts, query, upkeep};
use crate::protocol::limits::POINTS_MAX;
use crate::protocol::result::Holder;
use crate::protocol::session::FunctionOffer;
use crate::protocol::size::Bytes;
use crate::protocol::task::{Explanation, Point};
use crate::protocol::{Producer, TaskId};

/// Explains a task, if it is known.
pub(super) fn task(state: &State, presence: &Presence, facts: &LogFacts, id: TaskId) -> Option<Explanation> {
    let task = state.tasks.get(&id)?;
    let waits_for = || query::waits_for(state, presence, facts, id).unwrap_or_default();
    let (because, points) = match &task.phase {
        Phase::Waiting { .. } => (format!("it waits for {}", waits_for()), dependencies(state, task)),
        Phase::Delayed => (format!("it waits for {}", waits_for()), Vec::new()),
        Phase::Ready => ready(state, presence, facts, id, task),
        Phase::Running { worker } => running(state, presence, id, task, *worker),
        Phase::Finished(_) => ("it has finished: its result is in the log".to_owned(), Vec::new()),
        Phase::Stored(_) => stored(state, presence, id),
        Phase::Lost => {
            let words = "it had finished, and no worker keeps its result any more: it is computed anew once somebody needs it";
            (words.to_owned(), Vec::new())
        }
        Phase::Failed(error) => (format!("it has failed: {error}"), Vec::new()),
        Phase::Cancelled => ("it was cancelled".to_owned(), Vec::new()),
    };
    let more = points.len().saturating_sub(POINTS_MAX) as u64;
    let points = points.into_iter().take(POINTS_MAX).map(|(of, words)| Point { of, words }).collect();
    let not_before = state.moments.of(id, Moment::Retry);
    Some(Explanation { key: task.key(id), status: task.phase.status(), because, not_before, points, more })
}

/// What something is called, and what there is to say of it.
type Said = (String, String);

/// Those that it waits for: first those that have no result.
fn dependencies(state: &State, task: &Task) -> Vec<Said> {
    let needed = task.call.iter().flat_map(|call| &call.dependencies);
    let mut known: Vec<(&TaskId, &Task)> = needed.filter_map(|id| Some((id, state.tasks.get(id)?))).collect();
    known.sort_by_key(|(_, needed)| needed.phase.has_result());
    let said = known.into_iter().map(|(id, needed)| {
        let status = needed.phase.status();
        let words = match needed.phase {
            Phase::Running { worker } => format!("{status} on {}", state.worker_name(worker)),
            _ => status.to_string(),
        };
        (needed.key(*id).to_string(), words)
    });
    said.collect()
}

fn ready(
    state: &State,
    presence: &Presence,
    facts: &LogFacts,
    id: TaskId,
    task: &Task,
) -> (String, Vec<Said>) {
    let workers = presence.slots().workers().keys();
    let (_, reserved) = upkeep::asking(state, presence, Some(task.turn()));
    let verdict = |worker: &Producer| verdict(state, presence, task, *worker, &reserved);
    let said = workers.map(|worker| (state.worker_name(*worker).into(), verdict(worker))).collect();
    // Another rule's turn, or another task's, comes first.
    let is_next = facts.shortage.is_none()
        && upkeep::out_of_reach(state, presence, id).is_none()
        && place::best(state, presence, id, &reserved).is_some();
    // It would have a place, were it not kept for another.
    let waits_for = query::waits_for(state, presence, facts, id);
    let is_held_up = !is_next && !reserved.is_empty() && place::best(state, presence, id, &[]).is_some();
    let because = match waits_for {
        _ if is_held_up => "it waits for what is kept on a worker for a task whose turn is before".to_owned(),
        Some(waits_for) if !is_next => format!("it waits for {waits_for}"),
        _ => "it is about to be started".to_owned(),
    };
    (because, said)
}

/// What keeps a worker from running a task now, or that nothing does.
fn verdict(
    state: &State,
    presence: &Presence,
    task: &Task,
    worker: Producer,
    reserved: &[Reserved],
) -> String {
    let slots = presence.slots();
    let (Some(of), Some(equipped)) = (slots.workers().get(&worker), presence.equipped(worker)) else {
        return "away".to_owned();
    };
    if of.retires() {
        return "retires".to_owned();
    }
    if !slots.has(worker, &task.function) {
        let FunctionOffer { name, version } = &*task.function;
        return match slots.version_of(worker, name) {
            Some(other) => format!("has `{name}` version {other}, and not {version}"),
            None => format!("does not have `{name}` version {version}"),
        };
    }
    if let Some(demand) = task.demand() {
        if !place::may_run(state, presence, worker, demand) {
            let on: Vec<String> = demand.on.iter().map(ToString::to_string).collect();
            return format!("is not {}", on.join(" and "));
        }
        for need in &demand.needs {
            let (total, free) =
                (equipped.stock.total_of(&need.resource), equipped.stock.free_of(&need.resource));
            if total < need.amount {
                return format!("has {total} of {}, and {} is needed", need.resource, need.amount);
            }
            if free < need.amount {
                return format!(
                    "has {free} of {total} {} free, and {} is needed",
                    need.resource, need.amount
                );
            }
        }
        if equipped.stock.fit(&demand.needs).is_none() {
            return format!("has {} only in parts of several", place::in_words(&demand.needs));
        }
        let kept_for = place::is_kept(worker, &demand.needs, reserved);
        if let Some(other) = kept_for.and_then(|other| state.key_of(other)) {
            return format!("is kept for {other}, whose turn is before");
        }
    }
    match of.slots.saturating_sub(of.taken) {
        0 => format!("has no slot free of {}", of.slots),
        free => format!("could run it: {free} of {} slots are free", of.slots),
    }
}

fn running(
    state: &State,
    presence: &Presence,
    id: TaskId,
    task: &Task,
    worker: Producer,
) -> (String, Vec<Said>) {
    let name = state.worker_name(worker);
    let mut because = format!("attempt {} is with worker {name}", task.attempt);
    let is_there = presence.slots().workers().contains_key(&worker);
    let may_run = || {
        let running = state.sessions.get(&worker).map(|session| &session.running);
        running.is_some_and(|running| presence.suspects(worker, running).contains(&id))
    };
    because.push_str(match is_there {
        false => ", which is away, and is waited for until its lease is over",
        true if presence.has_paused(id) => {
            ", and waits for others: it has given up its slot and its resources until it goes on"
        }
        true if !may_run() => ", where it waits for its turn",
        true => "",
    });
    let mut said = Vec::new();
    let mut of_worker = |words: String| said.push((name.to_string(), words));
    if let Some(demand) = task.demand() {
        let is_preferred = place::matching(state, presence, worker, &demand.prefers) > 0;
        let named = demand.on.iter().chain(demand.prefers.iter().filter(|_| is_preferred));
        let named: Vec<String> = named.map(ToString::to_string).collect();
        if !named.is_empty() {
            of_worker(format!("chosen by {}", named.join(" and ")));
        }
    }
    if !task.grants().is_empty() {
        let grants: Vec<String> = task.grants().iter().map(ToString::to_string).collect();
        of_worker(format!("has granted it {}", grants.join(", ")));
    }
    let kept = place::kept_bytes(state, id);
    if let Some((_, bytes)) = kept.iter().find(|(holder, _)| *holder == worker) {
        of_worker(format!("keeps {} of the results that it needs", Bytes(*bytes)));
    }
    let others = presence.slots().with_function(&task.function).filter(|other| *other != worker).count();
    if others == 0 {
        of_worker(format!("the only connected one with `{}`", task.function.name));
    }
    (because, said)
}

fn stored(state: &State, presence: &Presence, id: TaskId) -> (String, Vec<Said>) {
    let located = effect::located(state, presence, id);
    let (bytes, holders) = located.map_or((0, Vec::new()), |located| (located.result.bytes, located.holders));
    let away = if holders.is_empty() { " that are away" } else { "" };
    let because = format!("it has finished: its result, {}, is kept by workers{away}", Bytes(bytes));
    let words = |holder: &Holder| match holder.address.is_empty() {
        true => "keeps it".to_owned(),
        false => format!("keeps it, at {}", holder.place()),
    };
    let said = holders.iter().map(|holder| (holder.worker.to_string(), words(holder))).collect();
    (because, said)
}

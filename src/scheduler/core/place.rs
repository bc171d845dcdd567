//! Where a ready task is to run: which workers may, and which of them is best.

use std::sync::Arc;

use super::demand::Demand;
use super::presence::Presence;
use super::state::State;
use super::task::Turn;
use crate::protocol::counted::counted;
use crate::protocol::equipment::{Amount, Grant, Need, ResourceName, Target};
use crate::protocol::session::{FunctionOffer, SessionKind};
use crate::protocol::{Producer, TaskId};

/// A worker for a task, and what the attempt is granted of its resources.
pub(super) struct Place {
    pub worker: Producer,
    pub grants: Vec<Grant>,
}

/// A worker that is kept for a task whose turn comes first, and does not fit yet: what it needs there goes to nobody whose
/// turn is later. Else a task that needs much would wait for ever behind many that need little.
#[derive(Clone)]
pub(super) struct Reserved {
    pub worker: Producer,
    pub by: TaskId,
    pub turn: Turn,
    demand: Arc<Demand>,
}

impl Reserved {
    /// Whether a resource of a worker is kept by it.
    fn keeps(&self, worker: Producer, resource: &ResourceName) -> bool {
        self.worker == worker && self.demand.needs.iter().any(|need| need.resource == *resource)
    }
}

/// The best place that there is now for a ready task: with a worker that has a free slot rather than one where it would
/// wait; of these with one that it prefers; then with the one that keeps most of what it needs, by bytes; then with the one
/// that has most free slots, and of these the oldest session. What it needs of resources is granted only with a free slot,
/// so that nothing is kept from others for something that waits.
pub(super) fn best(state: &State, presence: &Presence, id: TaskId, reserved: &[Reserved]) -> Option<Place> {
    let task = state.tasks.get(&id)?;
    let (demand, kept) = (task.demand().map(AsRef::as_ref), kept_bytes(state, id));
    if demand.is_none() && kept.is_empty() && reserved.is_empty() {
        let worker = presence.slots().place_for(&task.function)?;
        return Some(Place { worker, grants: Vec::new() });
    }
    let needs = demand.map_or(&[][..], |demand| &demand.needs);
    let candidates = presence.slots().with_room(&task.function).filter_map(|(worker, room)| {
        let is_free = room.0 > 0;
        if !(is_free || needs.is_empty())
            || !demand.is_none_or(|demand| may_run(state, presence, worker, demand))
            || is_kept(worker, needs, reserved).is_some()
            // A slot is what it waits for, too.
            || (!is_free && reserved.iter().any(|reserved| reserved.worker == worker))
        {
            return None;
        }
        let grants = presence.equipped(worker)?.stock.fit(needs)?;
        let preferred = demand.map_or(0, |demand| matching(state, presence, worker, &demand.prefers));
        let bytes = kept.iter().find(|(holder, _)| *holder == worker).map_or(0, |(_, bytes)| *bytes);
        Some(((is_free, preferred, bytes, room, std::cmp::Reverse(worker)), Place { worker, grants }))
    });
    candidates.max_by_key(|(merit, _)| *merit).map(|(_, place)| place)
}

/// The worker that is kept for a ready task that fits nowhere now: of those that could run it the one that lacks least, and
/// of these the oldest. What is free there grows while it is kept, and another one is kept only where more is free, or as
/// much on an older one: so it cannot go back and forth for ever. What attempts have there that are clients is not counted
/// on: they may keep it while they wait for tasks that are to run beside them. Nothing where all of it is kept for others already.
pub(super) fn reserve(
    state: &State,
    presence: &Presence,
    id: TaskId,
    reserved: &[Reserved],
) -> Option<Reserved> {
    let task = state.tasks.get(&id)?;
    let demand = task.demand().filter(|demand| !demand.needs.is_empty())?;
    let lack = |worker: Producer| {
        let stock = &presence.equipped(worker)?.stock;
        let mut lack = 0;
        for Need { resource, amount } in &demand.needs {
            let comes_free =
                stock.total_of(resource).less(held_by_clients(state, presence, worker, resource));
            if comes_free < *amount {
                return None;
            }
            lack = lack
                .max(u128::from(amount.less(stock.free_of(resource)).0) * 1_000_000 / u128::from(amount.0));
        }
        Some(lack)
    };
    let workers = presence.slots().with_function(&demand.function);
    let able = workers.filter(|worker| may_run(state, presence, *worker, demand));
    let (_, worker) = able.filter_map(|worker| Some((lack(worker)?, worker))).min()?;
    let is_kept = |need: &Need| reserved.iter().any(|of| of.keeps(worker, &need.resource));
    if demand.needs.iter().all(is_kept) {
        return None;
    }
    Some(Reserved { worker, by: id, turn: task.turn(), demand: demand.clone() })
}

/// How much of a worker's resource attempts take that are clients, and have not paused.
fn held_by_clients(state: &State, presence: &Presence, worker: Producer, resource: &ResourceName) -> Amount {
    let running = state.sessions.get(&worker).into_iter().flat_map(|session| &session.running);
    let clients = running.filter(|task| presence.is_client(**task) && !presence.has_paused(**task));
    let grants = clients.filter_map(|task| state.tasks.get(task)).flat_map(|task| task.grants());
    grants.filter(|grant| grant.resource == *resource).fold(Amount(0), |sum, grant| sum.more(grant.amount))
}

/// The task for which something that is needed is kept on a worker, if it is.
pub(super) fn is_kept(worker: Producer, needs: &[Need], reserved: &[Reserved]) -> Option<TaskId> {
    let keeps = |of: &&Reserved| needs.iter().any(|need| of.keeps(worker, &need.resource));
    reserved.iter().find(keeps).map(|reserved| reserved.by)
}

/// How many bytes of the stored results that a task needs each worker keeps.
pub(super) fn kept_bytes(state: &State, id: TaskId) -> Vec<(Producer, u64)> {
    let mut kept: Vec<(Producer, u64)> = Vec::new();
    let call = state.tasks.get(&id).and_then(|task| task.call.as_ref());
    for dependency in call.iter().flat_map(|call| &call.dependencies) {
        let Some(stored) = state.tasks.get(dependency).and_then(|task| task.phase.stored()) else { continue };
        for holder in &stored.holders {
            match kept.iter_mut().find(|(known, _)| known == holder) {
                Some((_, bytes)) => *bytes += stored.result.bytes,
                None => kept.push((*holder, stored.result.bytes)),
            }
        }
    }
    kept
}

/// Whether a worker is one of those on which a task may run.
pub(super) fn may_run(state: &State, presence: &Presence, worker: Producer, demand: &Demand) -> bool {
    let is_label = |target: &&Target| matches!(target, Target::Label(_));
    let mut named = demand.on.iter().filter(|target| !is_label(target)).peekable();
    let is_named = named.peek().is_none() || named.any(|target| is(state, presence, worker, target));
    is_named && demand.on.iter().filter(is_label).all(|target| is(state, presence, worker, target))
}

/// How many of these a worker is.
pub(super) fn matching(state: &State, presence: &Presence, worker: Producer, targets: &[Target]) -> usize {
    targets.iter().filter(|target| is(state, presence, worker, target)).count()
}

fn is(state: &State, presence: &Presence, worker: Producer, target: &Target) -> bool {
    let equipment = presence.equipped(worker).map(|equipped| &equipped.equipment);
    match target {
        Target::Worker(name) => {
            let kind = state.sessions.get(&worker).map(|session| &session.kind);
            matches!(kind, Some(SessionKind::Worker { name: known }) if known == name)
        }
        Target::Host(name) => equipment.is_some_and(|equipment| equipment.host == *name),
        Target::Label(label) => equipment.is_some_and(|equipment| equipment.labels.contains(label)),
    }
}

/// Why no worker is given a task that is ready, in words: the first of what stands in its way.
pub(super) fn obstacle(state: &State, presence: &Presence, id: TaskId) -> String {
    let task = &state.tasks[&id];
    let slots = presence.slots();
    let connected = slots.taking();
    if connected == 0 {
        let words =
            if slots.workers().is_empty() { "none is connected" } else { "all that are connected retire" };
        return format!("a worker: {words}");
    }
    let mut workers: Vec<Producer> = slots.with_function(&task.function).collect();
    if workers.is_empty() {
        let FunctionOffer { name, version } = &*task.function;
        return format!("a worker with `{name}` version {version}: none of the {connected} connected has it");
    }
    if let Some(demand) = task.demand() {
        let of_them = |workers: &[Producer]| match workers.len() {
            1 => "the one worker that could run it".to_owned(),
            many => format!("the {many} workers that could run it"),
        };
        let before = of_them(&workers);
        workers.retain(|worker| may_run(state, presence, *worker, demand));
        if workers.is_empty() {
            let on: Vec<String> = demand.on.iter().map(ToString::to_string).collect();
            return format!("a worker that is {}: none of {before} is", on.join(" and "));
        }
        if let Some(words) = shortage(presence, &workers, &demand.needs) {
            return words;
        }
        let total = |worker: &Producer, need: &Need| {
            presence.equipped(*worker).is_some_and(|of| of.stock.total_of(&need.resource) >= need.amount)
        };
        workers.retain(|worker| demand.needs.iter().all(|need| total(worker, need)));
        let before = of_them(&workers);
        let fits = |worker: &Producer| {
            presence.equipped(*worker).is_some_and(|of| of.stock.fit(&demand.needs).is_some())
        };
        if !workers.iter().any(fits) {
            return format!("{}, which others have on {before}", in_words(&demand.needs));
        }
    }
    format!("a free slot on {} of {}", workers.len(), counted(connected as u64, "worker"))
}

/// What the workers do not have at all of what is needed, if it is so.
fn shortage(presence: &Presence, workers: &[Producer], needs: &[Need]) -> Option<String> {
    let total = |worker: &Producer, need: &Need| {
        presence.equipped(*worker).map(|of| of.stock.total_of(&need.resource))
    };
    for need in needs {
        let most = workers.iter().filter_map(|worker| total(worker, need)).max().unwrap_or_default();
        if most.0 == 0 {
            return Some(format!("{need}: no connected worker that could run it offers {}", need.resource));
        }
        if most < need.amount {
            return Some(format!("{need}: no connected worker that could run it offers more than {most}"));
        }
    }
    let has_all = |worker: &Producer| {
        needs.iter().all(|need| total(worker, need).is_some_and(|total| total >= need.amount))
    };
    let words = || format!("{}: no connected worker that could run it offers all of that", in_words(needs));
    (!workers.iter().any(has_all)).then(words)
}

/// Needs, in words.
pub(super) fn in_words(needs: &[Need]) -> String {
    needs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

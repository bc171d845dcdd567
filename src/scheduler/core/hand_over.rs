//! What becomes of the results that a retiring worker keeps: another worker that is there copies each, then it need
//! not keep it any more. Where there is no other, they are lost, and computed anew once there is one.

use super::Event;
use super::decide;
use super::presence::Presence;
use super::state::State;
use super::task::Stored;
use crate::protocol::result::LossReason;
use crate::protocol::{Producer, TaskEvent, TaskId};

/// Most results that are copied at a time: 4, so that a large one does not hold up all others, and no worker is
/// flooded.
pub(super) const COPIES_MAX: usize = 4;

/// What is to be done next.
pub(super) enum Step {
    /// These are facts.
    Facts(Vec<Event>),
    /// A worker is to copy a result.
    Copy {
        /// Whose.
        task: TaskId,
        /// Which worker.
        by: Producer,
    },
}

/// The next step, if any worker that is there retires and keeps something.
pub(super) fn next(state: &State, presence: &Presence) -> Option<Step> {
    presence.all_retiring().find_map(|worker| {
        let session = state.sessions.get(&worker).filter(|_| presence.connection_of(worker).is_some())?;
        session.stored.iter().find_map(|task| of_one(state, presence, worker, *task))
    })
}

fn of_one(state: &State, presence: &Presence, worker: Producer, task: TaskId) -> Option<Step> {
    let stored = state.tasks.get(&task)?.phase.stored()?;
    let staying = || stored.holders.iter().filter(|other| presence.retiring(**other).is_none());
    let dropped = || Some(Step::Facts(vec![Event::Task(TaskEvent::Dropped { task, worker })]));
    if staying().any(|other| presence.any_reachable(&[*other])) {
        return dropped();
    }
    if presence.copier(task).is_some() {
        return None;
    }
    match taker(state, presence, stored) {
        Some(_) if presence.copies() >= COPIES_MAX => None,
        Some(by) => Some(Step::Copy { task, by }),
        // One that keeps it, and is away, may come back.
        None if staying().next().is_some() => dropped(),
        None => {
            let mut events = Vec::new();
            decide::lose(state, task, worker, LossReason::Retired, &mut events);
            Some(Step::Facts(events))
        }
    }
}

/// The worker that keeps the fewest results, of those that stay.
fn taker(state: &State, presence: &Presence, stored: &Stored) -> Option<Producer> {
    let stays = presence.giving().filter(|worker| presence.retiring(*worker).is_none());
    let others = stays.filter(|worker| !stored.holders.contains(worker));
    others
        .min_by_key(|worker| (state.sessions.get(worker).map_or(0, |session| session.stored.len()), *worker))
}

//! Results that more workers are to keep, because a client wishes so. The wish is of the moment: it is in no log, and
//! done with as soon as so many keep the result, or no more of them can, or one could not copy it. The client asks again until
//! it hears what it wished for.

use std::collections::BTreeMap;

use super::LogFacts;
use super::hand_over::{COPIES_MAX, Step};
use super::presence::Presence;
use super::state::State;
use super::task::{Phase, Stored};
use crate::protocol::command::{Answer, Command};
use crate::protocol::result::Replication;
use crate::protocol::{Producer, TaskId};

/// A wish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    task: TaskId,
    copies: u32,
}

/// The wishes that are not fulfilled.
#[derive(Debug, Default)]
pub(super) struct Replicas(BTreeMap<TaskId, u32>);

impl Replicas {
    /// Hears of every command: one may be a wish, if it is not refused.
    pub fn hear(&mut self, presence: &Presence, from: Producer, command: &Command) -> Option<Wish> {
        match command {
            Command::Replicate { task, copies } => return Some(Wish { task: *task, copies: *copies }),
            // Whoever was told to copy it could not, or whoever keeps it does so no longer.
            Command::Lack { task, .. } if presence.gives(from) => drop(self.0.remove(task)),
            _ => {}
        }
        None
    }

    /// The answer to a command, which is how far a wish is fulfilled if it is one.
    pub fn answer(
        &mut self,
        state: &State,
        presence: &Presence,
        wish: Option<Wish>,
        other: Answer,
    ) -> Answer {
        match wish {
            Some(wish) => Answer::Replicated(self.wish(state, presence, wish)),
            None => other,
        }
    }

    /// Takes a wish for a task that has a result. Answers how far it is fulfilled.
    fn wish(&mut self, state: &State, presence: &Presence, wish: Wish) -> Replication {
        let Some(stored) = stored(state, wish.task) else { return Replication::InLog };
        let by = keepers(presence, stored).count();
        let can = by + takers(presence, stored).count();
        let [by, can] = [by, can].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let wanted = wish.copies.min(can);
        let under_way = self.0.contains_key(&wish.task) || presence.copier(wish.task).is_some();
        if by < wanted {
            self.0.insert(wish.task, wish.copies);
        }
        Replication::Kept { by, wanted, under_way }
    }

    /// What is to be copied next, and by whom: by the worker that keeps the fewest results.
    pub fn next(&mut self, state: &State, presence: &Presence, facts: &LogFacts) -> Option<Step> {
        if facts.shortage.is_some() || presence.copies() >= COPIES_MAX {
            return None;
        }
        loop {
            let (task, copies) = self.0.iter().find(|(task, _)| presence.copier(**task).is_none())?;
            let (task, copies) = (*task, *copies as usize);
            let by = stored(state, task).and_then(|stored| {
                let kept = keepers(presence, stored).count();
                let kept_by =
                    |worker: &Producer| state.sessions.get(worker).map_or(0, |session| session.stored.len());
                let is_to_be = kept < copies && presence.any_reachable(&stored.holders);
                takers(presence, stored).filter(|_| is_to_be).min_by_key(|worker| (kept_by(worker), *worker))
            });
            match by {
                Some(by) => return Some(Step::Copy { task, by }),
                None => drop(self.0.remove(&task)),
            }
        }
    }
}

fn stored(state: &State, task: TaskId) -> Option<&Stored> {
    match &state.tasks.get(&task)?.phase {
        Phase::Stored(stored) => Some(stored),
        _ => None,
    }
}

/// Those who keep it, are there, and stay.
fn keepers(presence: &Presence, stored: &Stored) -> impl Iterator<Item = Producer> {
    let holders = stored.holders.iter().copied();
    holders.filter(|worker| presence.any_reachable(&[*worker]) && presence.retiring(*worker).is_none())
}

/// Those who could keep it, too.
fn takers(presence: &Presence, stored: &Stored) -> impl Iterator<Item = Producer> {
    let stays = presence.giving().filter(|worker| presence.retiring(*worker).is_none());
    stays.filter(|worker| !stored.holders.contains(worker))
}

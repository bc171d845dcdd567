//! The check of a whole history, from outside: what clients were told against what the logs hold. Pure: it
//! is given acknowledgements and records, and answers what is wrong with them.
//!
//! ```text
//!   acks ──▶ Checker::new ─┐
//!   channels' records ─────┼─▶ channel: places, order, progress ─┐
//!   `$tasks` ──────────────┴─▶ tasks: sessions, outcomes ────────┴─▶ finish ─▶ violations
//! ```
//!
//! The order in which a caller reads matters, since work goes on meanwhile: acknowledgements first, then
//! the channels, `$tasks` last. So what was acknowledged must be on the channels, and what is on the channels
//! must be in `$tasks`; the reverse holds only once everything has settled ([`Moment::Settled`]).
//!
//! It trusts no one's word but the acknowledgements and the functions of [`super::tasks`]: what a task must
//! bring is worked out here, from its arguments.

mod acks;
mod channel;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use self::channel::ChannelCheck;
use self::tasks::TasksCheck;
use super::life::{Life, LifeId};
use crate::client::Record;
use crate::protocol::{ChannelEvent, TaskEvent};

/// What kind of promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Offsets, indexes or producers are not dense, epochs do not grow, or a subscription left something out.
    Gap,
    /// What was acknowledged is not where it was said to be.
    Lost,
    /// An element, a session or a task is there twice.
    Repeated,
    /// Elements of one session are not in its order.
    Reordered,
    /// An element that nobody can have appended there.
    Unasked,
    /// A task has ended twice, by an older attempt, or otherwise than it may.
    Outcome,
    /// A task brought something else than its function gives.
    WrongResult,
    /// A channel says something else of a task than `$tasks`.
    Progress,
    /// An older attempt wrote after a newer one.
    Fence,
    /// The store is damaged or behind what it acknowledged.
    Damage,
    /// Two readers saw different records.
    Readers,
    /// A stopped channel does not hold what its end says.
    Stop,
    /// Something wanted did not come.
    Unsettled,
    /// Something took longer than its limit.
    Stuck,
    /// A client was refused what it may do.
    Refused,
    /// A process ended by itself, or not in order.
    Ended,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub what: String,
}

/// Broken promises, as an error: a run goes no further.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Violated(pub Vec<Violation>);

/// Whether everything is there that must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Work goes on.
    Running,
    /// Everybody has stopped, and everything wanted has ended.
    Settled,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Records of all logs.
    pub records: u64,
    /// Elements of all channels.
    pub elements: u64,
    /// Acknowledgements.
    pub acks: u64,
    /// Tasks that were submitted.
    pub tasks: u64,
    /// Outcomes of tasks.
    pub outcomes: u64,
    /// Results that were lost with their worker and computed anew.
    pub recomputed: u64,
    /// Attempts.
    pub attempts: u64,
    /// Starts of the scheduler that entered their receipt.
    pub epochs: u64,
    /// Sessions that were not heard of for their lease.
    pub sessions_expired: u64,
}

/// A check of one history.
#[derive(Debug)]
pub struct Checker {
    lives: HashMap<LifeId, Life>,
    channels: BTreeMap<String, ChannelCheck>,
    tasks: TasksCheck,
    found: Found,
}

/// The violations so far: at most [`FOUND_MAX`], as one cause may break a thousand promises.
#[derive(Debug, Default)]
struct Found(Vec<Violation>);

const FOUND_MAX: usize = 20;

impl Found {
    fn add(&mut self, kind: Kind, what: impl fmt::Display) {
        if self.0.len() < FOUND_MAX {
            self.0.push(Violation::new(kind, what));
        }
    }

    fn add_unless(&mut self, holds: bool, kind: Kind, what: impl FnOnce() -> String) {
        if !holds {
            self.add(kind, what());
        }
    }
}

impl Violation {
    pub fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Violation { kind, what: what.to_string() }
    }

    /// As what ends a run.
    pub fn error(kind: Kind, what: impl fmt::Display) -> anyhow::Error {
        Violated(vec![Violation::new(kind, what)]).into()
    }
}

impl Kind {
    /// The name, as `--json` has it.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name().replace('_', " "), self.what)
    }
}

impl Checker {
    /// Begins with what clients were told.
    pub fn new(lives: Vec<Life>) -> Self {
        let lives = lives.into_iter().map(|life| (life.id, life)).collect();
        let (channels, tasks, found) = Default::default();
        Checker { lives, channels, tasks, found }
    }

    /// Takes the next record of a channel.
    pub fn channel(&mut self, name: &str, record: &Record<ChannelEvent>) {
        if !self.channels.contains_key(name) {
            self.channels.insert(name.to_owned(), ChannelCheck::new(name));
        }
        let channel = self.channels.get_mut(name).expect("it was just put there");
        channel.take(record, &mut self.found);
    }

    /// Takes the next record of `$tasks`.
    pub fn task(&mut self, record: &Record<TaskEvent>) {
        self.tasks.take(record, &mut self.found);
    }

    /// Holds all of it against each other.
    pub fn finish(mut self, moment: Moment) -> (Sums, Vec<Violation>) {
        let found = &mut self.found;
        for channel in self.channels.values() {
            channel.check_futures(&self.tasks, moment, found);
            channel.check_producers(&self.tasks, found);
        }
        acks::check(&self.lives, &self.channels, &self.tasks, found);
        if moment == Moment::Settled {
            acks::check_unasked(&self.lives, &self.channels, found);
            self.tasks.check_settled(found);
        }
        let of_channels = |sum: fn(&ChannelCheck) -> u64| self.channels.values().map(sum).sum::<u64>();
        let sums = Sums {
            records: of_channels(ChannelCheck::records) + self.tasks.records(),
            elements: of_channels(ChannelCheck::elements),
            acks: self.lives.values().map(|life| life.acks.len() as u64).sum(),
            ..self.tasks.sums()
        };
        (sums, self.found.0)
    }
}

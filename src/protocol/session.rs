//! Sessions: who speaks to the scheduler, and for how long it is waited for.

use serde::{Deserialize, Serialize};

use super::equipment::{Amount, Equipment};
use super::ids::{AttemptNumber, Producer, TaskId, TaskKey};

/// Who a session belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionKind {
    /// A program.
    Client,
    /// A worker.
    Worker {
        /// Its name. A worker that joins under the name of another takes its place.
        name: Box<str>,
    },
    /// A task that is a client itself, for one attempt.
    Attempt {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
    },
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// It said goodbye.
    Left,
    /// It was not heard of for its lease.
    LeaseExpired,
    /// Another worker joined under its name.
    Superseded,
    /// The attempt that it belonged to is over, or a newer one has begun.
    AttemptOver,
}

impl EndReason {
    /// Whether a worker whose session ended so is taken to have died.
    pub fn is_death(self) -> bool {
        match self {
            EndReason::LeaseExpired | EndReason::Superseded => true,
            EndReason::Left | EndReason::AttemptOver => false,
        }
    }
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EndReason::Left => "it left",
            EndReason::LeaseExpired => "it was not heard of for its lease",
            EndReason::Superseded => "another worker joined under its name",
            EndReason::AttemptOver => "the attempt that it belonged to is over",
        })
    }
}

/// A function as a worker offers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionOffer {
    /// The full name: `rust:my_crate::add`.
    pub name: Box<str>,
    /// The version, as its author counts it.
    pub version: u32,
}

/// An attempt that a worker knows of: it runs, or its outcome is still to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeldAttempt {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: AttemptNumber,
}

/// What a worker can do, told whenever it connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerOffer {
    /// The worker's name.
    pub name: Box<str>,
    /// How many attempts it runs at a time; 0 when it retires and is to be given nothing more.
    pub slots: u32,
    /// The functions it has.
    pub functions: Vec<FunctionOffer>,
    /// The attempts it holds, all of them.
    pub held: Vec<HeldAttempt>,
    /// Where others fetch the results that it keeps: `host:port`, or `:port` for the host at which whoever asks
    /// reaches the scheduler. Empty for one that keeps none.
    pub results_at: Box<str>,
    /// What else it has.
    pub equipment: Equipment,
}

/// As whom a connection is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A program.
    Client,
    /// A worker.
    Worker(WorkerOffer),
    /// A task that is a client, for one attempt.
    Attempt {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
    },
}

impl Role {
    /// The kind of session that the role opens.
    pub fn kind(&self) -> SessionKind {
        match self {
            Role::Client => SessionKind::Client,
            Role::Worker(offer) => SessionKind::Worker { name: offer.name.clone() },
            Role::Attempt { task, attempt } => SessionKind::Attempt { task: *task, attempt: *attempt },
        }
    }
}

/// What the scheduler knows of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its name.
    pub name: Box<str>,
    /// Its slots; 0 while it is away.
    pub slots: u32,
    /// How many attempts are with it, those that wait there for a slot included.
    pub running: u32,
    /// Whether it is connected.
    pub connected: bool,
}

/// How a worker retires. It is given nothing more in either case, and leaves with a goodbye in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Retire {
    /// It runs what it has to its end, for as long as that takes.
    Finish,
    /// It drops what it runs and leaves at once: all of it is started anew on other workers. Nothing counts
    /// as a death.
    HandOver,
}

/// What the scheduler knows of a worker, and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its session. Another one that joins under its name has another.
    pub session: Producer,
    /// Its name.
    pub name: Box<str>,
    /// Its slots; 0 while it is away, and when it retires.
    pub slots: u32,
    /// How many attempts are with it, those that wait there for a slot included.
    pub running: u32,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it retires: it is given nothing more, and leaves when nothing runs there any more, and others keep
    /// the results that it kept.
    pub retiring: bool,
    /// How many tasks' results it keeps.
    pub results: u64,
    /// Their bytes.
    pub result_bytes: u64,
    /// The attempts that are with it, those that are clients first; at most
    /// [`RUNS_SHOWN_MAX`](super::limits::RUNS_SHOWN_MAX).
    pub runs: Vec<RunningAttempt>,
    /// What it has beside its functions; empty while it is away.
    pub equipment: Equipment,
    /// How much of each of its resources is not granted to an attempt, in their order.
    pub free: Vec<Amount>,
}

/// An attempt that is with a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningAttempt {
    /// The task.
    pub key: TaskKey,
    /// The attempt.
    pub attempt: AttemptNumber,
    /// Whether it is a client itself: many of these run for ever.
    pub is_client: bool,
    /// Whether it waits for others, and takes no slot and nothing of what it was granted.
    pub has_paused: bool,
}

//! Workers that retire. No fact comes of it, so it is in no log: who retires is known to
//! [`Presence`](crate::scheduler::core::Presence), and a worker that does says so again whenever it connects.

use super::{Decision, State, is_worker};
use crate::protocol::Producer;
use crate::protocol::command::{Answer, Command, Rejection};
use crate::protocol::session::Retire;

/// A worker that is to be given nothing more.
#[derive(Debug, Clone, Copy)]
pub(in crate::scheduler::core) struct Retirement {
    pub worker: Producer,
    pub retire: Retire,
    /// Whether it does not know of it yet.
    pub is_news: bool,
}

impl Retirement {
    /// The one that a session's command brings if it is carried out.
    pub fn of(command: &Command, asker: Producer) -> Option<Self> {
        match command {
            Command::Retire => Some(Retirement { worker: asker, retire: Retire::Finish, is_news: false }),
            Command::RetireWorker { worker, retire } => {
                Some(Retirement { worker: *worker, retire: *retire, is_news: true })
            }
            _ => None,
        }
    }
}

/// A worker says that it retires.
pub(super) fn retire(state: &State, asker: Producer) -> Decision {
    match is_worker(state, asker) {
        true => Ok((Vec::new(), Answer::Retiring)),
        false => Err(Rejection::Invalid("only a worker can say that it retires".to_owned())),
    }
}

/// A worker is to retire.
pub(super) fn retire_worker(state: &State, worker: Producer) -> Decision {
    match is_worker(state, worker) {
        true => Ok((Vec::new(), Answer::Retiring)),
        false => Err(Rejection::UnknownWorker(format!("with session {worker}: it has left, or never was"))),
    }
}

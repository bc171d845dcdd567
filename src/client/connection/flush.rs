//! Who waits until everything that was asked before is answered.

use std::collections::HashSet;

use tokio::sync::oneshot;

use crate::client::error::Result;
use crate::client::link::Link;
use crate::protocol::LogId;
use crate::protocol::start::Seen;

/// Those who wait, each with the numbers of the commands that have no answer yet. They learn what of that was acknowledged
/// before it was durable. When this is dropped, they learn that the actor has ended.
#[derive(Debug, Default)]
pub(super) struct Flushes(Vec<Flush>);

#[derive(Debug)]
struct Flush {
    log: Option<LogId>,
    unanswered: HashSet<u64>,
    waiter: oneshot::Sender<Result<Vec<Seen>>>,
}

impl Flushes {
    /// One who waits for the answers to all commands so far, or to those that write to one log; told at once when there
    /// are none.
    pub fn add(&mut self, link: &mut Link, log: Option<LogId>, waiter: oneshot::Sender<Result<Vec<Seen>>>) {
        let unanswered = link.unanswered_commands(log).collect();
        self.0.push(Flush { log, unanswered, waiter });
        self.tell(link);
    }

    /// A command of this number is answered, whatever with.
    pub fn answered(&mut self, link: &Link, number: u64) {
        let mut is_last = false;
        for flush in &mut self.0 {
            is_last |= flush.unanswered.remove(&number) && flush.unanswered.is_empty();
        }
        if is_last {
            self.tell(link);
        }
    }

    fn tell(&mut self, link: &Link) {
        for done in self.0.extract_if(.., |flush| flush.unanswered.is_empty()) {
            // A receiver that was dropped is not interested any more.
            let _ = done.waiter.send(Ok(link.buffered(done.log)));
        }
    }
}

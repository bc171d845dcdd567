//! What a session has seen of the store.

use crate::protocol::Seq;
use crate::protocol::start::{Seen, Start};

/// What was seen, and by which start's light.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sight {
    /// The start that runs, on this connection: commits behind what it found are its own.
    running: Start,
    seen: Option<Seen>,
}

impl Sight {
    /// What is shown in the next hello.
    pub fn seen(&self) -> Option<Seen> {
        self.seen
    }

    /// A start shows itself and the newest commit. What was seen before is no more than that: the hello has
    /// shown it, and was let in.
    pub fn begin(&mut self, running: Start, newest: Seen) {
        (self.running, self.seen) = (running, Some(newest));
    }

    /// The start that runs.
    pub fn running(&self) -> Start {
        self.running
    }

    /// A commit of the start that runs, as it is shown; nothing of one that it has found.
    pub fn of_running(&self, seq: Seq) -> Option<Seen> {
        (seq > self.running.after).then_some(Seen { start: self.running, seq })
    }

    /// There is a commit. One that the running start has found tells nothing new.
    pub fn see(&mut self, seq: Seq) {
        let is_newer = self.seen.is_none_or(|seen| seen.start.id != self.running.id || seen.seq < seq);
        if seq > self.running.after && is_newer {
            self.seen = Some(Seen { start: self.running, seq });
        }
    }
}

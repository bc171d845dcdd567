//! Who waits until everything that was asked before is answered.

use std::collections::HashSet;

use tokio::sync::oneshot;

use crate::client::error::Result;

/// Those who wait, each with the numbers of the commands that have no answer yet. When this is dropped, they learn that
/// the actor has ended.
#[derive(Debug, Default)]
pub(super) struct Flushes(Vec<Flush>);

#[derive(Debug)]
struct Flush {
    unanswered: HashSet<u64>,
    waiter: oneshot::Sender<Result<()>>,
}

impl Flushes {
    /// One who waits for the answers to commands of these numbers; told at once when there are none.
    pub fn add(&mut self, unanswered: HashSet<u64>, waiter: oneshot::Sender<Result<()>>) {
        self.0.push(Flush { unanswered, waiter });
        self.tell();
    }

    /// A command of this number is answered, whatever with.
    pub fn answered(&mut self, number: u64) {
        let mut is_last = false;
        for flush in &mut self.0 {
            is_last |= flush.unanswered.remove(&number) && flush.unanswered.is_empty();
        }
        if is_last {
            self.tell();
        }
    }

    fn tell(&mut self) {
        for done in self.0.extract_if(.., |flush| flush.unanswered.is_empty()) {
            // A receiver that was dropped is not interested any more.
            let _ = done.waiter.send(Ok(()));
        }
    }
}

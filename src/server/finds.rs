//! The names that a client asks for while the scheduler recovers.
//!
//! Each question is answered once its name is known, in the order of the questions as far as that is the same, or
//! never: what has no answer at the welcome is forgotten, since the client asks for it in its turn then. So nothing
//! in here is a refusal, and questions over the bound are forgotten at once.

use std::collections::VecDeque;

use tokio::sync::watch;

use crate::protocol::{ChannelName, LogId};
use crate::scheduler::Handle;
use crate::scheduler::names::Names;

/// Most questions of a connection that wait for their answer: 1,024, as many as commands may be in flight.
pub(super) const FINDS_MAX: usize = 1024;

/// The questions that have no answer yet.
pub(super) struct Finds {
    handle: Handle,
    names: watch::Receiver<Names>,
    /// Whether names may be known that were not looked up.
    is_due: bool,
    asked: VecDeque<(u64, ChannelName)>,
    /// The answers that are found.
    found: VecDeque<(u64, LogId)>,
}

impl Finds {
    pub fn new(handle: &Handle) -> Finds {
        let names = handle.names();
        Finds { handle: handle.clone(), names, is_due: false, asked: VecDeque::new(), found: VecDeque::new() }
    }

    /// Takes a question.
    pub fn ask(&mut self, number: u64, name: ChannelName) {
        if self.asked.len() + self.found.len() < FINDS_MAX {
            self.asked.push_back((number, name));
            self.is_due = true;
        }
    }

    /// Forgets all questions.
    pub fn clear(&mut self) {
        self.asked = VecDeque::new();
        self.found = VecDeque::new();
    }

    /// The next answer; waits for names while there is none. May be dropped without a loss.
    pub async fn next(&mut self) -> (u64, LogId) {
        loop {
            if let Some(found) = self.found.pop_front() {
                return found;
            }
            if !std::mem::take(&mut self.is_due) && self.names.changed().await.is_err() {
                // No more are found: the welcome comes, or the end.
                std::future::pending::<()>().await;
            }
            self.look_up();
        }
    }

    fn look_up(&mut self) {
        // What is known from here on is a change.
        self.names.mark_unchanged();
        let Finds { handle, asked, found, .. } = self;
        asked.retain(|(number, name)| match handle.log_of(name) {
            Some(log) => {
                found.push_back((*number, log));
                false
            }
            None => true,
        });
    }
}

//! Which tasks this client holds, and for how many handles each.
//!
//! The scheduler counts one hold for each task and session. So the handles are counted here: the first
//! one's command takes the hold, the last one's drop releases it. Counting and sending happen under one
//! lock: a task that is submitted again while its last handle is dropped is released first and then
//! held again, or held on, never held and then released.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection::{Connection, Reply};
use crate::protocol::command::{Answer, Command};
use crate::protocol::{TaskId, TaskMap};

#[derive(Debug)]
pub(crate) struct Holds {
    connection: Connection,
    counts: Mutex<TaskMap<u64>>,
}

impl Holds {
    pub(super) fn new(connection: Connection) -> Self {
        Holds { connection, counts: Mutex::default() }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Sends a command after which the session holds the task, if it is not refused.
    pub(crate) fn hold(self: &Arc<Self>, task: TaskId, command: Command) -> (Arc<Hold>, Reply<Answer>) {
        let mut counts = self.counts();
        *counts.entry(task).or_default() += 1;
        let reply = self.connection.command(command);
        drop(counts);
        (Arc::new(Hold { task, holds: self.clone() }), reply)
    }

    fn let_go(&self, task: TaskId) {
        let mut counts = self.counts();
        let Some(count) = counts.get_mut(&task) else { return };
        *count -= 1;
        if *count == 0 {
            counts.remove(&task);
            self.connection.release(task);
        }
    }

    fn counts(&self) -> MutexGuard<'_, TaskMap<u64>> {
        // Nothing in here panics half-way.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handle's share in a hold, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    task: TaskId,
    holds: Arc<Holds>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.let_go(self.task);
    }
}

//! What a task writes into its log: its newest lines are told with the error, if it fails.

use std::sync::{Arc, Mutex, PoisonError};

use super::context::Context;
use super::newest::Newest;
use crate::protocol::TaskError;

/// The newest lines of an attempt's log. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskLog(Arc<Mutex<Newest>>);

impl TaskLog {
    fn push(&self, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// The error, with the end of the log as its last cause.
    pub fn cited_by(&self, error: TaskError) -> TaskError {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.cited("its log") {
            Some(lines) => error.citing(&lines),
            None => error,
        }
    }
}

impl Context {
    /// Writes a line into the log of the task's attempt. Nothing comes of it unless the attempt fails or takes too long: then the
    /// newest lines, 20 and 1,900 bytes at most, are the last cause of its error, under `its log ends with:`.
    ///
    /// What a task says by [`tracing`] gets there by itself, from `INFO` up, on workers that were started by the `headwater`
    /// command or by `headwater::cli::main`; where a program has a subscriber of its own, with `headwater::cli::TaskLogs` as a
    /// layer of it. What code says that a task has spawned does not, and what is printed does not.
    ///
    /// ```
    /// use headwater::{Context, task};
    ///
    /// #[task]
    /// fn load(path: String) -> std::io::Result<u64> {
    ///     let context = Context::current().expect("it runs as a task");
    ///     context.log(&format!("reads {path}"));
    ///     Ok(std::fs::read(path)?.len() as u64)
    /// }
    /// # fn main() {}
    /// ```
    pub fn log(&self, line: &str) {
        self.task_log().push(line);
    }
}

//! Programs as tasks: the function `exec`, which workers have built in.
//!
//! ```text
//!   Command ──▶ call ──▶ process ──pipes──▶ output ──lines──▶ channel, on the worker's own session
//!                 │         │
//!                 │         └──▶ group: TERM, grace, KILL     guard: the same once this process is gone
//!                 └──▶ Finished, or why it failed
//! ```
//!
//! An attempt has its slot until its program has ended, or it is aborted (cancelled, over its timeout or deadline): then the
//! slot is another's at once, and the program has its grace beside that. What the program writes goes to a channel on the session of the
//! worker, not on one of the attempt: an attempt with a session is a client, and takes no slot. It is fenced all the
//! same. A newer attempt begins when this one has told its outcome, which it does behind its last line; when the worker's
//! session is over, and with it all that is still sent there; or when it is aborted, and nothing more is appended once
//! the worker has heard of that.
//!
//! Not here: which worker runs what, retries, cancelling. They are the scheduler's, as for any task.
//!
//! Invariants:
//! - When an attempt tells its outcome, all of its output is durable.
//! - Memory is bounded for each program: one that writes faster than the log waits at its pipe.
//! - No process of a program's group outlives its attempt by more than its grace, however the worker ends.

#[cfg(unix)]
mod call;
pub mod command;
pub mod ended;
#[cfg(unix)]
mod group;
#[cfg(unix)]
pub mod guard;
pub mod lines;
#[cfg(unix)]
mod output;
#[cfg(unix)]
mod process;

pub use self::command::{Command, FUNCTION, VERSION};
pub use self::ended::Finished;

/// That a worker runs programs, and what guards those: see [`guard`]. Cheap to clone; all workers of a process share it.
#[derive(Debug, Clone)]
pub struct Programs {
    #[cfg(unix)]
    guard: std::sync::Arc<guard::Guard>,
}

#[cfg(unix)]
pub(super) use self::call::REGISTERED;

#[cfg(unix)]
impl Programs {
    /// Guarded by a process that is started when the first program is: by this program with these arguments, which is to
    /// call [`guard::serve`] on its stdin.
    pub fn guarded_by(program: impl Into<std::path::PathBuf>, arguments: &[&str]) -> Programs {
        Programs { guard: std::sync::Arc::new(guard::Guard::new(program.into(), arguments)) }
    }
}

//! How a call into an engine's crate failed: refused by the system, with a panic, or with what is wrong.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{Error, OpenError, space};

/// How a call failed.
pub(super) enum Failure {
    /// The system refused.
    Io(io::Error),
    /// The crate found damage, or panicked.
    Broken(String),
    /// What it gave back is not right.
    Log(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Log(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl Failure {
    /// As an error of opening the store in this directory.
    pub fn of_open(self, dir: &Path) -> OpenError {
        match self {
            Failure::Io(why) => OpenError::io(dir, why),
            // An engine that finds no room may break down instead of saying so.
            _ if space::is_full(dir) => OpenError::Full { dir: dir.to_owned() },
            Failure::Broken(why) => OpenError::Damaged { dir: dir.to_owned(), why },
            Failure::Log(error) => OpenError::Damaged { dir: dir.to_owned(), why: error.to_string() },
        }
    }

    /// As an error of a call on the store in this directory.
    pub fn of(self, dir: &Path) -> Error {
        let (is_full, dir) = (space::is_full(dir), dir.display());
        let full = "free some space there and start again: everything that was acknowledged is there";
        Error::Unknown(match self {
            Failure::Io(error) if space::is_want_of_room(&error) => {
                format!("the disk of {dir} is full: {full}")
            }
            // An engine that finds no room may break down instead of saying so.
            Failure::Broken(why) if is_full => format!("the disk of {dir} is full: {full} ({why})"),
            Failure::Io(error) => format!("{dir}: {error}"),
            Failure::Broken(why) => format!("{dir}: {why}"),
            Failure::Log(error) => return error,
        })
    }
}

/// Calls, and turns a panic into an error. The panic's own message still goes to stderr.
pub(super) fn guarded<T, E: Into<Failure>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Into::into),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
            Err(Failure::Broken(format!("the engine panicked: {message}")))
        }
    }
}

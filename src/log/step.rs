//! How far something is that takes long and is done to a store before anybody can read it: its repair.

use std::fmt;

/// What is done, and how far that is. It rises to the whole, and then the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub doing: Doing,
    /// How much of it is done.
    pub done: u64,
    /// How much it is in all.
    pub of: u64,
}

/// What is done to a store before it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Its records are read, to see whether it is whole; counted in records.
    Checking,
    /// Its files are copied, so that its engine may open the copy; in bytes.
    Copying,
    /// Its files are looked through for intact batches; in bytes.
    Scanning,
    /// The new store is filled with what was found, and with what stands in the place of what was not; in batches.
    Writing,
}

/// Who wants to know: told often, so it must be quick.
pub type Tell<'a> = &'a mut dyn FnMut(Step);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { doing, done, of } = *self;
        let (done_mib, of_mib) = (done >> 20, of >> 20);
        match doing {
            Doing::Checking => write!(f, "{done} of {of} records are read"),
            Doing::Copying => write!(f, "{done_mib} of {of_mib} MiB of its files are copied"),
            Doing::Scanning => write!(f, "{done_mib} of {of_mib} MiB of its files are looked through"),
            Doing::Writing => write!(f, "{done} of {of} batches are written"),
        }
    }
}

/// Counts up what is done of one thing, and tells it.
pub(super) struct Steps<'a> {
    step: Step,
    tell: Tell<'a>,
}

impl<'a> Steps<'a> {
    /// Begins with nothing done of so much.
    pub fn begin(doing: Doing, of: u64, tell: Tell<'a>) -> Steps<'a> {
        let mut steps = Steps { step: Step { doing, done: 0, of }, tell };
        steps.add(0);
        steps
    }

    /// So much more is done.
    pub fn add(&mut self, more: u64) {
        self.step.done += more;
        (self.tell)(self.step);
    }
}

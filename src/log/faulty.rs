//! A log that fails as disks do: a wrapper around another engine, for tests and the simulator.
//!
//! A fault is one of *did it happen?* × *was it reported?*, see [`Fault`]. It is put in line for an
//! operation with [`Faulty::inject`], or comes by chance from a seed ([`Faulty::seeded`]). After an
//! error that is not a refusal the wrapper takes no more commits, as the contract asks; what a new
//! start would find is in the engine inside ([`Faulty::into_inner`]). How much room it has can be set
//! ([`Faulty::set_free_bytes`]); that alone makes no call fail.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use super::{Bounds, Error, Last, Log, SnapshotPieces};
use crate::protocol::batch::{Batch, Commit};
use crate::protocol::start::Starts;
use crate::protocol::{Epoch, LogId, Seq};

/// A writing call of a [`Log`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`Log::begin_epoch`].
    BeginEpoch,
    /// [`Log::append`].
    Append,
    /// [`Log::flush`].
    Flush,
    /// [`Log::stow`]: what is durable is so all the same.
    Stow,
    /// [`Log::trim`].
    Trim,
    /// [`Log::write_snapshot`]. Its faults are the snapshot's alone: the log goes on. Torn, half of it is there.
    WriteSnapshot,
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: it does not happen, and this is known ([`Error::Refused`]).
    DiskFull,
    /// It does not happen, and nobody knows ([`Error::Unknown`]).
    NotDone,
    /// It happens, and nobody knows ([`Error::Unknown`]).
    DoneUnreported,
    /// It breaks off in the middle ([`Error::Unknown`]). A commit is all or nothing, so it is there
    /// afterwards or it is not: chance decides.
    Torn,
    /// It does not happen, and is reported as done: the disk lies. Later commits are then deposed, or
    /// what was acknowledged is gone after a crash. An epoch cannot be lied about: there it is as
    /// [`Fault::NotDone`].
    Forgotten,
}

const FAULTS: [Fault; 4] = [Fault::DiskFull, Fault::NotDone, Fault::DoneUnreported, Fault::Torn];

/// A log with faults.
#[derive(Debug)]
pub struct Faulty<L> {
    inner: L,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    injected: VecDeque<(Operation, Fault)>,
    random: Rng,
    /// One of how many calls fails by chance; none when 0.
    one_in: u32,
    failed: Option<Error>,
    /// How much is free, if that was set.
    free_bytes: Option<u64>,
}

impl<L: Log> Faulty<L> {
    /// No faults but those that are injected.
    pub fn new(inner: L) -> Self {
        Faulty::seeded(inner, 0, 0)
    }

    /// One writing call in `one_in` fails, in any way but [`Fault::Forgotten`]; none when it is 0.
    pub fn seeded(inner: L, seed: u64, one_in: u32) -> Self {
        let plan = Plan {
            injected: VecDeque::new(),
            random: Rng::with_seed(seed),
            one_in,
            failed: None,
            free_bytes: None,
        };
        Faulty { inner, plan: Mutex::new(plan) }
    }

    /// Lets the next call of this operation that has no fault in line yet meet this one.
    pub fn inject(&self, operation: Operation, fault: Fault) {
        self.plan().injected.push_back((operation, fault));
    }

    /// Lets so much be free from now on; `None`: what the engine inside says.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.plan().free_bytes = free_bytes;
    }

    /// The engine inside.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    /// The engine inside, to open it anew.
    pub fn into_inner(self) -> L {
        self.inner
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it, or what its fault makes of it. `lie` is what to report for what was not done.
    fn write<T>(
        &self,
        operation: Operation,
        lie: Option<T>,
        action: impl FnOnce(&L) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut plan = self.plan();
        if let Some(error) = &plan.failed {
            return Err(error.afterwards());
        }
        let lost = |why: &str| Err(Error::Unknown(format!("{operation:?} {why}")));
        let done = match (plan.next_fault(operation), lie) {
            (None, _) => action(&self.inner),
            (Some(Fault::DiskFull), _) => Err(Error::Refused("the disk is full: free some space".to_owned())),
            (Some(Fault::Forgotten), Some(lie)) => Ok(lie),
            (Some(Fault::NotDone | Fault::Forgotten), _) => lost("failed"),
            (Some(Fault::DoneUnreported), _) => action(&self.inner).and_then(|_| lost("failed")),
            (Some(Fault::Torn), _) if plan.random.bool() => {
                action(&self.inner).and_then(|_| lost("broke off"))
            }
            (Some(Fault::Torn), _) => lost("broke off"),
        };
        if let Err(error) = &done
            && !matches!(error, Error::Refused(_))
        {
            plan.failed = Some(error.clone());
        }
        done
    }
}

impl Plan {
    fn next_fault(&mut self, operation: Operation) -> Option<Fault> {
        if let Some(at) = self.injected.iter().position(|(injected, _)| *injected == operation) {
            return self.injected.remove(at).map(|(_, fault)| fault);
        }
        if self.one_in == 0 || self.random.u32(0..self.one_in) != 0 {
            return None;
        }
        self.random.choice(FAULTS)
    }
}

impl<L: Log> Log for Faulty<L> {
    fn describe(&self) -> String {
        format!("faulty {}", self.inner.describe())
    }

    fn begin_epoch(&self) -> Result<Epoch, Error> {
        self.write(Operation::BeginEpoch, None, L::begin_epoch)
    }

    fn starts(&self) -> Starts {
        self.inner.starts()
    }

    fn append(&self, commit: &Commit) -> Result<(), Error> {
        self.write(Operation::Append, Some(()), |inner| inner.append(commit))
    }

    fn flush(&self) -> Result<(), Error> {
        self.write(Operation::Flush, Some(()), L::flush)
    }

    fn stow(&self) -> Result<(), Error> {
        self.write(Operation::Stow, Some(()), L::stow)
    }

    fn trim(&self, log: LogId, before: u64) -> Result<(), Error> {
        self.write(Operation::Trim, Some(()), |inner| inner.trim(log, before))
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }

    fn free_bytes(&self) -> Result<Option<u64>, Error> {
        let set = self.plan().free_bytes;
        set.map_or_else(|| self.inner.free_bytes(), |free| Ok(Some(free)))
    }

    fn logs_bytes(&self) -> Result<Option<u64>, Error> {
        self.inner.logs_bytes()
    }

    fn last(&self) -> Last {
        self.inner.last()
    }

    fn logs(&self) -> Vec<LogId> {
        self.inner.logs()
    }

    fn bounds(&self, log: LogId) -> Bounds {
        self.inner.bounds(log)
    }

    fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        self.inner.read(log, from, bytes_max)
    }

    fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        self.inner.find_element(log, index)
    }

    fn snapshots(&self) -> Result<Vec<Seq>, Error> {
        self.inner.snapshots()
    }

    fn write_snapshot(&self, at: Seq, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), Error> {
        let fault = self.plan().next_fault(Operation::WriteSnapshot);
        let lost = |why: &str| Err(Error::Refused(format!("the snapshot of commit {at} {why}")));
        match fault {
            None => self.inner.write_snapshot(at, pieces),
            Some(Fault::Forgotten) => Ok(()),
            Some(Fault::DiskFull | Fault::NotDone) => lost("was not written"),
            Some(Fault::DoneUnreported) => self.inner.write_snapshot(at, pieces).and(lost("failed")),
            Some(Fault::Torn) => {
                let pieces: Vec<Vec<u8>> = pieces.collect();
                let half = pieces.len() / 2;
                self.inner.write_snapshot(at, &mut pieces.into_iter().take(half)).and(lost("broke off"))
            }
        }
    }

    fn open_snapshot(&self, at: Seq) -> Result<SnapshotPieces, Error> {
        self.inner.open_snapshot(at)
    }

    fn snapshot_bytes(&self, at: Seq) -> Result<u64, Error> {
        self.inner.snapshot_bytes(at)
    }

    fn drop_snapshot(&self, at: Seq) -> Result<(), Error> {
        self.inner.drop_snapshot(at)
    }
}

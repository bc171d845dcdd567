//! Logs: append-only sequences of records, kept in batches, made durable one commit at a time.
//!
//! This module knows commits and batches, not what a record means: it never imports `scheduler`,
//! `server`, `client` or `worker`.
//!
//! # The contract
//!
//! A [`Log`] (one store) holds many logs, each named by its [`LogId`]. Of each:
//!
//! ```text
//!   trimmed │        durable: readable        │ appended: not yet readable │
//!  ─────────┼─────────────────────────────────┼────────────────────────────┼──▶ offset
//!         first                         durable head                 appended head
//! ```
//!
//! - [`Log::append`] takes the next commit (its [`Seq`] is one after the last,
//!   its batches go on where their logs end) and moves the appended heads, of all its logs or of none. What is appended
//!   outlives the process, if anything does: only a crash of the machine takes away what was not flushed.
//! - [`Log::flush`] makes everything appended durable, and moves the durable heads to the appended ones.
//! - Readers see what is durable, nothing else. What was readable once stays so until it is trimmed,
//!   also after a crash; what was appended and not flushed is after a crash there whole or not at all,
//!   and never without the commits before it.
//! - [`Log::trim`] drops whole durable batches from the front, durably. Offsets are never used again:
//!   those of a log's newest durable commit always stay, so that it knows its head.
//! - After an error from a writing call that is not [`Error::Refused`] nobody knows what is on the disk:
//!   the store takes no further commits until it is opened anew, and may refuse to be read, too.
//! - Records that are damaged or gone are answered by a batch in their place that says so
//!   ([`Batch::damage`]): it has their offsets and counts their elements. No reader is led over a gap, and
//!   none is stopped by one.
//! - A **snapshot** is what someone made of all records up to a commit, in pieces that mean nothing to a
//!   store. It is there whole or not at all, and damage to it is noticed when it is read. What is wrong with
//!   snapshots is wrong with nothing else.
//!
//! One writer calls `append`, `flush` and `stow`. Snapshots may be written and logs trimmed by another thread at the
//! same time, and any number of readers call the others. Every engine passes the same conformance suite, `tests/it/conformance.rs`.
//!
//! A replicated engine can come later behind the same trait: a commit names its seq and epoch, and an
//! engine that has seen another one answers [`Error::Deposed`].

mod by_time;
mod heads;
pub mod memory;

pub mod faulty;

pub mod open;

mod directory;
mod failure;
mod head;
pub(crate) mod lost;
mod pending;
mod snapshot;
mod space;
pub mod step;
mod suspect;
mod upgrade;

pub mod salvage;
pub mod sled;

pub mod reader;

pub mod copy;
pub mod new_dir;
pub mod verify;

pub use faulty::Faulty;
pub use memory::Memory;
pub use new_dir::{MakeError, NewDir};
pub use open::{OpenError, Opened};
pub use reader::Reader;
pub use sled::{NewStore, Purpose, SledLog, SledOptions};
pub use step::Step;

use crate::protocol::batch::{BadBatch, Batch, Commit};
use crate::protocol::start::Starts;
use crate::protocol::{Digest, Epoch, LogId, Seq, TimeMs};

/// Where a log begins and ends for its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The offset of the first record that there is; the head when there is none.
    pub first: u64,
    /// The durable head: the offset after the last durable record.
    pub head: u64,
    /// How many elements were ever appended, up to the head.
    pub elements: u64,
}

/// The newest durable commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Last {
    /// Its number; 0 when there is none.
    pub seq: Seq,
    /// The epoch that wrote it.
    pub epoch: Epoch,
    /// Its digest, see [`Commit::digest`].
    pub digest: Digest,
}

/// The pieces of a snapshot, see [`Log::open_snapshot`].
pub type SnapshotPieces = Box<dyn Iterator<Item = Result<Vec<u8>, Error>> + Send + Sync>;

/// A store of logs. See the [module](self) for the contract.
pub trait Log: Send + Sync + 'static {
    /// What and where it is, in words: `sled store in ./headwater-data`.
    fn describe(&self) -> String;

    /// Begins a new epoch, durably, and answers its number: one more than the last.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn begin_epoch(&self) -> Result<Epoch, Error>;

    /// The starts that are remembered, the newest of which is the epoch that began last. As it stands here an
    /// engine remembers none, which only test fixtures may.
    fn starts(&self) -> Starts {
        Starts::default()
    }

    /// Takes the next commit: all of it or nothing. It does not wait for a disk, unless there is no other place for it.
    ///
    /// # Errors
    /// [`Error::Refused`]: it did not happen and the store is as before; also for a commit that makes no
    /// sense in itself (empty, or with batches that do not go on where their logs end).
    /// [`Error::Deposed`]: the commit's seq is not the next one, or its epoch is not the one that began
    /// last. Others: it may have happened.
    fn append(&self, commit: &Commit) -> Result<(), Error>;

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// It may have become durable or not.
    fn flush(&self) -> Result<(), Error>;

    /// Puts what is durable into its place, as far as that was put off so that nobody had to wait for it. Whoever writes calls it
    /// now and then, when nobody waits; what is never stowed here another call does when it must.
    ///
    /// # Errors
    /// What is durable is so, whatever went wrong.
    fn stow(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Drops the durable batches of a log that end at or before `before`, durably. Those of its newest
    /// durable commit always stay.
    ///
    /// # Errors
    /// It may have happened in part.
    fn trim(&self, log: LogId, before: u64) -> Result<(), Error>;

    /// Nothing more will be written: what an engine lets lag behind the durable commits (a head file) is
    /// brought up to them. Nothing is lost without it, and whoever reads may go on.
    ///
    /// # Errors
    /// When it cannot be made durable; the logs are as they were.
    fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The newest durable commit.
    fn last(&self) -> Last;

    /// The logs that hold anything, in order.
    fn logs(&self) -> Vec<LogId>;

    /// How many bytes are free where the store lies, for it and for others. `None` when no bound is known,
    /// as here.
    ///
    /// # Errors
    /// When the system does not say.
    fn free_bytes(&self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// How many bytes the logs take where the store lies, snapshots not counted. `None` when it is not known, as here.
    ///
    /// # Errors
    /// When the system does not say.
    fn logs_bytes(&self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// Where a log begins and ends; all zero for one that holds nothing.
    fn bounds(&self, log: LogId) -> Bounds;

    /// Durable batches of a log in order, from the one that holds offset `from`, or from the first
    /// there is when that is later. At least one batch if there is any; then as many as keep their sum
    /// under `bytes_max`. Empty at the head. What is damaged or gone is a batch that says so, see
    /// [`Batch::damage`]; it may begin before `from`, too.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error>;

    /// The durable batch that holds the element with this index, or stands in its place, found by search;
    /// the first there is when the element was trimmed; `None` when it is not there yet.
    ///
    /// # Errors
    /// As [`Log::read`].
    fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error>;

    /// A durable batch of this time or later, with none but earlier ones right before it, found by search: the first
    /// of that time, as long as the clock went forward. `None` when it is not there yet.
    ///
    /// Where the clock was set back, several batches may be so, and it is one of them: some before it may be later,
    /// some behind it earlier. Records that are lost have the time of a neighbour.
    ///
    /// # Errors
    /// As [`Log::read`].
    fn find_time(&self, log: LogId, time_ms: TimeMs) -> Result<Option<Batch>, Error> {
        by_time::find(self, log, time_ms)
    }

    /// The snapshots that there are, newest first: each one's commit. As it stands here an engine keeps
    /// none, which only test fixtures may.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn snapshots(&self) -> Result<Vec<Seq>, Error> {
        Ok(Vec::new())
    }

    /// Keeps a snapshot of a durable commit, durably, all of it or nothing; empty pieces are left out.
    ///
    /// # Errors
    /// It is not there then; the logs are as they were.
    fn write_snapshot(&self, at: Seq, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), Error> {
        let _ = pieces;
        Err(Error::Refused(format!("the snapshot of commit {at} is not written: this engine keeps none")))
    }

    /// A snapshot piece by piece, as they were written. It can be read to its end also when it is dropped
    /// meanwhile. An error is the last item.
    ///
    /// # Errors
    /// [`Error::BadSnapshot`] when it is damaged or not there.
    fn open_snapshot(&self, at: Seq) -> Result<SnapshotPieces, Error> {
        Err(Error::BadSnapshot { at, why: "this engine keeps none".to_owned() })
    }

    /// Shows a snapshot piece by piece, as they were written.
    ///
    /// # Errors
    /// [`Error::BadSnapshot`] when it is damaged or not there: what was shown is not all of it then.
    fn read_snapshot(&self, at: Seq, see: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        self.open_snapshot(at)?.try_for_each(|piece| piece.map(|piece| see(&piece)))
    }

    /// How many bytes a snapshot takes, about. As it stands here all of it is read for that.
    ///
    /// # Errors
    /// As [`Log::open_snapshot`].
    fn snapshot_bytes(&self, at: Seq) -> Result<u64, Error> {
        self.open_snapshot(at)?.try_fold(0, |bytes, piece| Ok(bytes + piece?.len() as u64))
    }

    /// Removes a snapshot if it is there.
    ///
    /// # Errors
    /// When the store cannot be written; the logs are as they were.
    fn drop_snapshot(&self, at: Seq) -> Result<(), Error> {
        let _ = at;
        Ok(())
    }
}

/// What can go wrong with a store, by what one can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It did not happen, and the store is as before.
    #[error("the store refused: {0}")]
    Refused(String),
    /// It is not known whether it happened: open the store anew and see.
    #[error("the store failed: {0}")]
    Unknown(String),
    /// The commit is not the next one: another writer has been here.
    #[error(
        "commit {found} of epoch {epoch} does not follow {last}: another scheduler has written, this one must stop"
    )]
    Deposed {
        /// The commit that came.
        found: Seq,
        /// Its epoch.
        epoch: Epoch,
        /// The last commit in the store.
        last: Seq,
    },
    /// A record in a whole batch does not decode. A log that is only read does not say so.
    #[error("log {log} is damaged at offset {offset}: {why}")]
    Damaged {
        /// The log.
        log: LogId,
        /// Where.
        offset: u64,
        /// What is wrong.
        why: BadBatch,
    },
    /// A snapshot cannot be read.
    #[error("the snapshot of commit {at} cannot be used: {why}")]
    BadSnapshot {
        /// Its commit.
        at: Seq,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// What the calls that follow this error get, until the store is opened anew.
    fn afterwards(&self) -> Error {
        let why = match self {
            Error::Unknown(why) => why.clone(),
            other => other.to_string(),
        };
        Error::Unknown(format!("{why}; open the store anew"))
    }
}

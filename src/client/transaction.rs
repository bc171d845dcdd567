//! Appends to several channels and moves of cursors, in one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::ack::Ack;
use super::batch::AppendBatch;
use super::channel::Channel;
use super::delivery::Delivery;
use super::error::{Error, Result};
use super::future::TaskFuture;
use super::handle::{Client, wrong_answer};
use super::keeping::Cursor;
use crate::protocol::channel::Durability;
use crate::protocol::command::{Answer, Command};
use crate::protocol::cursor::CursorMove;
use crate::protocol::group::{OfGroup, indexes, stretches};
use crate::protocol::transaction::{self, AppendedPart, Part};
use crate::protocol::{Elements, Epoch, LogId, Seq};

/// A transaction that is being put together: [`Client::transaction`]. All of it is done in one commit, or nothing of it.
///
/// With it what is read, worked on and written is written exactly once: the cursor that says how far was read moves in
/// the commit that holds what came of it. Whoever is killed between begins again behind the newest commit.
///
/// ```
/// # use headwater::{Client, Offset, Result};
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let client = Client::local().await?;
/// let (numbers, squares) = (client.channel::<u64>("numbers").await?, client.channel::<u64>("squares").await?);
/// # numbers.append_values(&[2, 3]).await?;
/// let cursor = numbers.cursor("squarer")?;
/// let mut at = cursor.position().await?;
/// let mut unread = numbers.from(Offset::At(at)).scan().values().placed();
/// while let Some(number) = unread.next().await.transpose()? {
///     let square = squares.batch().value(&(number.item * number.item));
///     let next = number.offset + 1;
///     client.transaction().batch(square).advance(&cursor, at, next).commit().await?;
///     at = next;
/// }
/// assert_eq!((cursor.position().await?, squares.len().await?), (2, 2));
/// # Ok(()) }
/// ```
#[must_use = "nothing is done before `commit`"]
pub struct Transaction {
    client: Client,
    appends: BTreeMap<LogId, (Elements, Option<u64>)>,
    cursors: Vec<CursorMove>,
    acknowledges: Vec<OfGroup>,
    error: Option<Error>,
}

/// What a transaction brings: it is in the log, durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The commit that holds all of it.
    pub seq: Seq,
    /// The scheduler's epoch in which that commit was made.
    pub epoch: Epoch,
    /// Where what it appended is, in order of the logs.
    appended: Vec<AppendedPart>,
}

impl Client {
    /// To append to several channels and to move cursors, all in one commit or nothing of it.
    pub fn transaction(&self) -> Transaction {
        let (appends, cursors, acknowledges, error) = Default::default();
        Transaction { client: self.clone(), appends, cursors, acknowledges, error }
    }
}

impl Transaction {
    /// Appends a future.
    pub fn append<T>(self, channel: &Channel<T>, future: &TaskFuture<T>) -> Self {
        self.batch(channel.batch().future(future))
    }

    /// Appends the elements of a batch, with their headers, and only if the channel is where it
    /// [expects](AppendBatch::expect). Several batches for one channel stand next to each other; what the channel is
    /// expected to be at is said with the first.
    pub fn batch<T>(mut self, batch: AppendBatch<T>) -> Self {
        match batch.into_part() {
            Ok(Part { log, elements, expect }) => match self.appends.get_mut(&log) {
                None => drop(self.appends.insert(log, (elements, expect))),
                Some((before, expected)) if expect.is_none() || expect == *expected => {
                    before.append(&elements)
                }
                Some(_) => {
                    let why = "what a channel is expected to be at is said with the first batch for it";
                    self.error.get_or_insert(Error::msg(why));
                }
            },
            Err(error) => drop(self.error.get_or_insert(error)),
        }
        self
    }

    /// Moves a cursor from where it is to another place, as [`Cursor::advance`]: when it is somewhere else, nothing of
    /// the transaction is done. So of two who work on one channel by mistake, one is told.
    pub fn advance<T>(mut self, cursor: &Cursor<T>, from: u64, offset: u64) -> Self {
        self.cursors.push(cursor.to(offset, Some(from)));
        self
    }

    /// Sets a cursor, as [`Cursor::commit`], wherever it is.
    pub fn set<T>(mut self, cursor: &Cursor<T>, offset: u64) -> Self {
        self.cursors.push(cursor.to(offset, None));
        self
    }

    /// Says that an element which is leased to this client is done with: see [`Delivery::done`]. When its lease was over,
    /// nothing of the transaction is done.
    pub fn done<T>(mut self, delivery: &Delivery<T>) -> Self {
        let OfGroup { group, elements } = delivery.of();
        match self.acknowledges.iter_mut().find(|of| of.group == group) {
            Some(of) => {
                let all: BTreeSet<u64> = indexes(&of.elements).chain(indexes(&elements)).collect();
                of.elements = stretches(all);
            }
            None => self.acknowledges.push(OfGroup { group, elements }),
        }
        self
    }

    /// Does all of it or nothing. It is durable when this returns. The scheduler does it once, however often the
    /// connection is lost meanwhile; a program that is killed before it returns learns from the cursors whether it was
    /// done.
    ///
    /// # Errors
    /// [`Error::Rejected`] for what makes it impossible: a channel that was stopped or deleted, one that is not as it was
    /// expected, a cursor that is not where it was to be moved from, a future that is not known, a transaction that has
    /// nothing to do or does something twice. [`Error::TooLarge`] for one over its bounds: all of its elements together
    /// may be as many and as large as those of one append. [`Error::Encode`] for a value of a batch.
    pub async fn commit(self) -> Result<Committed> {
        let Transaction { client, appends, cursors, acknowledges, error } = self;
        if let Some(error) = error {
            return Err(error);
        }
        let appends = appends.into_iter().map(|(log, (elements, expect))| Part { log, elements, expect });
        let transaction = transaction::Transaction { appends: appends.collect(), cursors, acknowledges };
        match client.connection().command(Command::Transact(transaction)).await? {
            Answer::Transacted { seq, epoch, appended } => Ok(Committed { seq, epoch, appended }),
            _ => Err(wrong_answer("a transaction")),
        }
    }
}

impl Committed {
    /// What was appended to the channel of this log ([`Channel::log`]), if anything was.
    pub fn ack(&self, log: LogId) -> Option<Ack> {
        let (seq, epoch, durability) = (self.seq, self.epoch, Durability::Fsynced);
        let part = self.appended.iter().find(|part| part.log == log)?;
        Some(Ack { offset: part.first, count: u64::from(part.count), seq, epoch, durability })
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements: usize = self.appends.values().map(|(elements, _)| elements.len()).sum();
        let (channels, cursors) = (self.appends.len(), self.cursors.len());
        write!(f, "Transaction({elements} elements for {channels} channels, {cursors} cursors)")
    }
}

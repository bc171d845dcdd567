//! A copy of what a running scheduler has stored, up to a commit, over its port.
//!
//! ```text
//!   what is stored: commit S, logs, snapshots
//!        │
//!        ▼        the task log is subscribed to first
//!   snapshots ──▶ task log ──▶ the other logs, each up to the first batch behind S
//!                                                     │
//!                    the last commit's digest is S's? ▼ a new store
//! ```
//!
//! It reads as every reader does: with credit, from the ring or the disk, and nobody waits for it. Memory: the
//! windows of a few subscriptions, and the batches of commit S.
//!
//! What was durable stays, unless it is trimmed. If a log is trimmed faster than it is read, what the
//! snapshots at hand know and what was copied may not meet: then it begins again with newer ones.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::copied::Copied;
use super::known::Known;
use crate::cli::ask::unexpected;
use crate::client::connection::{ReadItem, Subscription};
use crate::client::{Client, Error};
use crate::log::{Last, NewDir, NewStore};
use crate::protocol::batch::Batch;
use crate::protocol::command::{Answer, Query, Stored};
use crate::protocol::message::Position;
use crate::protocol::{LogId, Seq};

/// How often it begins again when logs are trimmed under it.
const TRIES_MAX: u32 = 5;

/// How many logs are on their way at a time: many are short, and each costs a round trip.
const LOGS_AT_ONCE: usize = 4;

/// How many bytes of batches are handed to the store at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// A running scheduler whose store is copied.
#[derive(Debug)]
pub struct Live<'a> {
    pub client: &'a Client,
    pub address: &'a str,
    /// How long nothing may be heard of it.
    pub patience: Duration,
    pub new: &'a NewDir,
}

/// Why an attempt was of no use: what was needed had been trimmed.
#[derive(Debug)]
struct Overtaken(String);

/// A log on its way.
type Coming = (LogId, Subscription);

impl Live<'_> {
    /// Copies all of it into the new directory, which is not finished then.
    pub async fn copy(&self) -> anyhow::Result<Copied> {
        let mut copied = Copied::begin("copied");
        let mut why = Overtaken(String::new());
        for _ in 0..TRIES_MAX {
            match self.attempt(&mut copied).await? {
                Ok(()) => return Ok(copied),
                Err(overtaken) => why = overtaken,
            }
            tracing::warn!(why = why.0, "what is not copied yet was trimmed, and the copy begins again");
            copied.begin_again();
            block_in_place(|| self.new.clear())?;
        }
        bail!(
            "logs are trimmed, and in {TRIES_MAX} tries what the snapshots know and what was copied of them did not \
             meet ({}): try again when less is written, or let the scheduler keep more of the task log, with \
             --task-log-records and --task-log-age",
            why.0
        )
    }

    async fn attempt(&self, copied: &mut Copied) -> anyhow::Result<Result<(), Overtaken>> {
        let Stored { seq, epoch, digest, starts, snapshots, logs } = self.stored().await?;
        let starts = starts.into_iter().collect();
        copied.last = Last { seq, epoch, digest };
        let mut store = block_in_place(|| NewStore::begin(self.new, copied.last, &starts))?;
        let mut waiting = logs.into_iter();
        let mut coming: VecDeque<Coming> = waiting.by_ref().take(1).map(|log| self.subscribe(log)).collect();
        let (mut known, mut bad) = (Vec::new(), Vec::new());
        for at in snapshots {
            match self.copy_snapshot(&store, at, copied).await? {
                Ok(snapshot) => known.push(snapshot),
                Err(why) => bad.push(why),
            }
        }
        loop {
            let more = LOGS_AT_ONCE.saturating_sub(coming.len());
            coming.extend(waiting.by_ref().take(more).map(|log| self.subscribe(log)));
            let Some((log, subscription)) = coming.pop_front() else { break };
            let first = match self.copy_log(&mut store, log, subscription, copied).await? {
                Ok(first) => first,
                Err(overtaken) => return Ok(Err(overtaken)),
            };
            let known_to = known.iter().map(|known: &Known| known.head(log)).max().unwrap_or_default();
            if first > known_to {
                let bad = if bad.is_empty() { "there are no others".to_owned() } else { bad.join("; ") };
                return Ok(Err(Overtaken(format!(
                    "log {log} begins at offset {first}, and the snapshots that could be copied know what is before \
                     offset {known_to}: {bad}"
                ))));
            }
        }
        block_in_place(|| store.finish())?;
        Ok(Ok(()))
    }

    /// What is stored, with all pages of its logs.
    async fn stored(&self) -> anyhow::Result<Stored> {
        let mut stored = self.page(None).await?;
        let mut page = stored.logs.last().copied();
        while let Some(log) = page {
            let next = self.page(Some(log)).await?.logs;
            page = next.last().copied();
            stored.logs.extend(next);
        }
        Ok(stored)
    }

    async fn page(&self, after: Option<LogId>) -> anyhow::Result<Stored> {
        match self.heard(self.client.query(Query::Stored { after })).await?? {
            Answer::Stored(stored) => Ok(stored),
            other => Err(unexpected(&other)),
        }
    }

    fn subscribe(&self, log: LogId) -> Coming {
        (log, self.client.connection().subscribe(log, Position::Stored(0)))
    }

    /// Copies a snapshot. Answers up to where it knows the logs, or why it cannot be had.
    async fn copy_snapshot(
        &self,
        store: &NewStore,
        at: Seq,
        copied: &mut Copied,
    ) -> anyhow::Result<Result<Known, String>> {
        let mut snapshot = block_in_place(|| store.begin_snapshot(at))?;
        let (mut from, mut known, bytes_before) = (0, Known::default(), copied.bytes);
        loop {
            let answer = self.heard(self.client.query(Query::SnapshotPieces { at, from })).await?;
            let (pieces, is_end) = match answer {
                Ok(Answer::SnapshotPieces { pieces, is_end }) => (pieces, is_end),
                Ok(other) => return Err(unexpected(&other)),
                Err(Error::Rejected(why)) => {
                    copied.bytes = bytes_before;
                    return Ok(Err(why.to_string()));
                }
                Err(error) => return Err(error.into()),
            };
            pieces.iter().for_each(|piece| known.add(piece));
            from += pieces.len() as u64;
            copied.bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            copied.tell();
            block_in_place(|| pieces.iter().try_for_each(|piece| snapshot.add(piece)))?;
            if is_end {
                break;
            }
        }
        if !known.is_snapshot() {
            return Ok(Err(format!("the snapshot of commit {at} does not begin as one does")));
        }
        block_in_place(|| snapshot.finish())?;
        copied.snapshots.push(at);
        Ok(Ok(known))
    }

    /// Copies the batches of a log up to the last commit. Answers where it begins.
    async fn copy_log(
        &self,
        store: &mut NewStore,
        log: LogId,
        mut subscription: Subscription,
        copied: &mut Copied,
    ) -> anyhow::Result<Result<u64, Overtaken>> {
        let (mut first, mut next, mut batches) = (0, 0, Batches::default());
        loop {
            let item = self.heard(subscription.next()).await?;
            let item = item.ok_or_else(|| anyhow!("the records of log {log} are cut off"))?;
            match item.with_context(|| format!("the records of log {log} cannot be read"))? {
                ReadItem::Subscribed { .. } => {}
                // What was durable when it began has come by then.
                ReadItem::CaughtUp { .. } => break,
                ReadItem::Trimmed { first: behind, .. } if next == first => (first, next) = (behind, behind),
                ReadItem::Trimmed { from, first } => {
                    let what = format!("its records {from} to {first} went before they were read");
                    return Ok(Err(Overtaken(what)));
                }
                ReadItem::Records { batch, .. } if batch.header().seq > copied.last.seq => break,
                ReadItem::Records { batch, .. } => {
                    if next == first && first > 0 {
                        block_in_place(|| store.set_first(log, first))?;
                    }
                    next = batch.header().end_offset();
                    copied.records += u64::from(batch.header().count);
                    copied.bytes += batch.bytes().len() as u64;
                    copied.lost.extend(batch.damage().map(|damage| (log, damage)));
                    batches.add(batch, store)?;
                    copied.tell();
                }
            }
        }
        batches.hand_over(store)?;
        // Or it began later.
        if next == first && first > 0 {
            let what = format!("nothing is left of log {log} up to commit {}", copied.last.seq);
            return Ok(Err(Overtaken(what)));
        }
        copied.logs += u64::from(next > first);
        Ok(Ok(first))
    }

    /// What comes from the scheduler, unless nothing does.
    async fn heard<T>(&self, coming: impl Future<Output = T>) -> anyhow::Result<T> {
        timeout(self.patience, coming).await.map_err(|_| {
            anyhow!(
                "nothing has come from the scheduler at {} for {:?}: begin the backup again when it runs; what was \
                 copied so far is removed",
                self.address,
                self.patience
            )
        })
    }
}

/// Batches on their way to the store.
#[derive(Default)]
struct Batches {
    gathered: Vec<Batch>,
    bytes: usize,
}

impl Batches {
    fn add(&mut self, batch: Batch, store: &mut NewStore) -> anyhow::Result<()> {
        self.bytes += batch.bytes().len();
        self.gathered.push(batch);
        if self.bytes >= PIECE_BYTES { self.hand_over(store) } else { Ok(()) }
    }

    fn hand_over(&mut self, store: &mut NewStore) -> anyhow::Result<()> {
        self.bytes = 0;
        block_in_place(|| self.gathered.drain(..).try_for_each(|batch| store.add(batch)))?;
        Ok(())
    }
}

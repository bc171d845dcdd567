//! The writer's thread: the only place that writes to the log. It makes one commit durable at a time,
//! shows it to the readers, and says so. Snapshots are begun
//! here, and made elsewhere. After a failure it takes no more.
//!
//! It looks how much room there is, too: a disk that is slow to answer that holds up nobody else.

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::snapshots::Snapshots;
use crate::log::{Error, Log, Reader};
use crate::protocol::Seq;
use crate::protocol::batch::Commit;

/// What the writer has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// A commit is durable.
    Commit(Seq),
    /// So much is free where the log is kept.
    Free(Option<u64>),
}

/// What became of a commit, and what was seen. After an error nothing comes any more.
pub(super) type Written = Result<Done, Error>;

/// How often it is looked how much is free at least, and after how many bytes of batches: a call of some
/// microseconds. The reserve counts on both ([`DISK_RESERVE_BYTES`](super::core::DISK_RESERVE_BYTES)).
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_BYTES: usize = 8 * 1024 * 1024;

/// The way to the writer. Dropping it ends the thread, once the commit in its hands is done; the end of
/// the `Written`s says that it has let go of the log.
#[derive(Debug)]
pub(super) struct Commits(std_mpsc::Sender<Commit>);

impl Commits {
    /// Hands over a commit. There is never more than one under way: the pipeline sees to that.
    pub fn send(&self, commit: Commit) {
        // A thread that is gone has dropped its end of `Written`, which the driver sees.
        let _ = self.0.send(commit);
    }
}

/// Starts the writer's thread.
pub(super) fn spawn(
    log: Arc<dyn Log>,
    reader: Reader,
    snapshots: Snapshots,
) -> (Commits, mpsc::UnboundedReceiver<Written>) {
    let (commits, waiting) = std_mpsc::channel::<Commit>();
    let (done, written) = mpsc::unbounded_channel();
    let writer = Writer { log, reader, snapshots, look: Look::default(), done };
    let thread = std::thread::Builder::new().name("log-writer".to_owned());
    thread.spawn(move || writer.run(&waiting)).expect("a thread can be started");
    (Commits(commits), written)
}

/// The thread. Its last field goes last: who sees the end of `done` may open the store again.
struct Writer {
    log: Arc<dyn Log>,
    reader: Reader,
    snapshots: Snapshots,
    look: Look,
    done: mpsc::UnboundedSender<Written>,
}

impl Writer {
    fn run(mut self, waiting: &std_mpsc::Receiver<Commit>) {
        // Not left to the drop: whoever still reads has the log as well, and this process may end before that.
        if self.write(waiting).is_ok()
            && let Err(error) = self.log.close()
        {
            tracing::warn!(%error, "the store was not closed in order: nothing is lost");
        }
    }

    /// Writes until there is nothing more to write, or nobody who wants to know, or a write fails.
    fn write(&mut self, waiting: &std_mpsc::Receiver<Commit>) -> Result<(), Failed> {
        loop {
            match waiting.recv_timeout(self.look.due_in()) {
                Ok(commit) => {
                    let result = self.log.append(&commit).and_then(|()| self.log.flush());
                    if result.is_ok() {
                        self.reader.publish(&commit);
                    }
                    let failed = result.is_err();
                    let told = self.done.send(result.map(|()| Done::Commit(commit.seq)));
                    if failed {
                        return Err(Failed);
                    }
                    if told.is_err() {
                        return Ok(());
                    }
                    self.look.written(&commit);
                    self.snapshots.committed(&commit);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if let Some(free) = self.look.if_due(self.log.as_ref())
                && self.done.send(Ok(Done::Free(free))).is_err()
            {
                return Ok(());
            }
        }
    }
}

/// A write failed, and the driver was told.
struct Failed;

/// When it is looked how much is free, and what was seen last.
struct Look {
    at: Instant,
    bytes: usize,
    seen: Option<u64>,
    failed: bool,
}

impl Default for Look {
    fn default() -> Self {
        Look { at: Instant::now(), bytes: 0, seen: None, failed: false }
    }
}

impl Look {
    fn due_in(&self) -> Duration {
        if self.bytes >= LOOK_BYTES { Duration::ZERO } else { LOOK_EVERY.saturating_sub(self.at.elapsed()) }
    }

    fn written(&mut self, commit: &Commit) {
        self.bytes += commit.batches.iter().map(|batch| batch.bytes().len()).sum::<usize>();
    }

    /// What is free, if it is time to look and something else is seen than before.
    fn if_due(&mut self, log: &dyn Log) -> Option<Option<u64>> {
        if !self.due_in().is_zero() {
            return None;
        }
        (self.at, self.bytes) = (Instant::now(), 0);
        let free = free_bytes(log, &mut self.failed);
        (std::mem::replace(&mut self.seen, free) != free).then_some(free)
    }
}

/// How much is free where the log is kept. When the system does not say, that is told once, and no bound
/// is known.
pub(super) fn free_bytes(log: &dyn Log, failed: &mut bool) -> Option<u64> {
    match log.free_bytes() {
        Ok(free) => {
            *failed = false;
            free
        }
        Err(error) => {
            if !std::mem::replace(failed, true) {
                tracing::warn!(%error, "it cannot be seen how much room the log has: nothing is refused for want of it");
            }
            None
        }
    }
}

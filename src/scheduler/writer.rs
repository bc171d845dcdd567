//! The writer: the only place that writes to the log. It makes one commit durable at a time, shows it to the
//! readers, and says so. After a failure it takes no more.
//!
//! It has a thread, so that the next commit fills while one is on its way to the disk. A driver that has nothing else
//! to do writes a small one itself: a lone command pays for no hand-over to that thread and back. The thread looks how
//! much room there is, too: a disk that is slow to answer that holds up nobody else.

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

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

/// Commits of up to so many bytes may be written by the driver itself: larger ones take long enough for it to do
/// something else meanwhile.
const HERE_BYTES_MAX: usize = 16 * 1024;

/// A disk that takes longer would keep the driver from all else for more than the hand-overs are worth.
const HERE_TIME_MAX: Duration = Duration::from_millis(1);

/// How much the newest commit counts in the time that commits take: an eighth.
const NEWEST_PART: u32 = 8;

/// The way to the writer. Dropping it ends the thread, once the commit in its hands is done; the end of
/// the `Written`s says that it has let go of the log.
pub(super) struct Commits {
    thread: std_mpsc::Sender<Commit>,
    writer: Arc<Mutex<Writer>>,
}

impl Commits {
    /// Hands over a commit. There is never more than one under way: the pipeline sees to that.
    pub fn send(&self, commit: Commit) {
        // A thread that is gone has dropped its end of `Written`, which the driver sees.
        let _ = self.thread.send(commit);
    }

    /// Writes a commit on this thread, if it is small and the disk was quick so far: for someone who has nothing else
    /// to do, two hand-overs between threads would take longer. Answers nothing when it was not written.
    pub fn write_here(&self, commit: &Commit) -> Option<Result<(), Error>> {
        let mut writer = self.writer.try_lock().ok()?;
        writer.is_quick(commit).then(|| writer.write(commit))
    }
}

/// Starts the writer's thread.
pub(super) fn spawn(log: Arc<dyn Log>, reader: Reader) -> (Commits, mpsc::UnboundedReceiver<Written>) {
    let (sender, waiting) = std_mpsc::channel::<Commit>();
    let (done, written) = mpsc::unbounded_channel();
    let writer = Writer { log, reader, look: Look::default(), typical: Duration::ZERO, has_failed: false };
    let writer = Arc::new(Mutex::new(writer));
    let commits = Commits { thread: sender, writer: writer.clone() };
    let thread = std::thread::Builder::new().name("log-writer".to_owned());
    thread.spawn(move || run(writer, &waiting, done)).expect("a thread can be started");
    (commits, written)
}

/// The thread. `done` goes last: who sees its end may open the store again.
fn run(
    writer: Arc<Mutex<Writer>>,
    waiting: &std_mpsc::Receiver<Commit>,
    done: mpsc::UnboundedSender<Written>,
) {
    serve(&writer, waiting, &done);
    {
        let writer = lock(&writer);
        // Not left to the drop: whoever still reads has the log as well, and this process may end before that.
        if !writer.has_failed
            && let Err(error) = writer.log.close()
        {
            tracing::warn!(%error, "the store was not closed in order: nothing is lost");
        }
    }
    drop(writer);
    drop(done);
}

/// Writes until there is nothing more to write, or nobody who wants to know, or a write fails.
fn serve(
    writer: &Mutex<Writer>,
    waiting: &std_mpsc::Receiver<Commit>,
    done: &mpsc::UnboundedSender<Written>,
) {
    loop {
        let due_in = lock(writer).look.due_in();
        let told = match waiting.recv_timeout(due_in) {
            Ok(commit) => {
                let result = lock(writer).write(&commit);
                let has_failed = result.is_err();
                let told = done.send(result.map(|()| Done::Commit(commit.seq)));
                if has_failed {
                    return;
                }
                told
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let free = lock(writer).look_if_due();
        if told.is_err() || free.is_some_and(|free| done.send(Ok(Done::Free(free))).is_err()) {
            return;
        }
    }
}

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What writes to the log, whoever's thread it is on.
struct Writer {
    log: Arc<dyn Log>,
    reader: Reader,
    look: Look,
    /// How long commits take.
    typical: Duration,
    has_failed: bool,
}

impl Writer {
    /// Makes a commit durable, and shows it to the readers.
    fn write(&mut self, commit: &Commit) -> Result<(), Error> {
        let began = Instant::now();
        let result = self.log.append(commit).and_then(|()| self.log.flush());
        self.has_failed = result.is_err();
        result?;
        self.typical = (self.typical * (NEWEST_PART - 1) + began.elapsed()) / NEWEST_PART;
        self.reader.publish(commit);
        self.look.written(commit);
        Ok(())
    }

    fn is_quick(&self, commit: &Commit) -> bool {
        self.typical < HERE_TIME_MAX && commit.bytes() <= HERE_BYTES_MAX
    }

    fn look_if_due(&mut self) -> Option<Option<u64>> {
        self.look.if_due(self.log.as_ref())
    }
}

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
        self.bytes += commit.bytes();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::faulty::{Fault, Operation};
    use crate::log::{Faulty, Memory};
    use crate::protocol::batch::OpenBatch;
    use crate::protocol::{Epoch, LogId};

    fn commit(seq: u64, offset: u64, bytes: usize) -> Commit {
        let mut open = OpenBatch::new(LogId(1), offset, offset);
        assert!(open.push(&"x".repeat(bytes), true));
        let (seq, epoch) = (Seq(seq), Epoch(1));
        Commit { seq, epoch, batches: vec![open.seal(seq, epoch, 0)] }
    }

    fn writer() -> (Arc<Faulty<Memory>>, Commits, mpsc::UnboundedReceiver<Written>) {
        let log = Arc::new(Faulty::new(Memory::new()));
        log.begin_epoch().unwrap();
        let (commits, written) = spawn(log.clone(), Reader::new(log.clone()));
        (log, commits, written)
    }

    #[tokio::test]
    async fn what_is_small_while_the_disk_is_quick_is_written_here_and_all_else_by_the_thread() {
        let (log, commits, mut written) = writer();
        assert!(commits.write_here(&commit(1, 0, 100)).unwrap().is_ok());
        assert_eq!(log.last().seq, Seq(1));
        let large = commit(2, 1, HERE_BYTES_MAX);
        assert!(commits.write_here(&large).is_none());
        commits.send(large);
        assert_eq!(written.recv().await.unwrap().unwrap(), Done::Commit(Seq(2)));
        commits.writer.lock().unwrap().typical = HERE_TIME_MAX;
        assert!(commits.write_here(&commit(3, 2, 100)).is_none(), "the disk was slow");
        assert_eq!(log.last().seq, Seq(2));
    }

    #[tokio::test]
    async fn what_fails_here_is_told_here_and_the_thread_lets_the_log_go() {
        let (log, commits, mut written) = writer();
        log.inject(Operation::Flush, Fault::NotDone);
        assert!(matches!(commits.write_here(&commit(1, 0, 100)), Some(Err(Error::Unknown(_)))));
        assert!(commits.writer.lock().unwrap().has_failed);
        drop(commits);
        assert!(written.recv().await.is_none());
        assert_eq!(Arc::strong_count(&log), 1);
    }
}

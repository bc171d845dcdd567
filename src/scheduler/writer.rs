//! The writer: the only place that writes to the log. It makes one commit durable at a time, shows it to the
//! readers, and says so; or appends it, and flushes several later. After a failure it takes no more.
//!
//! It has a thread, so that the next commit fills while one is on its way to the disk. A driver that has nothing else
//! to do writes a small one itself: a lone command pays for no hand-over to that thread and back. The thread looks how
//! much room there is, too: a disk that is slow to answer that holds up nobody else.

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::meters::Meters;
use crate::log::{Error, Log, Reader};
use crate::protocol::Seq;
use crate::protocol::batch::Commit;

/// What the writer has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// A commit is durable, and all before it.
    Flushed(Seq),
    /// A commit is appended, and not durable.
    Appended(Seq),
    /// So much is free where the log is kept.
    Free(Option<u64>),
}

/// What the writer is to do.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// What it is to append, if anything.
    pub commit: Option<Commit>,
    /// Whether it is to make that durable, and all that was appended before.
    pub flush: bool,
}

impl Work {
    fn bytes(&self) -> usize {
        self.commit.as_ref().map_or(0, Commit::bytes)
    }
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

/// What was put off is done once it is so many commits, which take some 1 ms, or so many bytes, 1 MiB: of large batches the engine
/// writes the less the more come together.
const STOW_COMMITS: u32 = 128;
const STOW_BYTES: usize = 1024 * 1024;

/// A disk that takes longer would keep the driver from all else for more than the hand-overs are worth.
const HERE_TIME_MAX: Duration = Duration::from_millis(1);

/// How much the newest commit counts in the time that commits take: an eighth.
const NEWEST_PART: u32 = 8;

/// The way to the writer. Dropping it ends the thread, once the commit in its hands is done; the end of
/// the `Written`s says that it has let go of the log.
pub(super) struct Commits {
    thread: std_mpsc::Sender<Work>,
    writer: Arc<Mutex<Writer>>,
}

impl Commits {
    /// Hands over work. There is never more than one piece under way: the pipeline sees to that.
    pub fn send(&self, work: Work) {
        // A thread that is gone has dropped its end of `Written`, which the driver sees.
        let _ = self.thread.send(work);
    }

    /// Does the work on this thread, if it is little and the disk was quick so far: for someone who has nothing else
    /// to do, two hand-overs between threads would take longer. Answers nothing when it was not done.
    pub fn write_here(&self, work: &Work) -> Option<Written> {
        let mut writer = self.writer.try_lock().ok()?;
        writer.is_quick(work).then(|| writer.write(work))
    }
}

/// Starts the writer's thread.
pub(super) fn spawn(
    log: Arc<dyn Log>,
    reader: Reader,
    meters: Meters,
) -> (Commits, mpsc::UnboundedReceiver<Written>) {
    let (sender, waiting) = std_mpsc::channel::<Work>();
    let (done, written) = mpsc::unbounded_channel();
    let (appended, look, typical) = (log.last().seq, Look::default(), Duration::ZERO);
    let (unflushed_bytes, unstowed, has_failed) = Default::default();
    let writer =
        Writer { log, reader, meters, look, typical, appended, unflushed_bytes, unstowed, has_failed };
    let writer = Arc::new(Mutex::new(writer));
    let commits = Commits { thread: sender, writer: writer.clone() };
    let thread = std::thread::Builder::new().name("log-writer".to_owned());
    thread.spawn(move || run(writer, &waiting, done)).expect("a thread can be started");
    (commits, written)
}

/// The thread. `done` goes last: who sees its end may open the store again.
fn run(writer: Arc<Mutex<Writer>>, waiting: &std_mpsc::Receiver<Work>, done: mpsc::UnboundedSender<Written>) {
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
fn serve(writer: &Mutex<Writer>, waiting: &std_mpsc::Receiver<Work>, done: &mpsc::UnboundedSender<Written>) {
    loop {
        let due_in = lock(writer).look.due_in();
        let told = match waiting.recv_timeout(due_in) {
            Ok(work) => {
                let mut writer = lock(writer);
                let written = writer.write(&work);
                let has_failed = written.is_err();
                let told = done.send(written);
                if has_failed {
                    return;
                }
                // Whoever waits for that commit goes on meanwhile.
                if let Err(error) = writer.stow_if_due() {
                    let _ = done.send(Err(error));
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
    meters: Meters,
    look: Look,
    /// How long it takes to make a commit durable.
    typical: Duration,
    /// The newest commit that is appended, and how large those are that are not durable.
    appended: Seq,
    unflushed_bytes: usize,
    /// How many commits have become durable since what was put off was done, and how large they are.
    unstowed: (u32, usize),
    has_failed: bool,
}

impl Writer {
    /// Does what it is to do, and shows it to the readers.
    fn write(&mut self, work: &Work) -> Written {
        let began = Instant::now();
        let appended = work.commit.as_ref().map_or(Ok(()), |commit| self.log.append(commit));
        let written = appended.and_then(|()| if work.flush { self.log.flush() } else { Ok(()) });
        self.has_failed = written.is_err();
        written?;
        self.appended = work.commit.as_ref().map_or(self.appended, |commit| commit.seq);
        self.look.written(work.bytes());
        if !work.flush {
            self.unflushed_bytes += work.bytes();
            work.commit.iter().for_each(|commit| self.reader.appended(commit));
            return Ok(Done::Appended(self.appended));
        }
        let flushed_bytes = std::mem::take(&mut self.unflushed_bytes) + work.bytes();
        self.meters.flushed(flushed_bytes, began.elapsed());
        self.unstowed = (self.unstowed.0 + 1, self.unstowed.1 + flushed_bytes);
        self.typical = (self.typical * (NEWEST_PART - 1) + began.elapsed()) / NEWEST_PART;
        self.reader.flushed();
        work.commit.iter().for_each(|commit| self.reader.publish(commit));
        Ok(Done::Flushed(self.appended))
    }

    /// Whether it takes no longer than hand-overs would. What is only appended waits for no disk. What was put off the thread
    /// does behind the work that it is given.
    fn is_quick(&self, work: &Work) -> bool {
        let is_little = self.unflushed_bytes + work.bytes() <= HERE_BYTES_MAX;
        match work.flush {
            true => is_little && self.typical < HERE_TIME_MAX && !self.is_stow_due(),
            false => work.bytes() <= HERE_BYTES_MAX,
        }
    }

    fn is_stow_due(&self) -> bool {
        let (commits, bytes) = self.unstowed;
        commits >= STOW_COMMITS || bytes >= STOW_BYTES
    }

    /// Does what was put off, if it is enough to be worth it.
    fn stow_if_due(&mut self) -> Result<(), Error> {
        if !self.is_stow_due() {
            return Ok(());
        }
        self.unstowed = (0, 0);
        let stowed = self.log.stow();
        self.has_failed |= stowed.is_err();
        stowed
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

    fn written(&mut self, bytes: usize) {
        self.bytes += bytes;
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

    fn work(seq: u64, offset: u64, bytes: usize, flush: bool) -> Work {
        let mut open = OpenBatch::new(LogId(1), offset, offset);
        assert!(open.push(&"x".repeat(bytes), true));
        let (seq, epoch) = (Seq(seq), Epoch(1));
        let commit = Commit { seq, epoch, batches: vec![open.seal(seq, epoch, 0)] };
        Work { commit: Some(commit), flush }
    }

    fn writer() -> (Arc<Faulty<Memory>>, Commits, mpsc::UnboundedReceiver<Written>) {
        let log = Arc::new(Faulty::new(Memory::new()));
        log.begin_epoch().unwrap();
        let (commits, written) = spawn(log.clone(), Reader::new(log.clone()), Meters::default());
        (log, commits, written)
    }

    #[tokio::test]
    async fn what_is_small_while_the_disk_is_quick_is_written_here_and_all_else_by_the_thread() {
        let (log, commits, mut written) = writer();
        assert_eq!(commits.write_here(&work(1, 0, 100, true)).unwrap().unwrap(), Done::Flushed(Seq(1)));
        assert_eq!(log.last().seq, Seq(1));
        let large = work(2, 1, HERE_BYTES_MAX, true);
        assert!(commits.write_here(&large).is_none());
        commits.send(large);
        assert_eq!(written.recv().await.unwrap().unwrap(), Done::Flushed(Seq(2)));
        commits.writer.lock().unwrap().typical = HERE_TIME_MAX;
        assert!(commits.write_here(&work(3, 2, 100, true)).is_none(), "the disk was slow");
        assert_eq!(log.last().seq, Seq(2));
    }

    #[tokio::test]
    async fn what_is_appended_is_shown_to_all_once_it_is_flushed_with_all_before_it() {
        let (log, commits, mut written) = writer();
        let reader = commits.writer.lock().unwrap().reader.clone();
        commits.writer.lock().unwrap().typical = HERE_TIME_MAX;
        let heads = || (reader.bounds(LogId(1)).head, reader.appended_bounds(LogId(1)).head);
        for seq in 1..=3 {
            let done = commits.write_here(&work(seq, seq - 1, 6_000, false)).expect("that waits for no disk");
            assert_eq!(done.unwrap(), Done::Appended(Seq(seq)));
            assert_eq!((log.last().seq, heads()), (Seq(0), (0, seq)));
        }
        commits.writer.lock().unwrap().typical = Duration::ZERO;
        let flush = Work { commit: None, flush: true };
        assert!(commits.write_here(&flush).is_none(), "together it is much");
        commits.send(flush);
        assert_eq!(written.recv().await.unwrap().unwrap(), Done::Flushed(Seq(3)));
        assert_eq!((log.last().seq, heads()), (Seq(3), (3, 3)));
        assert!(commits.write_here(&work(4, 3, 100, true)).unwrap().is_ok());
        assert_eq!(heads(), (4, 4));
    }

    #[tokio::test]
    async fn what_was_put_off_is_done_by_the_thread_once_it_is_much_and_behind_the_acknowledgement() {
        let (log, commits, mut written) = writer();
        log.inject(Operation::Stow, Fault::NotDone);
        for at in 0.. {
            let work = work(at + 1, at, 100, true);
            let Some(done) = commits.write_here(&work) else {
                assert_eq!(at, u64::from(STOW_COMMITS));
                commits.send(work);
                break;
            };
            assert_eq!(done.unwrap(), Done::Flushed(Seq(at + 1)));
        }
        let newest = Seq(u64::from(STOW_COMMITS) + 1);
        assert_eq!(written.recv().await.unwrap().unwrap(), Done::Flushed(newest));
        let error = written.recv().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the store failed: Stow failed");
        assert!(written.recv().await.is_none(), "it takes no more");
        assert_eq!(log.inner().last().seq, newest);
    }

    #[tokio::test]
    async fn what_fails_here_is_told_here_and_the_thread_lets_the_log_go() {
        let (log, commits, mut written) = writer();
        log.inject(Operation::Flush, Fault::NotDone);
        assert!(matches!(commits.write_here(&work(1, 0, 100, true)), Some(Err(Error::Unknown(_)))));
        assert!(commits.writer.lock().unwrap().has_failed);
        drop(commits);
        assert!(written.recv().await.is_none());
        assert_eq!(Arc::strong_count(&log), 1);
    }
}

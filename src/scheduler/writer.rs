//! The writer's thread: the only place that writes to the log. It makes one commit durable at a time,
//! shows it to the readers, and says so. Snapshots are begun
//! here, and made elsewhere. After a failure it takes no more.

use std::sync::{Arc, mpsc as std_mpsc};

use tokio::sync::mpsc;

use super::snapshots::Snapshots;
use crate::log::{Error, Log, Reader};
use crate::protocol::Seq;
use crate::protocol::batch::Commit;

/// What became of a commit.
pub(super) type Written = Result<Seq, Error>;

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
    mut snapshots: Snapshots,
) -> (Commits, mpsc::UnboundedReceiver<Written>) {
    let (commits, waiting) = std_mpsc::channel::<Commit>();
    let (done, written) = mpsc::unbounded_channel();
    let write = move || {
        let mut failed = false;
        for commit in waiting {
            let result = log.append(&commit).and_then(|()| log.flush());
            if result.is_ok() {
                reader.publish(&commit);
            }
            failed = result.is_err();
            if done.send(result.map(|()| commit.seq)).is_err() || failed {
                break;
            }
            snapshots.committed(&commit);
        }
        // Not left to the drop: whoever still reads has the log as well, and this process may end before that.
        if !failed && let Err(error) = log.close() {
            tracing::warn!(%error, "the store was not closed in order: nothing is lost");
        }
        // In this order: who sees the end of `done` may open the store again.
        drop((log, reader, snapshots));
        drop(done);
    };
    std::thread::Builder::new().name("log-writer".to_owned()).spawn(write).expect("a thread can be started");
    (Commits(commits), written)
}

//! How far the recovery is that a session waits for: shown to who wants to see it, and else said in log lines.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::protocol::start::RecoveryProgress;

/// After how long of waiting for a scheduler that recovers this is said, and how often then.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// Shows it: nothing while the session waits for no recovery.
#[derive(Debug)]
pub(super) struct Recovery {
    shown: watch::Sender<Option<RecoveryProgress>>,
    /// When the newest connection was first told to wait, or it was said last.
    since: Option<Instant>,
}

impl Recovery {
    /// Of a session that waits for none, and where it is shown.
    pub fn new() -> (Recovery, watch::Receiver<Option<RecoveryProgress>>) {
        let (shown, seen) = watch::channel(None);
        (Recovery { shown, since: None }, seen)
    }

    /// The session waits for none, as far as it knows.
    pub fn over(&mut self) {
        self.since = None;
        self.shown.send_if_modified(|shown| shown.take().is_some());
    }

    /// It is under way, and so far.
    pub fn is_at(&mut self, progress: RecoveryProgress) {
        self.shown.send_replace(Some(progress));
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        // The connection itself has one.
        let is_watched = self.shown.receiver_count() > 1;
        if now - since >= TOLD_AFTER && !is_watched {
            self.since = Some(now);
            tracing::warn!("waiting for the scheduler, which recovers: {progress}");
        }
    }
}

//! Room for appends that have no answer yet: so much memory may they take here, however many there are, and whether or
//! not anybody waits for them.
//!
//! ```text
//!   0 ────────────── ready ───────────────────────▶│ READY_BYTES, a half
//!   0 ────────────── an append is taken ───────────┼──────────────────────▶│ UNANSWERED_BYTES_MAX: refused
//! ```
//!
//! An append has its place when it is called, so that there is nothing in it to wait at: whoever makes many waits until
//! there is room before each. Between the two bounds there is room for those who waited at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Most bytes of appends that have no answer yet: 64 MiB. At 100 bytes a value that is 400,000 of them, many times what
/// a scheduler takes in while its answers are on their way.
pub const UNANSWERED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// There is room for more while they are fewer than this.
const READY_BYTES: usize = UNANSWERED_BYTES_MAX / 2;

/// What an append is counted for beside the bytes of its elements.
pub(super) const APPEND_BYTES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Room {
    taken: AtomicUsize,
    freed: Notify,
}

impl Room {
    /// Takes so much, if it is there; else answers how much is taken. Callers exclude each other.
    pub fn take(&self, bytes: usize) -> Result<(), usize> {
        let taken = self.taken.load(Ordering::Relaxed);
        if taken + bytes > UNANSWERED_BYTES_MAX {
            return Err(taken);
        }
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what was taken.
    pub fn give_back(&self, bytes: usize) {
        let before = self.taken.fetch_sub(bytes, Ordering::Relaxed);
        if before >= READY_BYTES && before - bytes < READY_BYTES {
            self.freed.notify_waiters();
        }
    }

    /// Waits until there is room for more.
    pub async fn ready(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before it is looked: what is freed between the two is not missed.
            freed.as_mut().enable();
            if self.taken.load(Ordering::Relaxed) < READY_BYTES {
                return;
            }
            freed.await;
        }
    }
}

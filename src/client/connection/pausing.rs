//! Waiting inside a task that is a client: meanwhile the attempt takes neither its slot nor what it was granted.
//!
//! It gives them up at once where it waits on its client for what others do: for the end of a task, for records, for
//! elements of a group. Whatever else it waits for may be over in a moment, like the answer to a command or a piece of a file:
//! then it does so once that has lasted for [`IDLE`].

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

/// How long it waits for something else before it gives up its slot: 50 ms. An answer of the scheduler has come by then, as a
/// rule; and who pauses between two pieces of work for longer than that leaves room for others.
const IDLE: Duration = Duration::from_millis(50);

/// Hears from an attempt's client when it waits, and gives the attempt its slot back before its code goes on.
pub(crate) trait Pausing: Send + Sync + std::fmt::Debug {
    /// Something waits for what others do, until the attempt's code goes on.
    fn wait(&self);

    /// Something begins to wait for what others do.
    fn begin_wait(&self);

    /// It waits no longer.
    fn end_wait(&self);

    /// The attempt's code is about to go on: ready once it may. The second argument is where it keeps, until then, that it
    /// asked.
    fn poll_resume(&self, context: &mut Context<'_>, asked: &mut Option<oneshot::Receiver<()>>) -> Poll<()>;

    /// The attempt's code cannot go on now, or since so long that it has idled. Answers whether it has paused.
    fn suspend(&self, has_idled: bool) -> bool;
}

/// Does an attempt's work, or a part of it, so that it pauses where it waits.
pub(crate) async fn pausing<F: Future>(attempt: impl Fn() -> Option<Arc<dyn Pausing>>, work: F) -> F::Output {
    let (mut work, mut is_suspended, mut asked, mut idle) = (pin!(work), false, None, None);
    std::future::poll_fn(|context| {
        let has_idled =
            idle.as_mut().is_some_and(|idle: &mut Pin<Box<Sleep>>| idle.as_mut().poll(context).is_ready());
        if is_suspended && let Some(attempt) = attempt() {
            ready!(attempt.poll_resume(context, &mut asked));
            is_suspended = false;
        }
        let polled = work.as_mut().poll(context);
        if polled.is_pending()
            && let Some(attempt) = attempt()
        {
            is_suspended = true;
            if attempt.suspend(has_idled) {
                idle = None;
            } else {
                let idle = idle.get_or_insert_with(|| Box::pin(sleep(IDLE)));
                idle.as_mut().reset(Instant::now() + IDLE);
                // It wakes this.
                let _ = idle.as_mut().poll(context);
            }
        }
        polled
    })
    .await
}

/// Tells an attempt that a stream waits, if it does. Nobody says when it is polled no more: so it waits until the attempt's
/// code goes on, and is polled again then.
pub(super) fn waits<T>(attempt: Option<&Arc<dyn Pausing>>, polled: Poll<T>) -> Poll<T> {
    if let (Poll::Pending, Some(attempt)) = (&polled, attempt) {
        attempt.wait();
    }
    polled
}

/// Whether something waits, as the attempt hears it.
#[derive(Debug, Default)]
pub(crate) struct Wait(Option<Arc<dyn Pausing>>);

impl Wait {
    /// Follows what a poll brought: whoever has nothing yet waits.
    pub fn follow<T>(&mut self, attempt: Option<&Arc<dyn Pausing>>, polled: Poll<T>) -> Poll<T> {
        match (&polled, attempt) {
            (Poll::Pending, Some(attempt)) if self.0.is_none() => {
                attempt.begin_wait();
                self.0 = Some(attempt.clone());
            }
            (Poll::Ready(_), _) => self.end(),
            _ => {}
        }
        polled
    }

    fn end(&mut self) {
        if let Some(attempt) = self.0.take() {
            attempt.end_wait();
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.end();
    }
}

//! Waiting inside a task that is a client: meanwhile the attempt takes neither its slot nor what it was granted.
//!
//! It gives them up at once where it waits on its client for what others do: for the end of a task, for records, for
//! elements of a group. The answer to a command comes by itself: before it they are kept. Whatever else it waits for may be over in
//! a moment, like a piece of a file: for that it has its *patience*, which is [`PATIENCE`] at first, is used up by idling, and
//! grows again as it computes. So what only ticks hardly takes a slot, and whoever has one computes for half of the time at least.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// How long an attempt may idle in its slot beside what it computes: 50 ms, so that one which reads a file or asks a server now
/// and then does not have to ask for a slot each time.
const PATIENCE: Duration = Duration::from_millis(50);

/// Hears from an attempt's client when it waits, and gives the attempt its slot back before its code goes on.
pub(crate) trait Pausing: Send + Sync + std::fmt::Debug {
    /// Something waits for what others do, until the attempt's code goes on.
    fn wait(&self);

    /// Something begins to wait for what others do.
    fn begin_wait(&self);

    /// It waits no longer.
    fn end_wait(&self);

    /// Something waits for an answer of the scheduler, until the attempt's code goes on.
    fn ask(&self);

    /// The attempt's code is about to go on: ready once it may. The second argument is where it keeps, until then, that it
    /// asked. Answers whether other threads of the attempt wait still, for all that is known.
    fn poll_resume(&self, context: &mut Context<'_>, asked: &mut Option<oneshot::Receiver<()>>)
    -> Poll<bool>;

    /// The attempt's code cannot go on now. Answers whether it idles: it has its slot, and waits for nothing that is known.
    fn suspend(&self) -> bool;

    /// It has idled for too long.
    fn lose_patience(&self);
}

/// Does an attempt's work, or a part of it, so that it pauses where it waits.
pub(crate) async fn pausing<F: Future>(attempt: impl Fn() -> Option<Arc<dyn Pausing>>, work: F) -> F::Output {
    let (mut work, mut is_suspended, mut asked) = (pin!(work), false, None);
    let woken = Arc::new(Woken { is: AtomicBool::new(true), outer: AtomicWaker::new() });
    let (inner, mut is_due, mut patience) = (Waker::from(woken.clone()), false, Patience::new());
    std::future::poll_fn(|context| {
        woken.outer.register(context.waker());
        is_due |= woken.is.swap(false, Ordering::AcqRel);
        if !is_due {
            // It is not the work that is woken.
            if patience.poll_end(context).is_ready()
                && let Some(attempt) = attempt()
            {
                attempt.lose_patience();
            }
            return Poll::Pending;
        }
        if is_suspended && let Some(attempt) = attempt() {
            patience.stops();
            let others_wait = ready!(attempt.poll_resume(context, &mut asked));
            is_suspended = false;
            if others_wait {
                lose_patience_later(attempt);
            }
        }
        is_due = false;
        let began = Instant::now();
        let polled = work.as_mut().poll(&mut Context::from_waker(&inner));
        if polled.is_pending()
            && let Some(attempt) = attempt()
        {
            patience.grows(began.elapsed());
            is_suspended = true;
            if attempt.suspend() && patience.begins(context).is_ready() {
                attempt.lose_patience();
            }
        }
        polled
    })
    .await
}

/// A thread of the attempt goes on while others wait, and may end before any of them is woken: nobody hears of that, so its
/// slot, for which those may wait that the others wait for, is kept no longer than for the patience of one that idles.
fn lose_patience_later(attempt: Arc<dyn Pausing>) {
    tokio::spawn(async move {
        sleep(PATIENCE).await;
        attempt.lose_patience();
    });
}

/// Whether the work was woken, apart from what wakes those who wait for it.
struct Woken {
    is: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is.store(true, Ordering::Release);
        self.outer.wake();
    }
}

/// How long an attempt may idle still, and since when it does.
struct Patience {
    left: Duration,
    idles: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    fn new() -> Self {
        Patience { left: PATIENCE, idles: None }
    }

    /// The attempt has computed for so long.
    fn grows(&mut self, computed: Duration) {
        self.left = (self.left + computed).min(PATIENCE);
    }

    /// The attempt idles from now on. Ready when it must not.
    fn begins(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.left.is_zero() {
            return Poll::Ready(());
        }
        let now = Instant::now();
        self.idles = Some((now, Box::pin(sleep_until(now + self.left))));
        self.poll_end(context)
    }

    /// Ready when the attempt has idled for as long as it may.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some((_, end)) = &mut self.idles else { return Poll::Pending };
        ready!(end.as_mut().poll(context));
        self.stops();
        Poll::Ready(())
    }

    /// It idles no more.
    fn stops(&mut self) {
        if let Some((since, _)) = self.idles.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
    }
}

/// Tells an attempt that something waits for an answer, if it does.
pub(super) fn asks<T>(attempt: Option<&Arc<dyn Pausing>>, polled: Poll<T>) -> Poll<T> {
    if let (Poll::Pending, Some(attempt)) = (&polled, attempt) {
        attempt.ask();
    }
    polled
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

//! When an attempt pauses: where its code cannot go on, and something waits on its client for what others do, or it has idled for
//! too long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};

use tokio::sync::oneshot;

use super::context::Context;
use super::lanes::Lanes;
use crate::client::connection::Pausing;
use crate::protocol::session::HeldAttempt;

/// An attempt as it computes and waits.
pub(super) struct Pace {
    lanes: Arc<Lanes>,
    attempt: HeldAttempt,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many threads compute for it. It may sink below 0 where threads of its own wait.
    computing: i32,
    /// How many things wait on its client until they say otherwise.
    waiting: usize,
    /// Whether anything does since its code could not go on.
    waits: bool,
    /// Whether anything waits for an answer since then.
    asks: bool,
    /// How many want it to keep its slot.
    keepers: usize,
    /// How many wait for its return.
    returning: usize,
    has_paused: bool,
}

impl Pace {
    /// For an attempt that computes now.
    pub fn new(lanes: Arc<Lanes>, attempt: HeldAttempt) -> Self {
        let (waiting, waits, asks, keepers, returning, has_paused) = Default::default();
        let state = Mutex::new(State { computing: 1, waiting, waits, asks, keepers, returning, has_paused });
        Pace { lanes, attempt, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It pauses, if it is time to.
    fn settle(&self, state: &mut State, has_idled: bool) {
        let waits = has_idled || ((state.waiting > 0 || state.waits) && !state.asks);
        let may_pause = state.computing <= 0 && state.keepers == 0 && state.returning == 0;
        if waits && may_pause && !std::mem::replace(&mut state.has_paused, true) {
            self.lanes.pause(&self.attempt);
        }
    }
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").field("attempt", &self.attempt).field("state", &self.state).finish()
    }
}

impl Pausing for Pace {
    fn wait(&self) {
        let mut state = self.lock();
        state.waits = true;
        self.settle(&mut state, false);
    }

    fn begin_wait(&self) {
        let mut state = self.lock();
        state.waiting += 1;
        self.settle(&mut state, false);
    }

    fn end_wait(&self) {
        self.lock().waiting -= 1;
    }

    fn ask(&self) {
        self.lock().asks = true;
    }

    fn poll_resume(
        &self,
        context: &mut TaskContext<'_>,
        asked: &mut Option<oneshot::Receiver<()>>,
    ) -> Poll<bool> {
        let mut state = self.lock();
        if asked.is_none() && (state.has_paused || state.returning > 0) {
            state.has_paused = false;
            *asked = self.lanes.ask_to_return(self.attempt);
            state.returning += usize::from(asked.is_some());
        }
        if let Some(told) = asked {
            // An attempt that is over meanwhile has nobody to tell.
            let _ = ready!(std::pin::Pin::new(told).poll(context));
            *asked = None;
            state.returning -= 1;
        }
        state.computing += 1;
        (state.waits, state.asks) = (false, false);
        Poll::Ready(state.computing <= 0)
    }

    fn suspend(&self) -> bool {
        let mut state = self.lock();
        state.computing -= 1;
        self.settle(&mut state, false);
        !state.has_paused && !state.asks && state.keepers == 0
    }

    fn lose_patience(&self) {
        self.settle(&mut self.lock(), true);
    }
}

/// A task's slot and its resources, kept while it waits: see [`Context::keep_slot`].
#[must_use = "they are kept no longer once it is dropped"]
#[derive(Debug)]
pub struct KeptSlot(Arc<Pace>);

impl Drop for KeptSlot {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.keepers -= 1;
        self.0.settle(&mut state, false);
    }
}

impl Context {
    /// Keeps the task's slot and what it was granted until this is dropped, also while it waits as a client.
    ///
    /// Without it a task that is a client pauses where it waits for others, that is for the end of a task, or for what comes on
    /// a channel; and in async code wherever it has waited for longer than it has computed, and 50 ms. It gives up its slot and its resources, so that
    /// there is room for those for which it waits, and takes both again before it goes on. It gets a slot that is free, in turn with tasks that have not begun, and the very parts that it
    /// was granted: the same GPU, say. What it has put there others find meanwhile. Whoever cannot have that keeps it, and
    /// should be sure that those for which it waits find room elsewhere.
    ///
    /// ```
    /// use headwater::{Context, local_client, task};
    ///
    /// #[task]
    /// fn square(n: u64) -> u64 { n * n }
    ///
    /// #[task]
    /// async fn sum_of_squares(to: u64) -> headwater::Result<u64> {
    ///     let client = local_client().await?;
    ///     let mut squares = Vec::new();
    ///     for n in 0..to {
    ///         squares.push(client.submit(square, (n,)).await?);
    ///     }
    ///     let squares = headwater::gather(&squares).await?;      // takes no slot while it waits
    ///     let context = Context::current().expect("it runs as a task");
    ///     let _kept = context.keep_slot();
    ///     let more = client.submit(square, (to,)).await?.await?; // takes one, and the other task another
    ///     Ok(squares.into_iter().sum::<u64>() + more)
    /// }
    /// # fn main() {}
    /// ```
    pub fn keep_slot(&self) -> KeptSlot {
        let pace = self.pace().clone();
        pace.lock().keepers += 1;
        KeptSlot(pace)
    }
}

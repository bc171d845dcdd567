//! A slot that a task takes again for as long as it computes something.

use std::sync::Arc;

use super::context::Context;
use super::lanes::Lanes;

/// A slot of the worker, until it is dropped: see [`Context::slot`].
#[must_use = "it is given up when it is dropped"]
pub struct Slot {
    /// Where it is given up, and its number; nothing where the attempt has its own slot.
    asked: Option<(Arc<Lanes>, u64)>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("number", &self.asked.as_ref().map(|(_, number)| number)).finish()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((lanes, number)) = self.asked.take() {
            lanes.give_up_slot(number);
        }
    }
}

impl Context {
    /// Takes a slot of the worker again, for a task that is a client: from its first
    /// [`local_client`](crate::local_client) on it takes none, so that those for which it waits have room. Where it has
    /// something to compute itself, it asks for one and drops it before it waits again. It gets the next that is free, ahead
    /// of tasks that have not begun. A task that is no client has its own slot still, and gets this at once. Resources that
    /// it was granted it has all the time.
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
    ///     let squares = headwater::gather(&squares).await?;      // takes no slot
    ///     let context = Context::current().expect("it runs as a task");
    ///     let _slot = context.slot().await;                      // takes one again
    ///     Ok(squares.into_iter().sum())
    /// }
    /// # fn main() {}
    /// ```
    pub async fn slot(&self) -> Slot {
        let Some((slot, told)) = self.ask_for_slot() else { return Slot { asked: None } };
        // An attempt that is over meanwhile has nobody to tell.
        let _ = told.await;
        slot
    }

    /// As [`slot`](Self::slot), for tasks that are not async.
    ///
    /// # Panics
    /// In an async task, where nothing may wait like this.
    pub fn blocking_slot(&self) -> Slot {
        let Some((slot, told)) = self.ask_for_slot() else { return Slot { asked: None } };
        let _ = told.blocking_recv();
        slot
    }

    fn ask_for_slot(&self) -> Option<(Slot, tokio::sync::oneshot::Receiver<()>)> {
        let (number, told) = self.lanes().ask_to_return(self.held())?;
        // From here on it is given up by dropping it, though it is still waited for.
        Some((Slot { asked: Some((self.lanes().clone(), number)) }, told))
    }
}

//! Many calls of one function at once.

use std::collections::VecDeque;
use std::pin::Pin;

use super::error::Result;
use super::function::{Arguments, TaskFn};
use super::future::TaskFuture;
use super::handle::{Client, typed_submission};
use super::submit::Submit;

/// How many submissions may be unanswered: 8,192, as many as it takes until more make nothing faster (docs/PERFORMANCE.md).
const AHEAD_MAX: usize = 8192;

impl Client {
    /// A call of a task function for each of these arguments, submitted together when this is awaited: none waits for the
    /// acknowledgement of the one before. The futures come in the order of the arguments.
    ///
    /// ```
    /// # use headwater::{Client, Result, gather, task};
    /// #[task]
    /// fn square(n: u64) -> u64 { n * n }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let client = Client::local().await?;
    /// let squares = client.map(square, (0..1_000).map(|n| (n,))).each(|call| call.retries(2)).await?;
    /// assert_eq!(gather(&squares).await?[999], 998_001);
    /// # Ok(()) }
    /// ```
    pub fn map<F, P, T, M, A>(&self, function: F, arguments: impl IntoIterator<Item = A>) -> Map<T>
    where
        F: TaskFn<P, T, M>,
        A: Arguments<P>,
    {
        let call = |arguments| Submit::new(self.clone(), typed_submission(&function, arguments));
        Map { calls: arguments.into_iter().map(call).collect() }
    }
}

/// Calls that are about to be submitted: when they are awaited.
///
/// # Errors
/// Awaiting them answers the error of the first that cannot be submitted. Those before it are released then.
#[must_use = "calls are submitted when they are awaited"]
#[derive(Debug)]
pub struct Map<T> {
    calls: Vec<Submit<T>>,
}

impl<T> Map<T> {
    /// Sets options of each call, as of one that is submitted alone.
    pub fn each(self, options: impl FnMut(Submit<T>) -> Submit<T>) -> Self {
        Map { calls: self.calls.into_iter().map(options).collect() }
    }
}

impl<T: 'static> IntoFuture for Map<T> {
    type Output = Result<Vec<TaskFuture<T>>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut futures = Vec::with_capacity(self.calls.len());
            let mut ahead = VecDeque::new();
            for call in self.calls {
                if ahead.len() == AHEAD_MAX
                    && let Some(first) = ahead.pop_front()
                {
                    futures.push(first.await?);
                }
                ahead.push_back(call.into_future());
            }
            for submitted in ahead {
                futures.push(submitted.await?);
            }
            Ok(futures)
        })
    }
}

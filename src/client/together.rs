//! Waiting for several tasks: for all of them, for the first, or for one after the other as they end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use serde::de::DeserializeOwned;

use super::blob::Content;
use super::error::Result;
use super::future::{TaskFuture, decoded};
use super::settled::apart;

/// Waits for the results of all tasks, and brings them in the order of the futures. The first error is brought at once, and
/// the others go on.
///
/// ```
/// # use headwater::{Client, Result, task};
/// #[task]
/// fn square(number: u64) -> u64 { number * number }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let client = Client::local().await?;
/// let mut squares = Vec::new();
/// for number in 1..=4 {
///     squares.push(client.submit(square, (number,)).await?);
/// }
/// assert_eq!(headwater::gather(&squares).await?, [1, 4, 9, 16]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// That of the task that failed first, or why one cannot be waited for.
pub async fn gather<'a, T>(futures: impl IntoIterator<Item = &'a TaskFuture<T>>) -> Result<Vec<T>>
where
    T: DeserializeOwned + 'static,
{
    let futures: Vec<&TaskFuture<T>> = futures.into_iter().collect();
    if let Some(attempt) = futures.iter().find_map(|future| future.attempt()) {
        // It is to return once, and not with each of them.
        let content = |(index, future): (usize, &&TaskFuture<T>)| {
            let content = future.content();
            async move { (index, content.await) }
        };
        let mut ended: FuturesUnordered<_> = futures.iter().enumerate().map(content).collect();
        let gathered: Result<Vec<Option<Content>>> = apart(Some(attempt), async move {
            let mut contents = vec![None; ended.len()];
            while let Some((index, content)) = ended.next().await {
                contents[index] = Some(content?);
            }
            Ok(contents)
        })
        .await;
        let contents = gathered?.into_iter().flatten().zip(futures);
        return contents.map(|(content, future)| decoded(content, future.key())).collect();
    }
    let mut ended = as_completed(futures);
    let mut results: Vec<Option<T>> = Vec::new();
    results.resize_with(ended.len(), || None);
    while let Some(Completed { index, result }) = ended.next().await {
        results[index] = Some(result?);
    }
    Ok(results.into_iter().flatten().collect())
}

/// As [`gather`], with an error in the place of each result that there is none of.
pub async fn gather_all<'a, T>(futures: impl IntoIterator<Item = &'a TaskFuture<T>>) -> Vec<Result<T>>
where
    T: DeserializeOwned + 'static,
{
    let futures: Vec<&TaskFuture<T>> = futures.into_iter().collect();
    if let Some(attempt) = futures.iter().find_map(|future| future.attempt()) {
        let contents: Vec<_> = futures.iter().map(|future| future.content()).collect();
        let contents = apart(Some(attempt), join_all(contents)).await.into_iter().zip(futures);
        return contents.map(|(content, future)| decoded(content?, future.key())).collect();
    }
    join_all(futures.into_iter().map(IntoFuture::into_future)).await
}

/// The results of tasks, one after the other as they end.
pub fn as_completed<'a, T>(futures: impl IntoIterator<Item = &'a TaskFuture<T>>) -> AsCompleted<T>
where
    T: DeserializeOwned + 'static,
{
    let completed = |(index, future): (usize, &TaskFuture<T>)| -> Completing<T> {
        let wait = future.into_future();
        Box::pin(async move { Completed { index, result: wait.await } })
    };
    AsCompleted { waiting: futures.into_iter().enumerate().map(completed).collect() }
}

type Completing<T> = Pin<Box<dyn Future<Output = Completed<T>> + Send>>;

/// A task that has ended.
#[derive(Debug)]
pub struct Completed<T> {
    /// The place of its future among those that were given.
    pub index: usize,
    /// Its result, or its error.
    pub result: Result<T>,
}

/// A stream of results as they come: [`as_completed`]. It ends behind the last.
pub struct AsCompleted<T> {
    waiting: FuturesUnordered<Completing<T>>,
}

impl<T> AsCompleted<T> {
    /// How many are still to come.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<T> Stream for AsCompleted<T> {
    type Item = Completed<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Completed<T>>> {
        self.waiting.poll_next_unpin(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<T> std::fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AsCompleted({} to come)", self.len())
    }
}

/// Waits until tasks have ended, however, without fetching what came of them: all of them, or as [`Wait`] is told.
///
/// ```
/// # use std::time::Duration;
/// # use headwater::{Client, Result, task};
/// # #[task]
/// # fn square(number: u64) -> u64 { number * number }
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let client = Client::local().await?;
/// # let squares = [client.submit(square, (1,)).await?, client.submit(square, (2,)).await?];
/// let waited = headwater::wait(&squares).first().timeout(Duration::from_secs(10)).await?;
/// assert!(!waited.ended.is_empty());
/// # Ok(()) }
/// ```
pub fn wait<'a, T: 'a>(futures: impl IntoIterator<Item = &'a TaskFuture<T>>) -> Wait<T> {
    let futures = futures.into_iter().cloned().collect();
    Wait { futures, for_first: false, timeout: None }
}

/// A wait for tasks to end: [`wait`]. It begins when this is awaited, and brings [`Waited`]; or an error, when one of the tasks
/// is not known, or the session is over.
#[must_use = "it is waited for when this is awaited"]
#[derive(Debug)]
pub struct Wait<T> {
    futures: Vec<TaskFuture<T>>,
    for_first: bool,
    timeout: Option<Duration>,
}

/// Which tasks have ended, by the places of their futures among those that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Those that have, in the order in which they were seen to.
    pub ended: Vec<usize>,
    /// The others.
    pub open: Vec<usize>,
}

impl<T> Wait<T> {
    /// Waits for the first that ends, and no longer.
    pub fn first(self) -> Self {
        Wait { for_first: true, ..self }
    }

    /// Waits no longer than this. Then it brings what has ended by then, which is no error.
    pub fn timeout(self, timeout: Duration) -> Self {
        Wait { timeout: Some(timeout), ..self }
    }
}

impl<T: 'static> IntoFuture for Wait<T> {
    type Output = Result<Waited>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let attempt = self.futures.iter().find_map(TaskFuture::attempt);
        let waited = async move {
            let Wait { futures, for_first, timeout } = self;
            let (mut ended, mut open) = (Vec::new(), vec![true; futures.len()]);
            let mut watches: FuturesUnordered<_> = futures.iter().enumerate().map(ends).collect();
            let waits = async {
                while let Some((index, outcome)) = watches.next().await {
                    outcome?;
                    ended.push(index);
                    if for_first {
                        break;
                    }
                }
                Ok(())
            };
            let waited: Result<()> = match timeout {
                Some(timeout) => tokio::time::timeout(timeout, waits).await.unwrap_or(Ok(())),
                None => waits.await,
            };
            waited?;
            // And those that have ended already.
            while let Some(Some((index, outcome))) = watches.next().now_or_never() {
                outcome?;
                ended.push(index);
            }
            ended.iter().for_each(|index| open[*index] = false);
            let open = (0..open.len()).filter(|index| open[*index]).collect();
            Ok(Waited { ended, open })
        };
        match attempt {
            Some(_) => Box::pin(apart(attempt, waited)),
            None => Box::pin(waited),
        }
    }
}

/// The place of a future, once its task has ended.
fn ends<T>(
    (index, future): (usize, &TaskFuture<T>),
) -> impl Future<Output = (usize, Result<()>)> + Send + use<T> {
    let watch = future.watch();
    async move { (index, watch.await.map(drop)) }
}

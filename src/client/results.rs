//! Reading what the futures on a channel bring: in the order in which they lie there, or in which they ended.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;

use super::bound::{AtStop, Stops, Until};
use super::elements::Raw;
use super::error::Result;
use super::future::{TaskFuture, result};
use super::marked::{InPlace, Marked, Marking, Placed, WithMarkers, Zip, plain_stream};
use super::reading::{Item, Record, Records};
use crate::protocol::channel::Progress;
use crate::protocol::{ChannelEvent, ChannelName, Digest, Element, Outcome, TaskId, TimeMs};

/// A future on a channel that has ended, and how.
#[derive(Debug, Clone)]
pub struct Ended<T> {
    /// Its place among the elements.
    pub index: u64,
    /// The offset of the record that appended it.
    pub offset: u64,
    /// When it was appended, by the scheduler's clock.
    pub time_ms: TimeMs,
    /// The future.
    pub future: TaskFuture<T>,
    /// What it brings, or why not: [`Error::Task`](crate::Error::Task) when the task has failed, say.
    pub result: Result<T>,
}

impl<T> Ended<T> {
    fn new(placed: Placed<TaskFuture<T>>, result: Result<T>) -> Self {
        let Placed { index, offset, time_ms, item: future } = placed;
        Ended { index, offset, time_ms, future, result }
    }
}

/// A future that is waited for.
struct Awaited<T> {
    placed: Placed<TaskFuture<T>>,
    result: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
}

impl<T: DeserializeOwned + 'static> Awaited<T> {
    fn new(placed: Placed<TaskFuture<T>>) -> Self {
        let result = (&placed.item).into_future();
        Awaited { placed, result }
    }
}

impl<T> std::fmt::Debug for Awaited<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.placed.fmt(f)
    }
}

/// The next that has ended of one that is waited for.
fn poll_awaited<T>(awaited: &mut Option<Awaited<T>>, context: &mut Context<'_>) -> Poll<Option<Ended<T>>> {
    let Some(waiting) = awaited else { return Poll::Ready(None) };
    let result = ready!(waiting.result.as_mut().poll(context));
    Poll::Ready(awaited.take().map(|waiting| Ended::new(waiting.placed, result)))
}

/// What the futures of a channel bring, one for each, in the order in which they lie there: one that takes long holds up
/// those behind it. Values are left out, as they are no results.
///
/// That a task has failed is an item like any other, see [`Ended::result`]. Errors of the stream are as those of
/// [`Futures`](super::Futures).
#[derive(Debug)]
pub struct Results<T> {
    raw: Raw,
    awaited: Option<Awaited<T>>,
}

impl<T> Results<T> {
    pub(super) fn new(records: Records<ChannelEvent>, until: Option<Until>) -> Self {
        Results { raw: Raw::new(records, until), awaited: None }
    }
}

impl<T: DeserializeOwned + 'static> Marking for Results<T> {
    type Item = Ended<T>;

    fn channel_name(&self) -> &ChannelName {
        self.raw.channel()
    }

    fn poll_marked(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Marked<Self::Item>>>> {
        loop {
            if let Some(ended) = ready!(poll_awaited(&mut self.awaited, context)) {
                return Poll::Ready(Some(Ok(Marked::Item(ended))));
            }
            let Some(marked) = ready!(self.raw.poll(context)?) else { return Poll::Ready(None) };
            let Some(marked) = self.raw.future(marked) else { continue };
            let marker = marked.try_map(|placed| {
                self.awaited = Some(Awaited::new(placed));
                Err(())
            });
            if let Ok(marker) = marker {
                return Poll::Ready(Some(Ok(marker)));
            }
        }
    }
}

plain_stream!(Results<T: DeserializeOwned, 'static> => Ended<T>, |ended| ended);

/// What the futures of a channel bring, one for each, in the order in which they ended. Values are left out, as they are
/// no results.
///
/// The order is that of the channel's records, which bring small results, too: the scheduler is asked for none of them.
/// One that workers keep is fetched from there. Each future comes once, as it ended first: one that has failed and was
/// [tried again](crate::Client::retry) since may have come to something else. It ends when the channel was stopped and all futures that were read have
/// ended, or at its bound: those that have not ended by then are not brought. Behind records that are lost nobody knows
/// how the futures before them ended: each is waited for in turn then. Errors are as those of [`Results`].
#[derive(Debug)]
pub struct ResultsAsCompleted<T> {
    records: Records<ChannelEvent>,
    /// The elements of each task that has not ended, as far as was read.
    running: HashMap<TaskId, Vec<Placed<TaskFuture<T>>>>,
    /// Those that have ended and are to be brought, with how, or that are to be asked for.
    due: VecDeque<(Placed<TaskFuture<T>>, Option<Outcome>)>,
    awaited: Option<Awaited<T>>,
    stops: Stops,
    was_stopped: bool,
}

impl<T> ResultsAsCompleted<T> {
    pub(super) fn new(records: Records<ChannelEvent>, until: Option<Until>) -> Self {
        ResultsAsCompleted {
            records: records.at_stop(AtStop::Tell, until),
            running: HashMap::new(),
            due: VecDeque::new(),
            awaited: None,
            stops: Stops::default(),
            was_stopped: false,
        }
    }

    fn take(&mut self, record: Record) -> Option<Marked<Ended<T>>> {
        let Record { offset, time_ms, index, event } = record;
        match (event, index) {
            (
                ChannelEvent::Appended { element: Element::Future(key), .. }
                | ChannelEvent::AppendedWith { element: Element::Future(key), .. }
                | ChannelEvent::Produced { element: Element::Future(key), .. },
                Some(index),
            ) => {
                let item = TaskFuture::new(key, self.records.client().clone(), None);
                let of_task = self.running.entry(item.id()).or_default();
                of_task.push(Placed { index, offset, time_ms, item });
            }
            (ChannelEvent::Progress { key, progress }, _) => {
                let outcome = match progress {
                    Progress::Finished { result } => Some(Outcome::Finished(result)),
                    Progress::Failed { error } => Some(Outcome::Failed(error)),
                    Progress::Cancelled => Some(Outcome::Cancelled),
                    Progress::Stored { .. } => None,
                    Progress::Started { .. }
                    | Progress::Lost { .. }
                    | Progress::Renewed
                    | Progress::Advanced(_) => return None,
                };
                // One that was brought and then lost, or tried again, has no element here any more: it is not brought again.
                let ended = self.running.remove(&key.id).unwrap_or_default();
                self.due.extend(ended.into_iter().map(|placed| (placed, outcome.clone())));
            }
            (event, _) => return self.stops.take(&event).map(|stop| self.stopped(stop)),
        }
        None
    }

    fn stopped(&mut self, (count, digest): (u64, Digest)) -> Marked<Ended<T>> {
        self.was_stopped = true;
        Marked::Stopped { count, digest }
    }

    /// Records are gone: among them may be how any of these ended.
    fn lose(&mut self) {
        let mut lost: Vec<_> = self.running.drain().flat_map(|(_, of_task)| of_task).collect();
        lost.sort_unstable_by_key(|placed| placed.index);
        self.due.extend(lost.into_iter().map(|placed| (placed, None)));
    }

    /// The channel takes no more elements, and that is told; the stop of one that was stopped before is told now.
    fn poll_stop(&mut self) -> Option<Marked<Ended<T>>> {
        let stop = if self.was_stopped { None } else { self.records.stop_before() }?;
        Some(self.stopped((stop.count, stop.digest)))
    }
}

impl<T: DeserializeOwned + 'static> Marking for ResultsAsCompleted<T> {
    type Item = Ended<T>;

    fn channel_name(&self) -> &ChannelName {
        self.records.channel()
    }

    fn poll_marked(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Marked<Self::Item>>>> {
        loop {
            if let Some(ended) = ready!(poll_awaited(&mut self.awaited, context)) {
                return Poll::Ready(Some(Ok(Marked::Item(ended))));
            }
            match self.due.pop_front() {
                Some((placed, Some(outcome))) => {
                    let result = result(outcome, placed.item.key());
                    return Poll::Ready(Some(Ok(Marked::Item(Ended::new(placed, result)))));
                }
                Some((placed, None)) => {
                    self.awaited = Some(Awaited::new(placed));
                    continue;
                }
                None => {}
            }
            if self.was_stopped && self.running.is_empty() {
                return Poll::Ready(None);
            }
            let polled = self.records.poll(context);
            if !matches!(polled, Poll::Ready(Some(_)))
                && let Some(stop) = self.poll_stop()
            {
                return Poll::Ready(Some(Ok(stop)));
            }
            let marker = match ready!(polled) {
                None => match self.stops.caught_up() {
                    Some(stop) => Some(self.stopped(stop)),
                    None => return Poll::Ready(None),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Item::Record(record))) => self.take(record),
                Some(Ok(Item::CaughtUp { head })) => match self.stops.caught_up() {
                    Some(stop) => Some(self.stopped(stop)),
                    None => Some(Marked::CaughtUp { head }),
                },
                Some(Ok(Item::Trimmed { from, first })) => {
                    self.lose();
                    Some(Marked::Trimmed { from, first })
                }
                Some(Ok(Item::Damaged { from, to, why })) => {
                    self.lose();
                    Some(Marked::Damaged { from, to, why })
                }
            };
            if let Some(marker) = marker {
                return Poll::Ready(Some(Ok(marker)));
            }
        }
    }
}

plain_stream!(ResultsAsCompleted<T: DeserializeOwned, 'static> => Ended<T>, |ended| ended);

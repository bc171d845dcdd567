//! What the records of a channel add up to: its elements, the newest of them if there is a bound, and where the futures
//! among them stand. Pure: it is given records and markers, and knows nothing else.
//!
//! ```text
//!   let go of, or gone │ kept, at most maxlen │ to come
//!  ────────────────────┼──────────────────────┼──────────▶ index
//!              first_index             next_index
//! ```

use std::collections::{HashMap, VecDeque};

use super::marked::Placed;
use super::reading::{Item, Record};
use crate::protocol::channel::Progress;
use crate::protocol::task::TaskStatus;
use crate::protocol::{ChannelEvent, Digest, Element, TaskId};

/// What is kept of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Its futures, all of them.
    Futures,
    /// Its elements, so many of the newest; all when there is no bound.
    Elements(Option<u64>),
}

/// The elements that are kept, and how much is known of the rest.
#[derive(Debug)]
pub(super) struct Fold {
    keep: Keep,
    elements: VecDeque<Placed<Element>>,
    /// Of each task that is among the elements.
    tasks: HashMap<TaskId, Standing>,
    /// The index of the next element, once one was seen, or begun at the first.
    next_index: Option<u64>,
    /// Elements that were let go of, or were gone before they came.
    trimmed: u64,
    /// The head that was caught up with.
    caught_up_at: Option<u64>,
    stopped: Option<(u64, Digest)>,
}

/// Where a task stands, and how many elements name it.
#[derive(Debug)]
struct Standing {
    status: TaskStatus,
    elements: u64,
}

impl Fold {
    /// Begins with the element of this index, if it is known.
    pub fn new(keep: Keep, first_index: Option<u64>) -> Self {
        Fold {
            keep,
            elements: VecDeque::new(),
            tasks: HashMap::new(),
            next_index: first_index,
            trimmed: 0,
            caught_up_at: None,
            stopped: None,
        }
    }

    /// Takes what was read. Ranges that are gone show in the index of the next element.
    pub fn take(&mut self, item: Item) {
        match item {
            Item::Record(record) => self.take_record(record),
            Item::CaughtUp { head } => self.caught_up_at = Some(head),
            Item::Trimmed { .. } | Item::Damaged { .. } => {}
        }
    }

    fn take_record(&mut self, record: Record) {
        let Record { offset, time_ms, index, event } = record;
        match (event, index) {
            (
                ChannelEvent::Appended { element: item, .. }
                | ChannelEvent::AppendedWith { element: item, .. }
                | ChannelEvent::Produced { element: item, .. },
                Some(index),
            ) => {
                self.push(Placed { index, offset, time_ms, item });
            }
            (ChannelEvent::Progress { key, progress }, _) => {
                if let Some(task) = self.tasks.get_mut(&key.id) {
                    task.status = status_of(&progress);
                }
            }
            (
                ChannelEvent::Stopped { count, digest, .. } | ChannelEvent::Deleted { count, digest, .. },
                _,
            ) => {
                self.stopped = Some((count, digest));
            }
            (ChannelEvent::Resumed { .. }, _) => self.stopped = None,
            _ => {}
        }
    }

    fn push(&mut self, placed: Placed<Element>) {
        let expected = self.next_index.replace(placed.index + 1).unwrap_or(placed.index);
        self.trimmed += placed.index.saturating_sub(expected);
        match (&placed.item, self.keep) {
            (Element::Value(_), Keep::Futures) => return,
            (Element::Value(_), Keep::Elements(_)) => {}
            (Element::Future(key), _) => {
                let begins = Standing { status: TaskStatus::Pending, elements: 0 };
                self.tasks.entry(key.id).or_insert(begins).elements += 1;
            }
        }
        self.elements.push_back(placed);
        if let Keep::Elements(Some(maxlen)) = self.keep {
            while self.len() > maxlen {
                self.pop();
            }
        }
    }

    fn pop(&mut self) {
        let Some(placed) = self.elements.pop_front() else { return };
        self.trimmed += 1;
        let Element::Future(key) = &placed.item else { return };
        if let Some(task) = self.tasks.get_mut(&key.id) {
            task.elements -= 1;
            if task.elements == 0 {
                self.tasks.remove(&key.id);
            }
        }
    }

    /// How many elements are kept.
    pub fn len(&self) -> u64 {
        self.elements.len() as u64
    }

    /// The kept elements in order, and for each future where its task stands.
    pub fn elements(&self) -> impl Iterator<Item = (&Placed<Element>, Option<TaskStatus>)> {
        self.elements.iter().map(|placed| {
            let status = match &placed.item {
                Element::Future(key) => self.tasks.get(&key.id).map(|task| task.status),
                Element::Value(_) => None,
            };
            (placed, status)
        })
    }

    /// The index of the first kept element; where none is, of the one that comes next.
    pub fn first_index(&self) -> u64 {
        self.elements.front().map_or(self.next_index(), |placed| placed.index)
    }

    /// The index of the element that comes next, as far as is known.
    pub fn next_index(&self) -> u64 {
        self.next_index.unwrap_or(0)
    }

    /// How many elements are not kept any more, or were gone before they came.
    pub fn trimmed(&self) -> u64 {
        self.trimmed
    }

    /// The head that was caught up with, once it was.
    pub fn caught_up_at(&self) -> Option<u64> {
        self.caught_up_at
    }

    /// With how many elements the channel was stopped, and their digest, once it is.
    pub fn stopped(&self) -> Option<(u64, Digest)> {
        self.stopped
    }
}

fn status_of(progress: &Progress) -> TaskStatus {
    match progress {
        Progress::Started { .. } | Progress::Advanced(_) => TaskStatus::Running,
        Progress::Finished { .. } | Progress::Stored { .. } => TaskStatus::Finished,
        Progress::Lost { .. } => TaskStatus::Lost,
        Progress::Renewed => TaskStatus::Pending,
        Progress::Failed { .. } => TaskStatus::Error,
        Progress::Cancelled => TaskStatus::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::Origin;
    use crate::protocol::{AttemptNumber, Payload, Producer, TaskKey};

    fn record(offset: u64, index: Option<u64>, event: ChannelEvent) -> Item {
        Item::Record(Record { offset, time_ms: 0, index, event })
    }

    fn appended(offset: u64, index: u64, element: Element) -> Item {
        let origin = Origin { producer: Producer(1), number: 1 };
        record(offset, Some(index), ChannelEvent::Appended { origin, element })
    }

    fn future(offset: u64, index: u64, name: &str) -> Item {
        appended(offset, index, Element::Future(TaskKey::named(name)))
    }

    fn value(offset: u64, index: u64) -> Item {
        appended(offset, index, Element::Value(Payload::encode(&index).unwrap()))
    }

    fn progress(offset: u64, name: &str, progress: Progress) -> Item {
        record(offset, None, ChannelEvent::Progress { key: TaskKey::named(name), progress })
    }

    fn started() -> Progress {
        Progress::Started { attempt: AttemptNumber(1), worker: "w".into() }
    }

    fn folded(keep: Keep, items: impl IntoIterator<Item = Item>) -> Fold {
        let mut fold = Fold::new(keep, Some(0));
        items.into_iter().for_each(|item| fold.take(item));
        fold
    }

    fn kept(fold: &Fold) -> Vec<(u64, Option<TaskStatus>)> {
        fold.elements().map(|(placed, status)| (placed.index, status)).collect()
    }

    #[test]
    fn a_bounded_one_keeps_the_newest_and_counts_the_rest() {
        let fold = folded(Keep::Elements(Some(3)), (0..10).map(|at| value(at, at)));
        assert_eq!((fold.len(), fold.first_index(), fold.trimmed()), (3, 7, 7));
        assert_eq!(kept(&fold), [(7, None), (8, None), (9, None)]);
        let none = folded(Keep::Elements(Some(0)), (0..10).map(|at| value(at, at)));
        assert_eq!((none.len(), none.first_index(), none.trimmed()), (0, 10, 10));
    }

    #[test]
    fn elements_that_were_gone_before_they_came_are_counted() {
        let gone = Item::Trimmed { from: 2, first: 7 };
        let items = [value(0, 0), value(1, 1), gone, value(7, 5), value(8, 6)];
        let fold = folded(Keep::Elements(None), items);
        assert_eq!((fold.len(), fold.first_index(), fold.trimmed()), (4, 0, 3));
        let mut late = Fold::new(Keep::Elements(None), None);
        late.take(value(7, 5));
        assert_eq!((late.len(), late.first_index(), late.trimmed()), (1, 5, 0), "where it began is no loss");
    }

    #[test]
    fn futures_stand_where_their_records_say_and_are_forgotten_with_their_last_element() {
        let items = || {
            [
                future(0, 0, "x"),
                progress(1, "x", started()),
                future(2, 1, "y"),
                future(3, 2, "x"),
                progress(4, "y", Progress::Cancelled),
                progress(5, "other", started()),
                value(6, 3),
            ]
        };
        let all = folded(Keep::Elements(None), items());
        let (running, cancelled) = (Some(TaskStatus::Running), Some(TaskStatus::Cancelled));
        assert_eq!(kept(&all), [(0, running), (1, cancelled), (2, running), (3, None)]);
        assert_eq!(all.tasks.len(), 2, "nothing is kept of tasks that are not there");
        let two = folded(Keep::Elements(Some(2)), items());
        assert_eq!((kept(&two), two.tasks.len()), (vec![(2, running), (3, None)], 1));
        let futures = folded(Keep::Futures, items());
        assert_eq!(kept(&futures), [(0, running), (1, cancelled), (2, running)]);
    }
}

//! One channel: its elements in their places, and what it says of its futures.

use std::collections::{BTreeMap, HashMap};

use super::tasks::{Ending, TasksCheck};
use super::{Found, Kind, Moment};
use crate::cli::torture::life::{LifeId, Stamp};
use crate::client::Record;
use crate::protocol::channel::Progress;
use crate::protocol::event::{Appended, Origin};
use crate::protocol::session::SessionKind;
use crate::protocol::{AttemptNumber, ChannelEvent, Digest, Element, Payload, Producer, TaskId, TaskKey};
use crate::rows::counted;

/// The fold of a channel, as far as it is checked.
#[derive(Debug)]
pub struct ChannelCheck {
    name: String,
    next_offset: u64,
    next_index: u64,
    digest: Digest,
    is_stopped: bool,
    elements: BTreeMap<u64, Entry>,
    /// The newest command of each producer, and where its last element is.
    last_command: HashMap<Producer, (u64, u64)>,
    /// The newest stamp of each life, and where it is.
    last_stamp: HashMap<LifeId, (u64, u64)>,
    futures: HashMap<TaskId, Future>,
    /// Who wrote numbers that are counted, in the order of their coming.
    counters: Vec<Producer>,
}

/// An element at its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub producer: Producer,
    pub what: What,
}

/// An element, without what needs no check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Stamp { life: LifeId, number: u64 },
    Count(u64),
    Future(TaskId),
    Other,
}

/// A future on the channel, and what the channel has said of it.
#[derive(Debug)]
struct Future {
    key: TaskKey,
    attempt: AttemptNumber,
    ending: Option<Ending>,
    /// Appended after its end: so often its end is to be said again.
    appended_since: u32,
    by: Vec<Producer>,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Stamp { life, number } => write!(f, "value {number} of {life}"),
            What::Count(number) => write!(f, "the number {number}"),
            What::Future(task) => write!(f, "the future of {task}"),
            What::Other => f.write_str("a value that is none of ours"),
        }
    }
}

impl What {
    fn of(payload: &Payload) -> Self {
        match payload.decode::<Stamp>() {
            Ok(Stamp { life, number, .. }) => What::Stamp { life, number },
            Err(_) => payload.decode().map_or(What::Other, What::Count),
        }
    }
}

impl ChannelCheck {
    pub fn new(name: &str) -> Self {
        let (elements, last_command, last_stamp, futures) = Default::default();
        ChannelCheck {
            name: name.to_owned(),
            next_offset: 0,
            next_index: 0,
            digest: Digest::default(),
            is_stopped: false,
            elements,
            last_command,
            last_stamp,
            futures,
            counters: Vec::new(),
        }
    }

    pub fn records(&self) -> u64 {
        self.next_offset
    }

    pub fn elements(&self) -> u64 {
        self.next_index
    }

    /// The element at this offset.
    pub fn entry(&self, offset: u64) -> Option<&Entry> {
        self.elements.get(&offset)
    }

    /// All elements, with their offsets.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.elements.iter().map(|(offset, entry)| (*offset, entry))
    }

    pub fn take(&mut self, record: &Record<ChannelEvent>, found: &mut Found) {
        let (offset, next) = (record.offset, self.next_offset);
        found.add_unless(offset == next, Kind::Gap, || {
            format!("channel {} has offset {offset} where {next} is due", self.name)
        });
        self.next_offset = offset + 1;
        match &record.event {
            ChannelEvent::Appended { .. }
            | ChannelEvent::AppendedWith { .. }
            | ChannelEvent::Produced { .. } => {
                let appended = record.event.appended().expect("an element");
                self.appended(&appended, record, found);
            }
            ChannelEvent::Progress { key, progress } => self.progressed(key, progress, offset, found),
            ChannelEvent::Stopped { count, digest, .. } => {
                let holds = (*count, *digest) == (self.next_index, self.digest) && !self.is_stopped;
                found.add_unless(holds, Kind::Stop, || {
                    let (name, index, is) = (&self.name, self.next_index, self.digest);
                    format!(
                        "channel {name} says {}, digest {digest}; there are {index}, {is}",
                        counted(*count, "element")
                    )
                });
                self.is_stopped = true;
            }
            ChannelEvent::Resumed { .. } => self.is_stopped = false,
            ChannelEvent::Trimmed { .. }
            | ChannelEvent::Changed { .. }
            | ChannelEvent::Deleted { .. }
            | ChannelEvent::DurabilityChanged { .. }
            | ChannelEvent::ProducerForgotten { .. } => {
                let what = format!(
                    "channel {}, offset {offset}: {:?}, and nobody asked for it",
                    self.name, record.event
                );
                found.add(Kind::Stop, what);
            }
        }
    }

    fn appended(&mut self, appended: &Appended<'_>, record: &Record<ChannelEvent>, found: &mut Found) {
        let Appended { origin: Origin { producer, number }, element, .. } = *appended;
        let (name, offset) = (&self.name, record.offset);
        let due = self.next_index;
        found.add_unless(record.index == Some(due), Kind::Gap, || {
            format!("channel {name}, offset {offset}: index {:?} where {due} is due", record.index)
        });
        found.add_unless(!self.is_stopped, Kind::Stop, || {
            format!("channel {name}, offset {offset}: an element after the end")
        });
        self.next_index += 1;
        self.digest = self.digest.with_appended(appended);
        match self.last_command.insert(producer, (number, offset)) {
            // The elements of one command stand next to each other.
            Some((before, at)) if before == number && at + 1 != offset => {
                let what = format!(
                    "channel {name}, offset {offset}: command {number} of producer {producer} entered twice"
                );
                found.add(Kind::Repeated, what);
            }
            Some((before, _)) if before > number => {
                let what = format!(
                    "channel {name}, offset {offset}: command {number} of producer {producer} behind its {before}"
                );
                found.add(Kind::Reordered, what);
            }
            _ => {}
        }
        let what = match element {
            Element::Future(key) => self.future(key, producer, offset, found),
            Element::Value(payload) => What::of(payload),
        };
        match what {
            What::Stamp { life, number } => self.stamp(life, number, offset, found),
            What::Count(number) => {
                found.add_unless(number == due, self.kind_of_count(number), || {
                    format!("channel {}, offset {offset}: {number} where {due} is to be counted", self.name)
                });
                if self.counters.last() != Some(&producer) {
                    self.counters.push(producer);
                }
            }
            What::Future(_) => {}
            What::Other => {
                let what = format!("channel {}, offset {offset}: a value that is none of ours", self.name);
                found.add(Kind::Unasked, what);
            }
        }
        self.elements.insert(offset, Entry { producer, what });
    }

    /// What is wrong when this is not the number that is to be counted next.
    fn kind_of_count(&self, number: u64) -> Kind {
        if number + 1 < self.next_index { Kind::Repeated } else { Kind::Lost }
    }

    fn stamp(&mut self, life: LifeId, number: u64, offset: u64, found: &mut Found) {
        if let Some((before, at)) = self.last_stamp.insert(life, (number, offset)) {
            let name = &self.name;
            let place = format!("channel {name}, offset {offset}: value {number} of {life}");
            found.add_unless(before != number, Kind::Repeated, || format!("{place} is also at {at}"));
            found.add_unless(before <= number, Kind::Reordered, || {
                format!("{place} comes behind its value {before} at {at}")
            });
        }
    }

    fn future(&mut self, key: &TaskKey, producer: Producer, offset: u64, found: &mut Found) -> What {
        let future = self.futures.entry(key.id).or_insert_with(|| Future {
            key: key.clone(),
            attempt: AttemptNumber(0),
            ending: None,
            appended_since: 0,
            by: Vec::new(),
        });
        found.add_unless(!future.by.contains(&producer), Kind::Repeated, || {
            format!("channel {}, offset {offset}: producer {producer} appended {key} before", self.name)
        });
        future.by.push(producer);
        future.appended_since += u32::from(future.ending.is_some());
        What::Future(key.id)
    }

    fn progressed(&mut self, key: &TaskKey, progress: &Progress, offset: u64, found: &mut Found) {
        let place = format!("channel {}, offset {offset}: {key}", self.name);
        let Some(future) = self.futures.get_mut(&key.id) else {
            return found.add(Kind::Progress, format!("{place} is not on the channel and has progress"));
        };
        let ending = match progress {
            Progress::Started { attempt, .. } => {
                // Appended again while it runs, its start is said again.
                let again = *attempt == future.attempt && future.by.len() > 1;
                let fits = future.ending.is_none() && (*attempt > future.attempt || again);
                found.add_unless(fits, Kind::Progress, || {
                    format!("{place} started attempt {attempt} after attempt {}", future.attempt)
                });
                future.attempt = *attempt;
                return;
            }
            Progress::Lost { .. } => {
                let before = future.ending.take();
                found.add_unless(matches!(before, Some(Ending::Stored(_))), Kind::Outcome, || {
                    format!("{place} lost its result, and was {before:?}")
                });
                return;
            }
            // None of the torture's tasks does, and it ends nothing.
            Progress::Advanced(_) => return,
            Progress::Renewed => {
                let before = future.ending.take();
                let had_none = matches!(before, Some(Ending::Failed(_) | Ending::Cancelled));
                found.add_unless(had_none, Kind::Outcome, || {
                    format!("{place} is tried again, and was {before:?}")
                });
                return;
            }
            Progress::Finished { result } => Ending::Finished(result.clone()),
            Progress::Stored { result } => Ending::Stored(*result),
            Progress::Failed { error } => Ending::Failed(error.to_string()),
            Progress::Cancelled => Ending::Cancelled,
        };
        match &future.ending {
            None => future.ending = Some(ending),
            Some(before) if *before == ending && future.appended_since > 0 => future.appended_since -= 1,
            Some(before) => found.add(Kind::Outcome, format!("{place} was {before}, and now {ending}")),
        }
    }

    /// What the channel says of its futures is what `$tasks` says.
    pub fn check_futures(&self, tasks: &TasksCheck, moment: Moment, found: &mut Found) {
        for (id, future) in &self.futures {
            let (key, name) = (&future.key, &self.name);
            let Some(task) = tasks.task(*id) else {
                found.add(Kind::Lost, format!("channel {name} has {key}, and `$tasks` does not know it"));
                continue;
            };
            let is_settled = moment == Moment::Settled;
            if let Some(ending) = &future.ending {
                // `$tasks` was read later: the result may have been lost since.
                let was = task.outcome.as_ref() == Some(ending) || !is_settled && task.lost.contains(ending);
                found.add_unless(was, Kind::Progress, || {
                    format!("channel {name} has {key} {ending}, `$tasks` {:?}", task.outcome)
                });
            }
            let is_due = is_settled && !task.is_lost;
            found.add_unless(!is_due || future.ending.is_some(), Kind::Unsettled, || {
                format!("channel {name} does not say how {key} ended")
            });
            found.add_unless(!is_due || future.appended_since == 0, Kind::Progress, || {
                format!("channel {name} does not say again how {key} ended, which was appended again")
            });
        }
    }

    /// Who wrote is in `$tasks`, and no attempt wrote after a newer one of its task.
    pub fn check_producers(&self, tasks: &TasksCheck, found: &mut Found) {
        for producer in self.last_command.keys() {
            found.add_unless(tasks.session(*producer).is_some(), Kind::Lost, || {
                format!("channel {}: producer {producer} is not in `$tasks`", self.name)
            });
        }
        let mut newest: HashMap<TaskId, AttemptNumber> = HashMap::new();
        for producer in &self.counters {
            let Some(SessionKind::Attempt { task, attempt }) =
                tasks.session(*producer).map(|session| &session.kind)
            else {
                continue;
            };
            let before = newest.insert(*task, *attempt).unwrap_or(AttemptNumber(0));
            found.add_unless(*attempt > before, Kind::Fence, || {
                format!("channel {}: attempt {attempt} of {task} wrote after attempt {before}", self.name)
            });
        }
    }
}

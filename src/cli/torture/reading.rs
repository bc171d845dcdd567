//! Reading the logs from outside: by readers that begin anew and read everything, and by one that has
//! followed since the first round. Each keeps a [`Trace`]; all traces must agree.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::check::{Kind, Violation};
use super::client::is_session_over;
use super::place::{COUNTS, VALUES};
use crate::client::reading::Event;
use crate::client::{Client, Error, Item, Offset, Record, Records};
use crate::protocol::channel::TASKS_CHANNEL;
use crate::protocol::{ChannelEvent, Digest, TaskEvent};

/// What a reader saw of a log: a digest of each record, by offset.
pub type Trace = Vec<Digest>;

/// How long the follower may be behind a reader that came later.
const BEHIND_MAX: Duration = Duration::from_secs(30);

/// A client's timeout to connect: longer than a round may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

/// What ends reading.
#[derive(Debug)]
pub enum Ended {
    /// Records are not as they must be.
    Violated(Violation),
    /// There are no more.
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended::Failed(error)
    }
}

/// All channels, in the order in which they are read.
pub fn channels() -> impl Iterator<Item = &'static str> {
    VALUES.into_iter().chain(COUNTS)
}

/// All logs: the channels, then `$tasks`.
pub fn logs() -> impl Iterator<Item = &'static str> {
    channels().chain([TASKS_CHANNEL])
}

/// Connects, for as long as a round may take.
pub async fn connect(address: &str) -> Result<Client, Error> {
    Client::builder().connect_timeout(CONNECT_TIMEOUT).connect(address).await
}

/// A record's digest.
fn digest<E: Serialize>(record: &Record<E>) -> Result<Digest, Error> {
    let bytes = postcard::to_stdvec(&(record.offset, record.time_ms, record.index, &record.event));
    Ok(Digest::default().with(&bytes.map_err(Error::other)?))
}

/// Reads a channel until it has caught up, or up to an offset.
pub async fn read_channel(
    client: &Client,
    name: &str,
    (from, to): (u64, Option<u64>),
    take: impl FnMut(&Record<ChannelEvent>),
) -> Result<Trace, Ended> {
    let channel = client.existing_channel::<()>(name).await?;
    read(name, channel.from(Offset::At(from)).records(), (from, to), take).await
}

/// The same for `$tasks`.
pub async fn read_tasks(
    client: &Client,
    (from, to): (u64, Option<u64>),
    take: impl FnMut(&Record<TaskEvent>),
) -> Result<Trace, Ended> {
    read(TASKS_CHANNEL, client.task_log(Offset::At(from)), (from, to), take).await
}

async fn read<E: Event + Serialize>(
    name: &str,
    mut records: Records<E>,
    (from, to): (u64, Option<u64>),
    mut take: impl FnMut(&Record<E>),
) -> Result<Trace, Ended> {
    let mut trace = Trace::new();
    let due = |trace: &Trace| from + trace.len() as u64;
    while to != Some(due(&trace)) {
        match records.next().await {
            Some(Ok(Item::Record(record))) => {
                check_due(name, &record, due(&trace))?;
                trace.push(digest(&record)?);
                take(&record);
            }
            Some(Ok(Item::CaughtUp { .. })) if to.is_none() => break,
            Some(Ok(Item::CaughtUp { .. })) => {}
            Some(Ok(Item::Trimmed { from, first })) => {
                return Err(Ended::Violated(trimmed(name, from, first)));
            }
            Some(Ok(Item::Damaged { from, to, why })) => {
                return Err(Ended::Violated(lost(name, from, to, &why)));
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Error::Stopped.into()),
        }
    }
    Ok(trace)
}

fn check_due<E>(name: &str, record: &Record<E>, due: u64) -> Result<(), Ended> {
    let offset = record.offset;
    if offset == due {
        return Ok(());
    }
    let kind = if offset < due { Kind::Repeated } else { Kind::Gap };
    Err(Ended::Violated(Violation::new(kind, format!("a reader of {name} got {offset} where {due} is due"))))
}

fn lost(name: &str, from: u64, to: u64, why: &str) -> Violation {
    Violation::new(Kind::Gap, format!("records {from} to {to} of {name} are lost: {why}"))
}

fn trimmed(name: &str, from: u64, first: u64) -> Violation {
    Violation::new(Kind::Gap, format!("{name} is trimmed from {from} to {first}, which nobody asked for"))
}

/// Says where two readers saw different records; the shorter trace is the beginning of the longer.
pub fn compare(
    name: &str,
    (one, first): (&str, &[Digest]),
    (two, second): (&str, &[Digest]),
) -> Option<Violation> {
    let at = first.iter().zip(second).position(|(one, two)| one != two)?;
    let what = format!("{one} and {two} saw different records of {name} at offset {at}");
    Some(Violation::new(Kind::Readers, what))
}

/// Follows all logs since the first round.
pub struct Follower {
    seen: Arc<Mutex<Seen>>,
    /// They end with this.
    _readers: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    traces: BTreeMap<&'static str, Trace>,
    broken: Option<Violation>,
    /// Sessions that were begun because the one before was over.
    sessions_renewed: u64,
}

impl Follower {
    /// Begins. The channels must be there.
    pub fn start(address: &str) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut readers = JoinSet::new();
        for name in logs() {
            readers.spawn(follow(address.to_owned(), name, seen.clone()));
        }
        Follower { seen, _readers: readers }
    }

    /// How often a session of its was over and another was begun.
    pub fn sessions_renewed(&self) -> u64 {
        lock(&self.seen).sessions_renewed
    }

    /// Says what is wrong with what it saw, when it has seen as much as this trace.
    pub async fn compare(&self, name: &str, reader: &[Digest]) -> Option<Violation> {
        let until = Instant::now() + BEHIND_MAX;
        loop {
            {
                let seen = lock(&self.seen);
                let trace = seen.traces.get(name).map_or(&[][..], Vec::as_slice);
                if let Some(violation) = seen.broken.clone() {
                    return Some(violation);
                }
                if trace.len() >= reader.len() {
                    return compare(name, ("the follower", trace), ("a new reader", reader));
                }
                if Instant::now() >= until {
                    let (has, due) = (trace.len(), reader.len());
                    let what = format!("the follower of {name} has {has} of {due} records: it stands still");
                    return Some(Violation::new(Kind::Stuck, what));
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows one log for ever, with one session for as long as that lasts.
async fn follow(address: String, name: &'static str, seen: Arc<Mutex<Seen>>) {
    loop {
        let ended = follow_on(&address, name, &seen).await;
        let mut seen = lock(&seen);
        match ended {
            Ok(()) => return,
            Err(Ended::Failed(error)) if is_session_over(&error) => seen.sessions_renewed += 1,
            Err(Ended::Failed(error)) => {
                let what = format!("the follower of {name} was refused: {error}");
                seen.broken = Some(Violation::new(Kind::Refused, what));
                return;
            }
            Err(Ended::Violated(violation)) => {
                seen.broken = Some(violation);
                return;
            }
        }
    }
}

async fn follow_on(address: &str, name: &'static str, seen: &Mutex<Seen>) -> Result<(), Ended> {
    let client = connect(address).await?;
    let from = Offset::At(lock(seen).traces.get(name).map_or(0, |trace| trace.len() as u64));
    if name == TASKS_CHANNEL {
        note_all(name, client.task_log(from), seen).await
    } else {
        let channel = client.existing_channel::<()>(name).await?;
        note_all(name, channel.from(from).records(), seen).await
    }
}

async fn note_all<E: Event + Serialize>(
    name: &'static str,
    mut records: Records<E>,
    seen: &Mutex<Seen>,
) -> Result<(), Ended> {
    loop {
        match records.next().await {
            Some(Ok(Item::Record(record))) => {
                let mut seen = lock(seen);
                let trace = seen.traces.entry(name).or_default();
                check_due(name, &record, trace.len() as u64)?;
                trace.push(digest(&record)?);
            }
            Some(Ok(Item::CaughtUp { .. })) => {}
            Some(Ok(Item::Trimmed { from, first })) => {
                return Err(Ended::Violated(trimmed(name, from, first)));
            }
            Some(Ok(Item::Damaged { from, to, why })) => {
                return Err(Ended::Violated(lost(name, from, to, &why)));
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_saw_different_records_are_named() {
        let trace =
            |pieces: &[&[u8]]| -> Trace { pieces.iter().map(|p| Digest::default().with(p)).collect() };
        let (long, short) = (trace(&[b"a", b"b", b"c"]), trace(&[b"a", b"b"]));
        assert_eq!(compare("x", ("one", &long), ("two", &short)), None);
        let other = trace(&[b"a", b"z"]);
        let violation = compare("x", ("one", &long), ("two", &other)).unwrap();
        assert_eq!(violation.to_string(), "readers: one and two saw different records of x at offset 1");
    }

    #[test]
    fn a_gap_and_a_repeat_are_named() {
        let record = Record { offset: 4, time_ms: 0, index: None, event: () };
        assert!(check_due("x", &record, 4).is_ok());
        let kind = |due| match check_due("x", &record, due) {
            Err(Ended::Violated(violation)) => violation.kind,
            other => panic!("{other:?}"),
        };
        assert_eq!((kind(3), kind(5)), (Kind::Gap, Kind::Repeated));
    }
}

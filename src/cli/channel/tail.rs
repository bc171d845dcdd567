//! `headwater channel tail`.

use std::collections::HashSet;
use std::str::FromStr;

use futures_util::future::OptionFuture;
use serde::Serialize;

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::cli::row::{CHANNEL_WORD_WIDTH, Row, TASKS_WORD_WIDTH};
use crate::cli::signals::Signals;
use crate::cli::task_row::Names;
use crate::client::connection::ReadItem;
use crate::client::{Client, Error};
use crate::protocol::batch::{Batch, Damage};
use crate::protocol::command::{Answer, Query, Rejection};
use crate::protocol::message::{Closing, Position};
use crate::protocol::{ChannelEvent, ChannelName, Element, LogId, TaskEvent, TaskId};

/// Read a channel, from any offset, and follow it.
///
/// Prints one line per record: its offset, its time, and what it says. A record is an element that was
/// appended (a future, shown by its task's key, or a value), or what became of a future (started, finished
/// with its result, failed with its error, cancelled), or the end of the channel (stopped).
///
/// With `--follow`, it goes on with what comes, through restarts of the scheduler, until the channel is
/// stopped and the futures that were read have their outcome, or until it is interrupted.
///
/// The channel `$tasks` is the scheduler's own log: all that happened to tasks, sessions and channels.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel tail adds                      all records that there are
  headwater channel tail adds --from 100 --follow  from offset 100, and what comes
  headwater channel tail adds --from end --follow  only what comes
  headwater channel tail '$tasks' --json           for a program

With --json, each line is one object:
  {\"offset\",\"time\",\"kind\",\"key\"?,\"value\"?,\"state\"?,\"error\"?,\"worker\"?}   for a record
  {\"marker\":\"caught_up\",\"offset\"}               here history ends, once
  {\"marker\":\"trimmed\",\"from\",\"first\"}           the records in between are gone
  {\"marker\":\"damaged\",\"from\",\"to\",\"why\"}       they were lost with a damaged store")]
pub struct Tail {
    /// The channel
    name: ChannelName,

    /// Where to begin: an offset, `start` or `end`
    #[arg(long, value_name = "OFFSET", default_value = "start")]
    from: From,

    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,

    /// Print one JSON object per record and line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connect: Connect,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct From(Position);

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "start" => Ok(From(Position::Offset(0))),
            "end" => Ok(From(Position::End)),
            _ => {
                let offset =
                    text.parse().map_err(|_| "give an offset (a number from 0), `start` or `end`")?;
                Ok(From(Position::Offset(offset)))
            }
        }
    }
}

/// A line that is no record, with `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "marker", rename_all = "snake_case")]
enum Marker {
    CaughtUp { offset: u64 },
    Trimmed { from: u64, first: u64 },
    Damaged { from: u64, to: u64, why: String },
}

/// Whether there is more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

impl Tail {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        let mut reader = Reader::new(self.from.0, self.follow, self.json);
        loop {
            let read = self.connect.with(async |client| {
                tokio::select! {
                    result = reader.read(client, &self.name) => result,
                    () = signals.next() => Ok(()),
                }
            });
            match read.await {
                // This process was not heard of for so long (it was suspended, say) that its session is
                // over. Reading holds nothing, so a new session goes on at the next offset.
                Err(error) if self.follow && is_session_over(&error) => {}
                result => return result,
            }
        }
    }
}

fn is_session_over(error: &anyhow::Error) -> bool {
    let over = |closing: &Closing| matches!(closing, Closing::Rejected(Rejection::SessionEnded(_)));
    match error.downcast_ref::<Error>() {
        Some(Error::Closed(closing)) => over(closing) || matches!(closing, Closing::TooSlow(_)),
        Some(Error::Rejected(Rejection::SessionEnded(_))) => true,
        _ => false,
    }
}

/// A place in a log, and what is to be known to read on from there.
struct Reader {
    next: Position,
    follow: bool,
    json: bool,
    output: Output,
    names: Names,
    is_stopped: bool,
    /// Where a channel had its head that was stopped before reading began.
    stopped_before: Option<u64>,
    is_caught_up: bool,
    /// Futures that were read and have no outcome yet.
    unsettled: HashSet<TaskId>,
}

impl Reader {
    fn new(next: Position, follow: bool, json: bool) -> Self {
        Reader {
            next,
            follow,
            json,
            output: Output::new(),
            names: Names::default(),
            is_stopped: false,
            stopped_before: None,
            is_caught_up: false,
            unsettled: HashSet::new(),
        }
    }

    /// Reads until the end, as `follow` has it.
    async fn read(&mut self, client: &Client, name: &ChannelName) -> anyhow::Result<()> {
        let log = ask::log(client, name).await?;
        let mut subscription = client.connection().subscribe(log, self.next);
        // Whoever reads history sees its end. What comes after it is not waited for.
        let mut asked = self.follow.then(|| client.query(Query::Channel { name: name.clone() }));
        loop {
            let more = tokio::select! {
                item = subscription.next() => match item {
                    Some(item) => self.take(item.map_err(|error| error.of_reading(name))?, log)?,
                    None => More::No,
                },
                answer = OptionFuture::from(asked.as_mut()), if asked.is_some() => {
                    asked = None;
                    self.take_channel(answer.transpose()?)?
                }
            };
            self.output.flush()?;
            if more == More::No {
                return Ok(());
            }
        }
    }

    /// Takes what the scheduler knows of the channel, which may be more than was read of it.
    fn take_channel(&mut self, answer: Option<Answer>) -> anyhow::Result<More> {
        match answer {
            Some(Answer::Channel(info)) => self.stopped_before = info.stopped.then_some(info.head),
            Some(other) => return Err(ask::unexpected(&other)),
            None => {}
        }
        Ok(self.more())
    }

    fn take(&mut self, item: ReadItem, log: LogId) -> anyhow::Result<More> {
        match item {
            ReadItem::Subscribed { from } => self.next = Position::Offset(from),
            ReadItem::Records { batch, from } if batch.damage().is_some() => self.take_lost(&batch, from)?,
            ReadItem::Records { batch, from } if log == LogId::TASKS => {
                self.take_task_events(&batch, from)?
            }
            ReadItem::Records { batch, from } => self.take_channel_events(&batch, from)?,
            ReadItem::CaughtUp { head } => self.take_caught_up(head)?,
            ReadItem::Trimmed { from, first } => {
                self.next = Position::Offset(first);
                let text = format!("offsets {from} to {first} are trimmed: their records are gone");
                self.mark(&Marker::Trimmed { from, first }, &text)?;
            }
        }
        Ok(self.more())
    }

    fn more(&self) -> More {
        let is_read_to = |head| matches!(self.next, Position::Offset(next) if next >= head);
        let is_stopped = self.is_stopped || self.stopped_before.is_some_and(is_read_to);
        let is_over = self.is_caught_up && (!self.follow || is_stopped && self.unsettled.is_empty());
        if is_over { More::No } else { More::Yes }
    }

    fn take_caught_up(&mut self, head: u64) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.is_caught_up, true) {
            return Ok(());
        }
        self.mark(&Marker::CaughtUp { offset: head }, &format!("caught up at offset {head}"))
    }

    fn take_lost(&mut self, batch: &Batch, from: u64) -> anyhow::Result<()> {
        let Some(damage) = batch.damage() else { return Ok(()) };
        let damage = Damage { from: damage.from.max(from), ..damage };
        self.next = Position::Offset(damage.to);
        let text = damage.to_string();
        self.mark(&Marker::Damaged { from: damage.from, to: damage.to, why: damage.why }, &text)
    }

    fn take_channel_events(&mut self, batch: &Batch, from: u64) -> anyhow::Result<()> {
        for record in batch.records() {
            let (offset, event) = record?;
            if offset < from {
                continue;
            }
            match &event {
                ChannelEvent::Appended { element: Element::Future(key), .. }
                | ChannelEvent::AppendedWith { element: Element::Future(key), .. } => {
                    self.unsettled.insert(key.id);
                }
                ChannelEvent::Progress { key, progress } if progress.is_final() => {
                    self.unsettled.remove(&key.id);
                }
                ChannelEvent::Stopped { .. } => self.is_stopped = true,
                _ => {}
            }
            self.print(&Row::of_channel(offset, batch.header().time_ms, event), CHANNEL_WORD_WIDTH)?;
        }
        Ok(())
    }

    fn take_task_events(&mut self, batch: &Batch, from: u64) -> anyhow::Result<()> {
        for record in batch.records::<TaskEvent>() {
            let (offset, event) = record?;
            self.names.learn(&event);
            if offset >= from {
                self.print(&self.names.row(offset, batch.header().time_ms, &event), TASKS_WORD_WIDTH)?;
            }
            self.names.forget(&event);
        }
        Ok(())
    }

    fn print(&mut self, row: &Row, word_width: usize) -> anyhow::Result<()> {
        if self.json {
            self.output.json(row)?;
        } else {
            self.output.line(row.for_people(word_width))?;
        }
        self.next = Position::Offset(row.offset + 1);
        Ok(())
    }

    fn mark(&mut self, marker: &Marker, text: &str) -> anyhow::Result<()> {
        match self.json {
            true => self.output.json(marker),
            false => self.output.line(format!("-- {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::{Header, OpenBatch};
    use crate::protocol::channel::{ChannelInfo, Progress};
    use crate::protocol::event::Origin;
    use crate::protocol::{Digest, Epoch, Payload, Producer, Seq, TaskKey};

    fn records(events: &[ChannelEvent]) -> ReadItem {
        let mut batch = OpenBatch::new(LogId(1), 0, 0);
        for event in events {
            assert!(batch.push(event, event.is_element()));
        }
        ReadItem::Records { batch: batch.seal(Seq(1), Epoch(1), 0), from: 0 }
    }

    fn origin() -> Origin {
        Origin { producer: Producer(1), number: 1 }
    }

    fn appended() -> ChannelEvent {
        ChannelEvent::Appended { origin: origin(), element: Element::Future(TaskKey::named("x")) }
    }

    fn finished() -> ChannelEvent {
        let progress = Progress::Finished { result: Payload::encode(&1).unwrap() };
        ChannelEvent::Progress { key: TaskKey::named("x"), progress }
    }

    fn stopped() -> ChannelEvent {
        ChannelEvent::Stopped { origin: origin(), count: 1, digest: Digest(0) }
    }

    fn reader(follow: bool) -> Reader {
        Reader { output: Output::unread(), ..Reader::new(Position::Offset(0), follow, true) }
    }

    fn take(reader: &mut Reader, item: ReadItem) -> More {
        reader.take(item, LogId(1)).unwrap()
    }

    #[test]
    fn positions_are_numbers_and_two_words() {
        assert_eq!("start".parse(), Ok(From(Position::Offset(0))));
        assert_eq!("0".parse(), Ok(From(Position::Offset(0))));
        assert_eq!("100".parse(), Ok(From(Position::Offset(100))));
        assert_eq!("end".parse(), Ok(From(Position::End)));
        assert!("-1".parse::<From>().is_err());
    }

    #[test]
    fn without_follow_it_ends_at_the_head() {
        let mut reader = reader(false);
        assert_eq!(take(&mut reader, records(&[appended()])), More::Yes);
        assert_eq!(take(&mut reader, ReadItem::CaughtUp { head: 1 }), More::No);
        assert_eq!(reader.next, Position::Offset(1));
    }

    #[test]
    fn what_is_lost_is_passed_over() {
        let header = Header {
            log: LogId(1),
            count: 4,
            elements: 4,
            base_offset: 3,
            base_index: 3,
            seq: Seq(1),
            epoch: Epoch(1),
            time_ms: 0,
        };
        let mut reader = reader(false);
        let batch = Batch::lost(header, "gone");
        assert_eq!(take(&mut reader, ReadItem::Records { batch, from: 5 }), More::Yes);
        assert_eq!(reader.next, Position::Offset(7));
    }

    #[test]
    fn following_ends_when_the_channel_is_stopped_and_its_futures_are_settled() {
        let mut reader = reader(true);
        assert_eq!(take(&mut reader, records(&[appended()])), More::Yes);
        assert_eq!(take(&mut reader, ReadItem::CaughtUp { head: 1 }), More::Yes);
        assert_eq!(take(&mut reader, records(&[stopped()])), More::Yes);
        assert_eq!(take(&mut reader, records(&[finished()])), More::No);
    }

    #[test]
    fn following_a_channel_that_was_stopped_before_ends_where_it_was() {
        let info = |stopped| {
            let name = ChannelName::new("a").unwrap();
            Some(Answer::Channel(ChannelInfo {
                elements: 1,
                stopped,
                ..ChannelInfo::of_records(name, LogId(1), 0, 1)
            }))
        };
        for (stopped, is_early) in [(true, true), (true, false), (false, true)] {
            let mut reader = reader(true);
            assert_eq!(take(&mut reader, ReadItem::Subscribed { from: 0 }), More::Yes);
            assert_eq!(take(&mut reader, ReadItem::CaughtUp { head: 0 }), More::Yes);
            if is_early {
                assert_eq!(
                    reader.take_channel(info(stopped)).unwrap(),
                    More::Yes,
                    "there is one more record"
                );
            }
            assert_eq!(take(&mut reader, records(&[finished()])) == More::No, stopped && is_early);
            if !is_early {
                assert_eq!(reader.take_channel(info(stopped)).unwrap(), More::No);
            }
        }
    }

    #[test]
    fn following_history_does_not_end_before_it_is_read() {
        let mut reader = reader(true);
        assert_eq!(take(&mut reader, records(&[stopped()])), More::Yes);
        assert_eq!(take(&mut reader, ReadItem::CaughtUp { head: 1 }), More::No);
    }
}

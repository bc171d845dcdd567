//! What `headwater channel tail` does with what it reads: prints it, and knows when that was all.

use std::collections::HashSet;
use std::pin::Pin;

use futures_util::future::OptionFuture;
use tokio::time::{Sleep, sleep};

use super::look::Look;
use crate::cli::ask;
use crate::cli::color::{DIM, painted};
use crate::cli::output::{Output, note};
use crate::client::connection::ReadItem;
use crate::client::{Client, Until};
use crate::protocol::batch::{Batch, Damage};
use crate::protocol::channel::Progress;
use crate::protocol::command::{Answer, Query};
use crate::protocol::message::{Position, Reads};
use crate::protocol::{ChannelEvent, ChannelName, Element, LogId, TaskEvent, TaskId};
use crate::rows::record::{CHANNEL_WORD_WIDTH, Marker, Row, TASKS_WORD_WIDTH};
use crate::rows::task_record::Names;

/// Whether there is more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

/// A place in a log, and what is to be known to read on from there.
pub struct Reader {
    next: Position,
    reads: Reads,
    until: Option<Until>,
    follow: bool,
    look: Look,
    is_colored: bool,
    output: Output,
    names: Names,
    is_stopped: bool,
    /// Where a channel had its head that was stopped before reading began.
    stopped_before: Option<u64>,
    /// Nothing is wanted from there on.
    ends_before: Option<u64>,
    /// A record was there of a time that is not wanted any more.
    is_past: bool,
    /// The time of the bound has come.
    is_due: bool,
    is_caught_up: bool,
    /// Futures that were read and have no outcome yet.
    unsettled: HashSet<TaskId>,
}

impl Reader {
    pub fn new(next: Position, until: Option<Until>, follow: bool, look: Look) -> Self {
        Reader {
            next,
            reads: Reads::Durable,
            until,
            follow,
            is_colored: look.color.is_on(),
            look,
            output: Output::new(),
            names: Names::default(),
            is_stopped: false,
            stopped_before: None,
            ends_before: if let Some(Until::Offset(offset)) = until { Some(offset) } else { None },
            is_past: false,
            is_due: false,
            is_caught_up: false,
            unsettled: HashSet::new(),
        }
    }

    /// Which records are read.
    pub fn of(self, reads: Reads) -> Self {
        Reader { reads, ..self }
    }

    /// Reads until the end, as `follow` and the bound have it.
    ///
    /// # Errors
    /// When the channel cannot be read, or what was read cannot be printed.
    pub async fn read(&mut self, client: &Client, name: &ChannelName) -> anyhow::Result<()> {
        let log = ask::log(client, name).await?;
        let mut subscription = client.connection().subscribe_to(log, self.next, self.reads);
        // Whoever reads history sees its end. What comes after it is not waited for.
        let ask = || client.query(Query::Channel { name: name.clone() });
        let mut asked = self.follow.then(ask);
        let mut due = self.due(client);
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
                _ = OptionFuture::from(due.as_mut()), if due.is_some() => {
                    // Its time has come. What is there by now is still read.
                    (due, self.is_due) = (None, true);
                    asked = Some(ask());
                    More::Yes
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
            Some(Answer::Channel(info)) => {
                self.stopped_before = info.stopped.then_some(info.head);
                if self.is_due {
                    self.ends_before = Some(info.head);
                }
            }
            Some(other) => return Err(ask::unexpected(&other)),
            None => {}
        }
        Ok(self.more())
    }

    fn take(&mut self, item: ReadItem, log: LogId) -> anyhow::Result<More> {
        match item {
            ReadItem::Subscribed { from } => self.next = Position::Offset(from),
            ReadItem::Records { batch, .. } if self.is_bound(&batch) => self.is_past = true,
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
        let goes_on = self.follow && self.until != Some(Until::Now);
        let is_over = self.is_caught_up && (!goes_on || is_stopped && self.unsettled.is_empty());
        let is_bound = self.is_past || self.ends_before.is_some_and(is_read_to);
        if is_over || is_bound { More::No } else { More::Yes }
    }

    /// Whether a batch has a time that is not wanted any more.
    fn is_bound(&self, batch: &Batch) -> bool {
        matches!(self.until, Some(Until::Time(until)) if batch.header().time_ms >= until)
    }

    /// When the time of the bound has come everywhere, for one who follows: then no record may tell.
    fn due(&self, client: &Client) -> Option<Pin<Box<Sleep>>> {
        let Some(Until::Time(time_ms)) = self.until.filter(|_| self.follow) else { return None };
        Some(Box::pin(sleep(client.connection().clock().until(time_ms))))
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
            if self.ends_before.is_some_and(|end| offset >= end) {
                break;
            }
            match &event {
                ChannelEvent::Appended { element: Element::Future(key), .. }
                | ChannelEvent::AppendedWith { element: Element::Future(key), .. }
                | ChannelEvent::Produced { element: Element::Future(key), .. } => {
                    self.unsettled.insert(key.id);
                }
                ChannelEvent::Progress { key, progress } if progress.is_final() => {
                    self.unsettled.remove(&key.id);
                }
                ChannelEvent::Progress { key, progress: Progress::Renewed } => {
                    self.unsettled.insert(key.id);
                }
                ChannelEvent::Stopped { .. } => self.is_stopped = true,
                // Nothing more is said of what was on it.
                ChannelEvent::Deleted { .. } => {
                    self.is_stopped = true;
                    self.unsettled.clear();
                }
                ChannelEvent::Resumed { .. } => self.is_stopped = false,
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
            if self.ends_before.is_some_and(|end| offset >= end) {
                break;
            }
            if offset >= from {
                self.print(&self.names.row(offset, batch.header().time_ms, &event), TASKS_WORD_WIDTH)?;
            }
            self.names.forget(&event);
        }
        Ok(())
    }

    fn print(&mut self, row: &Row, word_width: usize) -> anyhow::Result<()> {
        if self.look.json {
            self.output.json(row)?;
        } else {
            self.output.line(self.look.line(row, word_width, self.is_colored))?;
        }
        self.next = Position::Offset(row.offset + 1);
        Ok(())
    }

    fn mark(&mut self, marker: &Marker, text: &str) -> anyhow::Result<()> {
        if self.look.json {
            return self.output.json(marker);
        }
        if self.look.template.is_none() {
            let line = format!("-- {text}");
            return self.output.line(if self.is_colored { painted(&line, DIM) } else { line });
        }
        // Who has words of their own gets nothing else, but is told what is not there.
        if !matches!(marker, Marker::CaughtUp { .. }) {
            self.output.flush()?;
            note(text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::channel::look::TimeFormat;
    use crate::cli::color::Color;
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
        bounded(follow, None)
    }

    fn bounded(follow: bool, until: Option<Until>) -> Reader {
        let look = Look { json: true, template: None, time: TimeFormat::Local, color: Color::Never };
        Reader { output: Output::unread(), ..Reader::new(Position::Offset(0), until, follow, look) }
    }

    fn take(reader: &mut Reader, item: ReadItem) -> More {
        reader.take(item, LogId(1)).unwrap()
    }

    #[test]
    fn without_follow_it_ends_at_the_head() {
        let mut reader = reader(false);
        assert_eq!(take(&mut reader, records(&[appended()])), More::Yes);
        assert_eq!(take(&mut reader, ReadItem::CaughtUp { head: 1 }), More::No);
        assert_eq!(reader.next, Position::Offset(1));
    }

    #[test]
    fn it_ends_at_its_bound_whether_it_follows_or_not() {
        for follow in [false, true] {
            let mut reader = bounded(follow, Some(Until::Offset(2)));
            assert_eq!(take(&mut reader, records(&[appended(), finished(), appended()])), More::No);
            assert_eq!(reader.next, Position::Offset(2), "no more was printed");
            let mut reader = bounded(follow, Some(Until::Offset(9)));
            assert_eq!(take(&mut reader, ReadItem::Subscribed { from: 9 }), More::No);
            // The batch is of time 0.
            let mut reader = bounded(follow, Some(Until::Time(1)));
            assert_eq!(take(&mut reader, records(&[appended()])), More::Yes);
            let mut reader = bounded(follow, Some(Until::Time(0)));
            assert_eq!(take(&mut reader, records(&[appended()])), More::No);
            assert_eq!(reader.next, Position::Offset(0));
            let mut reader = bounded(follow, Some(Until::Now));
            assert_eq!(take(&mut reader, ReadItem::CaughtUp { head: 1 }), More::No);
        }
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

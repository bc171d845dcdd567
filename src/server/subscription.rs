//! The cursor of one reader in one log. Pure: no socket, no clock, no task; `feed` drives it in the
//! server, and a simulator can drive it just as well.
//!
//! What it sends, in order: `Trimmed` when the records asked for are gone, then every record from there
//! on, once, in the log's own batches, with one `CaughtUp` where it first reached the head.
//!
//! ```text
//!             next                     head
//!   ──────────▶│◀── to be sent, as far ──▶│
//!     sent     │    as credit goes        │  nothing yet: wait for the head
//! ```
//!
//! A batch is never cut: when the reader begins inside one, all of it is sent, and the reader skips what
//! it did not ask for. So credit is a threshold, not a cap: any credit at all lets one batch through, and
//! may fall below zero by what that read brought.

use bytes::Bytes;

use crate::log::{self, Bounds, Log};
use crate::protocol::batch::Batch;
use crate::protocol::channel::TASKS_CHANNEL;
use crate::protocol::command::Rejection;
use crate::protocol::message::{Position, ServerMessage};
use crate::protocol::{LogId, TimeMs};

/// Most bytes that one step reads, when there is more than one batch: 256 KiB, so that a long history
/// goes out in few reads, and other subscriptions of the same connection get their turn between them.
pub const READ_BYTES_MAX: usize = 256 * 1024;

/// A reader's place in a log, and how much it may still be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    log: LogId,
    next: u64,
    credit_bytes: i64,
    told_caught_up: bool,
}

/// What is looked for in a log to know where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// As [`Log::find_element`].
    Element(u64),
    /// As [`Log::find_time`].
    Time(TimeMs),
}

impl Search {
    /// Looks for it in a log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn in_log(self, store: &impl Log, log: LogId) -> Result<Option<Batch>, log::Error> {
        match self {
            Search::Element(index) => store.find_element(log, index),
            Search::Time(time_ms) => store.find_time(log, time_ms),
        }
    }
}

/// What to do next for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made, never kept")]
pub enum Step {
    /// Send this message with these batches behind it, then step again.
    Send(ServerMessage, Vec<Bytes>),
    /// Nothing until there is more credit.
    WaitForCredit,
    /// Nothing until the head is where [`Subscription::goes_on_at`] says.
    WaitForHead,
}

impl Subscription {
    /// Begins to read `log`. `bounds` are the log's, taken before `find` looks.
    ///
    /// # Errors
    /// [`Rejection::PastHead`] for an offset that is not there yet; [`Rejection::Invalid`] when the log
    /// cannot be read.
    pub fn open(
        log: LogId,
        from: Position,
        credit_bytes: u64,
        bounds: Bounds,
        find: impl FnOnce(Search) -> Result<Option<Batch>, log::Error>,
    ) -> Result<Self, Rejection> {
        let Bounds { first, head, elements } = bounds;
        let next = match from {
            Position::Offset(offset) | Position::Stored(offset) if offset > head => {
                return Err(Rejection::PastHead { name: name(log), offset, head });
            }
            Position::Offset(offset) | Position::Stored(offset) => offset,
            Position::End | Position::Last(0) => head,
            Position::Index(index) => match find(Search::Element(index)).map_err(unreadable)? {
                Some(batch) if batch.header().base_index <= index => batch.header().base_offset,
                // The element was trimmed. Its offset was at least its index, and less than the first
                // there is: so the next step announces what is gone.
                Some(_) => index,
                // The element is yet to come, at the head or later; the reader counts on from there.
                None => head,
            },
            Position::Last(records) if log == LogId::TASKS => head.saturating_sub(records).max(first),
            Position::Last(count) if count >= elements => first,
            // Those that were trimmed are not asked for.
            Position::Last(count) => match find(Search::Element(elements - count)).map_err(unreadable)? {
                Some(batch) => {
                    batch.offset_of_element(elements - count).unwrap_or(batch.header().base_offset)
                }
                None => head,
            },
            Position::Time(time_ms) => match find(Search::Time(time_ms)).map_err(unreadable)? {
                // Nobody knows the times of what is gone before it.
                Some(batch) if batch.header().base_offset <= first => 0,
                Some(batch) => batch.header().base_offset,
                None => head,
            },
        };
        let mut subscription = Subscription { log, next, credit_bytes: 0, told_caught_up: false };
        subscription.add_credit(credit_bytes);
        Ok(subscription)
    }

    /// The log.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// The offset of the record that is to be sent next.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// Whether there is something to do when the log's head is there, after [`Step::WaitForHead`].
    pub fn goes_on_at(&self, head: u64) -> bool {
        head > self.next || (head == self.next && !self.told_caught_up)
    }

    /// Lets this many more bytes be sent.
    pub fn add_credit(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.credit_bytes = self.credit_bytes.saturating_add(bytes);
    }

    /// Whether the next step, with these bounds, will read the log: it may then wait for a disk.
    pub fn will_read(&self, bounds: Bounds) -> bool {
        bounds.first <= self.next && self.next < bounds.head && self.credit_bytes > 0
    }

    /// What to do next. `bounds` are the log's, taken after the last step; `read` is as
    /// [`Log::read`] for this log.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] when the log cannot be read: the subscription is over.
    pub fn step(
        &mut self,
        bounds: Bounds,
        read: impl FnOnce(u64, usize) -> Result<Vec<Batch>, log::Error>,
    ) -> Result<Step, Rejection> {
        if self.next < bounds.first {
            return Ok(self.skip_trimmed(bounds.first));
        }
        if self.next == bounds.head && !self.told_caught_up {
            self.told_caught_up = true;
            return Ok(Step::Send(ServerMessage::CaughtUp { head: bounds.head }, Vec::new()));
        }
        if self.next >= bounds.head {
            return Ok(Step::WaitForHead);
        }
        let Ok(credit_bytes @ 1..) = usize::try_from(self.credit_bytes) else {
            return Ok(Step::WaitForCredit);
        };
        let batches = read(self.next, credit_bytes.min(READ_BYTES_MAX)).map_err(unreadable)?;
        self.send(batches, bounds.head)
    }

    fn send(&mut self, batches: Vec<Batch>, head: u64) -> Result<Step, Rejection> {
        match batches.first().map(|batch| batch.header().base_offset) {
            // It was trimmed after its bounds were taken.
            Some(first) if first > self.next => return Ok(self.skip_trimmed(first)),
            Some(_) => {}
            None => {
                let (log, next) = (self.log, self.next);
                let why = format!("log {log} gave nothing at offset {next}, though its head is {head}");
                return Err(unreadable(log::Error::Unknown(why)));
            }
        }
        let mut sent = Vec::with_capacity(batches.len());
        for batch in batches {
            // Were one missing in between, the next step would begin there and announce it.
            if batch.header().base_offset > self.next {
                break;
            }
            self.next = batch.header().end_offset();
            self.credit_bytes -= batch.bytes().len() as i64;
            sent.push(batch.bytes().clone());
        }
        Ok(Step::Send(ServerMessage::Records, sent))
    }

    fn skip_trimmed(&mut self, first: u64) -> Step {
        let from = std::mem::replace(&mut self.next, first);
        Step::Send(ServerMessage::Trimmed { from, first }, Vec::new())
    }
}

/// A log as a refusal names it. The client, who knows its channel, can name it better.
fn name(log: LogId) -> String {
    if log == LogId::TASKS { TASKS_CHANNEL.to_owned() } else { format!("log {log}") }
}

fn unreadable(error: log::Error) -> Rejection {
    Rejection::Invalid(format!("the records cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::channel::Progress;
    use crate::protocol::event::Origin;
    use crate::protocol::{ChannelEvent, Element, Payload, Producer, TaskKey};
    use crate::server::fixture::TestLog;

    const LOG: LogId = LogId(3);

    /// Batches of 2, 3 and 1 records; the second and fourth record are no elements.
    fn log() -> TestLog {
        let log = TestLog::default();
        log.append(LOG, &[("a", true), ("progress", false)]);
        log.append(LOG, &[("b", true), ("progress", false), ("c", true)]);
        log.append(LOG, &[("d", true)]);
        log
    }

    fn open(log: &TestLog, from: Position, credit_bytes: u64) -> Result<Subscription, Rejection> {
        Subscription::open(LOG, from, credit_bytes, log.bounds(LOG), |search| search.in_log(log, LOG))
    }

    fn step(subscription: &mut Subscription, log: &TestLog) -> Step {
        let bounds = log.bounds(LOG);
        let will_read = subscription.will_read(bounds);
        let mut has_read = false;
        let step = subscription.step(bounds, |from, bytes_max| {
            has_read = true;
            log.read(LOG, from, bytes_max)
        });
        assert_eq!(will_read, has_read);
        step.unwrap()
    }

    /// The base offsets of the batches that are sent until there is something to wait for, the other
    /// messages between them, and the wait.
    fn run(subscription: &mut Subscription, log: &TestLog) -> (Vec<String>, Step) {
        let mut seen = Vec::new();
        loop {
            match step(subscription, log) {
                Step::Send(ServerMessage::Records, batches) => {
                    let batches = batches.into_iter().map(|bytes| Batch::read(bytes).unwrap());
                    seen.extend(batches.map(|batch| batch.header().base_offset.to_string()));
                }
                Step::Send(message, _) => seen.push(format!("{message:?}")),
                wait => return (seen, wait),
            }
        }
    }

    #[test]
    fn history_then_caught_up_then_the_tail() {
        let log = log();
        let mut subscription = open(&log, Position::Offset(0), 1 << 20).unwrap();
        let (seen, wait) = run(&mut subscription, &log);
        assert_eq!((seen.join(" "), wait), ("0 2 5 CaughtUp { head: 6 }".into(), Step::WaitForHead));
        log.append(LOG, &[("e", true)]);
        let (seen, wait) = run(&mut subscription, &log);
        assert_eq!((seen.join(" "), wait), ("6".into(), Step::WaitForHead), "caught up is said once");
    }

    #[test]
    fn a_batch_that_holds_the_first_record_is_sent_whole() {
        let log = log();
        let mut subscription = open(&log, Position::Offset(3), 1 << 20).unwrap();
        assert_eq!(subscription.next_offset(), 3);
        assert_eq!(run(&mut subscription, &log).0.join(" "), "2 5 CaughtUp { head: 6 }");
    }

    #[test]
    fn positions_are_resolved() {
        let log = log();
        let from = |position| open(&log, position, 1).map(|subscription| subscription.next_offset());
        assert_eq!(from(Position::End), Ok(6));
        assert_eq!(from(Position::Offset(6)), Ok(6));
        assert_eq!(from(Position::Index(0)), Ok(0));
        assert_eq!(from(Position::Index(2)), Ok(2), "element c is in the batch that begins at 2");
        assert_eq!(from(Position::Index(3)), Ok(5));
        assert_eq!(from(Position::Index(4)), Ok(6), "it is yet to come");
        assert_eq!(
            from(Position::Offset(7)),
            Err(Rejection::PastHead { name: "log 3".into(), offset: 7, head: 6 })
        );
        let tasks = Subscription::open(LogId::TASKS, Position::Offset(1), 1, Bounds::default(), |_| Ok(None));
        assert!(tasks.unwrap_err().to_string().contains("past the head of $tasks, which is 0"));
    }

    /// Records of a channel, a batch for each time: a future with its progress, two values, progress, a value.
    fn channel() -> TestLog {
        let log = TestLog::default();
        let progress = || ChannelEvent::Progress { key: TaskKey::named("x"), progress: Progress::Cancelled };
        let origin = Origin { producer: Producer(1), number: 1 };
        let value = || {
            let element = Element::Value(Payload::raw(&b"v"[..]));
            ChannelEvent::Appended { origin, element }
        };
        log.append_at(LOG, 10, &[value(), progress()]);
        log.append_at(LOG, 20, &[value(), value()]);
        log.append_at(LOG, 30, &[progress()]);
        log.append_at(LOG, 40, &[progress(), value()]);
        log
    }

    #[test]
    fn the_last_elements_are_counted_from_the_head() {
        let log = channel();
        let from = |count| open(&log, Position::Last(count), 1).map(|begun| begun.next_offset());
        for (count, offset) in [(0, 7), (1, 6), (2, 3), (3, 2), (4, 0), (5, 0), (u64::MAX, 0)] {
            assert_eq!(from(count), Ok(offset), "the last {count}");
        }
        log.trim_to(LOG, 3);
        assert_eq!((from(2), from(3)), (Ok(3), Ok(2)), "no half batches");
        log.trim_to(LOG, 4);
        for count in [2, 3, 9] {
            let mut begun = open(&log, Position::Last(count), 1 << 20).unwrap();
            let seen = "4 5 CaughtUp { head: 7 }";
            assert_eq!(run(&mut begun, &log).0.join(" "), seen, "what is gone is not among the last");
        }
        let (empty, tasks) = (TestLog::default(), TestLog::default());
        assert_eq!(open(&empty, Position::Last(3), 1).unwrap().next_offset(), 0);
        tasks.append(LogId::TASKS, &[("a", false), ("b", false), ("c", false)]);
        let bounds = tasks.bounds(LogId::TASKS);
        let begun = Subscription::open(LogId::TASKS, Position::Last(2), 1, bounds, |_| panic!()).unwrap();
        assert_eq!(begun.next_offset(), 1, "each record of the task log counts");
    }

    #[test]
    fn a_time_is_that_of_the_first_record_from_then_on() {
        let log = channel();
        let from = |time_ms| open(&log, Position::Time(time_ms), 1).map(|begun| begun.next_offset());
        for (time_ms, offset) in [(0, 0), (10, 0), (11, 2), (30, 4), (31, 5), (40, 5), (41, 7)] {
            assert_eq!(from(time_ms), Ok(offset), "from {time_ms}");
        }
        log.trim_to(LOG, 4);
        assert_eq!(from(31), Ok(5));
        let mut begun = open(&log, Position::Time(15), 1 << 20).unwrap();
        let seen = "Trimmed { from: 0, first: 4 } 4 5 CaughtUp { head: 7 }";
        assert_eq!(run(&mut begun, &log).0.join(" "), seen, "what is gone may have been of that time");
        assert_eq!(open(&TestLog::default(), Position::Time(1), 1).unwrap().next_offset(), 0);
    }

    #[test]
    fn an_empty_log_is_caught_up_at_once() {
        let log = TestLog::default();
        for from in [Position::Offset(0), Position::Index(0), Position::Index(9), Position::End] {
            let mut subscription = open(&log, from, 0).unwrap();
            assert_eq!(run(&mut subscription, &log).0, ["CaughtUp { head: 0 }"]);
        }
    }

    #[test]
    fn credit_lets_one_batch_through_and_then_is_paid_back() {
        let log = log();
        let sizes: Vec<u64> =
            log.read(LOG, 0, usize::MAX).unwrap().iter().map(|batch| batch.bytes().len() as u64).collect();
        let mut subscription = open(&log, Position::Offset(0), 1).unwrap();
        assert_eq!(run(&mut subscription, &log), (vec!["0".into()], Step::WaitForCredit));
        subscription.add_credit(sizes[0] - 1);
        assert_eq!(run(&mut subscription, &log), (vec![], Step::WaitForCredit), "the debt is paid, no more");
        subscription.add_credit(sizes[1] + 1);
        assert_eq!(
            run(&mut subscription, &log),
            (vec!["2".into(), "5".into(), "CaughtUp { head: 6 }".into()], Step::WaitForHead)
        );
    }

    #[test]
    fn one_step_reads_a_bounded_amount() {
        let log = TestLog::default();
        let record = "x".repeat(50_000);
        for _ in 0..10 {
            log.append(LOG, &[(&record, true)]);
        }
        let mut subscription = open(&log, Position::Offset(0), u64::MAX).unwrap();
        let Step::Send(ServerMessage::Records, batches) = step(&mut subscription, &log) else { panic!() };
        assert_eq!(batches.len(), 5);
        subscription.add_credit(u64::MAX);
        assert_eq!(run(&mut subscription, &log).0.len(), 6);
    }

    #[test]
    fn what_is_trimmed_is_announced() {
        let log = log();
        let mut reader = open(&log, Position::Offset(0), 1 << 20).unwrap();
        log.trim_to(LOG, 5);
        let announced = "Trimmed { from: 0, first: 5 } 5 CaughtUp { head: 6 }";
        assert_eq!(run(&mut reader, &log).0.join(" "), announced);
        let mut late = open(&log, Position::Offset(2), 1 << 20).unwrap();
        assert_eq!(run(&mut late, &log).0[0], "Trimmed { from: 2, first: 5 }");
        let mut by_index = open(&log, Position::Index(1), 1 << 20).unwrap();
        assert_eq!(run(&mut by_index, &log).0[0], "Trimmed { from: 1, first: 5 }");
    }

    #[test]
    fn what_is_trimmed_between_bounds_and_read_is_announced_too() {
        let log = log();
        let mut subscription = open(&log, Position::Offset(0), 1 << 20).unwrap();
        let bounds = log.bounds(LOG);
        log.trim_to(LOG, 2);
        let step = subscription.step(bounds, |from, bytes_max| log.read(LOG, from, bytes_max));
        assert_eq!(step, Ok(Step::Send(ServerMessage::Trimmed { from: 0, first: 2 }, vec![])));
        assert_eq!(run(&mut subscription, &log).0.join(" "), "2 5 CaughtUp { head: 6 }");
    }

    #[test]
    fn a_log_that_cannot_be_read_ends_the_subscription_with_the_reason() {
        let log = log();
        let mut subscription = open(&log, Position::Offset(0), 1).unwrap();
        let error = log::Error::Unknown("the disk is gone".into());
        let step = subscription.step(log.bounds(LOG), |_, _| Err(error));
        assert!(step.unwrap_err().to_string().contains("the disk is gone"));
        let step = subscription.step(log.bounds(LOG), |_, _| Ok(vec![]));
        assert!(step.unwrap_err().to_string().contains("gave nothing at offset 0, though its head is 6"));
    }
}

//! What a client reads: from anywhere, what is durable, or what is not yet, too.

use std::collections::BTreeMap;

use fastrand::Rng;
use headwater::client::link::Link;
use headwater::protocol::batch::Batch;
use headwater::protocol::command::Rejection;
use headwater::protocol::message::{Position, Reads};
use headwater::protocol::{ChannelEvent, LogId};

use crate::shadow::{Commit, Shadow};

/// A time that most runs come near to.
const TIME_MS_MAX: u64 = 3_000;

/// A log that is read.
struct Reading {
    log: LogId,
    /// The offset that comes next, once it is known.
    next: Option<u64>,
    has_caught_up: bool,
    /// Whether what is not durable is read, too, and the newest commit that was.
    is_ahead: bool,
    newest: Option<Commit>,
    /// Whether a copy of the store was put back since: then nothing is known of what was read ahead.
    went_back: bool,
}

/// The subscriptions of a client.
#[derive(Default)]
pub struct Readings(BTreeMap<u64, Reading>);

impl Readings {
    /// Begins to read, if there are few: so many in 8 of them what is not durable, too.
    pub fn begin(&mut self, link: &mut Link, rng: &mut Rng, log: LogId, ahead: u8) {
        if self.0.len() >= 3 {
            return;
        }
        let (last, time) = (Position::Last(rng.u64(..5)), Position::Time(rng.u64(..TIME_MS_MAX)));
        let from = rng
            .choice([Position::Offset(0), Position::End, Position::Index(3), last, time])
            .expect("there are some");
        let is_ahead = rng.u8(..8) < ahead;
        let reads = if is_ahead { Reads::Appended { seen: None } } else { Reads::Durable };
        let number = link.subscribe_to(log, from, reads);
        let (next, newest) = (None, None);
        let reading = Reading { log, next, has_caught_up: false, is_ahead, newest, went_back: false };
        self.0.insert(number, reading);
    }

    /// Whether all of them have caught up.
    pub fn have_caught_up(&self) -> bool {
        self.0.values().all(|reading| reading.has_caught_up)
    }

    /// The next offset of each log that is read.
    pub fn positions(&self) -> impl Iterator<Item = (LogId, u64)> + '_ {
        self.0.values().filter_map(|reading| Some((reading.log, reading.next?)))
    }

    /// As [`Self::positions`], of those who read nothing but what is durable.
    pub fn durable_positions(&self) -> impl Iterator<Item = (LogId, u64)> + '_ {
        let durable = self.0.values().filter(|reading| !reading.is_ahead);
        durable.filter_map(|reading| Some((reading.log, reading.next?)))
    }

    /// An older copy of the store was put back.
    pub fn store_went_back(&mut self) {
        self.0.values_mut().for_each(|reading| reading.went_back = true);
    }

    fn of(&mut self, subscription: u64) -> &mut Reading {
        self.0.get_mut(&subscription).expect("it was subscribed")
    }

    pub fn began(&mut self, subscription: u64, from: u64) {
        let next = self.of(subscription).next;
        assert!(next.is_none_or(|next| next == from), "it goes on at {from}, and has {next:?}");
    }

    pub fn records(&mut self, subscription: u64, batch: &Batch, from: u64, shadow: &mut Shadow) {
        let reading = self.of(subscription);
        let (log, next) = (reading.log, reading.next);
        assert!(next.is_none_or(|next| next == from), "a gap or a repeat at {from}");
        let is_lost = reading.newest.is_some_and(|newest| shadow.is_lost(newest));
        assert!(
            !is_lost || reading.went_back,
            "what was read before {from} of log {log} is lost, and it is not told"
        );
        let commit = (batch.header().seq, batch.header().epoch);
        for record in batch.records::<ChannelEvent>() {
            let (offset, event) = record.expect("records decode");
            if offset >= from && reading.is_ahead {
                shadow.read_ahead.insert((log, offset, commit), event);
            } else if offset >= from {
                shadow.read(log, offset, event);
            }
        }
        (reading.next, reading.newest) = (Some(batch.header().end_offset()), Some(commit));
    }

    pub fn caught_up(&mut self, subscription: u64, head: u64) {
        let reading = self.of(subscription);
        let next = reading.next;
        assert!(next.is_none_or(|next| next >= head), "caught up at {head}, and has {next:?}");
        reading.next = Some(next.unwrap_or(head));
        assert!(!std::mem::replace(&mut reading.has_caught_up, true), "it caught up twice");
    }

    pub fn trimmed(&mut self, subscription: u64, from: u64, first: u64, shadow: &mut Shadow) {
        let reading = self.of(subscription);
        let next = reading.next;
        assert!(
            from < first && next.is_none_or(|next| next == from),
            "trimmed from {from}, and not {next:?}"
        );
        reading.next = Some(first);
        shadow.trimmed.insert((reading.log, first));
    }

    /// It is refused: what it had read ahead is lost, or what was before the place where it began.
    pub fn refused(&mut self, subscription: u64, rejection: &Rejection, shadow: &mut Shadow) {
        let reading = self.0.remove(&subscription).expect("it was subscribed");
        let Rejection::Undone(regress) = rejection else { panic!("a log went backwards: {rejection}") };
        assert!(reading.is_ahead, "{rejection}, and it has read nothing ahead");
        let is_lost = reading.newest.is_some_and(|newest| shadow.is_lost(newest));
        assert!(is_lost || reading.newest.is_none() || reading.went_back, "{regress}, and nothing is");
        shadow.undone += 1;
    }
}

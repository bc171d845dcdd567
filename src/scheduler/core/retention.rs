//! When channels are trimmed by the bounds that were set for them: with the commit that goes over a bound, and by age as
//! time passes.
//!
//! What is decided is a record of the channel, [`ChannelEvent::Trimmed`], so that replay decides nothing.

use std::collections::BTreeSet;
use std::mem;

use super::deadlines::Deadlines;
use super::state::{Channel, Cursor, State};
use super::{Core, Event, Output};
use crate::protocol::cursor::CursorName;
use crate::protocol::snapshot::KeptFrom;
use crate::protocol::{ChannelEvent, LogId, TaskEvent, TimeMs};

/// Elements whose time has come go together with those whose time comes so soon after, or within an eighth of
/// [`Retention::max_age_ms`], if that is less: 1 s, so that a busy channel takes one record a second for that.
const TOGETHER_MS_MAX: u64 = 1_000;

/// What a record takes beside its value, about: its kind, whose it is, its place.
const RECORD_OVERHEAD: u64 = 16;

/// What is to be known for it, beside the state; it belongs to no log.
#[derive(Debug, Default)]
pub(super) struct Retaining {
    /// When the oldest elements of channels are due to go by their age.
    ages: Deadlines<LogId>,
    /// The channels with elements that were due, and are held back.
    overdue: BTreeSet<LogId>,
    /// Until when cursors keep what they have not passed. It begins anew when the scheduler starts.
    pins: Deadlines<(LogId, CursorName)>,
    /// The cursors that were set or deleted with the commit that is open.
    moved: Vec<(LogId, CursorName)>,
    /// What was trimmed since it was asked for last.
    trims: Vec<Trim>,
}

impl Retaining {
    /// That of a scheduler that starts.
    pub fn of(state: &State, now: TimeMs) -> Self {
        let mut retaining = Retaining::default();
        for (log, channel) in &state.channels {
            retaining.note_age(*log, channel);
            for (name, cursor) in &channel.cursors {
                retaining.pin(*log, name, cursor.pin_ms, now);
            }
        }
        retaining
    }

    /// When [`Core::trim_old`] has something to do next.
    pub fn next_deadline(&self) -> Option<TimeMs> {
        [self.ages.next(), self.pins.next()].into_iter().flatten().min()
    }

    /// Lets all pins hold for so much longer.
    pub fn postpone_pins(&mut self, ms: u64) {
        self.pins.postpone(ms);
    }

    /// Notes what a fact says of cursors.
    pub fn observe(&mut self, event: &Event) {
        use TaskEvent::{CursorDeleted, CursorSet};
        if let Event::Task(CursorSet { log, name, .. } | CursorDeleted { log, name, .. }) = event {
            self.moved.push((*log, name.clone()));
        }
    }

    /// Notes what was trimmed of a channel that began there.
    pub fn trimmed(&mut self, log: LogId, before: KeptFrom, now: KeptFrom) {
        let bytes = (now.bytes - before.bytes) + RECORD_OVERHEAD * (now.offset - before.offset);
        self.trims.push(Trim { log, first: now.offset, bytes });
    }

    /// What was trimmed since this was asked last.
    pub fn take_trims(&mut self) -> Vec<Trim> {
        mem::take(&mut self.trims)
    }

    /// Whether elements are kept for a cursor's sake that are over the bounds.
    pub fn holds_back(&self, log: LogId, channel: &Channel, name: &CursorName, cursor: &Cursor) -> bool {
        let is_over = |(_, before, _)| cursor.offset < before;
        let kept = &channel.kept;
        let is_too_old =
            || self.overdue.contains(&log) && kept.oldest_end().is_some_and(|end| cursor.offset < end);
        self.is_pinned(log, name) && (kept.over(channel.elements, None).is_some_and(is_over) || is_too_old())
    }

    fn is_pinned(&self, log: LogId, name: &CursorName) -> bool {
        self.pins.contains(&(log, name.clone()))
    }

    /// The least offset that cursors let a channel begin at.
    fn pinned_at(&self, log: LogId, channel: &Channel) -> Option<u64> {
        let pinned = channel.cursors.iter().filter(|(name, _)| self.is_pinned(log, name));
        pinned.map(|(_, cursor)| cursor.offset).min()
    }

    /// A cursor keeps what it has not passed for so long from now on; 0 for not at all.
    fn pin(&mut self, log: LogId, name: &CursorName, pin_ms: u64, now: TimeMs) {
        let key = (log, name.clone());
        match pin_ms {
            0 => self.pins.remove(&key),
            pin_ms => self.pins.set(key, now.saturating_add(pin_ms)),
        }
    }

    fn note_age(&mut self, log: LogId, channel: &Channel) {
        self.overdue.remove(&log);
        match channel.due() {
            Some(at) => self.ages.set(log, at),
            None => self.ages.remove(&log),
        }
    }
}

/// What was trimmed of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// The channel's log.
    pub log: LogId,
    /// The offset of its first record that is kept.
    pub first: u64,
    /// How many bytes that frees where it is stored, about.
    pub bytes: u64,
}

impl Core {
    /// Ends a commit that has records of these channels, of which some may go with it by their bounds.
    pub fn end_commit(&mut self, logs: &[LogId], now: TimeMs, out: &mut Output) {
        let mut concerned: BTreeSet<LogId> = logs.iter().copied().collect();
        for (log, name) in mem::take(&mut self.retaining.moved) {
            let cursor = self.state.channels.get(&log).and_then(|channel| channel.cursors.get(&name));
            self.retaining.pin(log, &name, cursor.map_or(0, |cursor| cursor.pin_ms), now);
            concerned.insert(log);
        }
        for log in &concerned {
            self.trim_over(*log, None, out);
        }
        self.upkeep(out);
        self.state.end_commit(logs.iter().copied(), now);
        for log in concerned {
            self.note_age(log);
        }
    }

    /// Trims what is too old, and what was kept for cursors whose time is over.
    pub(super) fn trim_old(&mut self, now: TimeMs, out: &mut Output) {
        while let Some((log, _)) = self.retaining.pins.pop(now) {
            self.trim_over(log, Some(now), out);
            self.note_age(log);
        }
        while let Some(log) = self.retaining.ages.pop(now) {
            self.trim_over(log, Some(now), out);
            let due = self.state.channels.get(&log).and_then(Channel::due);
            if due.is_some_and(|at| at <= now) {
                // Held back: it is looked at again when a cursor moves or its time is over.
                self.retaining.overdue.insert(log);
            } else {
                self.note_age(log);
            }
        }
    }

    fn note_age(&mut self, log: LogId) {
        if let Some(channel) = self.state.channels.get(&log) {
            self.retaining.note_age(log, channel);
        }
    }

    /// Trims what is over a channel's bounds and not held back, by age only when it is said what time it is.
    fn trim_over(&mut self, log: LogId, now: Option<TimeMs>, out: &mut Output) {
        let Some(channel) = self.state.channels.get(&log) else { return };
        let Some((cause, before, index)) = channel.kept.over(channel.elements, now) else { return };
        let (before, index) = match self.retaining.pinned_at(log, channel) {
            Some(pinned) if pinned < before => (pinned, channel.kept.index_at(pinned, channel.elements)),
            _ => (before, index),
        };
        if before > channel.kept.first.offset {
            self.emit(Event::Channel(log, ChannelEvent::Trimmed { cause, before, index }), out);
        }
    }
}

impl Channel {
    /// When its oldest elements are to go by their age.
    fn due(&self) -> Option<TimeMs> {
        let max = self.kept.retention.max_age_ms?;
        Some(self.kept.due()?.saturating_add(TOGETHER_MS_MAX.min(max / 8)))
    }
}

//! When channels are trimmed by the bounds that were set for them: with the commit that goes over a bound, and by age as
//! time passes.
//!
//! What is decided is a record of the channel, [`ChannelEvent::Trimmed`], so that replay decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::state::{Channel, State};
use super::{Core, Event, Output};
use crate::protocol::channel::{Retention, TrimCause};
use crate::protocol::cursor::CursorName;
use crate::protocol::snapshot::KeptFrom;
use crate::protocol::{ChannelEvent, LogId, TaskEvent, TimeMs};

/// Elements whose time has come go together with those whose time comes so soon after, or within an eighth of
/// [`Retention::max_age_ms`], if that is less: 1 s, so that a busy channel takes one record a second for that.
const TOGETHER_MS_MAX: u64 = 1_000;

/// What a record takes beside its value, about: its kind, whose it is, its place.
const RECORD_OVERHEAD: u64 = 16;

/// When the oldest elements of channels are due to go by their age.
#[derive(Debug, Default)]
pub(super) struct Ages {
    due: BTreeSet<(TimeMs, LogId)>,
    of: BTreeMap<LogId, TimeMs>,
}

impl Ages {
    pub fn of(state: &State) -> Ages {
        let mut ages = Ages::default();
        state.channels.iter().for_each(|(log, channel)| ages.note(*log, Some(channel)));
        ages
    }

    /// When the first are due.
    pub fn next(&self) -> Option<TimeMs> {
        self.due.first().map(|(at, _)| *at)
    }

    fn note(&mut self, log: LogId, channel: Option<&Channel>) {
        if let Some(at) = self.of.remove(&log) {
            self.due.remove(&(at, log));
        }
        let due = channel.and_then(|channel| {
            let max = channel.kept.retention.max_age_ms?;
            Some(channel.kept.due()?.saturating_add(TOGETHER_MS_MAX.min(max / 8)))
        });
        if let Some(at) = due {
            self.of.insert(log, at);
            self.due.insert((at, log));
        }
    }

    fn pop(&mut self, now: TimeMs) -> Option<LogId> {
        let (at, log) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, log));
        self.of.remove(&log);
        Some(log)
    }
}

/// Until when cursors keep what they have not passed. It begins anew when the scheduler starts.
#[derive(Debug, Default)]
pub(super) struct Pins {
    until: BTreeMap<(LogId, CursorName), TimeMs>,
    due: BTreeSet<(TimeMs, LogId, CursorName)>,
    /// Those that were set with the commit that is open.
    set: Vec<(LogId, CursorName)>,
}

impl Pins {
    pub fn of(state: &State, now: TimeMs) -> Pins {
        let mut pins = Pins::default();
        for (log, channel) in &state.channels {
            channel.cursors.iter().for_each(|(name, cursor)| pins.hold(*log, name, cursor.pin_ms, now));
        }
        pins
    }

    /// When the first is over.
    pub fn next(&self) -> Option<TimeMs> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Notes what a fact says of cursors.
    pub fn observe(&mut self, event: &Event) {
        if let Event::Task(
            TaskEvent::CursorSet { log, name, .. } | TaskEvent::CursorDeleted { log, name, .. },
        ) = event
        {
            self.set.push((*log, name.clone()));
        }
    }

    /// A cursor keeps what it has not passed for so long from now on; 0 for not at all.
    fn hold(&mut self, log: LogId, name: &CursorName, pin_ms: u64, now: TimeMs) {
        if let Some(at) = self.until.remove(&(log, name.clone())) {
            self.due.remove(&(at, log, name.clone()));
        }
        if pin_ms > 0 {
            let at = now.saturating_add(pin_ms);
            self.until.insert((log, name.clone()), at);
            self.due.insert((at, log, name.clone()));
        }
    }

    /// The next whose time is over: it holds nothing back any more.
    fn pop(&mut self, now: TimeMs) -> Option<LogId> {
        let (_, log, name) = self.due.first().filter(|(at, ..)| *at <= now)?.clone();
        self.hold(log, &name, 0, now);
        Some(log)
    }

    /// The least offset that a channel is to keep.
    fn least(&self, log: LogId, channel: &Channel) -> Option<u64> {
        let pinned = channel.cursors.iter().filter(|(name, _)| self.holds(log, name));
        pinned.map(|(_, cursor)| cursor.offset).min()
    }

    /// Whether a cursor keeps what it has not passed.
    pub fn holds(&self, log: LogId, name: &CursorName) -> bool {
        self.until.contains_key(&(log, name.clone()))
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

impl Trim {
    pub(super) fn between(log: LogId, before: KeptFrom, now: KeptFrom) -> Trim {
        let bytes = (now.bytes - before.bytes) + RECORD_OVERHEAD * (now.offset - before.offset);
        Trim { log, first: now.offset, bytes }
    }
}

impl Core {
    /// Ends a commit that has records of these logs, of which some may go with it by their channel's bounds.
    pub fn end_commit(&mut self, logs: &[LogId], now: TimeMs, out: &mut Output) {
        let set = mem::take(&mut self.pins.set);
        for log in logs.iter().copied().chain(set.iter().map(|(log, _)| *log)).collect::<BTreeSet<_>>() {
            self.note_pins(log, &set, now);
            self.trim_over(log, None, out);
        }
        self.upkeep(out);
        self.state.end_commit(logs.iter().copied(), now);
        for log in logs {
            self.ages.note(*log, self.state.channels.get(log));
        }
    }

    fn note_pins(&mut self, log: LogId, set: &[(LogId, CursorName)], now: TimeMs) {
        let Some(channel) = self.state.channels.get(&log) else { return };
        for (_, name) in set.iter().filter(|(of, _)| *of == log) {
            self.pins.hold(log, name, channel.cursors.get(name).map_or(0, |cursor| cursor.pin_ms), now);
        }
    }

    /// Trims what is too old, and what was kept for cursors whose time is over.
    pub(super) fn trim_old(&mut self, now: TimeMs, out: &mut Output) {
        while let Some(log) = self.pins.pop(now) {
            self.trim_over(log, Some(now), out);
        }
        while let Some(log) = self.ages.pop(now) {
            self.trim_over(log, Some(now), out);
            self.ages.note(log, self.state.channels.get(&log));
        }
    }

    /// Trims what is over a channel's bounds, by age only when it is said what time it is.
    fn trim_over(&mut self, log: LogId, now: Option<TimeMs>, out: &mut Output) {
        let Some(channel) = self.state.channels.get(&log) else { return };
        if channel.kept.retention == Retention::ALL {
            return;
        }
        if let Some((cause, before, index)) = channel.over(now, self.pins.least(log, channel)) {
            self.emit(Event::Channel(log, ChannelEvent::Trimmed { cause, before, index }), out);
        }
    }
}

impl Channel {
    /// As [`Kept::over`](super::Kept::over), up to a record that is kept for a cursor.
    fn over(&self, now: Option<TimeMs>, pinned: Option<u64>) -> Option<(TrimCause, u64, u64)> {
        let (cause, before, index) = self.kept.over(self.elements, now)?;
        match pinned.filter(|pinned| *pinned < before) {
            None => Some((cause, before, index)),
            Some(pinned) => {
                let index = self.kept.index_at(pinned, self.elements);
                (pinned > self.kept.first.offset).then_some((cause, pinned, index))
            }
        }
    }

    /// Whether elements that are over the bounds are at this place or behind it.
    pub(super) fn is_over_at(&self, offset: u64) -> bool {
        self.kept.over(self.elements, None).is_some_and(|(_, before, _)| offset < before)
    }
}

//! When channels are trimmed by the bounds that were set for them: with the commit that goes over a bound, and by age as
//! time passes.
//!
//! What is decided is a record of the channel, [`ChannelEvent::Trimmed`], so that replay decides nothing.

use std::collections::BTreeSet;
use std::mem;

use super::deadlines::Deadlines;
use super::group::Group;
use super::state::{Channel, Cursor, State};
use super::{Core, Event, Output};
use crate::protocol::cursor::CursorName;
use crate::protocol::group::{GroupId, OfGroup};
use crate::protocol::snapshot::KeptFrom;
use crate::protocol::{ChannelEvent, LogId, TaskEvent, TimeMs};

/// Elements whose time has come go together with those whose time comes so soon after, or within an eighth of
/// [`Retention::max_age_ms`], if that is less: 1 s, so that a busy channel takes one record a second for that.
const TOGETHER_MS_MAX: u64 = 1_000;

/// What a record takes beside its value, about: its kind, whose it is, its place.
const RECORD_OVERHEAD: u64 = 16;

/// What may keep elements of a channel that are over its bounds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pinner {
    Cursor(LogId, CursorName),
    Group(LogId, GroupId),
}

impl Pinner {
    fn log(&self) -> LogId {
        match self {
            Pinner::Cursor(log, _) | Pinner::Group(log, _) => *log,
        }
    }

    /// For how long it keeps them; 0 also when it is no more.
    fn pin_ms(&self, state: &State) -> u64 {
        match self {
            Pinner::Cursor(log, name) => {
                let cursor = state.channels.get(log).and_then(|channel| channel.cursors.get(name));
                cursor.map_or(0, |cursor| cursor.pin_ms)
            }
            Pinner::Group(_, id) => state.groups.get(id).map_or(0, |group| group.options.pin_ms),
        }
    }
}

/// What is to be known for it, beside the state; it belongs to no log.
#[derive(Debug, Default)]
pub(super) struct Retaining {
    /// When the oldest elements of channels are due to go by their age.
    ages: Deadlines<LogId>,
    /// The channels with elements that were due, and are held back.
    overdue: BTreeSet<LogId>,
    /// Until when cursors and groups keep what they have not passed. It begins anew when the scheduler starts.
    pins: Deadlines<Pinner>,
    /// Those that came on, or are no more, with the commit that is open.
    moved: BTreeSet<Pinner>,
    /// What was trimmed since it was asked for last.
    trims: Vec<Trim>,
}

impl Retaining {
    /// That of a scheduler that starts.
    pub fn of(state: &State, now: TimeMs) -> Self {
        let mut retaining = Retaining::default();
        for (log, channel) in &state.channels {
            retaining.note_age(*log, channel);
            let cursors = channel.cursors.keys().map(|name| Pinner::Cursor(*log, name.clone()));
            let groups = channel.groups.values().map(|id| Pinner::Group(*log, *id));
            cursors.chain(groups).for_each(|pinner| retaining.pin(state, pinner, now));
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

    /// Notes what a fact says of cursors and groups. `state` is as it was before it.
    pub fn observe(&mut self, state: &State, event: &Event) {
        let Event::Task(event) = event else { return };
        self.moved.extend(match event {
            TaskEvent::CursorSet { log, name, .. } | TaskEvent::CursorDeleted { log, name, .. } => {
                Some(Pinner::Cursor(*log, name.clone()))
            }
            TaskEvent::GroupCreated { log, .. } => Some(Pinner::Group(*log, GroupId(state.tasks_head))),
            TaskEvent::GroupChanged { group: id, .. }
            | TaskEvent::GroupDeleted { group: id, .. }
            | TaskEvent::Acknowledged { of: OfGroup { group: id, .. }, .. } => {
                state.groups.get(id).map(|group| Pinner::Group(group.log, *id))
            }
            _ => None,
        });
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
        let pinner = Pinner::Cursor(log, name.clone());
        self.pins.contains(&pinner) && self.is_over(log, channel, cursor.offset)
    }

    /// Whether elements are kept for a group's sake that are over the bounds.
    pub fn group_holds_back(&self, id: GroupId, channel: &Channel, group: &Group) -> bool {
        let offset = channel.kept.offset_of(group.floor()).unwrap_or(channel.head);
        self.pins.contains(&Pinner::Group(group.log, id)) && self.is_over(group.log, channel, offset)
    }

    /// Whether there are elements from this offset on that are over the bounds.
    fn is_over(&self, log: LogId, channel: &Channel, offset: u64) -> bool {
        let kept = &channel.kept;
        let is_too_old = || self.overdue.contains(&log) && kept.oldest_end().is_some_and(|end| offset < end);
        kept.over(channel.elements, None).is_some_and(|(_, before, _)| offset < before) || is_too_old()
    }

    /// The least offset that cursors and groups let a channel begin at.
    fn pinned_at(&self, state: &State, log: LogId, channel: &Channel) -> Option<u64> {
        let of_cursor = |(name, cursor): (&CursorName, &Cursor)| {
            self.pins.contains(&Pinner::Cursor(log, name.clone())).then_some(cursor.offset)
        };
        let of_group = |id: &GroupId| {
            let floor =
                state.groups.get(id).filter(|_| self.pins.contains(&Pinner::Group(log, *id)))?.floor();
            channel.kept.offset_of(floor).filter(|_| floor < channel.elements)
        };
        let cursors = channel.cursors.iter().filter_map(of_cursor);
        cursors.chain(channel.groups.values().filter_map(of_group)).min()
    }

    /// A cursor or a group keeps what it has not passed for its time from now on, if it does.
    fn pin(&mut self, state: &State, pinner: Pinner, now: TimeMs) {
        match pinner.pin_ms(state) {
            0 => self.pins.remove(&pinner),
            pin_ms => self.pins.set(pinner, now.saturating_add(pin_ms)),
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
        for pinner in mem::take(&mut self.retaining.moved) {
            concerned.insert(pinner.log());
            self.retaining.pin(&self.state, pinner, now);
        }
        self.consumers.begin(&self.state, now);
        for log in &concerned {
            self.trim_over(*log, None, out);
        }
        self.upkeep(out);
        self.state.end_commit(logs.iter().copied().chain([LogId::TASKS]), now);
        for log in concerned {
            self.note_age(log);
        }
    }

    /// Trims what is too old, and what was kept for cursors whose time is over.
    pub(super) fn trim_old(&mut self, now: TimeMs, out: &mut Output) {
        while let Some(pinner) = self.retaining.pins.pop(now) {
            let log = pinner.log();
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
        let (before, index) = match self.retaining.pinned_at(&self.state, log, channel) {
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

//! What all clients were told: the shadow against which the log is held in the end.

use std::collections::{BTreeMap, BTreeSet};

use headwater::protocol::channel::Durability;
use headwater::protocol::group::GroupId;
use headwater::protocol::producer::ProducerName;
use headwater::protocol::{
    ChannelEvent, Element, Epoch, Headers, LogId, Outcome, Seq, SessionId, TaskId, TimeMs,
};

/// What an element is known by in the shadow: the payload of a value, the task of a future.
pub type Mark = Vec<u8>;

/// The mark of an element.
pub fn mark(element: &Element) -> Mark {
    match element {
        Element::Future(key) => key.id.0.to_vec(),
        Element::Value(payload) => payload.bytes.to_vec(),
    }
}

/// What all clients were told, over the whole run.
#[derive(Clone, Default)]
pub struct Shadow {
    /// Acknowledged elements and their headers, by log and offset.
    pub acked: BTreeMap<(LogId, u64), (Mark, Headers, Commit)>,
    /// Values that were refused: they must not be there.
    pub refused: BTreeSet<Mark>,
    /// The commit and epoch that each acknowledged append was said to be of, by log and first offset.
    pub commits: BTreeMap<(LogId, u64), Commit>,
    /// Appends that expected an offset and were taken: the log, the offset, the first that they got, and their commit.
    pub expected: Vec<(LogId, u64, u64, Commit)>,
    /// Those that were refused for it: the log, the offset, and the head then.
    pub conflicts: Vec<(LogId, u64, u64)>,
    /// Where cursors were moved from by transactions, by commit, log, and where they were moved to.
    pub moved: BTreeMap<(Seq, LogId, u64), u64>,
    /// Elements of groups that were said to be done with, and acknowledged.
    pub consumed: BTreeSet<(GroupId, u64)>,
    /// How often elements of groups were said to have been leased.
    pub attempts: BTreeMap<(GroupId, u64), u32>,
    /// Acknowledged appends of named producers, by log, name and number: the first offset, how many elements, and their commit. A number
    /// may be used again once its producer is forgotten.
    pub produced: BTreeSet<(LogId, ProducerName, u64, u64, u32, Commit)>,
    /// Up to where producers were said to have come.
    pub produced_before: BTreeSet<(LogId, ProducerName, u64)>,
    /// Tasks that were said to be tried again.
    pub renewed: BTreeSet<TaskId>,
    /// Tasks that were said to be cancelled.
    pub cancelled: BTreeSet<TaskId>,
    /// Tasks of nobody else's that were refused: the same.
    pub refused_tasks: BTreeSet<TaskId>,
    /// Values that were acknowledged as tasks, which of these are to stay, and those that were refused because another one has
    /// their name.
    pub values: BTreeSet<(TaskId, Vec<u8>)>,
    pub values_detached: BTreeSet<TaskId>,
    pub values_refused: BTreeSet<(TaskId, Vec<u8>)>,
    /// The marks of values in the order in which each session appended them to each log.
    pub order: BTreeMap<(SessionId, LogId), Vec<(Mark, Commit)>>,
    /// How tasks ended, as clients heard. One that was forgotten and submitted again ends again.
    pub outcomes: BTreeMap<TaskId, Vec<Outcome>>,
    /// Where logs began for readers who were told that what is before that is trimmed.
    pub trimmed: BTreeSet<(LogId, u64)>,
    /// The records that subscribers got, by log: each offset always holds the same.
    pub read: BTreeMap<(LogId, u64), ChannelEvent>,
    /// Those that readers got who read what is not durable, too, and their commits.
    pub read_ahead: BTreeMap<(LogId, u64, Commit), ChannelEvent>,
    /// The newest commit of each epoch that was there after its crash: what was appended behind it is gone.
    pub crashes: BTreeMap<Epoch, Seq>,
    /// Appends that were acknowledged before they were durable: their commits, by when they were to be, and what is of
    /// them is not to be lost in a crash after that.
    pub buffered: BTreeMap<Commit, TimeMs>,
    /// How many of these were lost, and how many readers were told that what they had read ahead is.
    pub lost: usize,
    pub undone: usize,
}

/// A commit, and the epoch that made it.
pub type Commit = (Seq, Epoch);

/// How long the writer takes at most to come to a flush that is due: it is given its turn by chance, and the clock jumps.
const LATE_MS: TimeMs = 600;

impl Shadow {
    /// A scheduler of this epoch has ended, and so much of what it wrote is there.
    pub fn crashed(&mut self, epoch: Epoch, last: Seq, now: TimeMs) {
        self.crashes.insert(epoch, last);
        for ((seq, of), by) in &self.buffered {
            if *of == epoch && *seq > last {
                assert!(now <= by + LATE_MS, "commit {seq} is lost at {now}, and was to be durable by {by}");
                self.lost += 1;
            }
        }
        self.buffered.retain(|(_, of), _| *of != epoch);
    }

    /// Whether a commit is gone with a crash: then nothing that was said of it holds.
    pub fn is_lost(&self, (seq, epoch): Commit) -> bool {
        self.crashes.get(&epoch).is_some_and(|last| seq > *last)
    }

    /// A commit was acknowledged so.
    pub fn acknowledged(&mut self, commit: Commit, durability: Durability, now: TimeMs) {
        // It was written before this.
        if let Durability::Buffered { flush_ms } = durability {
            self.buffered.entry(commit).or_insert(now + TimeMs::from(flush_ms));
        }
    }

    /// An append was acknowledged, of these elements.
    pub fn appended(&mut self, log: LogId, first: u64, elements: &[(Headers, Element)], commit: Commit) {
        self.commits.insert((log, first), commit);
        for (offset, (headers, element)) in (first..).zip(elements) {
            let before = self.acked.insert((log, offset), (mark(element), headers.clone(), commit));
            let is_free = before.is_none_or(|(.., before)| self.is_lost(before));
            assert!(is_free, "offset {offset} of log {log} was given twice");
        }
    }

    pub fn settled(&mut self, task: TaskId, outcome: Outcome) {
        let heard = self.outcomes.entry(task).or_default();
        if !heard.contains(&outcome) {
            heard.push(outcome);
        }
    }

    pub fn read(&mut self, log: LogId, offset: u64, event: ChannelEvent) {
        let before = self.read.entry((log, offset)).or_insert_with(|| event.clone());
        assert_eq!(*before, event, "two readers saw different records at {offset} of log {log}");
    }
}

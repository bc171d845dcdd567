//! What all clients were told: the shadow against which the log is held in the end.

use std::collections::{BTreeMap, BTreeSet};

use headwater::protocol::group::GroupId;
use headwater::protocol::producer::ProducerName;
use headwater::protocol::{ChannelEvent, Element, Epoch, Headers, LogId, Outcome, Seq, SessionId, TaskId};

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
    pub acked: BTreeMap<(LogId, u64), (Mark, Headers)>,
    /// Values that were refused: they must not be there.
    pub refused: BTreeSet<Mark>,
    /// The commit and epoch that each acknowledged append was said to be of, by log and first offset.
    pub commits: BTreeMap<(LogId, u64), (Seq, Epoch)>,
    /// Appends that expected an offset and were taken: the log, the offset, and the first that they got.
    pub expected: Vec<(LogId, u64, u64)>,
    /// Those that were refused for it: the log, the offset, and the head then.
    pub conflicts: Vec<(LogId, u64, u64)>,
    /// Where cursors were moved from by transactions, by commit, log, and where they were moved to.
    pub moved: BTreeMap<(Seq, LogId, u64), u64>,
    /// Elements of groups that were said to be done with, and acknowledged.
    pub consumed: BTreeSet<(GroupId, u64)>,
    /// Acknowledged appends of named producers, by log, name and number: the first offset and how many elements. A number
    /// may be used again once its producer is forgotten.
    pub produced: BTreeSet<(LogId, ProducerName, u64, u64, u32)>,
    /// Up to where producers were said to have come.
    pub produced_before: BTreeSet<(LogId, ProducerName, u64)>,
    /// Tasks of nobody else's that were refused: the same.
    pub refused_tasks: BTreeSet<TaskId>,
    /// The marks of values in the order in which each session appended them to each log.
    pub order: BTreeMap<(SessionId, LogId), Vec<Mark>>,
    /// How tasks ended, as clients heard. One that was forgotten and submitted again ends again.
    pub outcomes: BTreeMap<TaskId, Vec<Outcome>>,
    /// Where logs began for readers who were told that what is before that is trimmed.
    pub trimmed: BTreeSet<(LogId, u64)>,
    /// The records that subscribers got, by log: each offset always holds the same.
    pub read: BTreeMap<(LogId, u64), ChannelEvent>,
}

impl Shadow {
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

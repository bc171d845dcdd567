//! How often what has happened: counted as facts come into being, and shown once they are durable.

use std::ops::AddAssign;

use super::core::Event;
use crate::protocol::TaskEvent;

/// How often each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Records of all logs.
    pub records: u64,
    /// Elements appended to channels.
    pub elements: u64,
    /// Tasks submitted, values that were scattered not among them.
    pub submitted: u64,
    /// Attempts started.
    pub started: u64,
    /// Tasks finished.
    pub finished: u64,
    /// Tasks failed.
    pub failed: u64,
    /// Tasks cancelled.
    pub cancelled: u64,
    /// Attempts that failed and are tried again.
    pub retried: u64,
    /// Attempts that ended with their worker.
    pub died: u64,
    /// Results that were lost with all that kept them.
    pub lost: u64,
}

impl Tally {
    /// Counts a fact.
    pub fn count(&mut self, event: &Event) {
        self.records += 1;
        match event {
            Event::Task(event) => self.count_task(event),
            Event::Channel(_, event) => self.elements += u64::from(event.is_element()),
            Event::Values { values, .. } => {
                self.elements += values.len() as u64;
                self.records += values.len().saturating_sub(1) as u64;
            }
        }
    }

    fn count_task(&mut self, event: &TaskEvent) {
        let counted = match event {
            TaskEvent::Submitted { .. } | TaskEvent::SubmittedUnder { .. } => &mut self.submitted,
            TaskEvent::Started { .. } | TaskEvent::StartedWith { .. } => &mut self.started,
            TaskEvent::Finished { .. } => &mut self.finished,
            TaskEvent::Failed { .. } => &mut self.failed,
            TaskEvent::Cancelled { .. } | TaskEvent::CancelledBy { .. } => &mut self.cancelled,
            TaskEvent::Retried { .. } | TaskEvent::RetriedAfter { .. } => &mut self.retried,
            TaskEvent::Died { .. } | TaskEvent::Requeued { .. } => &mut self.died,
            TaskEvent::Lost { .. } => &mut self.lost,
            _ => return,
        };
        *counted += 1;
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        let Tally { records, elements, submitted, started, finished, failed, cancelled, retried, died, lost } =
            more;
        self.records += records;
        self.elements += elements;
        self.submitted += submitted;
        self.started += started;
        self.finished += finished;
        self.failed += failed;
        self.cancelled += cancelled;
        self.retried += retried;
        self.died += died;
        self.lost += lost;
    }
}

//! Records that are lost: what the fold does where there is nothing to fold, and how what is left becomes a
//! state that holds.
//!
//! Behind a gap records speak of tasks, sessions and channels that nobody has heard of. `apply` takes them
//! as they come and leaves out what it does not know; in the end [`State::mend`] makes all indexes
//! anew from what is known. Everything here follows from the logs alone, so each start finds the same.

use super::State;
use super::state::Channel;
use super::task::{Phase, Task};
use crate::protocol::batch::Header;
use crate::protocol::{ChannelName, LogId, TaskId};

impl State {
    /// Goes on behind records of a log that are lost: their offsets and elements stay counted. What they
    /// said is not known, so the digest of a channel is from here on that of the elements that are left.
    /// Each lost record of the task log may have begun a session or a channel: no number that may have been
    /// given is given again.
    pub fn skip_lost(&mut self, log: LogId, lost: &Header) {
        if log == LogId::TASKS {
            self.tasks_head = lost.end_offset();
            self.is_behind_lost = true;
            self.last_producer.0 = self.last_producer.0.saturating_add(u64::from(lost.count));
            self.last_log.0 = self.last_log.0.saturating_add(lost.count);
        } else {
            if let Some(channel) = self.channels.get_mut(&log) {
                (channel.head, channel.elements) = (lost.end_offset(), lost.end_index());
                channel.written_to = channel.head;
                if lost.elements > 0 {
                    channel.reopen();
                }
            }
        }
    }

    /// Gives a name to the log of a channel that no record has created: `lost-channel-7`.
    pub(in crate::scheduler) fn name_lost_channel(&mut self, log: LogId) {
        let mut text = format!("lost-channel-{log}");
        let name = loop {
            let name = ChannelName::new(&text).expect("a short name of letters, digits and dashes");
            if !self.names.contains_key(&name) {
                break name;
            }
            text.push('-');
        };
        self.last_log = self.last_log.max(log);
        self.names.insert(name.clone(), log);
        self.channels.insert(log, Channel::new(name));
    }

    /// Makes the state hold again after a fold that met lost records. Of two sessions of one identity the
    /// older one has ended, and that was lost. An attempt is over when its worker's
    /// session is not known, or when something that it needed has not finished as far as is known: its task
    /// waits for the next.
    pub(in crate::scheduler) fn mend(&mut self) {
        let (producers, sessions) = (&self.producers, &mut self.sessions);
        sessions.retain(|producer, session| producers.get(&session.id) == Some(producer));
        for task in self.tasks.values_mut() {
            if let Phase::Stored(stored) = &mut task.phase {
                stored.holders.retain(|holder| self.sessions.contains_key(holder));
                if stored.holders.is_empty() {
                    task.phase = Phase::Lost;
                }
            }
        }
        let has_result = |id: &TaskId| self.tasks.get(id).is_some_and(|task| task.phase.has_result());
        let is_over = |task: &Task| {
            let Phase::Running { worker } = task.phase else { return false };
            let needs = task.call.iter().flat_map(|call| &call.dependencies);
            !self.sessions.contains_key(&worker) || !needs.into_iter().all(has_result)
        };
        let over = self.tasks.iter().filter(|(_, task)| is_over(task)).map(|(id, _)| *id);
        for id in over.collect::<Vec<_>>() {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.phase = Phase::Ready;
                task.conditions.iter_mut().for_each(|conditions| conditions.grants.clear());
            }
        }
        self.index();
        self.is_behind_lost = false;
    }

    /// A task is submitted again, and its end and forgetting were lost.
    pub(super) fn displace(&mut self, offset: u64, id: TaskId) {
        if self.tasks.contains_key(&id) {
            self.forget(offset, id);
            for session in self.sessions.values_mut() {
                session.holds.remove(&id);
            }
        }
    }
}

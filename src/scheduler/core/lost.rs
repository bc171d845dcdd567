//! Records that are lost: what the fold does where there is nothing to fold.

use super::State;
use crate::protocol::LogId;
use crate::protocol::batch::Header;

impl State {
    /// Goes on behind records of a log that are lost: their offsets and elements stay counted. What they
    /// said is not known, so the digest of a channel is from here on that of the elements that are left.
    pub fn skip_lost(&mut self, log: LogId, lost: &Header) {
        if log == LogId::TASKS {
            self.tasks_head = lost.end_offset();
        } else {
            self.begin_channel_at(log, lost.end_offset(), lost.end_index());
        }
    }
}

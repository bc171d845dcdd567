//! Appends that were acknowledged before they were durable, and are not known to be durable yet.

use std::collections::BTreeMap;

use crate::protocol::LogId;
use crate::protocol::start::Seen;

/// Of each log the newest of them, by the start that acknowledged it. More than one start where nobody has asked since.
#[derive(Debug, Default)]
pub(super) struct Buffered {
    newest: BTreeMap<LogId, Vec<Seen>>,
}

impl Buffered {
    /// An append to this log was acknowledged: it is in this commit.
    pub fn acked(&mut self, log: LogId, acked: Seen) {
        let newest = self.newest.entry(log).or_default();
        match newest.iter_mut().find(|seen| seen.start.id == acked.start.id) {
            Some(seen) => seen.seq = seen.seq.max(acked.seq),
            None => newest.push(acked),
        }
    }

    /// What was acknowledged up to there, of a log or of all, is durable, or whoever asked knows that it is not.
    pub fn settle(&mut self, log: Option<LogId>, up_to: Seen) {
        self.newest.retain(|of, newest| {
            let is_meant = log.is_none_or(|log| log == *of);
            newest.retain(|seen| !is_meant || seen.start.id != up_to.start.id || seen.seq > up_to.seq);
            !newest.is_empty()
        });
    }

    /// The newest of a log, or of all; one of each start.
    pub fn newest(&self, log: Option<LogId>) -> Vec<Seen> {
        let mut all = Buffered::default();
        for (_, newest) in self.newest.iter().filter(|(of, _)| log.is_none_or(|log| log == **of)) {
            newest.iter().for_each(|seen| all.acked(LogId::TASKS, *seen));
        }
        all.newest.remove(&LogId::TASKS).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::start::Start;
    use crate::protocol::{Epoch, Seq, StartId};

    fn seen(start: u64, seq: u64) -> Seen {
        Seen { start: Start { epoch: Epoch(start), id: StartId(start), after: Seq(0) }, seq: Seq(seq) }
    }

    #[test]
    fn the_newest_of_each_start_is_kept_until_it_is_settled() {
        let (one, two) = (LogId(1), LogId(2));
        let mut buffered = Buffered::default();
        for (log, start, seq) in [(one, 1, 5), (one, 1, 4), (two, 1, 7), (one, 2, 3)] {
            buffered.acked(log, seen(start, seq));
        }
        assert_eq!(buffered.newest(Some(one)), [seen(1, 5), seen(2, 3)]);
        assert_eq!(buffered.newest(None), [seen(1, 7), seen(2, 3)]);
        buffered.settle(None, seen(1, 5));
        assert_eq!(buffered.newest(Some(one)), [seen(2, 3)]);
        assert_eq!(buffered.newest(Some(two)), [seen(1, 7)]);
        buffered.settle(Some(two), seen(2, 9));
        assert_eq!(buffered.newest(Some(one)), [seen(2, 3)]);
        buffered.settle(Some(one), seen(2, 9));
        assert_eq!(buffered.newest(Some(one)), []);
    }
}

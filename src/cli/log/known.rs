//! Up to where snapshots know the logs: what begins behind that would have a gap.

use std::collections::BTreeMap;

use crate::protocol::LogId;
use crate::protocol::snapshot::SnapshotItem;

/// Up to where a snapshot knows each log, read off from its pieces as they come.
#[derive(Debug, Default)]
pub struct Known {
    heads: BTreeMap<LogId, u64>,
    /// Whether all that is looked for has come.
    is_read: bool,
}

impl Known {
    /// Adds the next piece.
    pub fn add(&mut self, mut piece: &[u8]) {
        while !self.is_read && !piece.is_empty() {
            let Ok((item, behind)) = postcard::take_from_bytes(piece) else {
                self.is_read = true;
                return;
            };
            piece = behind;
            match item {
                SnapshotItem::Head { tasks_head, .. } => drop(self.heads.insert(LogId::TASKS, tasks_head)),
                SnapshotItem::Channel { log, head, .. } => drop(self.heads.insert(log, head)),
                // They come before the last channel.
                SnapshotItem::Session { .. }
                | SnapshotItem::Answered { .. }
                | SnapshotItem::Acknowledged { .. }
                | SnapshotItem::Transacted { .. }
                | SnapshotItem::Group { .. }
                | SnapshotItem::Leased(..)
                | SnapshotItem::Tries(..)
                | SnapshotItem::Waiting(..)
                | SnapshotItem::Kept { .. }
                | SnapshotItem::Runs(..)
                | SnapshotItem::Futures(..)
                | SnapshotItem::Cursor { .. }
                | SnapshotItem::Producers(..) => {}
                _ => self.is_read = true,
            }
        }
    }

    /// Whether it began as a snapshot does.
    pub fn is_snapshot(&self) -> bool {
        self.heads.contains_key(&LogId::TASKS)
    }

    /// Up to where it knows a log.
    pub fn head(&self, log: LogId) -> u64 {
        self.heads.get(&log).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::channel::Retention;
    use crate::protocol::snapshot::KeptFrom;
    use crate::protocol::{ChannelName, Digest, Producer};

    fn channel(log: LogId, head: u64) -> [SnapshotItem; 2] {
        let (name, digest) = (ChannelName::new(&format!("c{log}")).unwrap(), Digest(0));
        let (first, retention) = (KeptFrom::default(), Retention::ALL);
        [
            SnapshotItem::Channel { log, name, head, elements: 0, digest, stopped: false },
            SnapshotItem::Kept {
                log,
                first,
                bytes: 0,
                retention,
                written_to: 0,
                deleted: false,
                marks: vec![],
            },
        ]
    }

    #[test]
    fn heads_are_read_from_piece_to_piece() {
        let head = SnapshotItem::Head { tasks_head: 70, last_producer: Producer(1), last_log: LogId(2) };
        let end = [SnapshotItem::Retired(vec![])].into_iter().chain(channel(LogId(3), 9));
        let items: Vec<_> =
            [head].into_iter().chain(channel(LogId(1), 5)).chain(channel(LogId(2), 7)).chain(end).collect();
        let mut known = Known::default();
        assert!(!known.is_snapshot());
        for part in items.chunks(2) {
            let piece: Vec<u8> = part.iter().flat_map(|item| postcard::to_stdvec(item).unwrap()).collect();
            known.add(&piece);
        }
        assert!(known.is_snapshot());
        assert_eq!(
            [0, 1, 2, 3].map(|log| known.head(LogId(log))),
            [70, 5, 7, 0],
            "channels come before all else"
        );
    }
}

//! What those who copy all that is stored ask for, beside the records: which logs and snapshots there are, and
//! the pieces of a snapshot. Answered from the logs: the driver hears nothing of it.
//!
//! One answer is bounded, and one snapshot a connection is open at a time.

use bytes::Bytes;

use crate::log::{Error, Last, Reader, SnapshotPieces};
use crate::protocol::command::{Answer, Rejection, Stored};
use crate::protocol::limits::{LISTING_ROWS_MAX, SNAPSHOT_BYTES_MAX};
use crate::protocol::{LogId, Seq};

/// The newest durable commit, and a page of the logs.
pub(super) fn page(reader: &Reader, after: Option<LogId>) -> Result<Answer, Rejection> {
    // The commit first: what is looked at later holds all of it.
    let last = reader.last();
    let mut snapshots = reader.snapshots().map_err(unreadable)?;
    snapshots.retain(|at| *at <= last.seq);
    let logs = reader.logs().into_iter().filter(|log| after.is_none_or(|after| *log > after));
    let logs = logs.take(LISTING_ROWS_MAX).collect();
    let starts = reader.starts().iter().copied().collect();
    let Last { seq, epoch, digest } = last;
    Ok(Answer::Stored(Stored { seq, epoch, digest, starts, snapshots, logs }))
}

/// The snapshot that is being read, if one is.
#[derive(Default)]
pub(super) struct OpenSnapshot {
    open: Option<Open>,
}

struct Open {
    at: Seq,
    /// The number of the piece that comes next.
    next: u64,
    pieces: SnapshotPieces,
    /// What was read, and did not go into the answer any more.
    held: Option<Bytes>,
}

impl OpenSnapshot {
    /// The pieces of a snapshot from this one on, as many as one answer takes.
    pub fn pieces(&mut self, reader: &Reader, at: Seq, from: u64) -> Result<Answer, Rejection> {
        let mut open = match self.open.take() {
            Some(open) if (open.at, open.next) == (at, from) => open,
            // Another one; or, after a reconnect, one that was read in part.
            _ => Open::at_piece(reader, at, from).map_err(unreadable)?,
        };
        let (pieces, is_end) = open.read().map_err(unreadable)?;
        self.open = (!is_end).then_some(open);
        Ok(Answer::SnapshotPieces { pieces, is_end })
    }
}

impl Open {
    fn at_piece(reader: &Reader, at: Seq, from: u64) -> Result<Open, Error> {
        let mut pieces = reader.open_snapshot(at)?;
        for _ in 0..from {
            if pieces.next().transpose()?.is_none() {
                break;
            }
        }
        Ok(Open { at, next: from, pieces, held: None })
    }

    fn read(&mut self) -> Result<(Vec<Bytes>, bool), Error> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        loop {
            let next = match self.held.take() {
                Some(held) => Some(held),
                None => self.pieces.next().transpose()?.map(Bytes::from),
            };
            let Some(piece) = next else { return Ok((read, true)) };
            bytes += piece.len();
            if !read.is_empty() && bytes > SNAPSHOT_BYTES_MAX {
                self.held = Some(piece);
                return Ok((read, false));
            }
            self.next += 1;
            read.push(piece);
        }
    }
}

fn unreadable(error: Error) -> Rejection {
    Rejection::Invalid(format!("what is stored cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log::{Log, Memory};
    use crate::protocol::batch::{Commit, OpenBatch};

    fn log(logs: u32) -> Arc<Memory> {
        let log = Arc::new(Memory::new());
        let epoch = log.begin_epoch().unwrap();
        let batch = |id: u32| {
            let mut open = OpenBatch::new(LogId(id), 0, 0);
            assert!(open.push(&"record", false));
            open.seal(Seq(1), epoch, 0)
        };
        log.append(&Commit { seq: Seq(1), epoch, batches: (0..logs).map(batch).collect() }).unwrap();
        log.flush().unwrap();
        log
    }

    fn write(log: &Memory, at: u64, sizes: &[usize]) {
        log.write_snapshot(Seq(at), &mut sizes.iter().map(|size| vec![7; *size])).unwrap();
    }

    #[test]
    fn logs_come_in_pages_and_snapshots_of_later_commits_not_at_all() {
        let log = log(LISTING_ROWS_MAX as u32 + 2);
        [1, 2].iter().for_each(|at| write(&log, *at, &[1]));
        let reader = Reader::new(log.clone());
        let rows = |after| match page(&reader, after).unwrap() {
            Answer::Stored(stored) => stored,
            other => panic!("{other:?}"),
        };
        let first = rows(None);
        assert_eq!((first.seq, first.digest, first.snapshots), (Seq(1), log.last().digest, vec![Seq(1)]));
        assert_eq!(first.logs[..2], [LogId(0), LogId(1)]);
        assert_eq!(first.logs.len(), LISTING_ROWS_MAX);
        let last = *first.logs.last().unwrap();
        assert_eq!(rows(Some(last)).logs.len(), 2);
        assert!(rows(Some(LogId(u32::MAX))).logs.is_empty());
    }

    #[test]
    fn a_snapshot_is_read_in_parts_and_from_any_piece_on() {
        let log = log(1);
        let sizes = [1, SNAPSHOT_BYTES_MAX, 5, 6, SNAPSHOT_BYTES_MAX];
        write(&log, 1, &sizes);
        let reader = Reader::new(log.clone());
        let mut open = OpenSnapshot::default();
        let mut read = |from| match open.pieces(&reader, Seq(1), from).unwrap() {
            Answer::SnapshotPieces { pieces, is_end } => {
                (pieces.iter().map(Bytes::len).collect::<Vec<_>>(), is_end)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(read(0), (vec![1], false));
        assert_eq!(read(1), (vec![SNAPSHOT_BYTES_MAX], false));
        assert_eq!(read(1), (vec![SNAPSHOT_BYTES_MAX], false), "asked again after a reconnect");
        assert_eq!(read(2), (vec![5, 6], false));
        assert_eq!(read(4), (vec![SNAPSHOT_BYTES_MAX], true));
        assert_eq!(read(5), (vec![], true), "there are no more");
        let error = open.pieces(&reader, Seq(9), 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "what is stored cannot be read: the snapshot of commit 9 cannot be used: it is not there"
        );
    }

    #[test]
    fn a_snapshot_that_is_dropped_meanwhile_is_read_to_its_end() {
        let log = log(1);
        write(&log, 1, &[SNAPSHOT_BYTES_MAX, 5]);
        let reader = Reader::new(log.clone());
        let mut open = OpenSnapshot::default();
        open.pieces(&reader, Seq(1), 0).unwrap();
        log.drop_snapshot(Seq(1)).unwrap();
        let Answer::SnapshotPieces { pieces, is_end } = open.pieces(&reader, Seq(1), 1).unwrap() else {
            panic!()
        };
        assert_eq!((pieces.len(), is_end), (1, true));
    }
}

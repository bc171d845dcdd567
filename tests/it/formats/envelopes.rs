//! What facts and messages are wrapped in, field by field: batch, head file, preamble and frame.

use headwater::log::{Log, SledLog, SledOptions};
use headwater::protocol::batch::{Batch, Commit, OpenBatch};
use headwater::protocol::{Epoch, LogId, Seq, frame};

use super::Lines;
use crate::engines::copy_dir;

fn batch() -> Batch {
    let mut open = OpenBatch::new(LogId(0x0102_0304), 0, 0);
    assert!(open.push(&"first", true) && open.push(&"second", false));
    open.seal(Seq(1), Epoch(1), 0x0102_0304_0506)
}

/// Adds a line for each field: its name, and the bytes up to where the next one begins.
pub fn fields(lines: &mut Lines, envelope: &str, bytes: &[u8], fields: &[(usize, &str)]) {
    let ends = fields.iter().skip(1).map(|(start, _)| *start).chain([bytes.len()]);
    for ((start, name), end) in fields.iter().zip(ends) {
        lines.add_bytes(&format!("{envelope} {start}..{end} {name}"), &bytes[*start..end]);
    }
}

#[test]
fn envelopes_are_as_version_7_has_them() {
    let mut lines = Lines::default();
    let batch_fields = [
        (0, "magic"),
        (4, "version"),
        (6, "codec"),
        (7, "zero"),
        (8, "log"),
        (12, "count"),
        (16, "base-offset"),
        (24, "base-index"),
        (32, "seq"),
        (40, "epoch"),
        (48, "time"),
        (56, "length"),
        (60, "elements"),
        (64, "checksum"),
        (68, "body"),
    ];
    fields(&mut lines, "batch", batch().bytes(), &batch_fields);
    let lost = Batch::lost(*batch().header(), "why");
    fields(&mut lines, "lost", lost.bytes(), &batch_fields);
    let head_fields = [
        (0, "magic"),
        (4, "version"),
        (6, "zero"),
        (8, "seq"),
        (16, "epoch"),
        (24, "digest"),
        (32, "checksum"),
    ];
    let dir = store();
    fields(&mut lines, "head", &std::fs::read(dir.path().join("head")).unwrap(), &head_fields);
    let wal = std::fs::read(dir.path().join("store/wal")).unwrap();
    let wal_fields = [
        (0, "magic"),
        (4, "version"),
        (6, "zero"),
        (8, "seq"),
        (16, "epoch"),
        (24, "length"),
        (28, "checksum"),
        (32, "batches"),
    ];
    fields(&mut lines, "wal", &wal[..32 + batch().bytes().len()], &wal_fields);
    fields(&mut lines, "preamble", &frame::preamble(), &[(0, "magic"), (4, "version"), (6, "zero")]);
    let mut bytes = Vec::new();
    frame::encode_with(&mut bytes, 0x0102_0304, &"message", &[batch().bytes().slice(..4)]).unwrap();
    let frame_fields = [(0, "length"), (4, "checksum"), (8, "number"), (16, "message"), (24, "behind")];
    fields(&mut lines, "frame", &bytes, &frame_fields);
    lines.check(include_str!("../../../migrations/0007/envelopes.txt"));
}

#[test]
fn batches_of_older_versions_are_read() {
    let of_version = [
        include_str!("../../../migrations/0001/envelopes.txt"),
        include_str!("../../../migrations/0002/envelopes.txt"),
        include_str!("../../../migrations/0003/envelopes.txt"),
    ];
    for golden in of_version {
        let fields = golden.lines().filter(|line| line.starts_with("batch "));
        let hex: String = fields.map(|line| line.rsplit_once(' ').unwrap().1).collect();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let read = Batch::read(bytes.collect::<Vec<u8>>()).unwrap();
        assert_eq!(read.header(), batch().header());
        let records = |batch: &Batch| batch.records::<String>().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(records(&read), records(&batch()));
    }
}

/// What a process that is killed leaves of a store whose one commit is `batch()`.
fn store() -> tempfile::TempDir {
    let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    log.begin_epoch().unwrap();
    log.append(&Commit { seq: Seq(1), epoch: Epoch(1), batches: vec![batch()] }).unwrap();
    log.flush().unwrap();
    copy_dir(dir.path(), left.path());
    left
}

//! What a backup or a restore has copied, and how far it is.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::lost::Lost;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::log::Last;
use crate::protocol::batch::Damage;
use crate::protocol::{LogId, Seq};
use crate::rows::counted;

/// What was copied so far.
#[derive(Debug)]
pub struct Copied {
    /// The newest commit.
    pub last: Last,
    /// The logs that hold anything.
    pub logs: u64,
    /// Their records.
    pub records: u64,
    /// The bytes of their batches, and of the snapshots.
    pub bytes: u64,
    /// The snapshots.
    pub snapshots: Vec<Seq>,
    /// What is lost, and was lost before.
    pub lost: Vec<(LogId, Damage)>,
    /// All records there are, if that is known.
    pub all: Option<u64>,
    began: Instant,
    progress: Progress,
}

/// What a copy is.
#[derive(Debug, Clone, Copy)]
pub enum Made {
    Backup,
    Restored,
}

/// As `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<&'a str>,
    seq: u64,
    epoch: u64,
    digest: String,
    logs: u64,
    records: u64,
    bytes: u64,
    snapshots: &'a [Seq],
    lost: Vec<Lost<'a>>,
    seconds: f64,
}

impl Copied {
    /// Nothing yet: in a word, what is done.
    pub fn begin(what: &'static str) -> Self {
        let (last, snapshots, lost) = (Last::default(), Vec::new(), Vec::new());
        let (began, progress) = (Instant::now(), Progress::begin(what));
        Copied { last, logs: 0, records: 0, bytes: 0, snapshots, lost, all: None, began, progress }
    }

    /// Begins to count anew; the time goes on.
    pub fn begin_again(&mut self) {
        (self.last, self.logs, self.records, self.bytes) = (Last::default(), 0, 0, 0);
        self.snapshots.clear();
        self.lost.clear();
    }

    /// Shows how far it is, when it is time.
    pub fn tell(&mut self) {
        let words = format_args!("{} records, {} MiB", self.records, self.bytes >> 20);
        self.progress.update(self.records, self.all, words);
    }

    /// Prints what was made, and where.
    pub fn print(self, json: bool, made: Made, place: &Path) -> anyhow::Result<()> {
        let (mut output, place) = (Output::new(), place.display().to_string());
        if json {
            output.json(&self.shown(made, &place))?;
        } else {
            let made = match made {
                Made::Backup => "backup in",
                Made::Restored => "restored to",
            };
            output.line(format!("{made} {place}: {}", self.in_words()))?;
            self.lost.iter().try_for_each(|(log, damage)| output.line(format!("  log {log}: {damage}")))?;
        }
        output.flush()
    }

    fn in_words(&self) -> String {
        let Copied { last, logs, records, .. } = self;
        let mut words = format!(
            "commit {} of epoch {}, {}, {}, {}, {} in {:.1} s",
            last.seq,
            last.epoch,
            counted(*logs, "log"),
            counted(*records, "record"),
            counted(self.snapshots.len() as u64, "snapshot"),
            counted(self.bytes, "byte"),
            self.began.elapsed().as_secs_f64()
        );
        let lost: u64 = self.lost.iter().map(|(_, damage)| damage.to - damage.from).sum();
        match lost {
            0 => {}
            1 => words.push_str("; 1 record in it was lost before:"),
            _ => words.push_str(&format!("; {lost} records in it were lost before:")),
        }
        words
    }

    fn shown<'a>(&'a self, made: Made, place: &'a str) -> Shown<'a> {
        let lost = self.lost.iter().map(|(log, damage)| Lost::of(*log, damage));
        let (backup, restored) = match made {
            Made::Backup => (Some(place), None),
            Made::Restored => (None, Some(place)),
        };
        Shown {
            backup,
            restored,
            seq: self.last.seq.0,
            epoch: self.last.epoch.0,
            digest: self.last.digest.to_string(),
            logs: self.logs,
            records: self.records,
            bytes: self.bytes,
            snapshots: &self.snapshots,
            lost: lost.collect(),
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Digest, Epoch};

    fn copied() -> Copied {
        let last = Last { seq: Seq(9), epoch: Epoch(2), digest: Digest(7) };
        Copied { last, logs: 3, records: 12, bytes: 900, snapshots: vec![Seq(8)], ..Copied::begin("copied") }
    }

    #[test]
    fn people_and_programs_see_what_was_copied_and_what_is_lost() {
        let mut copied = copied();
        let words = copied.in_words();
        assert!(
            words.starts_with("commit 9 of epoch 2, 3 logs, 12 records, 1 snapshot, 900 bytes in 0."),
            "{words}"
        );
        assert!(!words.contains("lost"), "{words}");
        copied.lost.push((LogId(1), Damage { from: 3, to: 7, why: "gone".to_owned() }));
        assert!(
            copied.in_words().ends_with(" s; 4 records in it were lost before:"),
            "{}",
            copied.in_words()
        );
        let json = serde_json::to_value(copied.shown(Made::Backup, "there")).unwrap();
        assert_eq!((&json["backup"], json.get("restored")), (&"there".into(), None));
        assert_eq!(json["lost"][0], serde_json::json!({ "log": 1, "from": 3, "to": 7, "why": "gone" }));
        assert_eq!((&json["snapshots"][0], &json["seq"]), (&8.into(), &9.into()));
    }

    #[test]
    fn what_is_begun_again_counts_from_nothing() {
        let mut copied = copied();
        copied.begin_again();
        assert_eq!((copied.records, copied.snapshots.len(), copied.last), (0, 0, Last::default()));
    }
}

//! `headwater log verify`.

use std::path::PathBuf;

use serde::Serialize;

use super::offline::{Found, Offline};
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::log::verify::{Contents, Finding, Seen, Severity, records_of, verify};
use crate::log::{Last, Log, OpenError};
use crate::protocol::LogId;
use crate::protocol::channel::TASKS_CHANNEL;
use crate::scheduler::verify::{Records, fold};

/// Read a whole store and say whether anything in it is damaged.
///
/// Checks that every batch is there and its checksum fits, that offsets, elements and commits are dense,
/// that every record decodes, that each stopped channel holds what its end says, that folding the logs
/// gives a state that holds, and that the newest commit is the one that was acknowledged last. All damage
/// is named, not only the first, unless the end of a log is damaged and the store does not open: then only
/// that is said. The exit code is 0 when the store is whole, and 1 when it is damaged.
///
/// The store is not changed: it is copied to a directory beside it (`DIR.copy-…`), which is removed
/// afterwards, so the disk needs as much free space again as the store has. No scheduler may run on it
/// while it is copied. A copy that is left by a killed process can be removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater log verify
  headwater log verify --data /var/lib/headwater --json

With --json, each line is one object:
  {\"finding\":\"damage\"|\"note\",\"check\",\"log\"?,\"channel\"?,\"offset\"?,\"what\"}   a note is what cannot be told
  {\"summary\":\"whole\"|\"damaged\",\"damage\",\"notes\",\"seq\"?,\"epoch\"?,\"digest\"?,\"logs\":[…]}   at the end, once")]
pub struct Verify {
    #[command(flatten)]
    offline: Offline,

    /// Print one JSON object per finding, and a last one that sums up
    #[arg(long)]
    json: bool,
}

/// A finding as `--json` prints it.
#[derive(Debug, Serialize)]
struct FindingRow<'a> {
    finding: &'static str,
    check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    what: &'a str,
}

/// A log as it stands in the summary.
#[derive(Debug, Serialize)]
struct LogRow {
    log: LogId,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    first: u64,
    head: u64,
    records: u64,
    batches: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Summary {
    summary: &'static str,
    damage: u64,
    notes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    logs: Vec<LogRow>,
}

impl Verify {
    pub async fn run(self) -> anyhow::Result<()> {
        let (data, json) = (self.offline.data.clone(), self.json);
        let check = move |found| Check::new(data, json).run(found);
        self.offline.with_copy(check).await
    }
}

/// A store that is being read, and what was found so far.
struct Check {
    data: PathBuf,
    json: bool,
    output: Output,
    records: Records,
    damage: u64,
    notes: u64,
    logs: Vec<LogRow>,
    /// Output that failed: reading goes on to its end, but no more is printed.
    failed: Option<anyhow::Error>,
}

impl Check {
    fn new(data: PathBuf, json: bool) -> Self {
        let output = Output::new();
        let (records, logs) = (Records::default(), Vec::new());
        Check { data, json, output, records, damage: 0, notes: 0, logs, failed: None }
    }

    fn run(mut self, found: Found) -> anyhow::Result<()> {
        match found {
            Ok((log, opened)) => {
                if let Some(what) = opened.damage {
                    self.found(&Finding::of_store("head", what));
                }
                self.read(&log);
                self.finish(Some(log.last()))
            }
            Err(OpenError::Damaged { why, .. }) => {
                self.found(&Finding::of_store("open", format!("the store does not open: {why}")));
                self.finish(None)
            }
            Err(other) => Err(other.into()),
        }
    }

    fn read(&mut self, log: &dyn Log) {
        self.records.learn(log);
        let (all, mut records, mut bytes) = (records_of(log), 0, 0);
        let mut progress = Progress::begin("read");
        verify(log, &mut |seen| match seen {
            Seen::Batch(batch) => {
                records += u64::from(batch.header().count);
                bytes += batch.bytes().len();
                progress.update(records, Some(all), format_args!("{records} records, {} MiB", bytes >> 20));
                let mut findings = Vec::new();
                self.records.check(batch, &mut |finding| findings.push(finding));
                findings.iter().for_each(|finding| self.found(finding));
            }
            Seen::Lost(log, damage) => self.found(&Finding::lost(log, &damage)),
            Seen::Finding(finding) => self.found(&finding),
            Seen::End(log, contents) => self.ended(log, contents),
        });
        drop(progress);
        if self.damage == 0 {
            let _progress = Progress::spin("folding the logs");
            fold(log).iter().for_each(|finding| self.found(finding));
        } else {
            let what = "the logs were not folded: a state without what is damaged says nothing";
            self.found(&Finding::of_store("fold", what).as_note());
        }
    }

    fn name(&self, log: LogId) -> Option<String> {
        match log {
            LogId::TASKS => Some(TASKS_CHANNEL.to_owned()),
            _ => self.records.name(log).map(ToString::to_string),
        }
    }

    fn ended(&mut self, log: LogId, contents: Contents) {
        let Contents { bounds, records, batches, bytes } = contents;
        let (first, head, channel) = (bounds.first, bounds.head, self.name(log));
        self.logs.push(LogRow { log, channel, first, head, records, batches, bytes });
    }

    fn found(&mut self, finding: &Finding) {
        let word = match finding.severity {
            Severity::Damage => "damage",
            Severity::Note => "note",
        };
        match finding.severity {
            Severity::Damage => self.damage += 1,
            Severity::Note => self.notes += 1,
        }
        let channel = finding.log.and_then(|log| self.name(log));
        let printed = if self.json {
            let (log, channel, offset) = (finding.log, channel.as_deref(), finding.offset);
            let (check, what) = (finding.check, finding.what.as_str());
            self.output.json(&FindingRow { finding: word, check, log, channel, offset, what })
        } else {
            self.output.line(format!("{word:<8}{}{}", place(finding, channel.as_deref()), finding.what))
        };
        if let Err(error) = printed.and_then(|()| self.output.flush()) {
            self.failed.get_or_insert(error);
        }
    }

    fn finish(mut self, last: Option<Last>) -> anyhow::Result<()> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let is_whole = self.damage == 0;
        let word = if is_whole { "whole" } else { "damaged" };
        let sums = format!("damaged places: {}, notes: {}", self.damage, self.notes);
        if self.json {
            self.output.json(&Summary {
                summary: word,
                damage: self.damage,
                notes: self.notes,
                seq: last.map(|last| last.seq.0),
                epoch: last.map(|last| last.epoch.0),
                digest: last.map(|last| last.digest.to_string()),
                logs: self.logs,
            })?;
        } else {
            self.output.table(
                ["LOG", "CHANNEL", "FIRST", "HEAD", "RECORDS", "BATCHES", "BYTES"],
                cells(&self.logs),
            )?;
            let newest = last.map_or(String::new(), |last| {
                format!(", newest commit {} of epoch {}, digest {}", last.seq, last.epoch, last.digest)
            });
            self.output.line(format!("{word}: {sums}{newest}"))?;
        }
        self.output.flush()?;
        anyhow::ensure!(
            is_whole,
            "the store {} is damaged (places: {}): `headwater log repair --data {}` keeps it and makes a new one of \
             all that is whole; records that an earlier repair did not find stay lost",
            self.data.display(),
            self.damage,
            self.data.display()
        );
        Ok(())
    }
}

/// Where it is, for people.
fn place(finding: &Finding, channel: Option<&str>) -> String {
    let Some(log) = finding.log else { return String::new() };
    let name = channel.map(|name| format!(" ({name})")).unwrap_or_default();
    let offset = finding.offset.map(|offset| format!(", offset {offset}")).unwrap_or_default();
    format!("log {log}{name}{offset}: ")
}

fn cells(logs: &[LogRow]) -> impl Iterator<Item = [String; 7]> {
    logs.iter().map(|row| {
        let name = row.channel.clone().unwrap_or_else(|| "?".to_owned());
        let numbers = [row.first, row.head, row.records, row.batches, row.bytes];
        let [first, head, records, batches, bytes] = numbers.map(|number| number.to_string());
        [row.log.to_string(), name, first, head, records, batches, bytes]
    })
}

//! `headwater log dump`.

use serde::Serialize;

use super::offline::{Found, Offline};
use crate::cli::output::Output;
use crate::log::Log;
use crate::log::verify::{Finding, Seen, verify_log};
use crate::protocol::batch::{BadBatch, Batch, Damage};
use crate::protocol::channel::TASKS_CHANNEL;
use crate::protocol::{ChannelEvent, ChannelName, LogId, TaskEvent};
use crate::rows::record::{CHANNEL_WORD_WIDTH, Row, TASKS_WORD_WIDTH};
use crate::rows::task_record::Names;
use crate::scheduler::verify::Records;

/// Print the records of a store, without a scheduler.
///
/// Prints all logs, the task log first, or the one that is named, in the same form as `channel tail`. What
/// is damaged is said in its place, what is behind it is printed, and the exit code is 1.
///
/// The store is not changed: it is copied to a directory beside it (`DIR.copy-…`), which is removed
/// afterwards, so the disk needs as much free space again as the store has. No scheduler may run on it
/// while it is copied. A copy that is left by a killed process can be removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater log dump --log adds --from 100
  headwater log dump --log '$tasks' --json
  headwater log dump --data /var/lib/headwater

With --json, each line is one object: a record as `channel tail` prints it, or
  {\"marker\":\"log\",\"log\",\"channel\"?}        here the records of this log begin
  {\"marker\":\"damaged\",\"from\",\"to\",\"why\"}  these records are lost
  {\"marker\":\"finding\",\"offset\"?,\"what\"}    something else is not as it should be")]
pub struct Dump {
    #[command(flatten)]
    offline: Offline,

    /// Only this log: the name of a channel, or `$tasks`
    #[arg(long, value_name = "NAME|$tasks")]
    log: Option<ChannelName>,

    /// Begin at this offset of the log
    #[arg(long, value_name = "OFFSET", requires = "log")]
    from: Option<u64>,

    /// Print one JSON object per record and line
    #[arg(long)]
    json: bool,
}

/// A line that is no record, with `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "marker", rename_all = "snake_case")]
enum Marker<'a> {
    Log { log: LogId, channel: Option<&'a str> },
    Damaged { from: u64, to: u64, why: &'a str },
    Finding { offset: Option<u64>, what: &'a str },
}

impl Dump {
    pub async fn run(self) -> anyhow::Result<()> {
        let Dump { offline, log: name, from, json } = self;
        let work = move |found: Found| {
            let (store, opened) = found?;
            let mut printer = Printer::new(from.unwrap_or(0), json);
            if let Some(what) = opened.damage {
                printer.found(&Finding::of_store("head", what))?;
            }
            printer.dump(&store, name.as_ref())
        };
        offline.with_copy(work).await
    }
}

/// Prints logs, and knows what their records call by numbers.
struct Printer {
    from: u64,
    json: bool,
    output: Output,
    names: Names,
    records: Records,
    damage: u64,
}

impl Printer {
    fn new(from: u64, json: bool) -> Self {
        let (output, names, records) = (Output::new(), Names::default(), Records::default());
        Printer { from, json, output, names, records, damage: 0 }
    }

    /// Prints the log of this name, or all.
    fn dump(mut self, store: &dyn Log, name: Option<&ChannelName>) -> anyhow::Result<()> {
        self.records.learn(store);
        let wants_tasks = name.is_none_or(|name| name.as_str() == TASKS_CHANNEL);
        self.read(store, LogId::TASKS, wants_tasks)?;
        if name.is_none() || !wants_tasks {
            let channels: Vec<LogId> = store.logs().into_iter().filter(|log| *log != LogId::TASKS).collect();
            let named = |log: &LogId| name.is_none() || self.records.name(*log) == name;
            let chosen: Vec<LogId> = channels.into_iter().filter(named).collect();
            if chosen.is_empty()
                && let Some(name) = name
                && !self.records.knows(name)
            {
                anyhow::bail!(
                    "the store has no channel `{name}`: `headwater log verify` lists those that it has"
                );
            }
            chosen.into_iter().try_for_each(|log| self.read(store, log, true))?;
        }
        self.output.flush()?;
        anyhow::ensure!(
            self.damage == 0,
            "the records are damaged (places: {}): `headwater log verify` names all of the store's",
            self.damage
        );
        Ok(())
    }

    /// Reads a log. The task log is also read when it is not printed: its records name the others.
    fn read(&mut self, store: &dyn Log, log: LogId, is_printed: bool) -> anyhow::Result<()> {
        if is_printed && store.bounds(log).head > 0 {
            self.begin(log)?;
        }
        let mut printed = Ok(());
        verify_log(store, log, &mut |seen| {
            if printed.is_ok() {
                printed = match seen {
                    Seen::Batch(batch) if log == LogId::TASKS => self.task_events(batch, is_printed),
                    Seen::Batch(batch) => self.channel_events(batch),
                    Seen::Lost(_, damage) if is_printed && damage.to > self.from => self.lost(&damage),
                    Seen::Finding(finding) if is_printed => self.found(&finding),
                    Seen::Lost(..) | Seen::Finding(_) | Seen::End(..) => Ok(()),
                };
            }
        });
        printed
    }

    fn begin(&mut self, log: LogId) -> anyhow::Result<()> {
        let channel = match log {
            LogId::TASKS => Some(TASKS_CHANNEL),
            _ => self.records.name(log).map(ChannelName::as_str),
        };
        match self.json {
            true => self.output.json(&Marker::Log { log, channel }),
            false => {
                self.output.line(format!("-- log {log}, {}", channel.unwrap_or("a channel without a name")))
            }
        }
    }

    fn lost(&mut self, damage: &Damage) -> anyhow::Result<()> {
        self.damage += 1;
        let Damage { from, to, why } = damage;
        match self.json {
            true => self.output.json(&Marker::Damaged { from: *from, to: *to, why }),
            false => self.output.line(format!("-- {damage}")),
        }
    }

    fn found(&mut self, finding: &Finding) -> anyhow::Result<()> {
        self.damage += 1;
        let (offset, what) = (finding.offset, finding.what.as_str());
        match (self.json, offset) {
            (true, _) => self.output.json(&Marker::Finding { offset, what }),
            (false, Some(offset)) => self.output.line(format!("-- damaged at offset {offset}: {what}")),
            (false, None) => self.output.line(format!("-- damaged: {what}")),
        }
    }

    fn task_events(&mut self, batch: &Batch, is_printed: bool) -> anyhow::Result<()> {
        self.records.check(batch, &mut |_| {});
        for record in batch.records::<TaskEvent>() {
            let (offset, event) = match record {
                Ok(record) => record,
                Err(why) => return self.undecoded(batch, &why),
            };
            self.names.learn(&event);
            if is_printed && offset >= self.from {
                let row = self.names.row(offset, batch.header().time_ms, &event);
                self.print(&row, TASKS_WORD_WIDTH)?;
            }
            self.names.forget(&event);
        }
        Ok(())
    }

    fn channel_events(&mut self, batch: &Batch) -> anyhow::Result<()> {
        for record in batch.records::<ChannelEvent>() {
            match record {
                Ok((offset, _)) if offset < self.from => {}
                Ok((offset, event)) => {
                    let row = Row::of_channel(offset, batch.header().time_ms, event);
                    self.print(&row, CHANNEL_WORD_WIDTH)?;
                }
                Err(why) => return self.undecoded(batch, &why),
            }
        }
        Ok(())
    }

    fn undecoded(&mut self, batch: &Batch, why: &BadBatch) -> anyhow::Result<()> {
        let header = batch.header();
        self.found(&Finding::at("record", header.log, header.base_offset, why.to_string()))
    }

    fn print(&mut self, row: &Row, word_width: usize) -> anyhow::Result<()> {
        match self.json {
            true => self.output.json(row),
            false => self.output.line(row.for_people(word_width)),
        }
    }
}

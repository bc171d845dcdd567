//! Follows the tasks of a submission to their ends: on their channel, which has what they write and what becomes of them.
//!
//! Nothing is waited for that cannot come: where records of the channel are gone, or it is, the scheduler is asked for
//! each task that has no end yet.

use std::collections::HashMap;

use anyhow::anyhow;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use super::progress::{Counts, ProgressLine, Shows, Stands};
use super::send::Submitted;
use crate::cli::output::{Output, note};
use crate::cli::report::EndedWith;
use crate::client::{Client, Error, Item, Offset, Record};
use crate::protocol::channel::Progress;
use crate::protocol::command::Rejection;
use crate::protocol::task::Outcome;
use crate::protocol::{ChannelEvent, ChannelName, Element, Headers, Payload, TaskError, TaskId, TaskKey};
use crate::worker::exec::ended::exit_code_of;

/// A task that is followed.
#[derive(Debug)]
struct Followed {
    key: TaskKey,
    index: Option<u64>,
    stands: Stands,
}

/// The tasks of a submission, and how far they were followed.
#[derive(Debug)]
pub struct Follow {
    channel: Option<ChannelName>,
    /// The offset of the record that is read next.
    next: u64,
    tasks: HashMap<TaskId, Followed>,
    counts: Counts,
    shows: Shows,
    line: ProgressLine,
    /// The error of one that failed.
    error: Option<Box<TaskError>>,
}

impl Follow {
    pub fn new(channel: Option<ChannelName>, next: u64, submitted: Vec<Submitted>, shows: Shows) -> Self {
        let followed =
            |Submitted { key, index }: Submitted| (key.id, Followed { key, index, stands: Stands::Waiting });
        let tasks: HashMap<TaskId, Followed> = submitted.into_iter().map(followed).collect();
        let (counts, line) = (Counts::waiting(tasks.len()), ProgressLine::new(shows.progress));
        Follow { channel, next, tasks, counts, shows, line, error: None }
    }

    /// Follows them until all have ended. When it breaks off, it goes on from there with another client.
    pub async fn follow(&mut self, client: &Client, output: &mut Output) -> anyhow::Result<()> {
        if let Some(name) = self.channel.clone() {
            match client.existing_channel::<Value>(name.as_str()).await {
                Ok(channel) => {
                    let mut records = channel.from(Offset::At(self.next)).records();
                    while self.counts.open() > 0 {
                        let item = match records.next().now_or_never() {
                            Some(item) => item,
                            // Nothing more is there: what was printed shall be seen.
                            None => {
                                output.flush()?;
                                tokio::select! {
                                    item = records.next() => item,
                                    () = self.line.is_due() => {
                                        self.line.show(self.counts);
                                        continue;
                                    }
                                }
                            }
                        };
                        match item.transpose()? {
                            Some(Item::Record(record)) => {
                                self.next = record.offset + 1;
                                if !self.take(record, output)? {
                                    break;
                                }
                            }
                            Some(Item::CaughtUp { .. }) => {}
                            Some(Item::Trimmed { from, first: to } | Item::Damaged { from, to, .. }) => {
                                note(format_args!(
                                    "records {from} to {to} of channel `{name}` are gone: what comes there is shown no more, \
                                     and the ends are asked for"
                                ));
                                self.next = to;
                                break;
                            }
                            None => break,
                        }
                    }
                }
                Err(Error::Rejected(Rejection::UnknownChannel(_))) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.ask_for_the_rest(client, output).await?;
        output.flush()?;
        self.line.end(self.counts);
        Ok(())
    }

    /// Takes a record of the channel. Answers whether more is to be expected of it.
    fn take(&mut self, record: Record, output: &mut Output) -> anyhow::Result<bool> {
        match record.event {
            ChannelEvent::AppendedWith { headers, element: Element::Value(value), .. } => {
                self.take_line(&headers, &value, output)?;
            }
            ChannelEvent::Progress { key, progress } => match progress {
                Progress::Started { .. } => self.set(key.id, Stands::Running),
                Progress::Lost { .. } => self.set(key.id, Stands::Waiting),
                Progress::Finished { result } => {
                    self.end(key.id, &Outcome::Finished(result), output)?;
                }
                Progress::Stored { .. } => self.end_as(key.id, Stands::Finished, None, output)?,
                Progress::Failed { error } => self.end(key.id, &Outcome::Failed(error), output)?,
                Progress::Cancelled => self.end(key.id, &Outcome::Cancelled, output)?,
            },
            ChannelEvent::Deleted { .. } => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    fn take_line(&mut self, headers: &Headers, value: &Payload, output: &mut Output) -> anyhow::Result<()> {
        let key = headers.get("task").and_then(|key| key.parse::<TaskKey>().ok());
        let (Some(key), Some(stream)) = (key, headers.get("stream")) else { return Ok(()) };
        let Some(task) = self.tasks.get(&key.id).filter(|_| self.shows.output) else { return Ok(()) };
        let Ok(line) = value.decode::<String>() else { return Ok(()) };
        self.line.clear();
        if self.shows.json {
            return output.json(&described(task, &[("stream", stream.into()), ("line", line.into())]));
        }
        let end = if headers.get("goes_on").is_some() && task.index.is_none() { "" } else { "\n" };
        let line = match task.index {
            Some(index) => format!("[{index}] {line}{end}"),
            None => format!("{line}{end}"),
        };
        match stream {
            "stderr" => output.error_text(&line),
            _ => output.text(&line),
        }
    }

    /// Asks the scheduler for those whose end the channel does not have.
    async fn ask_for_the_rest(&mut self, client: &Client, output: &mut Output) -> anyhow::Result<()> {
        let open = self.tasks.values().filter(|task| !task.stands.has_ended());
        let watch = |key: &TaskKey| {
            let (id, watch) = (key.id, client.connection().watch(key.id));
            async move { (id, watch.await) }
        };
        let mut watches: FuturesUnordered<_> = open.map(|task| watch(&task.key)).collect();
        while !watches.is_empty() {
            let (task, outcome) = tokio::select! {
                Some(ended) = watches.next() => ended,
                () = self.line.is_due() => {
                    self.line.show(self.counts);
                    continue;
                }
            };
            match outcome {
                Ok(outcome) => self.end(task, &outcome, output)?,
                // Nobody kept it, and it is gone with what became of it.
                Err(Error::Rejected(why @ Rejection::UnknownTask(_))) => {
                    self.end_as(task, Stands::Failed, Some(&why.to_string()), output)?;
                }
                Err(error) => return Err(error.into()),
            }
            output.flush()?;
        }
        Ok(())
    }

    fn set(&mut self, task: TaskId, stands: Stands) {
        if let Some(task) = self.tasks.get_mut(&task) {
            self.counts.move_one(std::mem::replace(&mut task.stands, stands), stands);
        }
    }

    fn end(&mut self, task: TaskId, outcome: &Outcome, output: &mut Output) -> anyhow::Result<()> {
        match outcome {
            Outcome::Finished(_) | Outcome::Stored(_) => self.end_as(task, Stands::Finished, None, output),
            Outcome::Cancelled => self.end_as(task, Stands::Cancelled, None, output),
            Outcome::Failed(error) => {
                if self.tasks.contains_key(&task) {
                    self.error = Some(error.clone());
                }
                self.end_as(task, Stands::Failed, Some(&error.message), output)
            }
        }
    }

    fn end_as(
        &mut self,
        id: TaskId,
        stands: Stands,
        error: Option<&str>,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        self.set(id, stands);
        let Some(task) = self.tasks.get(&id) else { return Ok(()) };
        if self.shows.json {
            let code = match stands {
                Stands::Finished => Some(0),
                _ => error.and_then(exit_code_of),
            };
            let code = code.map(|code| ("code", code.into()));
            let error = error.map(|error| ("error", error.into()));
            let fields = [Some(("status", stands.word().into())), code, error];
            self.line.clear();
            return output.json(&described(task, &fields.into_iter().flatten().collect::<Vec<_>>()));
        }
        if let (Some(index), true) = (task.index, stands != Stands::Finished) {
            self.line.clear();
            output.flush()?;
            let why = error.map(|error| format!(": {error}")).unwrap_or_default();
            note(format_args!("[{index}] {}{why}", stands.word()));
        }
        Ok(())
    }

    /// What came of all of them, as an exit code has it.
    pub fn result(self) -> anyhow::Result<()> {
        let (all, finished) = (self.counts.all(), self.counts.of(Stands::Finished));
        if finished == all {
            return Ok(());
        }
        let key = self.tasks.into_values().next().map(|task| task.key);
        match (all, key, self.error) {
            (1, Some(key), Some(error)) => {
                let why = anyhow!("{key} failed: {}", error.message);
                Err(match exit_code_of(&error.message).and_then(|code| u8::try_from(code).ok()) {
                    Some(code) => EndedWith { code, why: why.to_string() }.into(),
                    None => why,
                })
            }
            (1, Some(key), None) if self.counts.of(Stands::Cancelled) == 1 => {
                Err(anyhow!("{key} was cancelled"))
            }
            _ => Err(anyhow!(
                "{} of {all} tasks did not finish: `headwater task show KEY` says why of each",
                all - finished
            )),
        }
    }
}

/// What is said of a task, as JSON.
fn described(task: &Followed, fields: &[(&str, Value)]) -> Value {
    let mut described = json!({ "key": task.key.to_string() });
    if let Some(index) = task.index {
        described["index"] = index.into();
    }
    for (name, value) in fields {
        described[*name] = value.clone();
    }
    described
}

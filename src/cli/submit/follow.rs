//! Follows the tasks of a submission to their ends: on their channel, which has what they write and what becomes of them.
//!
//! Nothing is waited for that cannot come. Where the channel has let go of a task's future, it says no more of it; and
//! where records are gone, or the channel is, nobody knows what it said. Then the scheduler is asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;

use anyhow::anyhow;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use super::progress::{Counts, ProgressLine, Shows, Stands};
use super::send::Submitted;
use crate::cli::output::{Output, note};
use crate::cli::report::EndedWith;
use crate::client::{Channel, Client, Error, Item, Offset, Record, Records};
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
    /// The attempt that said something last; 0 before the first line.
    attempt: u32,
}

/// What is waited for.
enum Step {
    Item(Option<crate::client::Result<Item>>),
    Ended(TaskId, crate::client::Result<Outcome>),
    Due,
}

type Watch = Pin<Box<dyn Future<Output = (TaskId, crate::client::Result<Outcome>)> + Send>>;

/// The tasks of a submission, and how far they were followed.
#[derive(Debug)]
pub struct Follow {
    channel: Option<ChannelName>,
    /// The offset of the record that is read next.
    next: u64,
    tasks: HashMap<TaskId, Followed>,
    /// The offsets at which their futures are on the channel.
    futures: BTreeMap<u64, TaskId>,
    /// Those of whose ends the channel may say nothing.
    unreported: HashSet<TaskId>,
    /// Those of them that are not asked for yet.
    unasked: Vec<TaskId>,
    counts: Counts,
    shows: Shows,
    line: ProgressLine,
    /// The error of one that failed.
    error: Option<Box<TaskError>>,
}

impl Follow {
    pub fn new(channel: Option<ChannelName>, next: u64, submitted: Vec<Submitted>, shows: Shows) -> Self {
        let followed = |Submitted { key, index }: Submitted| {
            (key.id, Followed { key, index, stands: Stands::Waiting, attempt: 0 })
        };
        let tasks: HashMap<TaskId, Followed> = submitted.into_iter().map(followed).collect();
        let (counts, line) = (Counts::waiting(tasks.len()), ProgressLine::new(shows, tasks.len()));
        let (futures, unreported, unasked) = Default::default();
        Follow { channel, next, tasks, futures, unreported, unasked, counts, shows, line, error: None }
    }

    /// Follows them until all have ended. When it breaks off, it goes on from there with another client.
    pub async fn follow(&mut self, client: &Client, output: &mut Output) -> anyhow::Result<()> {
        let channel = self.channel(client).await?;
        let mut records = channel.as_ref().map(|channel| channel.from(Offset::At(self.next)).records());
        if records.is_none() {
            self.ask_for_all();
        }
        let mut watches: FuturesUnordered<Watch> = FuturesUnordered::new();
        self.unasked = self.unreported.iter().copied().collect();
        while self.counts.open() > 0 {
            watches.extend(self.unasked.drain(..).map(|task| watch(client, task)));
            let step = match step(&mut records, &mut watches, &mut self.line).now_or_never() {
                Some(step) => step,
                // Nothing more is there: what was printed shall be seen.
                None => {
                    output.flush()?;
                    step(&mut records, &mut watches, &mut self.line).await
                }
            };
            match step {
                Step::Item(Some(item)) => self.take(item?, output)?,
                Step::Item(None) => {
                    records = None;
                    self.ask_for_all();
                }
                Step::Ended(task, Ok(outcome)) => self.end(task, &outcome, output)?,
                // Nobody kept it, and it is gone with what became of it.
                Step::Ended(task, Err(Error::Rejected(why @ Rejection::UnknownTask(_)))) => {
                    self.end_as(task, Stands::Failed, Some(&why.to_string()), output)?;
                }
                Step::Ended(_, Err(error)) => return Err(error.into()),
                Step::Due => self.line.show(self.counts),
            }
        }
        if let (Some(channel), Some(records), false) = (&channel, &mut records, self.unreported.is_empty()) {
            self.read_to_the_head(channel, records, output).await?;
        }
        output.flush()?;
        self.line.end(self.counts);
        Ok(())
    }

    async fn channel(&self, client: &Client) -> anyhow::Result<Option<Channel<Value>>> {
        let Some(name) = &self.channel else { return Ok(None) };
        match client.existing_channel(name.as_str()).await {
            Ok(channel) => Ok(Some(channel)),
            Err(Error::Rejected(Rejection::UnknownChannel(_))) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// An end that was asked for may have come before the lines in front of it were read. They are there.
    async fn read_to_the_head(
        &mut self,
        channel: &Channel<Value>,
        records: &mut Records,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        // A channel that is gone has nothing more to say.
        let head = channel.info().await.map_or(0, |info| info.head);
        while self.next < head
            && let Some(item) = records.next().await
        {
            self.take(item?, output)?;
        }
        Ok(())
    }

    fn take(&mut self, item: Item, output: &mut Output) -> anyhow::Result<()> {
        match item {
            Item::Record(record) => {
                self.next = record.offset + 1;
                self.take_record(record, output)
            }
            Item::CaughtUp { .. } => Ok(()),
            Item::Trimmed { from, first: to } | Item::Damaged { from, to, .. } => {
                self.next = to;
                note(format_args!(
                    "records {from} to {to} of the channel are gone: what they said is not shown"
                ));
                self.ask_for_all();
                Ok(())
            }
        }
    }

    fn take_record(&mut self, record: Record, output: &mut Output) -> anyhow::Result<()> {
        match record.event {
            ChannelEvent::AppendedWith { headers, element: Element::Value(value), .. } => {
                self.take_line(&headers, &value, output)
            }
            ChannelEvent::Progress { key, progress } => match progress {
                // It was asked for, and had ended: what comes behind a gap is older. Only another try opens it again.
                Progress::Started { .. } | Progress::Advanced(_) | Progress::Lost { .. }
                    if self.has_ended(key.id) =>
                {
                    Ok(())
                }
                Progress::Started { .. } | Progress::Advanced(_) => self.set(key.id, Stands::Running),
                Progress::Lost { .. } | Progress::Renewed => self.set(key.id, Stands::Waiting),
                Progress::Finished { result } => self.end(key.id, &Outcome::Finished(result), output),
                Progress::Stored { .. } => self.end_as(key.id, Stands::Finished, None, output),
                Progress::Failed { error } => self.end(key.id, &Outcome::Failed(error), output),
                Progress::Cancelled => self.end(key.id, &Outcome::Cancelled, output),
            },
            ChannelEvent::Trimmed { before, .. } => {
                let kept = self.futures.split_off(&before);
                let gone = std::mem::replace(&mut self.futures, kept);
                gone.into_values().for_each(|task| self.ask_for(task));
                Ok(())
            }
            ChannelEvent::Deleted { .. } => {
                self.ask_for_all();
                Ok(())
            }
            event => {
                if let Some(Element::Future(key)) = event.appended().map(|appended| appended.element)
                    && self.tasks.contains_key(&key.id)
                {
                    self.futures.insert(record.offset, key.id);
                }
                Ok(())
            }
        }
    }

    /// The channel says no more of a task.
    fn ask_for(&mut self, task: TaskId) {
        if self.tasks.get(&task).is_some_and(|task| !task.stands.has_ended()) && self.unreported.insert(task)
        {
            self.unasked.push(task);
        }
    }

    fn ask_for_all(&mut self) {
        let all: Vec<TaskId> = self.tasks.keys().copied().collect();
        all.into_iter().for_each(|task| self.ask_for(task));
    }

    fn take_line(&mut self, headers: &Headers, value: &Payload, output: &mut Output) -> anyhow::Result<()> {
        let key = headers.get("task").and_then(|key| key.parse::<TaskKey>().ok());
        let (Some(key), Some(stream)) = (key, headers.get("stream")) else { return Ok(()) };
        let Some(task) = self.tasks.get_mut(&key.id).filter(|_| self.shows.output) else { return Ok(()) };
        let Ok(line) = value.decode::<String>() else { return Ok(()) };
        let attempt = headers.get("attempt").and_then(|attempt| attempt.parse().ok()).unwrap_or(1);
        let before = std::mem::replace(&mut task.attempt, attempt);
        if self.shows.json {
            let attempt = (attempt > 1).then(|| ("attempt", attempt.into()));
            let said = [("stream", stream.into()), ("line", line.into())];
            let fields: Vec<_> = attempt.into_iter().chain(said).collect();
            return output.json(&described(task, &fields));
        }
        if before > 0 && before < attempt {
            output.flush()?;
            let of = task.index.map(|index| format!("[{index}] ")).unwrap_or_default();
            note(format_args!("{of}the program begins anew, in attempt {attempt}"));
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

    fn has_ended(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| task.stands.has_ended())
    }

    fn set(&mut self, task: TaskId, stands: Stands) -> anyhow::Result<()> {
        if let Some(task) = self.tasks.get_mut(&task) {
            self.counts.move_one(std::mem::replace(&mut task.stands, stands), stands);
        }
        Ok(())
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
        // It may be told of twice: by the channel, and since it was asked for.
        if self.tasks.get(&id).is_none_or(|task| task.stands.has_ended()) {
            return Ok(());
        }
        self.set(id, stands)?;
        let Some(task) = self.tasks.get(&id) else { return Ok(()) };
        if self.shows.json {
            let code = match stands {
                Stands::Finished => Some(0),
                _ => error.and_then(exit_code_of),
            };
            let code = code.map(|code| ("code", code.into()));
            let error = error.map(|error| ("error", error.into()));
            let fields = [Some(("status", stands.status().into())), code, error];
            return output.json(&described(task, &fields.into_iter().flatten().collect::<Vec<_>>()));
        }
        if let (Some(index), true) = (task.index, stands != Stands::Finished) {
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

/// Waits for the next record, the next end that was asked for, or the time to show how many there are. May be dropped without
/// a loss.
async fn step(
    records: &mut Option<Records>,
    watches: &mut FuturesUnordered<Watch>,
    line: &mut ProgressLine,
) -> Step {
    let next = async {
        match records {
            Some(records) => records.next().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = line.is_due() => Step::Due,
        // What a program wrote comes before its end.
        item = next => Step::Item(item),
        Some((task, outcome)) = watches.next(), if !watches.is_empty() => Step::Ended(task, outcome),
    }
}

fn watch(client: &Client, task: TaskId) -> Watch {
    let watch = client.connection().watch(task);
    Box::pin(async move { (task, watch.await) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::AttemptNumber;
    use crate::protocol::task::Advance;

    #[tokio::test]
    async fn what_comes_behind_a_gap_of_a_task_that_has_ended_opens_it_no_more_but_another_try_does() {
        let (key, index) = (TaskKey::named("x"), None);
        let shows = Shows { output: false, progress: false, json: false };
        let mut follow = Follow::new(None, 0, vec![Submitted { key: key.clone(), index }], shows);
        let mut output = Output::new();
        let mut take = |follow: &mut Follow, progress| {
            let event = ChannelEvent::Progress { key: key.clone(), progress };
            follow.take_record(Record { offset: 0, time_ms: 0, index: None, event }, &mut output).unwrap();
            follow.counts.open()
        };
        let started = || Progress::Started { attempt: AttemptNumber(1), worker: "w".into() };
        assert_eq!(take(&mut follow, started()), 1);
        // It is asked for behind a gap, and has ended.
        follow.ask_for_all();
        assert_eq!(take(&mut follow, Progress::Cancelled), 0);
        assert_eq!(take(&mut follow, started()), 0);
        assert_eq!(take(&mut follow, Progress::Advanced(Advance::new(1, 2, ""))), 0);
        assert_eq!(take(&mut follow, Progress::Renewed), 1);
        assert_eq!(take(&mut follow, started()), 1);
    }
}

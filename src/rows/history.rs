//! What happened to a task: its records in the task log.

use super::record::Row;
use super::task_record::{Names, task_of};
use crate::client::{Client, Item, Offset, Record, Result};
use crate::protocol::task::{Argument, Submission, TaskInfo};
use crate::protocol::{Producer, TaskEvent, TaskId};

/// How far before a task's submission the task log is searched for the names of the workers that ran it.
/// They joined long before, maybe: a million records are read in a few seconds.
const LOOKBACK_RECORDS_MAX: u64 = 1_000_000;

/// Most tasks that a history names on each side.
const NEIGHBOURS_MAX: usize = 100;

/// What happened to a task, and the tasks on both sides of it.
#[derive(Debug, Default)]
pub struct History {
    /// In the order of the task log.
    pub rows: Vec<Row>,
    /// The keys of the tasks whose results it takes: 100 at most.
    pub dependencies: Vec<String>,
    /// The tasks that take its result, the first 100: where in the task log each was submitted, and its key.
    pub dependents: Vec<(u64, String)>,
}

impl History {
    /// Drops what happened later than is known.
    pub fn retain(&mut self, is_known: impl Fn(u64) -> bool) {
        self.rows.retain(|row| is_known(row.offset));
        self.dependents.retain(|(submitted_at, _)| is_known(*submitted_at));
    }
}

/// A record about a task.
type Step = Record<TaskEvent>;

/// The history of a task, from its submission to the head.
///
/// # Errors
/// When the session is over.
pub async fn history(client: &Client, info: &TaskInfo) -> Result<History> {
    let mut names = Names::default();
    let (steps, dependents) = steps(client, info, &mut names).await?;
    look_back(client, info, &steps, &mut names).await?;
    let mut needed = steps.iter().filter_map(|step| submission_of(&step.event));
    let dependencies = needed.next().map(Submission::dependencies).unwrap_or_default();
    Ok(History {
        rows: steps.iter().map(|step| names.row(step.offset, step.time_ms, &step.event)).collect(),
        dependencies: dependencies.iter().take(NEIGHBOURS_MAX).map(|task| names.key(*task)).collect(),
        dependents: dependents.iter().map(|(offset, task)| (*offset, names.key(*task))).collect(),
    })
}

/// The records about a task, from its submission to the head, and the tasks that take its result.
async fn steps(
    client: &Client,
    info: &TaskInfo,
    names: &mut Names,
) -> Result<(Vec<Step>, Vec<(u64, TaskId)>)> {
    let (mut steps, mut dependents) = (Vec::new(), Vec::new());
    let mut records = client.task_log(Offset::At(info.submitted_at));
    while let Some(item) = records.next().await {
        match item? {
            Item::Record(step) => {
                names.learn(&step.event);
                if let Some(other) = submission_of(&step.event)
                    && dependents.len() < NEIGHBOURS_MAX
                    && other.arguments.iter().flat_map(Argument::futures).any(|task| task == info.key.id)
                {
                    dependents.push((step.offset, other.key.id));
                }
                if is_about(&step.event, info.key.id) {
                    steps.push(step);
                }
            }
            Item::CaughtUp { .. } => break,
            Item::Trimmed { .. } | Item::Damaged { .. } => {}
        }
    }
    Ok((steps, dependents))
}

fn submission_of(event: &TaskEvent) -> Option<&Submission> {
    match event {
        TaskEvent::Submitted { submission, .. } | TaskEvent::SubmittedUnder { submission, .. } => {
            Some(submission)
        }
        _ => None,
    }
}

fn is_about(event: &TaskEvent, task: TaskId) -> bool {
    match event {
        TaskEvent::Released { tasks, .. } | TaskEvent::Renewed { tasks, .. } => tasks.contains(&task),
        event => task_of(event) == Some(task),
    }
}

/// Learns the names of the workers that joined before the task was submitted.
async fn look_back(client: &Client, info: &TaskInfo, steps: &[Step], names: &mut Names) -> Result<()> {
    let mut unnamed: Vec<Producer> = steps.iter().filter_map(|step| worker_of(&step.event)).collect();
    unnamed.retain(|worker| names.worker(*worker).is_none());
    let mut records = client.task_log(Offset::At(info.submitted_at.saturating_sub(LOOKBACK_RECORDS_MAX)));
    while !unnamed.is_empty()
        && records.next_offset().is_none_or(|next| next < info.submitted_at)
        && let Some(item) = records.next().await
    {
        let Item::Record(record) = item? else { continue };
        names.learn(&record.event);
        unnamed.retain(|worker| names.worker(*worker).is_none());
    }
    Ok(())
}

fn worker_of(event: &TaskEvent) -> Option<Producer> {
    match event {
        TaskEvent::Started { worker, .. }
        | TaskEvent::StartedWith { worker, .. }
        | TaskEvent::Copied { worker, .. }
        | TaskEvent::Dropped { worker, .. } => Some(*worker),
        _ => None,
    }
}

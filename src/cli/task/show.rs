//! `headwater task show`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::cli::row::{Row, Stored, of_advance};
use crate::cli::task_row::{Names, task_of};
use crate::cli::time;
use crate::client::{Client, Item, Offset, Record};
use crate::protocol::task::TaskInfo;
use crate::protocol::terms::Tag;
use crate::protocol::{Outcome, Producer, TaskEvent, TaskId, TaskKey};

/// How far before a task's submission the task log is searched for the names of the workers that ran it.
/// They joined long before, maybe: a million records are read in a few seconds.
const LOOKBACK_RECORDS_MAX: u64 = 1_000_000;

/// Show all that is known of a task.
///
/// Where it stands, what it waits for, who keeps it, its result or its error with all causes, and its
/// history from the log, with times. Of a result that is too large for the log: its size, its digest, and the
/// workers that keep it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater task show add-0193f1c2a4d87b3e9f00c1d2e3f40516    a key, as `task list` prints it
  headwater task show nightly-build                           a name that the task was given")]
pub struct Show {
    /// The task's key, or the name that it was given
    key: TaskKey,

    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    key: String,
    status: String,
    function: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advance: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<String>,
    #[serde(skip_serializing_if = "<[Tag]>::is_empty")]
    tags: &'a [Tag],
    kept_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<ShownStored<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ShownError<'a>>,
    history: Vec<Row>,
}

/// A result that workers keep, and those of them that are connected.
#[derive(Debug, Serialize)]
struct ShownStored<'a> {
    #[serde(flatten)]
    result: Stored,
    holders: Vec<ShownHolder<'a>>,
}

#[derive(Debug, Serialize)]
struct ShownHolder<'a> {
    worker: &'a str,
    address: &'a str,
}

#[derive(Debug, Serialize)]
struct ShownError<'a> {
    message: &'a str,
    causes: &'a [String],
    worker: &'a str,
    attempt: u32,
    path: Vec<String>,
}

/// A record about a task.
type Step = Record<TaskEvent>;

impl Show {
    pub async fn run(self) -> anyhow::Result<()> {
        let (info, steps, names) = self
            .connect
            .with(async |client| {
                let info = ask::task(client, &self.key).await?;
                let mut names = Names::default();
                let steps = history(client, &info, &mut names).await?;
                look_back(client, &info, &steps, &mut names).await?;
                anyhow::Ok((info, steps, names))
            })
            .await?;
        let rows = steps.iter().map(|step| names.row(step.offset, step.time_ms, &step.event)).collect();
        let mut output = Output::new();
        if self.json {
            output.json(&shown(&info, rows))?;
        } else {
            lines(&info, &rows).iter().try_for_each(|line| output.line(line))?;
        }
        output.flush()
    }
}

/// The records about a task, from its submission to the head.
async fn history(client: &Client, info: &TaskInfo, names: &mut Names) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut records = client.task_log(Offset::At(info.submitted_at));
    while let Some(item) = records.next().await {
        match item? {
            Item::Record(step) => {
                names.learn(&step.event);
                if is_about(&step.event, info.key.id) {
                    steps.push(step);
                }
            }
            Item::CaughtUp { .. } => break,
            Item::Trimmed { .. } | Item::Damaged { .. } => {}
        }
    }
    Ok(steps)
}

fn is_about(event: &TaskEvent, task: TaskId) -> bool {
    match event {
        TaskEvent::Released { tasks, .. } | TaskEvent::Renewed { tasks, .. } => tasks.contains(&task),
        event => task_of(event) == Some(task),
    }
}

/// Learns the names of the workers that joined before the task was submitted.
async fn look_back(
    client: &Client,
    info: &TaskInfo,
    steps: &[Step],
    names: &mut Names,
) -> anyhow::Result<()> {
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

fn shown(info: &TaskInfo, history: Vec<Row>) -> Shown<'_> {
    let value = match &info.outcome {
        Some(Outcome::Finished(result)) => Some(result.to_json()),
        _ => None,
    };
    let stored = match &info.outcome {
        Some(Outcome::Stored(located)) => Some(ShownStored {
            result: Stored::of(&located.result),
            holders: located
                .holders
                .iter()
                .map(|holder| ShownHolder { worker: &holder.worker, address: &holder.address })
                .collect(),
        }),
        _ => None,
    };
    let error = match &info.outcome {
        Some(Outcome::Failed(error)) => Some(ShownError {
            message: &error.message,
            causes: &error.causes,
            worker: &error.worker,
            attempt: error.attempt.0,
            path: error.path.iter().map(ToString::to_string).collect(),
        }),
        _ => None,
    };
    Shown {
        key: info.key.to_string(),
        status: info.status.to_string(),
        function: &info.function,
        attempt: info.attempt.0,
        worker: info.worker.as_deref(),
        waits_for: info.waits_for.as_deref(),
        advance: info.advance.as_ref().map(of_advance),
        next_attempt_at: info.next_attempt_at.map(time::rfc3339),
        deadline_at: info.deadline_at.map(time::rfc3339),
        tags: &info.tags,
        kept_by: &info.kept_by,
        value,
        stored,
        error,
        history,
    }
}

fn lines(info: &TaskInfo, history: &[Row]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut field = |name: &str, value: &str| lines.push(format!("{name:<10} {value}"));
    field("task", &info.key.to_string());
    field("function", &info.function);
    match info.attempt.0 {
        0 => field("status", &info.status.to_string()),
        attempt => field("status", &format!("{}, attempt {attempt}", info.status)),
    }
    info.worker.iter().for_each(|worker| field("worker", worker));
    info.advance.iter().for_each(|advance| field("progress", &advance.to_string()));
    info.waits_for.iter().for_each(|waits_for| field("waits for", waits_for));
    info.next_attempt_at.iter().for_each(|at| field("", &format!("not before {}", time::local(*at))));
    info.deadline_at.iter().for_each(|at| field("deadline", &time::local(*at)));
    if !info.tags.is_empty() {
        field("tags", &info.tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(" "));
    }
    field("kept by", if info.kept_by.is_empty() { "nobody" } else { &info.kept_by });
    match &info.outcome {
        Some(Outcome::Finished(result)) => field("result", &result.to_json().to_string()),
        Some(Outcome::Failed(error)) => {
            field("error", &error.message);
            for cause in &error.causes {
                // What a program said on stderr is several lines.
                let mut lines = cause.lines();
                field("", &format!("because {}", lines.next().unwrap_or_default()));
                lines.for_each(|line| field("", &format!("  {line}")));
            }
            error.path.iter().for_each(|key| field("", &format!("through {key}")));
        }
        Some(Outcome::Stored(located)) => {
            field("result", &Stored::of(&located.result).to_string());
            let holders = located.holders.iter();
            holders.for_each(|holder| field("", &format!("with {} at {}", holder.worker, holder.address)));
            if located.holders.is_empty() {
                field("", "none of the workers that keep it is connected");
            }
        }
        Some(Outcome::Cancelled) | None => {}
    }
    lines.push("history".to_owned());
    for row in history {
        // Every row is about this task: its key is left out.
        let step = Row { key: None, ..row.clone() }.for_people(STEP_WORD_WIDTH);
        lines.push(step);
    }
    lines
}

/// The longest word for what happens to a task: `submitted`.
const STEP_WORD_WIDTH: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::result::{Holder, Located, StoredResult};
    use crate::protocol::task::{ErrorKind, TaskStatus};
    use crate::protocol::{AttemptNumber, Codec, Digest, TaskError};

    fn failed() -> TaskInfo {
        let causes = vec!["no space".to_owned(), "old logs:\na\nb".to_owned()];
        let error = TaskError::new(ErrorKind::Returned, "cannot write", causes);
        TaskInfo {
            key: TaskKey::unique("save", [1; 16]),
            function: "rust:m::save".into(),
            status: TaskStatus::Error,
            attempt: AttemptNumber(2),
            worker: None,
            submitted_at: 5,
            waits_for: None,
            next_attempt_at: None,
            deadline_at: None,
            tags: Vec::new(),
            advance: None,
            kept_by: "detached".to_owned(),
            outcome: Some(Outcome::Failed(Box::new(error.of_dependent(&TaskKey::unique("load", [2; 16]))))),
        }
    }

    #[test]
    fn people_see_an_error_with_its_causes_and_its_way() {
        let lines = lines(&failed(), &[]);
        assert_eq!(
            lines,
            [
                "task       save-01010101010101010101010101010101",
                "function   rust:m::save",
                "status     error, attempt 2",
                "kept by    detached",
                "error      cannot write",
                "           because no space",
                "           because old logs:",
                "             a",
                "             b",
                "           through load-02020202020202020202020202020202",
                "history",
            ]
        );
    }

    #[test]
    fn a_result_that_workers_keep_is_described() {
        let digest = Digest(10);
        let located = Located {
            key: failed().key,
            attempt: AttemptNumber(2),
            result: StoredResult { codec: Codec::MessagePack, bytes: 5 << 20, digest },
            holders: vec![Holder { worker: "w1".into(), address: "10.0.0.7:4000".into() }],
        };
        let info = |located| TaskInfo {
            status: TaskStatus::Finished,
            outcome: Some(Outcome::Stored(located)),
            ..failed()
        };
        let told = lines(&info(located.clone()), &[]);
        assert_eq!(told[4], "result     5 MiB on workers, digest 000000000000000a");
        assert_eq!(told[5], "           with w1 at 10.0.0.7:4000");
        let json = serde_json::to_value(shown(&info(located.clone()), Vec::new())).unwrap();
        let holders = serde_json::json!([{ "worker": "w1", "address": "10.0.0.7:4000" }]);
        let stored =
            serde_json::json!({ "bytes": 5 << 20, "digest": "000000000000000a", "holders": holders });
        assert_eq!(json["stored"], stored);
        let away = Located { holders: vec![], ..located };
        assert_eq!(lines(&info(away), &[])[5], "           none of the workers that keep it is connected");
    }

    #[test]
    fn programs_see_the_same() {
        let json = serde_json::to_value(shown(&failed(), Vec::new())).unwrap();
        assert_eq!(json["status"], "error");
        assert_eq!(json["error"]["causes"], serde_json::json!(["no space", "old logs:\na\nb"]));
        assert_eq!(json.get("value"), None);
    }
}

//! `headwater task show`.

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::task::TaskInfo;
use crate::protocol::terms::Tag;
use crate::protocol::{Outcome, TaskKey};
use crate::rows::history::history;
use crate::rows::record::{Row, Stored};
use crate::rows::task::Shown;
use crate::rows::time;

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

impl Show {
    pub async fn run(self) -> anyhow::Result<()> {
        let (info, history) = self
            .connect
            .with(async |client| {
                let info = ask::task(client, &self.key).await?;
                let history = history(client, &info).await?;
                anyhow::Ok((info, history))
            })
            .await?;
        let mut output = Output::new();
        if self.json {
            output.json(&Shown::of(&info, history))?;
        } else {
            lines(&info, &history.rows).iter().try_for_each(|line| output.line(line))?;
        }
        output.flush()
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
            holders.for_each(|holder| field("", &format!("with {} at {}", holder.worker, holder.place())));
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
    use crate::rows::history::History;

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
        let json = serde_json::to_value(Shown::of(&info(located.clone()), History::default())).unwrap();
        let holders = serde_json::json!([{ "worker": "w1", "address": "10.0.0.7:4000" }]);
        let stored =
            serde_json::json!({ "bytes": 5 << 20, "digest": "000000000000000a", "holders": holders });
        assert_eq!(json["stored"], stored);
        let away = Located { holders: vec![], ..located };
        assert_eq!(lines(&info(away), &[])[5], "           none of the workers that keep it is connected");
    }

    #[test]
    fn programs_see_the_same() {
        let json = serde_json::to_value(Shown::of(&failed(), History::default())).unwrap();
        assert_eq!(json["status"], "error");
        assert_eq!(json["error"]["causes"], serde_json::json!(["no space", "old logs:\na\nb"]));
        assert_eq!(json.get("value"), None);
    }
}

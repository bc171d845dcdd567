//! Tasks: what is submitted and what comes out.

use serde::{Deserialize, Serialize};

use super::TimeMs;
use super::ids::{AttemptNumber, TaskId, TaskKey};
use super::limits::{self, TooLarge};
use super::payload::Payload;
use super::result::Located;
use super::template::{Malformed, Template};
use super::terms::Tag;

/// The function that puts lists together for clients, which all workers have: of arrays it makes one.
pub const LIST: &str = "list";

/// Its version.
pub const LIST_VERSION: u32 = 1;

/// What stands for a function where a value was scattered: it is there, and nobody runs it.
pub const SCATTER: &str = "scatter";

/// Its version.
pub const SCATTER_VERSION: u32 = 1;

/// The function that makes one value of the bytes of several, which all workers have: of the pieces in which a large value
/// was scattered. Its first argument is the [`Codec`](super::Codec) of the result, the others are raw.
pub const CONCAT: &str = "concat";

/// Its version.
pub const CONCAT_VERSION: u32 = 1;

/// What to do about a value that is too large to be scattered.
pub const SCATTERED_TOO_LARGE: &str = "have a task return it, whose future goes wherever this would, or pass a path or a key to where the data lie";

/// One argument of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// The value itself.
    Value(Payload),
    /// The result of another task, which this one waits for.
    Future(TaskId),
    /// A value with the results of other tasks inside it, which this one waits for.
    Nested(Template),
}

impl Argument {
    /// The task of each future in it, in their order.
    pub fn futures(&self) -> impl Iterator<Item = TaskId> + '_ {
        let (itself, template) = match self {
            Argument::Value(_) => (None, None),
            Argument::Future(task) => (Some(*task), None),
            Argument::Nested(template) => (None, Some(template)),
        };
        itself.into_iter().chain(template.into_iter().flat_map(Template::holes))
    }
}

/// An argument with futures inside that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("argument {position} has futures inside, and is no MessagePack: {why}")]
pub struct BadArgument {
    /// Which argument, from 1.
    pub position: usize,
    /// Why.
    pub why: Malformed,
}

/// What a client may choose for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskOptions {
    /// How many more attempts are made after one that fails. Attempts that end because their worker
    /// went away do not count: those have a limit of their own, the scheduler's `deaths_max`.
    pub retries: u32,
    /// Ready tasks of higher priority start first; within one priority, older submissions first.
    pub priority: i32,
    /// Whether the task stays alive without anyone who holds it.
    pub detach: bool,
}

/// A call as a client submits it: one record, so all of it is at most
/// [`RECORD_BYTES_MAX`](limits::RECORD_BYTES_MAX) bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// The task's identity and label.
    pub key: TaskKey,
    /// The function's full name: `rust:my_crate::add`.
    pub function: Box<str>,
    /// The function's version, as its author counts it.
    pub version: u32,
    /// The arguments in order.
    pub arguments: Vec<Argument>,
    /// The options.
    pub options: TaskOptions,
}

impl Submission {
    /// Checks every bound on a submission.
    ///
    /// # Errors
    /// [`TooLarge`] names the first that is broken.
    pub fn check(&self) -> Result<(), TooLarge> {
        TooLarge::check("the function's name", self.function.len(), limits::NAME_BYTES_MAX, "shorten it")?;
        TooLarge::check("the task's name", self.key.label.len(), limits::NAME_BYTES_MAX, "shorten it")?;
        let many = "pass them as one value or future that holds a list";
        TooLarge::check("the number of arguments", self.arguments.len(), limits::ARGUMENTS_MAX, many)?;
        let mut bytes = 0;
        for (position, argument) in self.arguments.iter().enumerate() {
            let size = match argument {
                Argument::Value(payload) => payload.bytes.len(),
                Argument::Nested(template) => template.bytes().len(),
                Argument::Future(_) => continue,
            };
            bytes += size;
            let hint = "pass a path or a key to where the data lie";
            TooLarge::check(
                format_args!("argument {}", position + 1),
                size,
                limits::PAYLOAD_BYTES_MAX,
                hint,
            )?;
            TooLarge::check("all arguments together", bytes, limits::ARGUMENTS_BYTES_MAX, hint)?;
        }
        let many = "pass them in a `Vec`, of which longer ones are put together by tasks of their own";
        let futures = Self::futures_of(&self.arguments);
        TooLarge::check("the number of futures in all arguments", futures, limits::ARGUMENTS_MAX, many)
    }

    /// Looks whether every argument with futures inside is one MessagePack value.
    ///
    /// # Errors
    /// [`BadArgument`] names the first that is not.
    pub fn check_nested(&self) -> Result<(), BadArgument> {
        for (position, argument) in (1..).zip(&self.arguments) {
            if let Argument::Nested(template) = argument {
                template.check().map_err(|why| BadArgument { position, why })?;
            }
        }
        Ok(())
    }

    /// How many futures there are in the arguments of a call; those that are there twice count twice.
    pub fn futures_of(arguments: &[Argument]) -> usize {
        arguments.iter().flat_map(Argument::futures).count()
    }

    /// The tasks this one waits for, each once, in the order of the arguments.
    pub fn dependencies(&self) -> Vec<TaskId> {
        Self::dependencies_of(&self.arguments)
    }

    /// The tasks among the arguments of a call, each once, in their order.
    pub fn dependencies_of(arguments: &[Argument]) -> Vec<TaskId> {
        let mut dependencies = Vec::new();
        for task in arguments.iter().flat_map(Argument::futures) {
            if !dependencies.contains(&task) {
                dependencies.push(task);
            }
        }
        dependencies
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// With a result.
    Finished(Payload),
    /// With an error, after all its retries.
    Failed(Box<TaskError>),
    /// It was cancelled.
    Cancelled,
    /// With a result that workers keep.
    Stored(Located),
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The function returned an error.
    Returned,
    /// The function panicked.
    Panicked,
    /// An argument is not of the type that the function takes.
    BadArguments,
    /// The worker has no such function, or another version of it.
    UnknownFunction,
    /// The result could not be encoded, or is too large.
    BadResult,
    /// A task that this one depends on did not finish.
    Dependency,
    /// Too many workers died while they ran the task; the causes are its attempts that were lost so.
    Poison,
    /// An attempt took longer than its task's [timeout](super::terms::Term::Timeout).
    TimedOut,
    /// The task was not done within its [deadline](super::terms::Term::Deadline).
    DeadlinePassed,
}

/// Why a task failed. Texts are cut at [`ERROR_BYTES_MAX`](limits::ERROR_BYTES_MAX).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// What kind of thing went wrong.
    pub kind: ErrorKind,
    /// The error's own message.
    pub message: String,
    /// The messages of its causes, outermost first.
    pub causes: Vec<String>,
    /// The worker's name; empty when no worker was involved.
    pub worker: Box<str>,
    /// The attempt that failed last; 0 when none was made.
    pub attempt: AttemptNumber,
    /// For [`ErrorKind::Dependency`]: the way from the nearest dependency to the root cause.
    pub path: Vec<TaskKey>,
}

/// Most tasks that [`TaskError::path`] names: the rest of a longer way is left out in the middle.
const PATH_MAX: usize = 16;

impl TaskError {
    /// An error of an attempt, with its texts cut to their bounds.
    pub fn new(kind: ErrorKind, message: &str, causes: Vec<String>) -> Self {
        let causes = causes.iter().take(limits::ERROR_CAUSES_MAX).map(|cause| shortened(cause)).collect();
        TaskError {
            kind,
            message: shortened(message),
            causes,
            worker: "".into(),
            attempt: AttemptNumber(0),
            path: Vec::new(),
        }
    }

    /// The same with this as its last cause: the end of what the attempt has written, say.
    #[must_use]
    pub fn citing(mut self, lines: &str) -> TaskError {
        self.causes.truncate(limits::ERROR_CAUSES_MAX - 1);
        self.causes.push(shortened(lines));
        self
    }

    /// The error of a task whose dependency `key` failed with `self`.
    #[must_use]
    pub fn of_dependent(&self, key: &TaskKey) -> TaskError {
        let mut path = vec![key.clone()];
        path.extend(self.path.iter().cloned());
        if path.len() > PATH_MAX {
            path.remove(PATH_MAX / 2);
        }
        TaskError { kind: ErrorKind::Dependency, path, ..self.clone() }
    }
}

/// The text, cut at [`ERROR_BYTES_MAX`](limits::ERROR_BYTES_MAX); it says so when it is.
pub(crate) fn shortened(text: &str) -> String {
    if text.len() <= limits::ERROR_BYTES_MAX {
        return text.to_owned();
    }
    let cut = text.floor_char_boundary(limits::ERROR_BYTES_MAX);
    format!("{}… ({} bytes more)", &text[..cut], text.len() - cut)
}

impl std::fmt::Display for TaskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(nearest) = self.path.first() {
            write!(f, "dependency {nearest} failed: ")?;
        }
        for further in self.path.iter().skip(1) {
            write!(f, "through {further}: ")?;
        }
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TaskError {}

/// How far an attempt has come, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// So much is done, in whatever unit.
    pub done: u64,
    /// Of so much; 0 where that is not known.
    pub total: u64,
    /// What it is at, in words: at most [`ADVANCE_BYTES_MAX`](limits::ADVANCE_BYTES_MAX).
    pub message: Box<str>,
}

impl Advance {
    /// With its message cut to its bound.
    pub fn new(done: u64, total: u64, message: &str) -> Self {
        let cut = message.floor_char_boundary(limits::ADVANCE_BYTES_MAX);
        Advance { done, total, message: message[..cut].into() }
    }
}

impl std::fmt::Display for Advance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.done)?;
        if self.total > 0 {
            write!(f, " of {}", self.total)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaskStatus {
    /// It waits for its dependencies, or for a worker.
    Pending,
    /// An attempt is with a worker.
    Running,
    /// It has its result.
    Finished,
    /// It has failed.
    Error,
    /// It was cancelled.
    Cancelled,
    /// It had its result, and no worker keeps that any more: it is computed anew when it is needed.
    Lost,
}

impl TaskStatus {
    /// All of them.
    pub const ALL: [TaskStatus; 6] = [
        TaskStatus::Pending,
        TaskStatus::Running,
        TaskStatus::Finished,
        TaskStatus::Error,
        TaskStatus::Cancelled,
        TaskStatus::Lost,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            TaskStatus::Pending => "pending",
            TaskStatus::Running => "running",
            TaskStatus::Finished => "finished",
            TaskStatus::Error => "error",
            TaskStatus::Cancelled => "cancelled",
            TaskStatus::Lost => "lost",
        }
    }
}

impl std::fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What the scheduler knows of a task without reading its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// The key.
    pub key: TaskKey,
    /// The function's full name.
    pub function: Box<str>,
    /// Where it stands.
    pub status: TaskStatus,
    /// The newest attempt; 0 before the first.
    pub attempt: AttemptNumber,
    /// The worker that runs it.
    pub worker: Option<Box<str>>,
    /// Where its submission stands in the task log.
    pub submitted_at: u64,
    /// What it waits for, in words, while it is pending.
    pub waits_for: Option<String>,
    /// When its next attempt may begin, where it waits for that since one has failed.
    pub next_attempt_at: Option<TimeMs>,
    /// Until when it has to be done, if it has not ended.
    pub deadline_at: Option<TimeMs>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// How far its running attempt has come, if that has said so since the scheduler started.
    pub advance: Option<Advance>,
    /// Who keeps it alive, in words.
    pub kept_by: String,
    /// How it ended; only where one task is asked for.
    pub outcome: Option<Outcome>,
}

/// Why a task is where it is, or does not run: as of now, by what the scheduler would decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The task.
    pub key: TaskKey,
    /// Where it stands.
    pub status: TaskStatus,
    /// Why, in a sentence.
    pub because: String,
    /// When its next attempt may begin, where it waits for that.
    pub not_before: Option<TimeMs>,
    /// What there is to say of each worker or task that has to do with it.
    pub points: Vec<Point>,
    /// How many more points there are than are told: [`POINTS_MAX`](limits::POINTS_MAX) are.
    pub more: u64,
}

/// A part of an [`Explanation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// A worker's name, or a task's key.
    pub of: String,
    /// What there is to say of it.
    pub words: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_are_bounded() {
        let submission = |arguments| Submission {
            key: TaskKey::named("x"),
            function: "m::f".into(),
            version: 1,
            arguments,
            options: TaskOptions::default(),
        };
        let value = |bytes| Argument::Value(Payload::raw(vec![0; bytes]));
        assert_eq!(submission(vec![value(limits::PAYLOAD_BYTES_MAX)]).check(), Ok(()));
        let error =
            submission(vec![value(1), value(limits::PAYLOAD_BYTES_MAX + 1)]).check().unwrap_err().to_string();
        assert!(error.starts_with("argument 2 is 61441, over the limit of 61440: "), "{error}");
        assert!(submission(vec![value(40_000), value(40_000)]).check().is_err());
        assert!(submission((0..65).map(|_| value(1)).collect()).check().is_err());
    }

    #[test]
    fn an_error_names_the_way_to_its_root() {
        let root = TaskError::new(ErrorKind::Returned, "disk on fire", vec!["spark".into()]);
        let error = root.of_dependent(&TaskKey::named("load")).of_dependent(&TaskKey::named("clean"));
        let text = error.to_string();
        assert!(text.starts_with("dependency clean-") && text.contains("through load-"), "{text}");
        assert!(text.ends_with("disk on fire: spark"), "{text}");
    }

    #[test]
    fn an_advance_is_said_in_words_within_its_bound() {
        let words = |done, total, message| Advance::new(done, total, message).to_string();
        assert_eq!(words(3, 10, "reading"), "3 of 10: reading");
        assert_eq!((words(3, 0, ""), words(0, 0, "begun")), ("3".to_owned(), "0: begun".to_owned()));
        let long = Advance::new(0, 0, &"ü".repeat(limits::ADVANCE_BYTES_MAX));
        assert_eq!(long.message.len(), limits::ADVANCE_BYTES_MAX);
    }

    #[test]
    fn long_messages_are_cut_and_say_so() {
        let error = TaskError::new(ErrorKind::Returned, &"ü".repeat(5000), vec![]);
        assert!(error.message.ends_with("bytes more)") && error.message.len() < limits::ERROR_BYTES_MAX + 40);
    }
}

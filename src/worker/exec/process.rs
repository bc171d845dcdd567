//! A program from its start to its end, whatever brings that about.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::OptionFuture;
use tokio::io::AsyncWriteExt;
use tokio::process::{self, Child};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::Programs;
use super::command::Command;
use super::group::Group;
use super::output::{Orders, Output, Sink};
use crate::client::Error;
use crate::worker::newest::Newest;

/// How long a program's pipes may stay open behind its end, because others whom it has started have them: 1 s. Then what is
/// left of its group is ended, too.
const PIPES_OPEN_MAX: Duration = Duration::from_secs(1);

/// Why a program did not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStarted {
    /// There is no such directory.
    #[error("working directory `{directory}` is not there on worker {worker}: give one that is with --cwd")]
    NoDirectory { directory: String, worker: String },
    /// There is no such program.
    #[error("no program `{program}` on worker {worker}: install it there, or give its whole path")]
    NoProgram { program: String, worker: String },
    /// It is no program.
    #[error(
        "`{program}` may not be run on worker {worker}: make it executable (chmod +x), or name its interpreter"
    )]
    NotExecutable { program: String, worker: String },
    /// It is there, and what is to run it is not.
    #[error("`{program}` names an interpreter (#!) that is not on worker {worker}: install that there")]
    NoInterpreter { program: String, worker: String },
    /// Nobody wants to know any more.
    #[error("it is not wanted any more")]
    NotWanted,
    /// The guard cannot be started.
    #[error("worker {worker} cannot start the guard of its programs, and so starts none: {error}")]
    NoGuard { worker: String, error: io::Error },
    /// All else.
    #[error("`{program}` cannot be started on worker {worker}: {error}")]
    Other { program: String, worker: String, error: io::Error },
}

/// How a program ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself, or by a signal that is not ours.
    Exited(io::Result<ExitStatus>),
    /// It took too long.
    OverLimit(Duration),
    /// Its output is refused.
    Refused(Error),
    /// Nobody wants to know.
    NotWanted,
}

/// What there is to say of a program that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub end: End,
    pub took: Duration,
    /// The newest lines of its stderr.
    pub newest: Newest,
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Group,
    programs: Programs,
    since: Instant,
    time_limit: Option<Duration>,
    grace: Duration,
}

/// Starts a program in a group of its own, with what else is to be in its environment, unless `wanted` is closed by then.
///
/// # Errors
/// [`NotStarted`] says why not.
pub(super) async fn start(
    command: &Command,
    environment: &[(String, String)],
    programs: &Programs,
    worker: &str,
    wanted: &watch::Receiver<()>,
) -> Result<Process, NotStarted> {
    let worker = || worker.to_owned();
    let mut process = process::Command::new(&command.program);
    // Those of the worker's own that a task may have, and this one has not.
    process.env_remove("HEADWATER_INDEX").env_remove("HEADWATER_LINE");
    process.args(&command.arguments).envs(environment.iter().cloned()).envs(&command.environment);
    command.directory.iter().for_each(|directory| _ = process.current_dir(directory));
    process.process_group(0);
    process.stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    // What goes nowhere is not read. An error cites stderr in any case.
    process.stdout(if command.output.is_some() { Stdio::piped() } else { Stdio::null() });
    process.stderr(Stdio::piped());
    let spawn = || {
        // It may have waited for its turn.
        if wanted.has_changed().is_err() {
            return Err(NotStarted::NotWanted);
        }
        process.spawn().map_err(|error| not_started(command, worker(), error))
    };
    let no_guard = |error| NotStarted::NoGuard { worker: worker(), error };
    let (mut child, group) = programs.guard.start(command.grace_ms, spawn).await.map_err(no_guard)??;
    let since = Instant::now();
    if let (Some(bytes), Some(mut stdin)) = (command.stdin.clone(), child.stdin.take()) {
        // One that does not read it, or not all of it, is free not to. It ends with the pipe.
        tokio::spawn(async move { stdin.write_all(&bytes).await });
    }
    let programs = programs.clone();
    let time_limit = command.time_limit_ms.map(Duration::from_millis);
    Ok(Process { child, group, programs, since, time_limit, grace: Duration::from_millis(command.grace_ms) })
}

fn not_started(command: &Command, worker: String, error: io::Error) -> NotStarted {
    let program = command.program.clone();
    let directory = command.directory.as_ref().filter(|directory| !Path::new(directory).is_dir());
    match (error.kind(), directory) {
        (_, Some(directory)) => NotStarted::NoDirectory { directory: directory.clone(), worker },
        (ErrorKind::NotFound, None) if Path::new(&program).is_file() => {
            NotStarted::NoInterpreter { program, worker }
        }
        (ErrorKind::NotFound, None) => NotStarted::NoProgram { program, worker },
        (ErrorKind::PermissionDenied, None) => NotStarted::NotExecutable { program, worker },
        _ => NotStarted::Other { program, worker, error },
    }
}

impl Process {
    /// Keeps it to its end, and brings how it ended, once all of its output is durable. When `wanted` is closed, it is ended,
    /// and what it writes is dropped.
    pub async fn keep(mut self, sink: Option<Sink>, mut wanted: watch::Receiver<()>) -> Ended {
        let output = Output::new(self.child.stdout.take(), self.child.stderr.take(), sink);
        let (refused, mut is_refused) = oneshot::channel();
        let (rest, is_rest) = oneshot::channel::<()>();
        let orders = Orders { wanted: wanted.clone(), rest: is_rest, refused };
        let mut output = tokio::spawn(output.run(orders));
        let mut end = tokio::select! {
            status = self.child.wait() => End::Exited(status),
            Some(limit) = OptionFuture::from(self.time_limit.map(over)) => End::OverLimit(limit),
            // It is told once or never.
            Ok(error) = &mut is_refused => End::Refused(error),
            _ = wanted.changed() => End::NotWanted,
        };
        let took = self.since.elapsed();
        let is_read = match end {
            // Others may have its pipes.
            End::Exited(_) => timeout(PIPES_OPEN_MAX, &mut output).await.ok(),
            _ => None,
        };
        self.end_group().await;
        drop(rest);
        let (newest, durable) = match is_read {
            Some(read) => read,
            None => output.await,
        }
        .unwrap_or_else(|broken| std::panic::resume_unwind(broken.into_panic()));
        // It may be told when the program has ended, or is about to.
        if let Some(error) = durable.err().or_else(|| is_refused.try_recv().ok()) {
            end = End::Refused(error);
        }
        Ended { end, took, newest }
    }

    /// Ends what is left of its group: asks it to, and kills it when its grace is over.
    async fn end_group(&mut self) {
        if self.group.is_there() {
            self.group.terminate();
            // One that was waited for is no longer there as one that has ended.
            let gone = async {
                let begun = Instant::now();
                let _ = self.child.wait().await;
                self.group.gone_within(self.grace.saturating_sub(begun.elapsed())).await
            };
            if !timeout(self.grace, gone).await.unwrap_or(false) {
                self.group.kill();
            }
        }
        let _ = self.child.wait().await;
        self.programs.guard.remove(self.group).await;
    }
}

/// The time is over.
async fn over(limit: Duration) -> Duration {
    sleep(limit).await;
    limit
}

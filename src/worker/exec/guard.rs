//! Who ends a worker's programs when the worker cannot: a process of its own, one for each process that has workers.
//!
//! ```text
//!   worker ──pipe──▶ guard:  +GROUP GRACE_MS    runs from now on
//!                            -GROUP             has ended
//!                            the pipe's end     SIGTERM to those that are left, SIGKILL after their grace
//! ```
//!
//! The pipe ends with the worker, whatever ends that: SIGKILL, too. The guard is in a group of its own and ends by nothing
//! else, so that Ctrl-C in a terminal leaves it. If it is killed all the same, the next program starts
//! another, which is told of all that run.
//!
//! What it cannot see: the one program that is being started while the worker is killed, before the guard was told; and a process that has left its program's group (`setsid`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Mutex;

use super::group::{Group, LOOK_EVERY};

/// The worker's end.
#[derive(Debug)]
pub(super) struct Guard {
    program: PathBuf,
    arguments: Vec<OsString>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<(Child, ChildStdin)>,
    groups: BTreeMap<Group, u64>,
}

impl Guard {
    pub fn new(program: PathBuf, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(OsString::from).collect();
        Guard { program, arguments, state: Mutex::default() }
    }

    /// Starts a program, and the guard before it, if that does not run. Nobody else starts one until the guard is told of it:
    /// of many that begin together each is guarded at once.
    ///
    /// # Errors
    /// When the guard cannot be started, or told: then no program is. Inside, why `spawn` has not started it.
    pub async fn start<E>(
        &self,
        grace_ms: u64,
        spawn: impl FnOnce() -> Result<Child, E>,
    ) -> io::Result<Result<(Child, Group), E>> {
        let mut state = self.state.lock().await;
        self.tell(&mut state, "").await?;
        let child = match spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(error)),
        };
        let group = child.id().and_then(Group::of).expect("a process that was not waited for has a number");
        state.groups.insert(group, grace_ms);
        if let Err(error) = self.tell(&mut state, &runs(group, grace_ms)).await {
            state.groups.remove(&group);
            group.kill();
            return Err(error);
        }
        Ok(Ok((child, group)))
    }

    /// A group has ended.
    pub async fn remove(&self, group: Group) {
        let mut state = self.state.lock().await;
        state.groups.remove(&group);
        let number = group.number();
        if let Err(error) = self.tell(&mut state, &format!("-{number}\n")).await {
            tracing::warn!(%error, "the guard of programs is gone: the next program starts another");
        }
    }

    /// Tells a running one, or starts one and tells it of all groups.
    async fn tell(&self, state: &mut State, words: &str) -> io::Result<()> {
        if let Some((child, stdin)) = &mut state.running {
            let is_running = matches!(child.try_wait(), Ok(None));
            if is_running && stdin.write_all(words.as_bytes()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!("the guard of programs was ended by somebody: starting another");
        }
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).process_group(0).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().ok_or_else(|| io::Error::other("it has no stdin"))?;
        let all: String = state.groups.iter().map(|(group, grace_ms)| runs(*group, *grace_ms)).collect();
        stdin.write_all(all.as_bytes()).await?;
        state.running = Some((child, stdin));
        Ok(())
    }
}

fn runs(group: Group, grace_ms: u64) -> String {
    format!("+{} {grace_ms}\n", group.number())
}

/// The guard's own work: takes what the worker tells, until it tells no more, and ends what is left.
///
/// It keeps its thread until then. Whoever calls it sees to it that signals do not end the process.
pub fn serve(told: impl BufRead) {
    let mut groups = BTreeMap::new();
    // One that cannot be read has ended.
    for line in told.lines().map_while(Result::ok) {
        take(&mut groups, &line);
    }
    if groups.is_empty() {
        return;
    }
    tracing::warn!(programs = groups.len(), "the worker is gone: ending the programs that it ran");
    let begun = Instant::now();
    groups.keys().for_each(|group| group.terminate());
    while !groups.is_empty() {
        groups.retain(|group, grace_ms| {
            let is_left = group.is_there();
            let is_due = begun.elapsed() >= Duration::from_millis(*grace_ms);
            if is_left && is_due {
                group.kill();
            }
            is_left && !is_due
        });
        std::thread::sleep(LOOK_EVERY);
    }
}

fn take(groups: &mut BTreeMap<Group, u64>, line: &str) {
    let number = |text: &str| text.parse().ok().and_then(Group::of);
    if let Some((group, grace_ms)) = line.strip_prefix('+').and_then(|rest| rest.split_once(' '))
        && let (Some(group), Ok(grace_ms)) = (number(group), grace_ms.parse())
    {
        groups.insert(group, grace_ms);
    } else if let Some(group) = line.strip_prefix('-').and_then(number) {
        groups.remove(&group);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process;

    use super::*;

    #[test]
    fn what_was_told_is_what_is_left() {
        let mut groups = BTreeMap::new();
        for line in ["+20 5", "+30 6", "-20", "nonsense", "+1 5", "+0 5", "-", "+x 1", "+40 x", "-50"] {
            take(&mut groups, line);
        }
        assert_eq!(groups, BTreeMap::from([(Group::of(30).unwrap(), 6)]));
        assert_eq!(runs(Group::of(30).unwrap(), 6), "+30 6\n");
    }

    fn sleeping(script: &str) -> process::Child {
        let mut command = process::Command::new("sh");
        command.args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn those_that_are_left_end_and_the_stubborn_are_killed() {
        let mut ended = sleeping("exec sleep 1000");
        let mut left = sleeping("exec sleep 1000");
        let mut stubborn = sleeping("trap '' TERM; echo ready; while :; do sleep 1000; done");
        // It has its trap.
        let mut line = String::new();
        io::BufReader::new(stubborn.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told =
            format!("+{} 5000\n+{} 5000\n+{} 50\n-{}\n", ended.id(), left.id(), stubborn.id(), ended.id());
        let serving = std::thread::spawn(move || serve(told.as_bytes()));
        assert_eq!(left.wait().unwrap().signal(), Some(15));
        assert_eq!(stubborn.wait().unwrap().signal(), Some(9));
        serving.join().unwrap();
        assert!(ended.try_wait().unwrap().is_none(), "it is not left");
        ended.kill().unwrap();
        ended.wait().unwrap();
    }
}

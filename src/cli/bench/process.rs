//! Processes of this same binary, which end with this one, in whatever way: each watches its stdin, a pipe
//! whose other end is here. And what the system says of a process, where it has `/proc`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use crate::proc;

/// A worker tells in its log that it has joined; nothing else is to be said while it is measured.
const LOG: &str = "warn,headwater::worker=info";

/// How often `/proc/PID/stat` counts in a second of CPU time: `USER_HZ`, which is part of Linux' interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Reads what it says on stderr, so that it can say it, and gives the last line.
    last_line: JoinHandle<String>,
}

impl Process {
    /// Starts it and waits until it says these words on stderr. Gives what stands behind them.
    pub async fn start<A: AsRef<OsStr>>(arguments: &[A], ready: &str) -> anyhow::Result<(Process, String)> {
        let program = std::env::current_exe().context("this program's own file is not to be found")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["--as-told", "--until-stdin-closes"])
            .env("HEADWATER_LOG", LOG)
            .kill_on_drop(true);
        for name in ["HEADWATER_CONNECT", "HEADWATER_TOKEN_FILE"] {
            command.env_remove(name);
        }
        // Ctrl-C goes to all processes of a terminal's group; these end with this one.
        #[cfg(unix)]
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("a process of this program cannot be started")?;
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stderr.take().context("it has no stderr")?).lines();
        let mut said = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, rest)) = line.split_once(ready) {
                let rest = rest.to_owned();
                let last_line = tokio::spawn(async move {
                    let mut last = String::new();
                    while let Ok(Some(line)) = lines.next_line().await {
                        last = line;
                    }
                    last
                });
                return Ok((Process { child, stdin, last_line }, rest));
            }
            said.push(line);
        }
        anyhow::bail!("a process of this program did not start: {}", said.join("; "))
    }

    /// Asks it to end, waits until it has, and gives the last line that it said.
    pub async fn end(mut self) -> anyhow::Result<String> {
        drop(self.stdin.take());
        let status = self.child.wait().await?;
        let last = self.last_line.await?;
        anyhow::ensure!(status.success(), "a process of this program failed: {last}");
        Ok(last)
    }

    /// SIGKILL.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("a process of this program cannot be killed")
    }

    /// A field of its `/proc/PID/status` in bytes: `VmRSS`, say.
    pub fn memory_bytes(&self, field: &str) -> Option<u64> {
        proc::memory_bytes(&self.proc()?, field)
    }

    /// How long it has computed, on all cores together.
    pub fn cpu_seconds(&self) -> Option<f64> {
        cpu_seconds(&std::fs::read_to_string(self.proc()?.join("stat")).ok()?)
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> Option<u64> {
        proc::open_files(&self.proc()?)
    }

    fn proc(&self) -> Option<PathBuf> {
        Some(Path::new("/proc").join(self.child.id()?.to_string()))
    }
}

/// From a line of `/proc/PID/stat`: the times in the program and in the system are its fields 14 and 15.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name, field 2, stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 116 0 0 0 250 50 0 0 20 0 1 0 100 2000 300";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
    }
}

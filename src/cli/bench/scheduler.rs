//! A scheduler that is measured: a process of this same binary, which ends with this one.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::figures::memory_bytes;

/// What the scheduler says on stderr when it serves.
const LISTENING: &str = "listening on ";

/// The process.
pub struct Scheduler {
    child: Child,
    pub address: String,
}

impl Scheduler {
    /// Starts it on a store; it serves when this returns.
    pub async fn start(data: &Path) -> anyhow::Result<Scheduler> {
        let program = std::env::current_exe().context("this program's own file is not to be found")?;
        let mut command = Command::new(program);
        command.args(["scheduler", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        command.env("HEADWATER_LOG", "warn").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("the scheduler cannot be started")?;
        let stderr = child.stderr.take().context("the scheduler has no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, address)) = line.split_once(LISTENING) {
                let address = address.to_owned();
                // Somebody has to read what else it says.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Scheduler { child, address });
            }
            said.push(line);
        }
        anyhow::bail!("the scheduler did not start: {}", said.join("; "))
    }

    /// The most memory that it ever took, where the system says so.
    pub fn peak_rss_bytes(&self) -> Option<u64> {
        memory_bytes(self.child.id()?, "VmHWM")
    }

    /// SIGKILL: it is measured how it comes back from that.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("the scheduler cannot be killed")
    }
}

//! A scheduler that is measured.

use std::path::Path;

use super::process::Process;

/// What the scheduler says on stderr when it serves.
const LISTENING: &str = "listening on ";

/// The process.
#[derive(Debug)]
pub struct Scheduler {
    pub process: Process,
    pub address: String,
}

impl Scheduler {
    /// Starts it on a store; it serves when this returns.
    pub async fn start(data: &Path) -> anyhow::Result<Scheduler> {
        Scheduler::start_with(data, &[]).await
    }

    /// Starts it with more arguments.
    pub async fn start_with(data: &Path, more: &[String]) -> anyhow::Result<Scheduler> {
        let mut arguments =
            ["scheduler", "--listen", "127.0.0.1:0", "--http", "none", "--data"].map(Into::into).to_vec();
        arguments.push(data.as_os_str().to_owned());
        arguments.extend(more.iter().map(Into::into));
        let (process, address) = Process::start(&arguments, LISTENING).await?;
        Ok(Scheduler { process, address })
    }

    /// The most memory that it ever took, where the system says so.
    pub fn peak_rss_bytes(&self) -> Option<u64> {
        self.process.memory_bytes("VmHWM")
    }

    /// SIGKILL: it is measured how it comes back from that.
    pub async fn kill(self) -> anyhow::Result<()> {
        self.process.kill().await
    }
}

//! Programs as tasks: whether the workers of this process run them, and the guard that they share.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;

use super::signals::Signals;
use crate::worker::exec;

/// The guard's own command. No file of settings, whatever somebody writes into it, keeps it from its work.
#[cfg(unix)]
const GUARD: [&str; 2] = ["program-guard", "--as-told"];

#[derive(Debug, Clone, clap::Args)]
pub struct Programs {
    /// Run no programs for `headwater submit`, only the tasks that are linked into this one
    ///
    /// Without it, whoever may submit may run any program here, as the user who runs this worker.
    #[arg(long)]
    no_exec: bool,
}

impl Programs {
    /// How programs are run, if they are. A guard is started with the first, as a process of this same binary.
    pub fn offered(&self) -> anyhow::Result<Option<exec::Programs>> {
        if self.no_exec {
            return Ok(None);
        }
        offered()
    }

    /// As options for another worker.
    pub fn arguments(&self) -> Vec<OsString> {
        self.no_exec.then(|| "--no-exec".into()).into_iter().collect()
    }
}

/// The file of this program, to be started as another process.
pub fn own_program() -> anyhow::Result<PathBuf> {
    // This one also names a file that was replaced meanwhile: it is what runs here.
    match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe().context("this program's own file is not to be found"),
    }
}

#[cfg(unix)]
fn offered() -> anyhow::Result<Option<exec::Programs>> {
    Ok(Some(exec::Programs::guarded_by(own_program()?, &GUARD)))
}

#[cfg(not(unix))]
fn offered() -> anyhow::Result<Option<exec::Programs>> {
    Ok(None)
}

/// End the programs of a worker that is gone.
///
/// Workers start it by themselves, and tell it on stdin which programs run. When stdin ends, it ends those that are left,
/// and then itself; nothing else ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater program-guard    (started by a worker)")]
pub struct ProgramGuard {}

impl ProgramGuard {
    pub async fn run(self) -> anyhow::Result<()> {
        // What is listened for does not end the process, and nobody does anything about it.
        let _signals = Signals::listen()?;
        #[cfg(unix)]
        tokio::task::spawn_blocking(|| exec::guard::serve(std::io::stdin().lock())).await?;
        Ok(())
    }
}

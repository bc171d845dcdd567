//! The demo's workers: processes of this same binary. Each watches its stdin, a pipe whose other end is
//! here: it ends when this process does, in whatever way. One that dies by itself is started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a worker that was told to stop may take: it waits up to 5 s for its goodbye to be read.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// The pause before a worker that died is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// Worker processes.
#[derive(Debug)]
pub struct Children {
    stop: watch::Sender<()>,
    keepers: JoinSet<()>,
}

/// How to start a worker. Its name is the same at each start, so that it takes the place of the one
/// before, whose work then goes on at once.
#[derive(Debug, Clone)]
struct Recipe {
    program: PathBuf,
    name: String,
    address: String,
    token_file: Option<PathBuf>,
}

impl Children {
    /// Starts workers for the scheduler at `address`.
    pub fn start(count: u32, address: &str, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program's own file is not to be found")?;
        let (stop, stopped) = watch::channel(());
        let mut keepers = JoinSet::new();
        for n in 1..=count {
            let recipe = Recipe {
                program: program.clone(),
                name: format!("demo-{n}"),
                address: address.to_owned(),
                token_file: token_file.map(Path::to_owned),
            };
            let (child, stdin) = recipe.start()?;
            keepers.spawn(keep(recipe, child, stdin, stopped.clone()));
        }
        Ok(Children { stop, keepers })
    }

    /// Tells all to stop, and waits until they have.
    pub async fn stop(self) {
        drop(self.stop);
        self.keepers.join_all().await;
    }
}

impl Recipe {
    fn start(&self) -> anyhow::Result<(Child, ChildStdin)> {
        let mut command = Command::new(&self.program);
        command.args(["worker", "--until-stdin-closes", "--connect", &self.address, "--name", &self.name]);
        if let Some(file) = &self.token_file {
            command.arg("--token-file").arg(file);
        }
        if std::env::var_os("HEADWATER_LOG").is_none() {
            command.env("HEADWATER_LOG", "warn");
        }
        // Ctrl-C goes to all processes of a terminal's group; these are told by this one, in order.
        #[cfg(unix)]
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start worker {}", self.name))?;
        let stdin = child.stdin.take().context("the worker has no stdin")?;
        Ok((child, stdin))
    }
}

/// Keeps a worker running until `stopped`'s sender is gone, then stops it.
async fn keep(recipe: Recipe, mut child: Child, mut stdin: ChildStdin, mut stopped: watch::Receiver<()>) {
    loop {
        tokio::select! {
            status = child.wait() => match status {
                Ok(status) if status.success() => {
                    tracing::warn!(worker = recipe.name, "has left in order: it is not started again");
                    return;
                }
                Ok(status) => tracing::warn!(worker = recipe.name, %status, "died: starting it again"),
                Err(error) => tracing::warn!(worker = recipe.name, %error, "lost: starting it again"),
            },
            _ = stopped.changed() => return stop(&recipe, child, stdin).await,
        }
        (child, stdin) = loop {
            tokio::select! {
                () = sleep(RESTART_PAUSE) => {}
                _ = stopped.changed() => return,
            }
            match recipe.start() {
                Ok(started) => break started,
                Err(error) => {
                    tracing::error!(worker = recipe.name, error = format!("{error:#}"), "trying again")
                }
            }
        };
    }
}

async fn stop(recipe: &Recipe, mut child: Child, stdin: ChildStdin) {
    drop(stdin);
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        tracing::warn!(worker = recipe.name, "did not stop in time: killing it");
        if let Err(error) = child.kill().await {
            tracing::error!(worker = recipe.name, %error, "cannot be killed");
        }
    }
}

//! One worker's process: how it is started, told to stop, and how it ended.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};

use super::told::{end_of, line};
use super::{End, TOLD_MAX};
use crate::cli::logs;
use crate::cli::programs::own_program;

/// How to start a worker.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The same at each start, so that it takes the place of the one before.
    pub name: String,
    /// Where the scheduler listens.
    pub address: String,
    pub token: Option<String>,
    pub connect_timeout: Duration,
    pub grace: Duration,
    /// The other options of `headwater worker`.
    pub options: Vec<OsString>,
    /// Whether nothing is heard of it but warnings: no log lines that tell that all is well, and nothing on stdout.
    pub quiet: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    stdin: ChildStdin,
    /// How often it was told to stop.
    told: u32,
}

impl Recipe {
    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(own_program()?);
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        command.args([
            "worker",
            "--as-told",
            "--supervised",
            "--name",
            &self.name,
            "--connect",
            &self.address,
        ]);
        command.args(["--connect-timeout", &ms(self.connect_timeout), "--grace", &ms(self.grace)]);
        command.args(logs::arguments()).args(&self.options);
        #[cfg(unix)]
        {
            // What it is called in lists of processes, where the way to this binary says little.
            if let Some(name) = std::env::args_os().next() {
                command.arg0(name);
            }
            command.process_group(0);
        }
        if self.quiet {
            command.stdout(Stdio::null());
            if std::env::var_os("HEADWATER_LOG").is_none() {
                command.env("HEADWATER_LOG", "warn");
            }
        }
        command.stdin(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }
}

impl Child {
    pub async fn start(recipe: &Recipe) -> anyhow::Result<Child> {
        let started = recipe.command()?.spawn();
        let mut process = started.with_context(|| format!("cannot start worker {}", recipe.name))?;
        let mut stdin = process.stdin.take().context("the worker has no stdin")?;
        // One that has died already is met by who waits for it.
        let _ = stdin.write_all(line(recipe.token.as_deref()).as_bytes()).await;
        Ok(Child { process, stdin, told: 0 })
    }

    /// Tells it to stop until it was told so often. May be dropped only with the child.
    pub async fn tell(&mut self, times: u32) {
        while self.told < times {
            self.told += 1;
            // As in `start`.
            let _ = match self.told {
                TOLD_MAX => self.process.start_kill(),
                _ => self.stdin.write_all(b".").await,
            };
        }
    }

    /// Waits for its end. May be dropped without a loss.
    pub async fn ended(&mut self) -> End {
        match self.process.wait().await {
            Ok(status) => end_of(status),
            Err(error) => End::Died(format!("it cannot be waited for: {error}")),
        }
    }
}

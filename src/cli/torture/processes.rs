//! The processes: all of this same binary, all with a pipe on stdin whose other end is here, so that they
//! end when this process does, in whatever way; one that is stopped when this process is killed ends when it
//! is continued. None but those that were started here is ever touched.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::place::Place;
use super::plan::{Plan, Victim};

/// How long a process that was asked to end may take.
pub const END_TIMEOUT: Duration = Duration::from_secs(30);

/// How many attempts a worker runs at a time.
const SLOTS: &str = "4";

/// The scheduler, the workers and the clients.
#[derive(Debug)]
pub struct Processes {
    program: PathBuf,
    plan: Plan,
    address: String,
    store: PathBuf,
    acks: PathBuf,
    scheduler: Member,
    workers: Vec<Member>,
    clients: Vec<Member>,
}

/// A process's place, whoever fills it.
#[derive(Debug)]
struct Member {
    victim: Victim,
    /// Counted up when it comes back under another name.
    name: u32,
    running: Option<(Child, ChildStdin)>,
}

impl Processes {
    /// Nobody yet.
    pub fn new(plan: Plan, place: &Place, address: String) -> anyhow::Result<Self> {
        let member = |victim| Member { victim, name: 0, running: None };
        Ok(Processes {
            program: std::env::current_exe().context("this program's own file is not to be found")?,
            plan,
            address,
            store: place.store(),
            acks: place.acks(),
            scheduler: member(Victim::Scheduler),
            workers: (0..plan.workers).map(|at| member(Victim::Worker(at))).collect(),
            clients: (0..plan.clients).map(|at| member(Victim::Client(at))).collect(),
        })
    }

    /// Starts one that does not run.
    pub fn start(&mut self, victim: Victim, place: &Place) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        let name = self.member(victim).name;
        let lease = format!("{}ms", self.plan.lease.as_millis());
        match victim {
            Victim::Scheduler => {
                command.args(["scheduler", "--until-stdin-closes", "--http", "none", "--deaths-max", "0"]);
                // Starts begin with snapshots, and all that happened can be read in the end.
                command.args(["--snapshot-records", "2000", "--keep-task-log"]);
                command.args(["--listen", &self.address, "--worker-lease", &lease, "--client-lease", &lease]);
                command.arg("--data").arg(&self.store);
            }
            Victim::Worker(at) => {
                let name = format!("torture-{}-{name}", at + 1);
                command.args(["worker", "--until-stdin-closes", "--slots", SLOTS, "--name", &name]);
                command.args(["--connect", &self.address, "--connect-timeout", "120s"]);
            }
            Victim::Client(at) => {
                let (number, seed) = ((at + 1).to_string(), self.plan.seed.to_string());
                command.args(["torture-client", "--connect", &self.address, "--number", &number]);
                command.args(["--seed", &seed, "--acks"]).arg(&self.acks);
            }
        }
        command.arg("--as-told");
        // Ctrl-C goes to all processes of a terminal's group; these end with this one.
        #[cfg(unix)]
        command.process_group(0);
        for name in ["HEADWATER_CONNECT", "HEADWATER_TOKEN_FILE"] {
            command.env_remove(name);
        }
        if std::env::var_os("HEADWATER_LOG").is_none() {
            command.env("HEADWATER_LOG", "warn");
        }
        let stderr = place.log_file(&victim.to_string().replace(' ', "-"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start the {victim}"))?;
        let stdin = child.stdin.take().context("it has no stdin")?;
        self.member(victim).running = Some((child, stdin));
        Ok(())
    }

    /// SIGKILL.
    pub async fn kill(&mut self, victim: Victim) -> anyhow::Result<()> {
        if let Some((mut child, _stdin)) = self.member(victim).running.take() {
            child.kill().await.with_context(|| format!("cannot kill the {victim}"))?;
        }
        Ok(())
    }

    /// Lets a worker come back under another name.
    pub fn rename(&mut self, victim: Victim) {
        self.member(victim).name += 1;
    }

    /// Sends a signal: `STOP`, `CONT`, `TERM`.
    pub async fn signal(&mut self, victim: Victim, name: &str) -> anyhow::Result<()> {
        let running = self.member(victim).running.as_ref();
        let id = running.and_then(|(child, _)| child.id()).context("it does not run")?;
        let sent = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().await;
        ensure!(sent.context("there is no `kill` to send signals with")?.success(), "`kill -{name}` failed");
        Ok(())
    }

    /// Who has ended though nobody ended it.
    pub fn ended_by_itself(&mut self) -> anyhow::Result<Option<(Victim, ExitStatus)>> {
        let members = std::iter::once(&mut self.scheduler).chain(&mut self.workers).chain(&mut self.clients);
        for Member { victim, running, .. } in members {
            if let Some((child, _)) = running
                && let Some(status) = child.try_wait()?
            {
                return Ok(Some((*victim, status)));
            }
        }
        Ok(None)
    }

    /// Asks a process to end, the scheduler with SIGTERM, the others by closing their stdin, and waits for
    /// its end; `None`: it does not end.
    pub async fn end(&mut self, victim: Victim) -> anyhow::Result<Option<ExitStatus>> {
        if victim == Victim::Scheduler {
            self.signal(victim, "TERM").await?;
        }
        let running = self.member(victim).running.take();
        let (mut child, stdin) = running.with_context(|| format!("the {victim} does not run"))?;
        // A second request to end would mean: at once.
        let _held = (victim == Victim::Scheduler).then_some(stdin);
        Ok(match timeout(END_TIMEOUT, child.wait()).await {
            Ok(status) => Some(status?),
            Err(_) => None,
        })
    }

    /// All workers.
    pub fn workers(&self) -> Vec<Victim> {
        self.workers.iter().map(|member| member.victim).collect()
    }

    /// All clients.
    pub fn clients(&self) -> Vec<Victim> {
        self.clients.iter().map(|member| member.victim).collect()
    }

    /// Reads the whole store, which nobody has any more. Answers whether it is whole.
    pub async fn verify(&self, place: &Place) -> anyhow::Result<bool> {
        let mut command = Command::new(&self.program);
        command.args(["log", "verify", "--as-told", "--quiet", "--data"]).arg(&self.store);
        command.stdin(Stdio::null()).stdout(place.log_file("verify")?).stderr(place.log_file("verify")?);
        let status = command.kill_on_drop(true).status().await.context("cannot start `log verify`")?;
        Ok(status.success())
    }

    fn member(&mut self, victim: Victim) -> &mut Member {
        match victim {
            Victim::Scheduler => &mut self.scheduler,
            Victim::Worker(at) => &mut self.workers[at],
            Victim::Client(at) => &mut self.clients[at],
        }
    }
}

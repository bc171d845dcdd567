//! A scheduler on a store of its own, and who joins it.

use std::net::TcpListener;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::process::{Ended, Process, headwater, run};

/// Ports to listen on: below those that the system gives to who connects, so that nobody has taken one
/// while a scheduler is away.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// A scheduler, and the place of its store.
pub struct Cluster {
    pub dir: Dir,
    pub address: String,
    options: Vec<String>,
    scheduler: Option<Process>,
}

/// A temporary folder.
pub struct Dir(TempDir);

impl Dir {
    pub fn new() -> Self {
        Dir(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a folder with a plain name").to_owned()
    }
}

impl Cluster {
    /// On a fresh store.
    pub async fn start() -> Self {
        Cluster::start_on(Dir::new(), &[]).await
    }

    /// On the store `data` in a folder, with more options.
    pub async fn start_on(dir: Dir, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut cluster = Cluster { dir, address: free_address(), options, scheduler: None };
        cluster.start_scheduler().await;
        cluster
    }

    /// Starts the scheduler where it was.
    pub async fn start_scheduler(&mut self) {
        let data = self.dir.text("data");
        let mut arguments = vec!["scheduler", "--listen", &self.address, "--data", &data];
        arguments.extend(self.options.iter().map(String::as_str));
        let mut scheduler = headwater(&arguments);
        assert_eq!(scheduler.said("listening on ").await, self.address);
        self.scheduler = Some(scheduler);
    }

    /// Sends the scheduler a signal: `STOP`, `CONT`.
    pub async fn signal_scheduler(&self, name: &str) {
        self.scheduler.as_ref().expect("it runs").signal(name).await;
    }

    /// SIGKILL.
    pub async fn kill_scheduler(&mut self) {
        self.take_scheduler().kill().await;
    }

    /// The scheduler, to be ended.
    pub fn take_scheduler(&mut self) -> Process {
        self.scheduler.take().expect("it runs")
    }

    /// Waits until the scheduler says this on stderr.
    pub async fn scheduler_said(&mut self, words: &str) {
        self.scheduler.as_mut().expect("it runs").said(words).await;
    }

    /// How much memory the scheduler takes.
    #[cfg(target_os = "linux")]
    pub fn rss_bytes(&self) -> u64 {
        let scheduler = self.scheduler.as_ref().expect("it runs").id();
        let status = std::fs::read_to_string(format!("/proc/{scheduler}/status")).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kibibytes = line.trim().strip_suffix(" kB").and_then(|number| number.parse::<u64>().ok());
        kibibytes.expect("a number of kB") * 1024
    }

    /// A worker that has joined.
    pub async fn worker(&self, name: &str) -> Process {
        self.worker_with(name, &[]).await
    }

    /// A worker that has joined with more options.
    pub async fn worker_with(&self, name: &str, options: &[&str]) -> Process {
        let mut worker = self.spawn(&[&["worker", "--name", name, "--slots", "2"], options].concat());
        worker.said("joined").await;
        worker
    }

    /// Starts a command that is a client or a worker here.
    pub fn spawn(&self, arguments: &[&str]) -> Process {
        headwater(&[arguments, &["--connect", &self.address]].concat())
    }

    /// Runs a command that is a client here, to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.spawn(arguments).end().await
    }
}

/// A folder with the store `data`, which a demo has left after its first result. It had one worker: of
/// several, the last could still be about to join, and would then leave a session behind.
pub async fn left_by_a_demo() -> Dir {
    let dir = Dir::new();
    let data = dir.text("data");
    let demo = ["demo", "--count", "1", "--interval", "1h", "--workers", "1", "--listen", "127.0.0.1:0"];
    let ended = run(&[&demo[..], &["--data", &data]].concat()).await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    dir
}

/// Where nobody listens.
pub fn free_address() -> String {
    let port = std::iter::repeat_with(|| fastrand::u16(PORTS))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("it goes on until there is one");
    format!("127.0.0.1:{port}")
}

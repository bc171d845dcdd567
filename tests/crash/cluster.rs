//! Real processes: a scheduler and workers, each of which may be killed at any moment.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headwater::client::{Record, Submission};
use headwater::protocol::channel::Progress;
use headwater::protocol::task::{Argument, TaskOptions};
use headwater::protocol::terms::Terms;
use headwater::protocol::{ChannelEvent, Element, Payload, TaskId};
use headwater::{Client, Item, Result, TaskFuture};
use std::collections::BTreeMap;
use tempfile::TempDir;

/// Processes on one store. They are killed when this is dropped.
pub struct Cluster {
    dir: TempDir,
    deaths_max: u32,
    pub address: String,
    scheduler: Option<Child>,
    workers: BTreeMap<String, Child>,
    /// Workers whose place was taken while they lived.
    replaced: Vec<Child>,
}

impl Cluster {
    /// A scheduler on a fresh store, on a port that was free. Workers may die as often as they are killed.
    pub fn start() -> Self {
        Self::start_with(0)
    }

    /// The same, with a limit on the deaths of a task's workers.
    pub fn start_with(deaths_max: u32) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let (workers, replaced) = (BTreeMap::new(), Vec::new());
        let mut cluster = Cluster { dir, deaths_max, address, scheduler: None, workers, replaced };
        cluster.start_scheduler();
        cluster
    }

    pub fn start_scheduler(&mut self) {
        let data = self.dir.path().join("data");
        let data = data.to_str().expect("a folder with a plain name");
        let deaths_max = self.deaths_max.to_string();
        let arguments = ["scheduler", "--listen", &self.address, "--data", data, "--deaths-max", &deaths_max];
        self.scheduler = Some(headwater(&arguments));
    }

    /// SIGKILL.
    pub fn kill_scheduler(&mut self) {
        kill(self.scheduler.take());
    }

    /// Starts a worker; one of the same name loses its place, and lives on.
    pub fn start_worker(&mut self, name: &str) {
        let worker = headwater(&["worker", "--connect", &self.address, "--name", name, "--slots", "2"]);
        self.replaced.extend(self.workers.insert(name.to_owned(), worker));
    }

    /// SIGKILL.
    pub fn kill_worker(&mut self, name: &str) {
        kill(self.workers.remove(name));
    }

    pub async fn client(&self) -> Client {
        let client = Client::builder().connect_timeout(Duration::from_secs(30)).connect(&self.address).await;
        client.expect("the scheduler can be reached")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_scheduler();
        let workers = std::mem::take(&mut self.workers).into_values();
        workers.chain(self.replaced.drain(..)).for_each(|worker| kill(Some(worker)));
    }
}

fn headwater(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(arguments).env("HEADWATER_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("the binary can be started")
}

fn kill(child: Option<Child>) {
    let Some(mut child) = child else { return };
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Submits one of the demo's tasks under a name of its own, to stay.
pub async fn submit_demo(
    client: &Client,
    name: &str,
    function: &str,
    arguments: &[&str],
) -> Result<TaskFuture<()>> {
    let encode = |text: &&str| Argument::Value(Payload::encode(text).expect("text encodes"));
    let submission = Submission {
        function: format!("rust:headwater::cli::demo::tasks::{function}").into(),
        version: 1,
        is_pure: false,
        arguments: arguments.iter().map(encode).collect(),
        options: TaskOptions { detach: true, ..TaskOptions::default() },
        terms: Terms::default(),
        name: Some(name.into()),
        kept: Vec::new(),
    };
    client.submit_encoded(submission).await
}

/// What a channel's futures came to, in order, as read from offset 0; `None` for those that have not.
pub async fn results(client: &Client, channel: &str) -> Result<Vec<Option<f64>>> {
    let mut records = client.channel::<f64>(channel).await?.records();
    let (mut order, mut results, mut next) = (Vec::<TaskId>::new(), BTreeMap::new(), 0);
    while let Some(item) = records.next().await {
        let Record { offset, event, .. } = match item? {
            Item::Record(record) => record,
            Item::CaughtUp { .. } => break,
            other => panic!("nothing was trimmed or lost: {other:?}"),
        };
        assert_eq!(offset, next, "a gap or a repeat on {channel}");
        next += 1;
        match event {
            ChannelEvent::Appended { element: Element::Future(key), .. } => order.push(key.id),
            ChannelEvent::Progress { key, progress: Progress::Finished { result } } => {
                let value: f64 = result.decode().expect("a number");
                assert_eq!(results.insert(key.id, value), None, "{key} finished twice");
            }
            ChannelEvent::Progress { key, progress: Progress::Failed { error } } => {
                panic!("{key} failed: {error}")
            }
            _ => {}
        }
    }
    Ok(order.into_iter().map(|task| results.get(&task).copied()).collect())
}

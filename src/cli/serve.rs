//! A scheduler in this process: its options, its start, and its end. For `scheduler`, `up` and `demo`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::connect::{ADDRESS, token};
use super::output::note;
use super::progress::Progress;
use super::signals::Signals;
use super::supervise::{Recipe, Supervised};
use crate::client::millis::millis;
use crate::http;
use crate::local::{Local, Options, StartError, Store};
use crate::log;
use crate::protocol::event::Receipt;
use crate::protocol::size::Bytes;
use crate::rows::counted;
use crate::rows::time::duration;
use crate::scheduler::core::{DISK_RESERVE_BYTES, Settings};
use crate::scheduler::snapshots::{self, EVERY_RECORDS, History, TASK_LOG_RECORDS};
use crate::scheduler::{Handle, Opening};
use crate::server::reachable;
use crate::traces::{self, Endpoint};

/// The name of the service in traces, unless another one is given.
pub const SERVICE: &str = "headwater";

/// How often a terminal shows how far a recovery is: every 100 ms.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT", default_value = ADDRESS)]
    pub listen: String,

    /// Where to listen for HTTP, for the dashboard and programs in any language; `none`: nowhere
    ///
    /// Unless given: 127.0.0.1:8787, or any port that is free if that is not; which one is printed. The token holds there,
    /// too. GET /openapi.json says what can be asked.
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,

    /// Where to send traces: a collector for OTLP over HTTP, like http://127.0.0.1:4318
    ///
    /// Of each task that ends: when it was submitted, waited and was tried, and what it appended. They are read off the log
    /// beside the scheduler, which waits for no collector. `headwater trace export` exports what was before.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp: Option<Endpoint>,

    /// The name of the service in traces
    #[arg(long, value_name = "NAME", env = "OTEL_SERVICE_NAME", default_value = SERVICE)]
    pub otlp_service: String,

    /// The directory that keeps the log; made when it is not there
    #[arg(long, value_name = "DIR", default_value = "./headwater-data")]
    pub data: PathBuf,

    /// A file that holds the cluster's token, which every client and worker must show
    #[arg(long, value_name = "FILE", env = "HEADWATER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// Let anyone who reaches the ports do anything, though other machines can reach them
    ///
    /// So can any web page that somebody opens within that network: a browser asks over HTTP what a page tells it to.
    #[arg(long)]
    pub insecure: bool,

    /// How long a worker that cannot be heard keeps what it runs
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub worker_lease: Duration,

    /// How long a client that cannot be heard keeps the futures it holds
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub client_lease: Duration,

    /// Fail a task as poison once so many workers in a row died while they ran it; 0: never
    ///
    /// An attempt that submitted or appended something before its worker died does not count, nor does one that
    /// waited there for a slot.
    /// A worker has died when its session ended without a goodbye: it was not heard of for its lease, or
    /// another one joined under its name.
    #[arg(long, value_name = "N", default_value_t = Settings::default().deaths_max)]
    pub deaths_max: u32,

    /// Do not start on a damaged store
    ///
    /// Without it, a damaged store is repaired: a new one is made of all that is whole, what is lost is said
    /// in its place, and the damaged one is kept beside it.
    #[arg(long)]
    pub no_repair: bool,

    /// How much of the disk is kept free; 0: nothing
    ///
    /// With less free where the log is kept, appends, submissions and new channels are refused, no task is
    /// started and no snapshot begun, until there is an eighth more. Everything else goes on. It is looked
    /// every half second.
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(DISK_RESERVE_BYTES))]
    pub disk_reserve: Bytes,

    /// Write a snapshot when so many records, and half as many as there are tasks, lie behind the last
    #[arg(long, value_name = "N", default_value_t = EVERY_RECORDS)]
    pub snapshot_records: u64,

    /// How long records of the task log ($tasks) are kept that no start needs any more
    ///
    /// A start begins with a snapshot, so older records are only for readers. Channels are kept.
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = duration)]
    pub task_log_age: Duration,

    /// How many records of the task log are kept at most that no start needs any more
    #[arg(long, value_name = "N", default_value_t = TASK_LOG_RECORDS)]
    pub task_log_records: u64,

    /// Keep the whole task log
    #[arg(long, conflicts_with_all = ["task_log_age", "task_log_records"])]
    pub keep_task_log: bool,
}

impl Serve {
    /// What to start: a scheduler on the store, without workers of its own.
    pub fn options(&self) -> anyhow::Result<Options> {
        Ok(Options {
            listen: self.listen.clone(),
            http: match self.http.as_deref() {
                None => Some(http::Options::Usual),
                Some("none") => None,
                Some(address) => Some(http::Options::At(address.to_owned())),
            },
            traces: self.otlp.clone().map(|endpoint| {
                let service = self.otlp_service.clone();
                traces::Options { endpoint, service }
            }),
            store: Store::Directory(self.data.clone()),
            token: token(self.token_file.as_deref())?,
            insecure: self.insecure,
            repair: !self.no_repair,
            settings: Settings {
                client_lease_ms: millis(self.client_lease),
                worker_lease_ms: millis(self.worker_lease),
                deaths_max: self.deaths_max,
                disk_reserve_bytes: self.disk_reserve.0,
            },
            snapshots: snapshots::Options {
                every_records: self.snapshot_records,
                history: match self.keep_task_log {
                    true => History::All,
                    false => {
                        History::Newest { age_ms: millis(self.task_log_age), records: self.task_log_records }
                    }
                },
            },
            ..Options::default()
        })
    }

    /// Starts a scheduler, says on stderr what it found, and runs it until a signal comes, with workers as processes of
    /// their own if there are recipes for them at the address where it listens. Then its workers, those in this process as
    /// well, have `grace` to finish what they run, or until another signal comes.
    pub async fn run(
        &self,
        options: Options,
        mut signals: Signals,
        grace: Duration,
        recipes: impl FnOnce(SocketAddr) -> Vec<Recipe>,
    ) -> anyhow::Result<()> {
        let mut local = tokio::select! {
            started = start(options) => started?,
            () = signals.next() => return Ok(()),
        };
        note(self.found(&local));
        note(format_args!("listening on {}", local.address()));
        note_http(&local);
        let mut supervised = match Supervised::start(recipes(local.address())).await {
            Ok(supervised) => supervised,
            Err(error) => {
                local.stop().await;
                return Err(error);
            }
        };
        let failed = tokio::select! {
            error = local.failed() => Some(error),
            () = signals.next() => None,
            never = supervised.note_ends() => never,
        };
        if let Some(error) = failed {
            return end(error, supervised, local).await;
        }
        let failed = local.failed();
        note("stopping");
        if !grace.is_zero() {
            let retire = async { tokio::join!(supervised.retire(), local.retire_workers()) };
            let failed = tokio::select! {
                // Whatever they have not finished then is started again by the next scheduler.
                _ = timeout(grace, retire) => None,
                error = failed => Some(error),
                () = signals.next() => {
                    supervised.tell(2);
                    None
                }
            };
            if let Some(error) = failed {
                return end(error, supervised, local).await;
            }
        }
        let stop = async {
            supervised.stop().await;
            local.stop().await;
        };
        signals.finish(stop).await
    }

    /// What a start found in the store, in one line.
    pub fn found(&self, local: &Local) -> String {
        let dir = self.data.display();
        match local.fresh() {
            true => format!("fresh store in {dir}, epoch {}", local.receipt().epoch),
            false => format!("recovered from {dir}: {}", in_words(local.receipt())),
        }
    }
}

/// Says where it is reached over HTTP, if it is.
pub fn note_http(local: &Local) {
    if let Some(address) = local.http_address() {
        note(format_args!("HTTP on http://{}", reachable(address)));
    }
}

/// Starts a scheduler, and shows on the terminal, if there is one, how far the repair of its store is, and then its recovery.
pub async fn start(options: Options) -> Result<Local, StartError> {
    let (tell, told) = oneshot::channel();
    // Nobody is told once it is started, or is not to be.
    let start = Local::start_telling(options, |opening| drop(tell.send(opening)));
    let show = async {
        let Ok(opening) = told.await else { return std::future::pending().await };
        // Elsewhere log lines say it.
        let handle = show_repair(&opening).await;
        let mut progress = Progress::spin("recovering");
        while let Some(recovery) = handle.recovering() {
            progress.draw(0, None, recovery);
            sleep(SHOWN_EVERY).await;
        }
        drop(progress);
        std::future::pending().await
    };
    tokio::select! {
        started = start => started,
        never = show => never,
    }
}

async fn show_repair(opening: &Opening) -> Handle {
    let mut progress = Progress::begin("repairing");
    loop {
        if let Some(handle) = opening.handle() {
            return handle;
        }
        if let Some(step) = opening.step().filter(|_| progress.is_on_terminal()) {
            progress.update(step.done, Some(step.of), step);
        }
        sleep(SHOWN_EVERY).await;
    }
}

/// The end behind a scheduler that has failed.
async fn end(error: log::Error, supervised: Supervised, local: Local) -> anyhow::Result<()> {
    tokio::join!(supervised.stop(), local.end());
    Err(error.into())
}

fn in_words(receipt: &Receipt) -> String {
    let mut words = format!(
        "epoch {}, last durable commit {}, {}, {}, {} kept, {} requeued, {} running",
        receipt.epoch,
        receipt.seq,
        counted(receipt.records, "record"),
        counted(receipt.channels, "channel"),
        counted(receipt.tasks_kept, "task"),
        receipt.tasks_requeued,
        receipt.tasks_running
    );
    if let Some(damage) = &receipt.damage {
        words.push_str(&format!("; damage: {damage}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn options_come_from_the_command_line() {
        let line = Line::parse_from(["x", "--listen", "[::1]:0", "--data", "d", "--worker-lease", "500ms"]);
        assert!(line.serve.options().unwrap().repair);
        assert!(!Line::parse_from(["x", "--no-repair"]).serve.options().unwrap().repair);
        let options = line.serve.options().unwrap();
        assert_eq!((options.listen.as_str(), options.workers), ("[::1]:0", 0));
        assert_eq!(options.store, Store::Directory("d".into()));
        assert_eq!((options.settings.worker_lease_ms, options.settings.client_lease_ms), (500, 30_000));
        assert_eq!((options.settings.deaths_max, options.settings.disk_reserve_bytes), (3, 256 << 20));
        let line_with = |size| Line::try_parse_from(["x", "--disk-reserve", size]);
        assert_eq!(line_with("2GiB").unwrap().serve.disk_reserve, Bytes(2 << 30));
        assert!(line_with("2").is_err_and(|error| error.to_string().contains("like 0, 64MiB or 1GiB")));
        assert_eq!(options.snapshots, snapshots::Options::default());
        let line = Line::parse_from(["x", "--task-log-age", "1h", "--task-log-records", "5"]);
        let history = History::Newest { age_ms: 3_600_000, records: 5 };
        assert_eq!(line.serve.options().unwrap().snapshots.history, history);
        assert_eq!(options.http, Some(http::Options::Usual));
        let http = |address| Line::parse_from(["x", "--http", address]).serve.options().unwrap().http;
        assert_eq!((http("none"), http("h:1")), (None, Some(http::Options::At("h:1".to_owned()))));
        let line = Line::parse_from(["x", "--keep-task-log"]);
        assert_eq!(line.serve.options().unwrap().snapshots.history, History::All);
    }

    #[test]
    fn damage_is_never_left_out() {
        let receipt = Receipt { damage: Some("commit 7 is gone".to_owned()), ..Receipt::default() };
        assert!(in_words(&receipt).ends_with("; damage: commit 7 is gone"));
    }
}

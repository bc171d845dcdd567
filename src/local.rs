//! A scheduler with its log and its port in this process, and workers if wanted: what the command line
//! starts, and [`Client::local`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};

use crate::client::{Client, Error, Result, blocking};
#[cfg(feature = "http")]
use crate::http::{self, Http};
use crate::log::{self, Log, Memory, OpenError, Opened, Purpose, Reader, SledLog, SledOptions, Step};
use crate::protocol::equipment::Equipment;
use crate::protocol::event::Receipt;
use crate::scheduler::core::Settings;
use crate::scheduler::{self, Handle, Opening, Opens, snapshots};
use crate::server::{self, BindError, Server};
#[cfg(feature = "otel")]
use crate::traces;
use crate::worker::{self, results::At};

/// Where records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In memory: gone with the process.
    Memory,
    /// In a directory, which is made if it is not there.
    Directory(PathBuf),
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen, `host:port`; port 0 takes any that is free.
    pub listen: String,
    /// Where records are kept.
    pub store: Store,
    /// Whether a damaged store is repaired. Otherwise it is left as it is, and nothing starts.
    pub repair: bool,
    /// Where it listens for HTTP, if it does.
    #[cfg(feature = "http")]
    pub http: Option<http::Options>,
    /// Which collector gets traces, if one does.
    #[cfg(feature = "otel")]
    pub traces: Option<traces::Options>,
    /// What every client must show.
    pub token: Option<String>,
    /// Whether anyone who reaches the port may do anything, though it can be reached from elsewhere.
    pub insecure: bool,
    /// The scheduler's settings.
    pub settings: Settings,
    /// When snapshots are written, and how much of the task log is kept.
    pub snapshots: snapshots::Options,
    /// How many workers run in this process.
    pub workers: u32,
    /// How many attempts each of them runs at a time.
    pub slots: u32,
    /// How each of them keeps large results. Where others fetch these follows from where the scheduler listens.
    pub results: worker::results::Options,
    /// Whether they run programs, too, and who guards these.
    pub programs: Option<worker::exec::Programs>,
    /// What they have together that tasks may need: each has its part of it.
    pub equipment: Equipment,
}

impl Default for Options {
    /// In memory, on 127.0.0.1:8786, without workers of its own.
    fn default() -> Self {
        Options {
            listen: "127.0.0.1:8786".to_owned(),
            store: Store::Memory,
            repair: true,
            #[cfg(feature = "http")]
            http: None,
            #[cfg(feature = "otel")]
            traces: None,
            token: None,
            insecure: false,
            settings: Settings::default(),
            snapshots: snapshots::Options::default(),
            workers: 0,
            slots: 1,
            results: worker::results::Options::default(),
            programs: None,
            equipment: Equipment::default(),
        }
    }
}

/// Why a scheduler did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read or written.
    #[error("the store cannot be recovered: {0}")]
    Log(#[from] log::Error),
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread broke down.
    #[error("the start broke down: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// A running scheduler. Dropping it stops it without waiting; [`Local::stop`] waits.
pub struct Local {
    address: SocketAddr,
    receipt: Receipt,
    fresh: bool,
    handle: Handle,
    failed: watch::Receiver<Option<log::Error>>,
    driver: JoinHandle<()>,
    server: (oneshot::Sender<()>, JoinHandle<()>),
    #[cfg(feature = "http")]
    http: Option<http::Open>,
    #[cfg(feature = "otel")]
    traces: Option<traces::Live>,
    workers: Vec<LocalWorker>,
}

/// A worker in this process. Dropping the first has it retire, the second hand over.
type LocalWorker = (oneshot::Sender<()>, oneshot::Sender<()>, JoinHandle<Result<()>>);

impl Local {
    /// Opens the store, listens, recovers the state, and starts the workers.
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(options: Options) -> std::result::Result<Local, StartError> {
        Local::start_telling(options, |_| {}).await
    }

    /// As [`start`](Self::start), and tells before the store is opened what then says how far that is, and how far the recovery.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_telling(
        options: Options,
        tell: impl FnOnce(Opening) + Send,
    ) -> std::result::Result<Local, StartError> {
        // The port first: whoever cannot have it leaves the store alone.
        let guard = server::Options { token: options.token.clone(), insecure: options.insecure };
        let server = Server::bind(&options.listen, guard.clone()).await?;
        let address = server.local_addr();
        #[cfg(feature = "http")]
        let http = match &options.http {
            Some(http) => Some(Http::bind(http, guard.clone()).await?),
            None => None,
        };
        let (opens, opening) = Opening::begin();
        tell(opening.clone());
        #[cfg(feature = "http")]
        let http = http.map(|http| http.open(opening.clone(), address));
        let (stop, stopped) = oneshot::channel::<()>();
        // A sender that is dropped stops it, too.
        let server = (stop, tokio::spawn(server.run_from(opening, async { drop(stopped.await) })));
        let Options { store, repair, settings, snapshots, .. } = options.clone();
        let begin = move || {
            let (log, opened) = open(store, repair, &opens)?;
            let reader = Reader::new(log.clone());
            let scheduler = scheduler::start(log, reader.clone(), settings, snapshots, opened.damage)?;
            Ok::<_, StartError>((scheduler, reader, opened.fresh, opens))
        };
        let begun = tokio::task::spawn_blocking(begin).await.map_err(StartError::from).flatten();
        let (scheduler, reader, fresh, opens) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // So that the ports are free again.
                #[cfg(feature = "http")]
                if let Some(door) = http {
                    door.close().await;
                }
                end(server).await;
                return Err(error);
            }
        };
        tracing::info!(%address, "logs can be read; all else waits for the recovery");
        let handle = scheduler.handle.clone();
        opens.opened(handle.clone(), reader.clone());
        #[cfg(feature = "otel")]
        let for_traces = reader;
        let (failure, failed) = watch::channel(None);
        let Ok(receipt) = scheduler.receipt.await else {
            let failure = failure_of(scheduler.driver.await);
            let stopped = || log::Error::Refused("it was stopped while it recovered".to_owned());
            return Err(failure.unwrap_or_else(stopped).into());
        };
        let driver = tokio::spawn(async move {
            failure.send_replace(failure_of(scheduler.driver.await));
        });
        #[cfg(feature = "otel")]
        let traces =
            options.traces.clone().map(|to| traces::Live::start(to, for_traces, handle.meters().clone()));
        let workers = (1..=options.workers).map(|n| start_worker(&options, address, n)).collect();
        Ok(Local {
            address,
            receipt,
            fresh,
            handle,
            failed,
            driver,
            server,
            #[cfg(feature = "http")]
            http,
            #[cfg(feature = "otel")]
            traces,
            workers,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for HTTP, if it does.
    #[cfg(feature = "http")]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(http::Open::local_addr)
    }

    /// What its start found.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Whether the store was new.
    pub fn fresh(&self) -> bool {
        self.fresh
    }

    /// Waits until the log can no longer be written, which a disk that works and has room never brings about, or the
    /// scheduler has broken down. It has stopped then, and the process is to end: a new start finds what was acknowledged.
    pub fn failed(&self) -> impl Future<Output = log::Error> + use<> {
        let mut failed = self.failed.clone();
        async move {
            loop {
                if let Some(error) = failed.borrow_and_update().clone() {
                    return error;
                }
                if failed.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }

    /// Has the workers of this process retire, and waits until all of them have left: they take nothing more,
    /// and finish what they run. May be given up at any moment.
    pub async fn retire_workers(&mut self) {
        let none = || oneshot::channel().0;
        self.workers.iter_mut().for_each(|(retire, ..)| drop(std::mem::replace(retire, none())));
        while let Some((.., worker)) = self.workers.last_mut() {
            note(worker.await);
            self.workers.pop();
        }
    }

    /// Stops in order: the workers leave, what was accepted becomes durable, everyone is told.
    pub async fn stop(self) {
        // All are told before the first is waited for.
        let told = |(retire, hand_over, worker): LocalWorker| {
            drop((hand_over, retire));
            worker
        };
        let workers: Vec<_> = self.workers.into_iter().map(told).collect();
        for worker in workers {
            note(worker.await);
        }
        #[cfg(feature = "http")]
        if let Some(door) = self.http {
            door.close().await;
        }
        self.handle.shutdown().await;
        let _ = self.driver.await;
        // Behind all that was accepted.
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.close().await;
        }
        end(self.server).await;
    }

    /// Ends what is left of a scheduler that has [failed](Self::failed): whoever waits for an answer hears that first.
    pub async fn end(self) {
        #[cfg(feature = "http")]
        if let Some(door) = self.http {
            door.close().await;
        }
        end(self.server).await;
    }
}

/// Ends all connections, each once what is to be said there has gone out.
async fn end((stop, server): (oneshot::Sender<()>, JoinHandle<()>)) {
    drop(stop);
    let _ = server.await;
}

/// How often each step of a repair says in a log line how far it is, when it begins and then.
const TOLD_EVERY: Duration = Duration::from_secs(1);

fn open(store: Store, repair: bool, opens: &Opens) -> std::result::Result<(Arc<dyn Log>, Opened), OpenError> {
    match store {
        Store::Memory => Ok((Arc::new(Memory::new()), Opened { fresh: true, damage: None })),
        Store::Directory(dir) => {
            let purpose = if repair { Purpose::Serve } else { Purpose::ServeWhole };
            let mut told = None;
            let mut tell = |step: Step| {
                opens.is_at(step);
                if told
                    .is_none_or(|(doing, at): (_, Instant)| doing != step.doing || at.elapsed() >= TOLD_EVERY)
                {
                    told = Some((step.doing, Instant::now()));
                    tracing::info!("repairing the store: {step}");
                }
            };
            let options = SledOptions { purpose, ..SledOptions::default() };
            let (log, opened) = SledLog::open_telling(&dir, options, &mut tell)?;
            Ok((Arc::new(log), opened))
        }
    }
}

fn start_worker(options: &Options, address: SocketAddr, n: u32) -> LocalWorker {
    let worker = worker::Options {
        address: address.to_string(),
        name: Some(format!("local-{n}")),
        slots: options.slots,
        token: options.token.clone(),
        connect_timeout: Duration::from_secs(10),
        // Whoever reaches the scheduler reaches them, too, whatever this machine is called elsewhere.
        results: worker::results::Options { at: At::Beside(address.ip()), ..options.results.clone() },
        programs: options.programs.clone(),
        equipment: options.equipment.part(n as usize - 1, options.workers as usize),
    };
    let (retire, retires) = oneshot::channel::<()>();
    let (hand_over, hands_over) = oneshot::channel::<()>();
    let run = worker::run(worker, async { drop(retires.await) }, async { drop(hands_over.await) });
    (retire, hand_over, tokio::spawn(run))
}

/// Why the process must end, if the driver did not end in order.
fn failure_of(
    ended: std::result::Result<std::result::Result<(), log::Error>, JoinError>,
) -> Option<log::Error> {
    match ended {
        Ok(ended) => ended.err(),
        Err(error) => Some(log::Error::Unknown(format!("the scheduler broke down: {error}"))),
    }
}

fn note(ended: std::result::Result<Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a worker ended with an error"),
        Err(error) => tracing::error!(%error, "a worker broke down"),
    }
}

impl Client {
    /// A client with a scheduler, a log in memory and a worker of its own, all in this process, with as
    /// many slots as there are cores. They end with the client's last clone. For tests, and to begin
    /// with; what is to last wants `headwater up`.
    ///
    /// # Errors
    /// When this process may not listen on loopback.
    pub async fn local() -> Result<Client> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = Options {
            listen: "127.0.0.1:0".to_owned(),
            workers: 1,
            slots: u32::try_from(cores).unwrap_or(u32::MAX),
            equipment: worker::detect::equipment(),
            ..Options::default()
        };
        let local = Local::start(options).await.map_err(Error::other)?;
        let client = Client::connect(&local.address().to_string()).await?;
        Ok(client.keeping(Arc::new(local)))
    }
}

impl blocking::Client {
    /// As [`Client::local`].
    ///
    /// # Errors
    /// As there.
    pub fn local() -> Result<blocking::Client> {
        blocking::Client::opened_by(Client::local())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scheduler_that_breaks_down_has_failed() {
        assert!(failure_of(Ok(Ok(()))).is_none());
        let broken = tokio::spawn(async { panic!("a record of 100032 bytes") }).await;
        let words = failure_of(broken).unwrap().to_string();
        assert!(words.contains("the scheduler broke down") && words.contains("100032 bytes"), "{words}");
    }
}

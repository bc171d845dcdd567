//! A start of the scheduler: a new epoch, then the state from the store, then the driver.
//!
//! ```text
//!   start ──▶ epoch begun: logs can be read, hellos wait ──▶ recover, on a thread ──▶ driver: hellos are answered
//!                                                      └───▶ find names, on another: channels are found by name
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::Pipeline;
use super::core::{Core, LogFacts, Settings};
use super::driver::{CALLS_WAITING_MAX, Driver, now};
use super::ends;
use super::handle::{Call, Handle, Recovery};
use super::meters::Meters;
use super::names::{self, More, Names};
use super::recovery::{self, Recovered};
use super::snapshots::{self, Snapshots};
use super::writer;
use crate::log::{Error, Log, Reader};
use crate::protocol::event::Receipt;
use crate::protocol::start::RecoveryProgress;
use crate::protocol::task::shortened;

/// How often a long recovery says in a log line how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A scheduler that has begun to run.
#[derive(Debug)]
pub struct Scheduler {
    /// How to reach it.
    pub handle: Handle,
    /// What its start found, once it has recovered. Without an answer it never did: see `driver`.
    pub receipt: oneshot::Receiver<Receipt>,
    /// The recovery, then the driver. Ends after [`Handle::shutdown`], or with the error of a store that could
    /// not be read or written.
    pub driver: JoinHandle<Result<(), Error>>,
}

/// What there is to start from.
struct Beginning {
    log: Arc<dyn Log>,
    reader: Reader,
    settings: Settings,
    snapshots: snapshots::Options,
    /// What opening the store found wrong with it.
    damage: Option<String>,
}

/// Begins an epoch on a store, and recovers the state while its logs can be read already; then the driver and
/// its writer run. `damage` is what opening the store found wrong with it. Must be called inside a tokio runtime.
///
/// # Errors
/// When the store cannot be written.
pub fn start(
    log: Arc<dyn Log>,
    reader: Reader,
    settings: Settings,
    snapshots: snapshots::Options,
    damage: Option<String>,
) -> Result<Scheduler, Error> {
    // Of commits that are not there any more: what comes in their place is another history.
    let last = log.last().seq;
    for ahead in log.snapshots()?.into_iter().filter(|seq| *seq > last) {
        tracing::warn!(seq = %ahead, "a snapshot is newer than the newest commit: it is removed");
        log.drop_snapshot(ahead)?;
    }
    log.begin_epoch()?;
    let (calls, waiting) = mpsc::channel(CALLS_WAITING_MAX);
    let (told, progress) = watch::channel(Some(RecoveryProgress::Snapshot(0)));
    let (named, names) = watch::channel(Names::new());
    let recovery = Recovery { progress, names, stopping: Arc::default() };
    let recovering = Recovering { told, named, stopping: recovery.stopping.clone() };
    let (found, receipt) = oneshot::channel();
    let beginning = Beginning { log, reader, settings, snapshots, damage };
    let meters = Meters::default();
    let driver = tokio::spawn(run(beginning, waiting, recovering, found, meters.clone()));
    Ok(Scheduler { handle: Handle::new(calls, recovery, meters), receipt, driver })
}

async fn run(
    beginning: Beginning,
    calls: mpsc::Receiver<Call>,
    recovering: Recovering,
    found: oneshot::Sender<Receipt>,
    meters: Meters,
) -> Result<(), Error> {
    let Beginning { log, reader, settings, snapshots, damage } = beginning;
    let began = Instant::now();
    let (source, naming) = (log.clone(), recovering.clone());
    // Nobody waits for its end: it is broken off with the recovery's.
    tokio::task::spawn_blocking(move || names::find(source.as_ref(), &mut |found| naming.name(found)));
    let (source, shown, progress) = (log.clone(), reader.clone(), recovering.clone());
    let recovered = tokio::task::spawn_blocking(move || {
        let mut recovered = recovery::recover(source.as_ref(), &mut progress.watch())?;
        ends::fill(source.as_ref(), &shown, &mut recovered, now())?;
        Ok(recovered)
    });
    let recovered = recovered
        .await
        .unwrap_or_else(|error| Err(Error::Unknown(format!("the recovery broke down: {error}"))));
    let recovered = match recovered {
        Ok(recovered) => recovered,
        // Nobody was served yet, so there is nothing to bring to an end.
        Err(_) if recovering.is_unwanted() => return Ok(()),
        Err(error) => {
            recovering.stopping.store(true, Ordering::Relaxed);
            return Err(error);
        }
    };
    for error in &recovered.bad_snapshots {
        tracing::warn!(%error, "a start goes on from the snapshot before, or from the first record");
    }
    let snapshots = Snapshots::new(log.clone(), snapshots, &recovered);
    let receipt = receipt_of(log.as_ref(), &recovered, damage);
    let (starts, seq, store) = (log.starts(), log.last().seq, log.describe());
    let facts = LogFacts { starts, seq, next: seq.next(), receipt: receipt.clone(), store, shortage: None };
    let pipeline = Pipeline::new(Core::new(recovered.state, settings, facts, now()), receipt.epoch, seq);
    let free = writer::free_bytes(log.as_ref(), &mut false);
    let writer = writer::spawn(log, reader.clone(), meters.clone());
    recovering.finish();
    meters.recovered(began.elapsed(), receipt.records);
    // Nobody may want to know.
    let _ = found.send(receipt);
    Driver::new(pipeline, calls, writer, snapshots, reader, meters).run(free).await
}

/// A recovery that is under way.
#[derive(Clone)]
struct Recovering {
    told: watch::Sender<Option<RecoveryProgress>>,
    named: watch::Sender<Names>,
    stopping: Arc<AtomicBool>,
}

impl Recovering {
    /// Shows how far it is to those who wait, and in a log line once a second; breaks it off when nobody wants it
    /// any more.
    fn watch(self) -> impl FnMut(RecoveryProgress) -> Result<(), Error> {
        let mut told_at = Instant::now();
        move |progress| {
            if self.is_unwanted() {
                return Err(Error::Refused("it was stopped while it recovered".to_owned()));
            }
            self.told.send_replace(Some(progress));
            if told_at.elapsed() >= TOLD_EVERY {
                told_at = Instant::now();
                tracing::info!("recovering: {progress}");
            }
            Ok(())
        }
    }

    /// Shows names that were found. None are kept once the state is there.
    fn name(&self, found: Names) -> More {
        let mut more = More::Wanted;
        self.named.send_if_modified(|names| {
            if self.told.borrow().is_none() || self.is_unwanted() {
                more = More::Unwanted;
            }
            let is_news = more == More::Wanted && !found.is_empty();
            if is_news {
                names.extend(found);
            }
            is_news
        });
        more
    }

    /// The state is there.
    fn finish(&self) {
        self.told.send_replace(None);
        self.named.send_replace(Names::new());
    }

    fn is_unwanted(&self) -> bool {
        self.told.is_closed() || self.stopping.load(Ordering::Relaxed)
    }
}

fn receipt_of(log: &dyn Log, recovered: &Recovered, damage: Option<String>) -> Receipt {
    let Recovered { state, records, lost, .. } = recovered;
    let damage: Vec<String> = damage.into_iter().chain(lost.in_words()).collect();
    let turns = state.ready.values().flatten();
    let ready = turns.filter_map(|(_, submitted_at)| state.tasks.submitted_at(*submitted_at));
    let requeued = ready.filter(|id| state.tasks[id].attempt.0 > 0);
    let last = log.last();
    Receipt {
        epoch: log.starts().newest().epoch,
        seq: last.seq,
        digest: last.digest,
        records: *records,
        tasks_kept: state.tasks.len() as u64,
        tasks_requeued: requeued.count() as u64,
        tasks_running: state.counts.running,
        channels: state.channels.len() as u64,
        damage: (!damage.is_empty()).then(|| shortened(&damage.join("; "))),
    }
}

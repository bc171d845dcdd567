//! The driver: the one owner of the core. It turns the pipeline's crank: takes calls, hands commits to
//! the writer, carries out effects once they may leave. Short and boring by design; everything that
//! needs thought is in the core, where it can be simulated.
//!
//! ```text
//!   Handle ──calls──▶ driver ──commit──▶ writer thread: append, flush, publish
//!   outboxes ◀─effects── driver ◀──durable seq──┘
//! ```
//!
//! What it costs: one task does all deciding, so decisions use one core at most. What it buys: no lock
//! around state, and one order of all things.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Pipeline;
use super::core::{Core, Effect, LogFacts, Settings};
use super::handle::{Call, Connected, ConnectionId, Departure, Handle, Outgoing, Request};
use super::recovery::{self, Recovered};
use super::snapshots::{self, Snapshots};
use super::writer::{self, Done, Written};
use crate::log::{Error, Log, Reader};
use crate::protocol::command::Rejection;
use crate::protocol::event::Receipt;
use crate::protocol::message::{Closing, ServerMessage};
use crate::protocol::size::Bytes;
use crate::protocol::task::shortened;
use crate::protocol::{Epoch, Seq, TimeMs};

/// Most calls that wait for the driver; then those who call wait too. Each is at most the requests of
/// one read of a socket.
const CALLS_WAITING_MAX: usize = 256;

/// How often the driver has its turn at least.
const PULSE: Duration = Duration::from_millis(500);

/// After how long without a turn the scheduler is taken to have been away: a busy machine and a slow disk
/// take less. A clock that was set forward looks the same, and does no harm then.
const ABSENT_MS: u64 = 2_000;

/// A scheduler that runs.
#[derive(Debug)]
pub struct Scheduler {
    /// How to reach it.
    pub handle: Handle,
    /// What its start found.
    pub receipt: Receipt,
    /// The driver; ends after [`Handle::shutdown`], or with the error of a write that failed.
    pub driver: JoinHandle<Result<(), Error>>,
}

/// Recovers the state from a store and starts the driver and its writer. `damage` is what opening the
/// store found wrong with it. Must be called inside a tokio runtime.
///
/// # Errors
/// When the store cannot be read or written.
pub fn start(
    log: Arc<dyn Log>,
    reader: Reader,
    settings: Settings,
    snapshots: snapshots::Options,
    damage: Option<String>,
) -> Result<Scheduler, Error> {
    let last = log.last();
    // Of commits that are not there any more: what comes in their place is another history.
    for ahead in log.snapshots()?.into_iter().filter(|seq| *seq > last.seq) {
        tracing::warn!(seq = %ahead, "a snapshot is newer than the newest commit: it is removed");
        log.drop_snapshot(ahead)?;
    }
    let recovered = recovery::recover(log.as_ref(), &mut recovery::told())?;
    for error in &recovered.bad_snapshots {
        tracing::warn!(%error, "a start goes on from the snapshot before, or from the first record");
    }
    let snapshots = Snapshots::new(log.clone(), snapshots, &recovered);
    let Recovered { state, records, lost, .. } = recovered;
    let damage: Vec<String> = damage.into_iter().chain(lost.in_words()).collect();
    let damage = (!damage.is_empty()).then(|| shortened(&damage.join("; ")));
    let epoch = log.begin_epoch()?;
    let requeued = state.ready.values().flatten().filter(|(_, _, id)| state.tasks[id].attempt.0 > 0);
    let receipt = Receipt {
        epoch,
        seq: last.seq,
        digest: last.digest,
        records,
        tasks_kept: state.tasks.len() as u64,
        tasks_requeued: requeued.count() as u64,
        tasks_running: state.counts.running,
        channels: state.channels.len() as u64,
        damage,
    };
    let facts =
        LogFacts { epoch, seq: last.seq, receipt: receipt.clone(), store: log.describe(), shortage: None };
    let core = Core::new(state, settings, facts, now());
    let (calls, waiting_calls) = mpsc::channel(CALLS_WAITING_MAX);
    let (free, hold) = (writer::free_bytes(log.as_ref(), &mut false), snapshots.hold());
    let (commits, written) = writer::spawn(log, reader, snapshots);
    let driver = Driver {
        pipeline: Pipeline::new(core, epoch, last.seq),
        epoch,
        calls: waiting_calls,
        commits,
        written,
        hold,
        connections: 0,
        arriving: HashMap::new(),
        outboxes: HashMap::new(),
    };
    Ok(Scheduler { handle: Handle::new(calls), receipt, driver: tokio::spawn(driver.run(free)) })
}

/// The scheduler's clock.
fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

type Arriving = (mpsc::UnboundedSender<Outgoing>, oneshot::Sender<Result<Connected, Closing>>);

struct Driver {
    pipeline: Pipeline,
    epoch: Epoch,
    calls: mpsc::Receiver<Call>,
    commits: writer::Commits,
    written: mpsc::UnboundedReceiver<Written>,
    hold: snapshots::Hold,
    connections: u64,
    arriving: HashMap<ConnectionId, Arriving>,
    outboxes: HashMap<ConnectionId, mpsc::UnboundedSender<Outgoing>>,
}

impl Driver {
    /// `free`: how much is free where the log is kept.
    async fn run(mut self, free: Option<u64>) -> Result<(), Error> {
        self.pipeline.recovered();
        // Before the first command: a start on a disk that is nearly full refuses, too.
        self.see(free);
        let ended = self.serve().await;
        let why = match &ended {
            Ok(()) => Closing::ShuttingDown,
            Err(error) => {
                let why = Rejection::LogFailed(error.to_string());
                tracing::error!(%error, "the log cannot be written: the scheduler stops");
                self.refuse_waiting(&why).await;
                Closing::Rejected(why)
            }
        };
        for (_, outbox) in self.outboxes.drain() {
            // A connection that has gone meanwhile needs no farewell.
            let _ = outbox.send(Outgoing { number: 0, message: ServerMessage::Closing(why.clone()) });
        }
        // The log is let go of before this ends: whoever waits for it may open the store again.
        drop(self.commits);
        while self.written.recv().await.is_some() {}
        ended
    }

    /// Serves until it is asked to stop and all is durable, or a write fails.
    async fn serve(&mut self) -> Result<(), Error> {
        let mut stopping = false;
        let mut turn_at = now();
        loop {
            let away_ms = now().saturating_sub(turn_at);
            turn_at += away_ms;
            if away_ms >= ABSENT_MS {
                tracing::warn!(away_ms, "the scheduler stood still: nobody's lease runs for that time");
                self.pipeline.was_absent(away_ms);
            }
            self.release();
            // Not left to the timer: while calls keep coming, that would never have its turn.
            if self.until_deadline().is_zero() && !self.pipeline.is_full() {
                self.pipeline.tick(now());
                self.release();
            }
            if stopping && !self.pipeline.is_committing() && self.pipeline.open_records() == 0 {
                return Ok(());
            }
            let full = self.pipeline.is_full();
            let deadline = self.until_deadline();
            tokio::select! {
                biased;
                written = self.written.recv() => {
                    let written = written.unwrap_or(Err(Error::Unknown("the writer's thread is gone".to_owned())));
                    match written? {
                        Done::Commit(seq) => self.pipeline.committed(seq),
                        Done::Free(free) => self.see(free),
                    }
                }
                call = self.calls.recv(), if !full && !stopping => match call {
                    Some(call) => stopping = self.take(call) || self.take_all_there_are(),
                    None => stopping = true,
                },
                () = tokio::time::sleep(deadline.min(PULSE)), if !full => {}
            }
        }
    }

    /// Lets out what may leave, and hands over the open commit if the writer has nothing to do.
    fn release(&mut self) {
        while let Some(effect) = self.pipeline.next_effect() {
            self.carry_out(effect);
        }
        if let Some(commit) = self.pipeline.next_commit(now()) {
            self.commits.send(commit);
        }
    }

    /// Tells the core how much room there is, and people when it becomes too little and when that is over.
    fn see(&mut self, free: Option<u64>) {
        let was_low = self.pipeline.core().shortage().is_some();
        self.pipeline.free_space(free);
        let (shortage, store) = (self.pipeline.core().shortage(), &self.pipeline.core().facts().store);
        match shortage {
            Some(shortage) if !was_low => {
                let (free, wanted) = (Bytes(shortage.free_bytes), Bytes(shortage.wanted_bytes));
                tracing::warn!(
                    %store, %free, %wanted,
                    "the disk is nearly full: appends and submissions are refused until there is room"
                );
            }
            None if was_low => tracing::info!(%store, "the disk has room again: everything is taken"),
            _ => {}
        }
        self.hold.set(shortage.is_some());
    }

    fn until_deadline(&self) -> Duration {
        if self.pipeline.core().has_more_upkeep() {
            return Duration::ZERO;
        }
        let deadline = self.pipeline.core().next_deadline().unwrap_or(u64::MAX);
        // An hour is as good as for ever, and no overflow of the timer's.
        Duration::from_millis(deadline.saturating_sub(now()).min(3_600_000))
    }

    /// Takes the calls that wait, so that they share a commit. Says whether one was to stop.
    fn take_all_there_are(&mut self) -> bool {
        for _ in 0..CALLS_WAITING_MAX {
            if self.pipeline.is_full() {
                break;
            }
            let Ok(call) = self.calls.try_recv() else { break };
            if self.take(call) {
                return true;
            }
        }
        false
    }

    /// Takes a call. Says whether it was to stop.
    fn take(&mut self, call: Call) -> bool {
        match call {
            Call::Connect { hello, outbox, reply } => {
                self.connections += 1;
                let connection = ConnectionId(self.connections);
                self.arriving.insert(connection, (outbox, reply));
                self.pipeline.connect(connection, &hello);
            }
            Call::Requests { connection, requests } => {
                for (number, request) in requests {
                    self.pipeline.request(connection, number, request);
                }
            }
            Call::Disconnect { connection, departure } => {
                self.outboxes.remove(&connection);
                let (silent_ms, goodbye) = match departure {
                    Departure::Goodbye => (0, true),
                    Departure::Lost { silent_ms } => (silent_ms, false),
                };
                self.pipeline.disconnect(now().saturating_sub(silent_ms), connection, goodbye);
            }
            Call::Shutdown => return true,
        }
        false
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Accept { connection, lease_ms } => {
                let Some((outbox, reply)) = self.arriving.remove(&connection) else { return };
                let connected = Connected { connection, epoch: self.epoch, lease_ms };
                if reply.send(Ok(connected)).is_ok() {
                    self.outboxes.insert(connection, outbox);
                } else {
                    self.pipeline.disconnect(now(), connection, false);
                }
            }
            Effect::Send { connection, number, message } => {
                if let Some(outbox) = self.outboxes.get(&connection) {
                    // It may be gone, and will say so itself.
                    let _ = outbox.send(Outgoing { number, message });
                }
            }
            Effect::Close { connection, why } => {
                if let Some((_, reply)) = self.arriving.remove(&connection) {
                    let _ = reply.send(Err(why));
                } else if let Some(outbox) = self.outboxes.remove(&connection) {
                    let _ = outbox.send(Outgoing { number: 0, message: ServerMessage::Closing(why) });
                }
            }
        }
    }

    /// Tells everyone whose command waits for the log that it failed: nobody knows what became of it
    /// until the log is opened again.
    async fn refuse_waiting(&mut self, why: &Rejection) {
        self.pipeline.committed(Seq(u64::MAX));
        while let Some(effect) = self.pipeline.next_effect() {
            match effect {
                Effect::Send { connection, number, message: ServerMessage::Answer(_) } => {
                    let message = ServerMessage::Answer(Err(why.clone()));
                    self.carry_out(Effect::Send { connection, number, message });
                }
                Effect::Accept { connection, .. } => {
                    self.carry_out(Effect::Close { connection, why: Closing::Rejected(why.clone()) });
                }
                Effect::Send { .. } | Effect::Close { .. } => {}
            }
        }
        // And who waits for the driver itself. What comes after that is on its way still: its client asks
        // again when there is a scheduler.
        self.calls.close();
        while let Some(call) = self.calls.recv().await {
            match call {
                Call::Requests { connection, requests } => {
                    let asks = |request: &Request| matches!(request, Request::Command(_) | Request::Query(_));
                    for (number, _) in requests.into_iter().filter(|(_, request)| asks(request)) {
                        let message = ServerMessage::Answer(Err(why.clone()));
                        self.carry_out(Effect::Send { connection, number, message });
                    }
                }
                Call::Connect { reply, .. } => {
                    // Whoever is gone needs no answer.
                    let _ = reply.send(Err(Closing::Rejected(why.clone())));
                }
                Call::Disconnect { .. } | Call::Shutdown => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Memory;
    use crate::protocol::command::{Answer, Command, Query};
    use crate::protocol::message::Hello;
    use crate::protocol::session::Role;
    use crate::protocol::task::TaskOptions;
    use crate::protocol::{SessionId, Submission, TaskKey};

    async fn connect(handle: &Handle, session: u8) -> (ConnectionId, mpsc::UnboundedReceiver<Outgoing>) {
        let hello =
            Hello { token: None, session: SessionId([session; 16]), resume: false, role: Role::Client };
        let (outbox, outgoing) = mpsc::unbounded_channel();
        (handle.connect(hello, outbox).await.unwrap().connection, outgoing)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn leases_end_while_calls_keep_coming() {
        let log = Arc::new(Memory::new());
        let settings = Settings { client_lease_ms: 5, worker_lease_ms: 5, ..Settings::default() };
        let scheduler =
            start(log.clone(), Reader::new(log), settings, snapshots::Options::default(), None).unwrap();
        let handle = scheduler.handle;
        let (leaves, _outbox) = connect(&handle, 1).await;
        let key = TaskKey::named("x");
        let task = key.id;
        let options = TaskOptions::default();
        let (function, arguments) = ("f".into(), vec![]);
        let submission = Submission { key, function, version: 1, arguments, options };
        handle.send(leaves, vec![(1, Request::Command(Command::Submit(submission)))]).await.unwrap();
        handle.disconnect(leaves, Departure::Lost { silent_ms: 0 }).await;
        let (stays, mut outgoing) = connect(&handle, 2).await;
        // More than the driver can take.
        for _ in 0..4 {
            let flood = handle.clone();
            tokio::spawn(async move {
                let query = || (1, Request::Query(Query::Task { task }));
                while flood.send(stays, (0..50).map(|_| query()).collect()).await.is_ok() {}
            });
        }
        let mut answers = 0;
        while let Some(Outgoing { message: ServerMessage::Answer(Ok(Answer::Task(_))), .. }) =
            outgoing.recv().await
        {
            answers += 1;
            assert!(answers < 2_000_000, "the lease of 5 ms never ends");
        }
        handle.shutdown().await;
        scheduler.driver.await.unwrap().unwrap();
    }
}

//! The driver: the one owner of the core. It turns the pipeline's crank: takes calls, hands commits to
//! the writer, carries out effects once they may leave. Short and boring by design; everything that
//! needs thought is in the core, where it can be simulated.
//!
//! ```text
//!   Handle ──calls──▶ driver ──commit──▶ writer: append, flush when it is told, publish
//!   outboxes ◀─effects── driver ◀──durable seq──┘
//! ```
//!
//! The writer has a thread of its own; a small commit while nothing else is to be done the driver writes itself.
//!
//! What it costs: one task does all deciding, so decisions use one core at most. What it buys: no lock
//! around state, and one order of all things.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};

use super::Pipeline;
use super::core::{Effect, Trim};
use super::handle::{Call, Connected, ConnectionId, Departure, Outgoing, Request};
use super::latencies::Latencies;
use super::meters::Meters;
use super::snapshots::Snapshots;
use super::writer::{self, Done, Work, Written};
use crate::log::{Error, Reader};
use crate::protocol::command::Rejection;
use crate::protocol::message::{Closing, ServerMessage};
use crate::protocol::size::Bytes;
use crate::protocol::{Seq, TimeMs};

/// Most calls that wait for the driver; then those who call wait too. Each is at most the requests of
/// one read of a socket.
pub(super) const CALLS_WAITING_MAX: usize = 256;

/// How often the driver has its turn at least.
const PULSE: Duration = Duration::from_millis(500);

/// After how long without a turn the scheduler is taken to have been away: a busy machine and a slow disk
/// take less. A clock that was set forward looks the same, and does no harm then.
const ABSENT_MS: u64 = 2_000;

/// The scheduler's clock.
pub(super) fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

type Arriving = (mpsc::UnboundedSender<Outgoing>, oneshot::Sender<Result<Connected, Closing>>);

pub(super) struct Driver {
    pipeline: Pipeline,
    calls: mpsc::Receiver<Call>,
    commits: writer::Commits,
    written: mpsc::UnboundedReceiver<Written>,
    snapshots: Snapshots,
    reader: Reader,
    meters: Meters,
    latencies: Latencies,
    connections: u64,
    arriving: HashMap<ConnectionId, Arriving>,
    outboxes: HashMap<ConnectionId, mpsc::UnboundedSender<Outgoing>>,
}

impl Driver {
    /// A driver that is to be run.
    pub fn new(
        pipeline: Pipeline,
        calls: mpsc::Receiver<Call>,
        (commits, written): (writer::Commits, mpsc::UnboundedReceiver<Written>),
        snapshots: Snapshots,
        reader: Reader,
        meters: Meters,
    ) -> Driver {
        Driver {
            pipeline,
            calls,
            commits,
            written,
            snapshots,
            reader,
            latencies: Latencies::new(meters.clone()),
            meters,
            connections: 0,
            arriving: HashMap::new(),
            outboxes: HashMap::new(),
        }
    }

    /// Runs until it is asked to stop, or a write fails. `free`: how much is free where the log is kept.
    pub async fn run(mut self, free: Option<u64>) -> Result<(), Error> {
        for (log, channel) in &self.pipeline.core().state().channels {
            if channel.kept.first.offset > 0 {
                self.reader.trim(*log, channel.kept.first.offset);
            }
        }
        self.pipeline.note_moves();
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
        drop(self.snapshots);
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
            if stopping {
                self.pipeline.flush_at_once();
            }
            self.release()?;
            if !stopping {
                self.snapshots.begin_if_due(&mut self.pipeline);
            }
            // Not left to the timer: while calls keep coming, that would never have its turn.
            // Once it stops, what follows by itself is left to the next start: it could go on for long.
            if !stopping && self.until_deadline().is_zero() && !self.pipeline.is_full() {
                self.pipeline.tick(now());
                self.release()?;
            }
            if stopping && self.pipeline.is_durable() {
                return Ok(());
            }
            let full = self.pipeline.is_full();
            self.snapshots.step(&mut self.pipeline);
            let deadline = if stopping { PULSE } else { self.until_deadline().min(PULSE) };
            let deadline =
                deadline.min(self.snapshots.next_step_in().unwrap_or(PULSE)).min(self.until_flush());
            tokio::select! {
                biased;
                written = self.written.recv() => {
                    let written = written.unwrap_or(Err(Error::Unknown("the writer's thread is gone".to_owned())));
                    self.wrote(written?);
                }
                call = self.calls.recv(), if !full && !stopping => match call {
                    Some(call) => stopping = self.take(call) || self.take_all_there_are(),
                    None => stopping = true,
                },
                () = tokio::time::sleep(deadline), if !full => {}
            }
        }
    }

    /// Lets out what may leave, and hands over the open commit if the writer has nothing to do.
    fn release(&mut self) -> Result<(), Error> {
        self.latencies.moved(self.pipeline.take_moves());
        loop {
            while let Some(effect) = self.pipeline.next_effect() {
                self.carry_out(effect);
            }
            self.latencies.left(self.pipeline.effects_left());
            if self.pipeline.is_writing() {
                return Ok(());
            }
            let now = now();
            let commit = self.pipeline.next_commit(now);
            commit.iter().for_each(|commit| self.snapshots.committing(commit, &mut self.pipeline));
            let flush = self.pipeline.next_flush(now);
            if commit.is_none() && !flush {
                return Ok(());
            }
            let work = Work { commit, flush };
            // Beside a snapshot that is being written the disk may take its time.
            let is_idle = self.calls.is_empty() && !self.snapshots.is_taking();
            match is_idle.then(|| self.commits.write_here(&work)).flatten() {
                Some(written) => self.wrote(written?),
                None => {
                    self.commits.send(work);
                    return Ok(());
                }
            }
        }
    }

    fn wrote(&mut self, done: Done) {
        match done {
            Done::Flushed(seq) => self.committed(seq),
            Done::Appended(seq) => self.pipeline.appended(seq),
            Done::Free(free) => self.see(free),
        }
    }

    fn committed(&mut self, seq: Seq) {
        self.pipeline.committed(seq);
        self.meters.happened(self.pipeline.next_tally());
        for Trim { log, first, bytes } in self.pipeline.next_trims() {
            self.reader.trim(log, first);
            self.snapshots.trimmed(bytes);
        }
    }

    /// Tells the core how much room there is, and people when it becomes too little and when that is over.
    fn see(&mut self, free: Option<u64>) {
        self.meters.sees(free);
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
        self.snapshots.hold(shortage.is_some());
    }

    fn until_deadline(&self) -> Duration {
        if self.pipeline.core().has_more_upkeep() {
            return Duration::ZERO;
        }
        let deadline = self.pipeline.core().next_deadline().unwrap_or(u64::MAX);
        // An hour is as good as for ever, and no overflow of the timer's.
        Duration::from_millis(deadline.saturating_sub(now()).min(3_600_000))
    }

    fn until_flush(&self) -> Duration {
        let by = self.pipeline.flush_by();
        by.map_or(PULSE, |by| Duration::from_millis(by.saturating_sub(now())))
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
            Call::Requests { connection, arrived, requests } => {
                let counts = Latencies::count(requests.iter().map(|(_, request)| request));
                let before = self.pipeline.effects();
                for (number, request) in requests {
                    self.pipeline.request(connection, number, request);
                }
                self.latencies.asked(arrived, counts, before, self.pipeline.effects());
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
                let connected = Connected { connection, lease_ms };
                let message = self.pipeline.welcome(lease_ms, now());
                // Before anything else. It may be gone, and is missed below then.
                let _ = outbox.send(Outgoing { number: 0, message });
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
                Call::Requests { connection, requests, .. } => {
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
    use std::sync::Arc;

    use super::*;
    use crate::log::{Memory, Reader};
    use crate::protocol::command::{Answer, Command, Query};
    use crate::protocol::message::Hello;
    use crate::protocol::session::Role;
    use crate::protocol::task::TaskOptions;
    use crate::protocol::{SessionId, Submission, TaskKey};
    use crate::scheduler::core::Settings;
    use crate::scheduler::{Handle, Request, recovery, snapshots, start};

    async fn connect(handle: &Handle, session: u8) -> (ConnectionId, mpsc::UnboundedReceiver<Outgoing>) {
        let hello = Hello {
            token: None,
            session: SessionId([session; 16]),
            resume: false,
            role: Role::Client,
            seen: None,
        };
        let (outbox, outgoing) = mpsc::unbounded_channel();
        (handle.connect(hello, outbox).await.unwrap().connection, outgoing)
    }

    fn submit(n: u64) -> (u64, Request) {
        let (function, arguments, options) = ("f".into(), vec![], TaskOptions::default());
        let key = TaskKey::named(&n.to_string());
        (n, Request::Command(Command::Submit(Submission { key, function, version: 1, arguments, options })))
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_all_that_follows_by_itself() {
        const TASKS: u64 = 20_000;
        let log = Arc::new(Memory::new());
        let (settings, snapshots) = (Settings::default(), snapshots::Options::default());
        let scheduler = start(log.clone(), Reader::new(log.clone()), settings, snapshots, None).unwrap();
        let (leaves, mut outgoing) = connect(&scheduler.handle, 1).await;
        for first in (1..=TASKS).step_by(1000) {
            scheduler.handle.send(leaves, (first..first + 1000).map(submit).collect()).await.unwrap();
        }
        let mut answers = 0;
        while answers < TASKS {
            match outgoing.recv().await.unwrap().message {
                ServerMessage::Answer(answer) => answers += u64::from(answer.is_ok()),
                news => {
                    assert!(matches!(news, ServerMessage::Welcome { .. } | ServerMessage::Durable { .. }))
                }
            }
        }
        // All of them are to be forgotten, some thousands in a step.
        scheduler.handle.disconnect(leaves, Departure::Goodbye).await;
        scheduler.handle.shutdown().await;
        scheduler.driver.await.unwrap().unwrap();
        let left = recovery::fold(log.as_ref()).unwrap();
        assert!(left.sessions.is_empty() && left.unkept.len() > TASKS as usize / 2, "{}", left.unkept.len());
        // The next start goes on with it.
        let scheduler = start(log.clone(), Reader::new(log.clone()), settings, snapshots, None).unwrap();
        let (_, mut outgoing) = connect(&scheduler.handle, 2).await;
        while !recovery::fold(log.as_ref()).unwrap().tasks.is_empty() {
            tokio::task::yield_now().await;
        }
        scheduler.handle.shutdown().await;
        scheduler.driver.await.unwrap().unwrap();
        let mut last = None;
        while let Some(outgoing) = outgoing.recv().await {
            last = Some(outgoing.message);
        }
        assert_eq!(last, Some(ServerMessage::Closing(Closing::ShuttingDown)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn leases_end_while_calls_keep_coming() {
        let log = Arc::new(Memory::new());
        let settings = Settings { client_lease_ms: 5, worker_lease_ms: 5, ..Settings::default() };
        let scheduler =
            start(log.clone(), Reader::new(log), settings, snapshots::Options::default(), None).unwrap();
        let handle = scheduler.handle;
        let (leaves, _outbox) = connect(&handle, 1).await;
        let task = TaskKey::named("1").id;
        handle.send(leaves, vec![submit(1)]).await.unwrap();
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

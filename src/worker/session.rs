//! One session of a worker: what the scheduler says, and what runs and is kept meanwhile.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Options;
use super::attempt::{Report, attempt, keep};
use super::context::Context;
use super::lanes::{Lanes, LargeResult};
use super::registry::Registry;
use super::results::Held;
use super::told::Told;
use super::turns::held;
use crate::client::Error;
use crate::client::connection::{Connection, Trunks, WorkerMessage};
use crate::protocol::command::Command;
use crate::protocol::message::Assignment;
use crate::protocol::session::{HeldAttempt, Retire};

/// How long nothing may begin before what waits is given back: 50 ms, as long again at most.
const STUCK_AFTER: Duration = Duration::from_millis(50);

/// How many messages are taken at once, so that all else gets its turn.
const MESSAGES_PER_STEP_MAX: usize = 256;

/// A worker's session, and what runs in it.
pub(super) struct Session {
    connection: Connection,
    registry: Arc<Registry>,
    held: Arc<Held>,
    /// Whose turn it is, and what runs on threads of its own.
    lanes: Arc<Lanes>,
    /// What runs here, by the tasks that run it, and since when they do.
    begun: HashMap<Id, (HeldAttempt, Instant)>,
    /// Attempts, and what waits for the scheduler: that it knows of what is kept here, say.
    tasks: JoinSet<Option<Report>>,
    told: Told,
    /// What was said of who has paused and who returns. No more is said of that before it is answered: those that only tick
    /// would add to it without end while the scheduler is away.
    occupations: Told,
    is_retiring: bool,
}

impl Session {
    pub(super) fn new(
        connection: Connection,
        trunks: &Trunks,
        registry: Arc<Registry>,
        options: &Options,
        held: Arc<Held>,
    ) -> Self {
        let (begun, tasks, told, occupations) = Default::default();
        let lanes = Lanes::new(connection.clone(), trunks.clone(), registry.clone(), options);
        Session { connection, registry, held, lanes, begun, tasks, told, occupations, is_retiring: false }
    }

    pub(super) fn is_retiring(&self) -> bool {
        self.is_retiring
    }

    /// Whether nothing runs here, nothing is kept, and the scheduler knows of all of it.
    fn is_idle(&self) -> bool {
        let is_known = self.told.is_empty() && self.occupations.is_empty();
        self.tasks.is_empty() && is_known && self.held.len() == 0 && self.lanes.lock().is_idle()
    }

    /// Runs what comes. Answers why the session is over, or nothing when it left in order.
    pub(super) async fn serve(
        &mut self,
        mut messages: mpsc::UnboundedReceiver<WorkerMessage>,
        mut orders: Pin<&mut impl Stream<Item = Retire>>,
    ) -> Option<Error> {
        let mut look = interval(STUCK_AFTER);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut received = Vec::new();
        loop {
            self.begin_those_whose_turn_it_is();
            self.tell_occupations();
            self.take_from_lanes();
            let timeout = self.lanes.lock().next_timeout();
            // What was assigned before the scheduler knew is among the messages when its answer is here.
            if self.is_retiring && self.is_idle() && messages.is_empty() {
                tracing::info!("nothing runs here any more, and nothing is kept: it leaves");
                return self.leave().await;
            }
            tokio::select! {
                biased;
                count = messages.recv_many(&mut received, MESSAGES_PER_STEP_MAX) => {
                    if count == 0 {
                        received.push(WorkerMessage::Closed(Error::Stopped));
                    }
                }
                Some(retire) = orders.next() => received.push(WorkerMessage::Retire(retire)),
                () = self.lanes.news() => {}
                Some(ended) = self.tasks.join_next_with_id() => self.end(ended),
                () = self.told.answered() => {}
                () = self.occupations.answered() => {}
                () = until(timeout) => self.time_out(),
                _ = look.tick() => {
                    self.tell_advances();
                    let is_stuck = self.lanes.lock().turns.is_stuck();
                    if is_stuck {
                        self.give_back();
                    }
                }
            };
            for message in received.drain(..) {
                match message {
                    WorkerMessage::Retire(Retire::HandOver) => {
                        self.drop_all();
                        return self.leave().await;
                    }
                    WorkerMessage::Closed(why) => {
                        self.drop_all();
                        return Some(why);
                    }
                    message => self.take(message),
                }
            }
        }
    }

    /// Takes a message after which the session goes on.
    fn take(&mut self, message: WorkerMessage) {
        match message {
            WorkerMessage::Welcomed => {
                // What it asks has its place in the session's order before anything else is done.
                let asked = self.held.welcomed();
                self.tasks.spawn(waits(asked));
                self.lanes.lock().turns.begin_connection();
                self.tell_window();
            }
            WorkerMessage::Free(result) => self.held.free(&result),
            WorkerMessage::Copy(located) => {
                self.tasks.spawn(waits(self.held.clone().copy(located)));
            }
            WorkerMessage::Assign(assignment) => self.lanes.lock().turns.add(assignment),
            WorkerMessage::Abort { task, attempt } => {
                self.lanes.lock().abort(&HeldAttempt { task, attempt });
            }
            WorkerMessage::Retire(Retire::Finish) => self.retire(),
            WorkerMessage::Retire(Retire::HandOver) | WorkerMessage::Closed(_) => {
                unreachable!("they end the session")
            }
        }
    }

    fn begin_those_whose_turn_it_is(&mut self) {
        loop {
            let next = self.lanes.lock().turns.next();
            let Some(assignment) = next else { break };
            match self.lanes.plain(&assignment) {
                Some(function) => self.lanes.begin(assignment, function),
                None => self.begin(assignment),
            }
        }
    }

    fn begin(&mut self, assignment: Assignment) {
        let (held, context) = (held(&assignment), Context::new(self.lanes.clone(), &assignment));
        {
            let mut lanes = self.lanes.lock();
            if lanes.begin_timeout(&assignment) {
                lanes.keep_log(&held, &context);
            }
        }
        let attempt = attempt(self.connection.clone(), self.registry.clone(), self.held.clone(), assignment);
        self.run(held, Instant::now(), context.scope(attempt));
    }

    fn run(
        &mut self,
        attempt: HeldAttempt,
        since: Instant,
        work: impl Future<Output = Report> + Send + 'static,
    ) {
        // Locked while it begins: it may ask at once whether it is wanted.
        let mut lanes = self.lanes.lock();
        let handle = self.tasks.spawn(async { Some(work.await) });
        self.begun.insert(handle.id(), (attempt, since));
        lanes.await_it(attempt, handle);
    }

    /// What came of lanes: they have told it, or it is too large for that.
    fn take_from_lanes(&mut self) {
        let (told, results) = {
            let mut lanes = self.lanes.lock();
            (lanes.take_told(), lanes.take_results())
        };
        if !told.is_empty() {
            self.told.extend(told);
            self.tell_window();
        }
        for LargeResult { attempt, result, since } in results {
            let (connection, held) = (self.connection.clone(), self.held.clone());
            let kept = async move { keep(&connection, &held, attempt, result).await };
            self.run(attempt, since.into(), kept);
        }
    }

    /// An attempt has ended, or something that was waited for.
    fn end(&mut self, ended: Result<(Id, Option<Report>), JoinError>) {
        let (id, report) = match ended {
            Ok((id, report)) => (id, report),
            // One that was aborted or broke down has told nothing.
            Err(error) => (error.id(), None),
        };
        if let Some((attempt, since)) = self.begun.remove(&id) {
            self.lanes.lock().has_ended(&attempt, since.elapsed());
            self.tell_window();
        }
        match report {
            // Its result is settled with the scheduler, whatever the scheduler says of the attempt now.
            Some(Report::Kept(told)) => drop(self.tasks.spawn(waits(self.held.clone().settle(told)))),
            Some(Report::Told(reply)) => self.told.push(reply),
            None => {}
        }
    }

    /// Attempts that have taken too long have failed. An async one ends where it waits, and none takes a slot any more.
    fn time_out(&mut self) {
        loop {
            let Some((attempt, error)) = self.lanes.lock().time_out() else { return };
            let HeldAttempt { task, attempt } = attempt;
            tracing::info!(%task, %attempt, %error, "failed");
            self.told.push(self.connection.command(Command::Fail { task, attempt, error: Box::new(error) }));
        }
    }

    /// Says how far attempts have come.
    fn tell_advances(&mut self) {
        let advances = self.lanes.lock().take_advances();
        for (HeldAttempt { task, attempt }, advance) in advances {
            self.told.push(self.connection.command(Command::Advance { task, attempt, advance }));
        }
    }

    /// Says which attempts have paused, and which return.
    fn tell_occupations(&mut self) {
        if !self.occupations.is_empty() {
            return;
        }
        let news = self.lanes.lock().turns.new_occupations();
        for (HeldAttempt { task, attempt }, occupies) in news {
            self.occupations.push(self.connection.command(Command::Occupy { task, attempt, occupies }));
        }
    }

    /// Says how much it wants to be given, when that has changed much.
    fn tell_window(&mut self) {
        if !self.is_retiring
            && let Some(attempts) = self.new_window()
        {
            self.told.push(self.connection.command(Command::Window { attempts }));
        }
    }

    fn new_window(&self) -> Option<u32> {
        self.lanes.lock().turns.new_window()
    }

    /// What has not begun is for others to run.
    fn give_back(&mut self) {
        let waiting = self.lanes.lock().turns.give_back();
        tracing::debug!(attempts = waiting.len(), "given back: what runs here takes long");
        // First, so that none of them comes back.
        self.tell_window();
        for HeldAttempt { task, attempt } in waiting {
            self.told.push(self.connection.command(Command::Return { task, attempt }));
        }
    }

    /// Takes nothing more, and says so.
    fn retire(&mut self) {
        if std::mem::replace(&mut self.is_retiring, true) {
            return;
        }
        tracing::info!(
            running = self.lanes.lock().running(),
            results = self.held.len(),
            "retires: it takes nothing more, finishes what it runs, and keeps its results until others do"
        );
        self.told.push(self.connection.retire());
        self.give_back();
    }

    /// Async attempts end where they wait; blocking ones go on to their end, and nobody hears of it.
    fn drop_all(&mut self) {
        self.lanes.lock().abort_all();
    }

    /// Says goodbye: what it still has is started anew elsewhere. So do the attempts that were clients.
    async fn leave(&self) -> Option<Error> {
        tokio::join!(self.connection.close(), self.lanes.trunks().close());
        None
    }
}

/// Waits until then, or for ever.
async fn until(moment: Option<std::time::Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Work that is waited for, and tells nothing.
async fn waits(work: impl Future<Output = ()>) -> Option<Report> {
    work.await;
    None
}

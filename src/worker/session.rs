//! One session of a worker: what the scheduler says, and what runs and is kept meanwhile.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Options;
use super::attempt::{Report, attempt};
use super::context::Context;
use super::registry::Registry;
use super::results::Held;
use super::turns::Turns;
use crate::client::Error;
use crate::client::connection::{Connection, Reply, WorkerMessage};
use crate::protocol::command::{Answer, Command};
use crate::protocol::message::Assignment;
use crate::protocol::session::{HeldAttempt, Retire};

/// How long nothing may begin before what waits is given back: 50 ms, as long again at most.
const STUCK_AFTER: Duration = Duration::from_millis(50);

/// A worker's session, and what runs in it.
pub(super) struct Session<'a> {
    connection: Connection,
    registry: Arc<Registry>,
    options: &'a Options,
    held: Arc<Held>,
    turns: Turns,
    running: HashMap<HeldAttempt, AbortHandle>,
    /// The same by the tasks that run them, and since when they do.
    begun: HashMap<Id, (HeldAttempt, Instant)>,
    /// Attempts, and what waits for the scheduler: that it knows of what is kept here, say.
    tasks: JoinSet<Option<Report>>,
    /// What was told and has no answer yet.
    told: FuturesUnordered<Reply<Answer>>,
    clients: mpsc::UnboundedSender<HeldAttempt>,
    new_clients: mpsc::UnboundedReceiver<HeldAttempt>,
    is_retiring: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        connection: Connection,
        registry: Arc<Registry>,
        options: &'a Options,
        held: Arc<Held>,
    ) -> Self {
        let (running, begun, tasks, told) = Default::default();
        let (clients, new_clients) = mpsc::unbounded_channel();
        Session {
            connection,
            registry,
            options,
            held,
            turns: Turns::new(options.slots.max(1)),
            running,
            begun,
            tasks,
            told,
            clients,
            new_clients,
            is_retiring: false,
        }
    }

    pub(super) fn is_retiring(&self) -> bool {
        self.is_retiring
    }

    /// Whether nothing runs here, nothing is kept, and the scheduler knows of all of it.
    fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.told.is_empty() && self.held.len() == 0
    }

    /// Runs what comes. Answers why the session is over, or nothing when it left in order.
    pub(super) async fn serve(
        &mut self,
        mut messages: mpsc::UnboundedReceiver<WorkerMessage>,
        mut orders: Pin<&mut impl Stream<Item = Retire>>,
    ) -> Option<Error> {
        let mut look = interval(STUCK_AFTER);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.begin_those_whose_turn_it_is();
            // What was assigned before the scheduler knew is among the messages when its answer is here.
            if self.is_retiring && self.is_idle() && messages.is_empty() {
                tracing::info!("nothing runs here any more, and nothing is kept: it leaves");
                return self.leave().await;
            }
            let message = tokio::select! {
                biased;
                message = messages.recv() => message,
                Some(retire) = orders.next() => Some(WorkerMessage::Retire(retire)),
                Some(attempt) = self.new_clients.recv() => {
                    self.turns.make_client(&attempt);
                    continue;
                }
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.end(ended);
                    continue;
                }
                Some(answer) = self.told.next() => {
                    warn_of_refusal(answer);
                    continue;
                }
                _ = look.tick() => {
                    if self.turns.is_stuck() {
                        self.give_back();
                    }
                    continue;
                }
            };
            match message {
                Some(WorkerMessage::Welcomed) => {
                    // What it asks has its place in the session's order before anything else is done.
                    let asked = self.held.welcomed();
                    self.tasks.spawn(waits(asked));
                    self.turns.begin_connection();
                    self.tell_window();
                }
                Some(WorkerMessage::Free(result)) => self.held.free(&result),
                Some(WorkerMessage::Copy(located)) => {
                    self.tasks.spawn(waits(self.held.clone().copy(located)));
                }
                Some(WorkerMessage::Assign(assignment)) => self.turns.add(assignment),
                Some(WorkerMessage::Abort { task, attempt }) => {
                    let attempt = HeldAttempt { task, attempt };
                    if !self.turns.drop_waiting(&attempt)
                        && let Some(running) = self.running.remove(&attempt)
                    {
                        running.abort();
                    }
                }
                Some(WorkerMessage::Retire(Retire::Finish)) => self.retire(),
                Some(WorkerMessage::Retire(Retire::HandOver)) => {
                    self.drop_all();
                    return self.leave().await;
                }
                Some(WorkerMessage::Closed(why)) => {
                    self.drop_all();
                    return Some(why);
                }
                None => {
                    self.drop_all();
                    return Some(Error::Stopped);
                }
            }
        }
    }

    fn begin_those_whose_turn_it_is(&mut self) {
        while let Some(assignment) = self.turns.next() {
            self.begin(assignment);
        }
    }

    fn begin(&mut self, assignment: Assignment) {
        let held = HeldAttempt { task: assignment.key.id, attempt: assignment.attempt };
        let context = Context::new(self.options, &assignment, self.clients.clone());
        let attempt = attempt(self.connection.clone(), self.registry.clone(), self.held.clone(), assignment);
        let handle = self.tasks.spawn(context.scope(async { Some(attempt.await) }));
        self.begun.insert(handle.id(), (held, Instant::now()));
        self.running.insert(held, handle);
    }

    /// An attempt has ended, or something that was waited for.
    fn end(&mut self, ended: Result<(Id, Option<Report>), JoinError>) {
        let (id, report) = match ended {
            Ok((id, report)) => (id, report),
            // One that was aborted or broke down has told nothing.
            Err(error) => (error.id(), None),
        };
        if let Some((attempt, since)) = self.begun.remove(&id) {
            self.running.remove(&attempt);
            self.turns.end(&attempt, since.elapsed());
            self.tell_window();
        }
        match report {
            // Its result is settled with the scheduler, whatever the scheduler says of the attempt now.
            Some(Report::Kept(told)) => drop(self.tasks.spawn(waits(self.held.clone().settle(told)))),
            Some(Report::Told(reply)) => self.told.push(reply),
            None => {}
        }
    }

    /// Says how much it wants to be given, when that has changed much.
    fn tell_window(&mut self) {
        if !self.is_retiring
            && let Some(attempts) = self.turns.new_window()
        {
            self.told.push(self.connection.command(Command::Window { attempts }));
        }
    }

    /// What has not begun is for others to run.
    fn give_back(&mut self) {
        let waiting = self.turns.give_back();
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
            running = self.running.len(),
            results = self.held.len(),
            "retires: it takes nothing more, finishes what it runs, and keeps its results until others do"
        );
        self.told.push(self.connection.retire());
        self.give_back();
    }

    /// Async attempts end where they wait; blocking ones go on to their end, and nobody hears of it.
    fn drop_all(&mut self) {
        self.turns.give_back();
        self.running.drain().for_each(|(_, attempt)| attempt.abort());
    }

    /// Says goodbye: what it still has is started anew elsewhere.
    async fn leave(&self) -> Option<Error> {
        self.connection.close().await;
        None
    }
}

/// Work that is waited for, and tells nothing.
async fn waits(work: impl Future<Output = ()>) -> Option<Report> {
    work.await;
    None
}

fn warn_of_refusal(answer: crate::client::Result<Answer>) {
    // A session that is over says so itself.
    if let Err(error @ Error::Rejected(_)) = answer {
        tracing::warn!(%error, "something that was told was refused");
    }
}

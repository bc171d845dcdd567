//! One session of a worker: what the scheduler says, and what runs and is kept meanwhile.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::Options;
use super::attempt::attempt;
use super::context::Context;
use super::registry::Registry;
use super::results::{Held, Told};
use crate::client::Error;
use crate::client::connection::{Connection, WorkerMessage};
use crate::protocol::message::Assignment;
use crate::protocol::session::{HeldAttempt, Retire};

/// A worker's session, and what runs in it.
pub(super) struct Session<'a> {
    connection: Connection,
    registry: Arc<Registry>,
    options: &'a Options,
    held: Arc<Held>,
    running: HashMap<HeldAttempt, AbortHandle>,
    /// The same, to be told of their ends; and what waits for the scheduler: that it knows of what is kept here,
    /// or that this worker retires.
    attempts: JoinSet<Option<Told>>,
    is_retiring: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        connection: Connection,
        registry: Arc<Registry>,
        options: &'a Options,
        held: Arc<Held>,
    ) -> Self {
        let (running, attempts) = Default::default();
        Session { connection, registry, options, held, running, attempts, is_retiring: false }
    }

    pub(super) fn is_retiring(&self) -> bool {
        self.is_retiring
    }

    /// Runs what comes. Answers why the session is over, or nothing when it left in order.
    pub(super) async fn serve(
        &mut self,
        mut messages: mpsc::UnboundedReceiver<WorkerMessage>,
        mut orders: Pin<&mut impl Stream<Item = Retire>>,
    ) -> Option<Error> {
        loop {
            // What was assigned before the scheduler knew is among the messages when its answer is here.
            if self.is_retiring && self.attempts.is_empty() && messages.is_empty() && self.held.len() == 0 {
                tracing::info!("nothing runs here any more, and nothing is kept: it leaves");
                return self.leave().await;
            }
            let message = tokio::select! {
                biased;
                message = messages.recv() => message,
                Some(retire) = orders.next() => Some(WorkerMessage::Retire(retire)),
                Some(ended) = self.attempts.join_next() => {
                    self.settle(ended);
                    continue;
                }
            };
            match message {
                Some(WorkerMessage::Welcomed) => {
                    // What it asks has its place in the session's order before anything else is done.
                    let asked = self.held.welcomed();
                    self.attempts.spawn(waits(asked));
                }
                Some(WorkerMessage::Free(result)) => self.held.free(&result),
                Some(WorkerMessage::Copy(located)) => {
                    self.attempts.spawn(waits(self.held.clone().copy(located)));
                }
                Some(WorkerMessage::Assign(assignment)) => self.begin(assignment),
                Some(WorkerMessage::Abort { task, attempt }) => {
                    if let Some(attempt) = self.running.remove(&HeldAttempt { task, attempt }) {
                        attempt.abort();
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

    fn begin(&mut self, assignment: Assignment) {
        self.running.retain(|_, attempt| !attempt.is_finished());
        let held = HeldAttempt { task: assignment.key.id, attempt: assignment.attempt };
        let context = Context::new(self.options, &assignment);
        let attempt = attempt(self.connection.clone(), self.registry.clone(), self.held.clone(), assignment);
        self.running.insert(held, self.attempts.spawn(context.scope(attempt)));
    }

    /// An attempt has ended: its result, if it is kept here, is settled with the scheduler, whatever the scheduler
    /// says of the attempt now.
    fn settle(&mut self, ended: Result<Option<Told>, JoinError>) {
        // One that was aborted or broke down has told nothing.
        if let Ok(Some(told)) = ended {
            self.attempts.spawn(waits(self.held.clone().settle(told)));
        }
    }

    /// Takes nothing more, and says so.
    fn retire(&mut self) {
        if std::mem::replace(&mut self.is_retiring, true) {
            return;
        }
        self.running.retain(|_, attempt| !attempt.is_finished());
        tracing::info!(
            running = self.running.len(),
            results = self.held.len(),
            "retires: it takes nothing more, finishes what it runs, and keeps its results until others do"
        );
        let told = self.connection.retire();
        self.attempts.spawn(async {
            // A session that is over says so itself.
            let _ = told.await;
            None
        });
    }

    /// Async attempts end where they wait; blocking ones go on to their end, and nobody hears of it.
    fn drop_all(&mut self) {
        self.running.drain().for_each(|(_, attempt)| attempt.abort());
    }

    /// Says goodbye: what it still has is started anew elsewhere.
    async fn leave(&self) -> Option<Error> {
        self.connection.close().await;
        None
    }
}

/// Work that is waited for, and tells nothing.
async fn waits(work: impl Future<Output = ()>) -> Option<Told> {
    work.await;
    None
}

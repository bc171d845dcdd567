//! What everyone but the driver has of the scheduler: a cloneable handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::meters::Meters;
use super::names::Names;
use crate::protocol::channel::TASKS_CHANNEL;
use crate::protocol::command::{Command, Query};
use crate::protocol::message::{Closing, Hello, ServerMessage};
use crate::protocol::start::RecoveryProgress;
use crate::protocol::{ChannelName, LogId, TaskId};

/// A connection to the scheduler, numbered from 1 in each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a connection asks of the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A command; answered once it is durable.
    Command(Command),
    /// A query; answered once what it shows is durable.
    Query(Query),
    /// Tell how these tasks end.
    Watch(Vec<TaskId>),
}

/// A message for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What it belongs to; see [`crate::protocol::message`].
    pub number: u64,
    /// The message.
    pub message: ServerMessage,
}

/// A connection that the scheduler has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// Its number.
    pub connection: ConnectionId,
    /// How long its session is waited for while it cannot be heard.
    pub lease_ms: u64,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// With a goodbye: its session is over, too.
    Goodbye,
    /// Without one: its session has the rest of its lease to come back.
    Lost {
        /// For how long nothing had been heard of it.
        silent_ms: u64,
    },
}

/// What reaches the driver.
#[derive(Debug)]
pub(crate) enum Call {
    Connect {
        hello: Box<Hello>,
        outbox: mpsc::UnboundedSender<Outgoing>,
        reply: oneshot::Sender<Result<Connected, Closing>>,
    },
    Requests {
        connection: ConnectionId,
        /// When they were here.
        arrived: Instant,
        requests: Vec<(u64, Request)>,
    },
    Disconnect {
        connection: ConnectionId,
        departure: Departure,
    },
    Shutdown,
}

/// The scheduler, for those who do not own it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    recovery: Recovery,
    meters: Meters,
}

/// The recovery that a start begins with, as those see it who wait for its end.
#[derive(Debug, Clone)]
pub(crate) struct Recovery {
    /// How far it is; nothing once it is done.
    pub progress: watch::Receiver<Option<RecoveryProgress>>,
    /// The names of channels that are known by now; none once it is done.
    pub names: watch::Receiver<Names>,
    /// Whether it is to be broken off.
    pub stopping: Arc<AtomicBool>,
}

/// The scheduler is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scheduler has stopped")]
pub struct Stopped;

impl Handle {
    pub(crate) fn new(calls: mpsc::Sender<Call>, recovery: Recovery, meters: Meters) -> Self {
        Handle { calls, recovery, meters }
    }

    /// What is measured of it.
    pub fn meters(&self) -> &Meters {
        let (most, left) = (self.calls.max_capacity(), self.calls.capacity());
        self.meters.uses("calls", most - left, most);
        &self.meters
    }

    /// How far the recovery is that a start begins with; nothing once it is done. Until then nobody is
    /// connected, and logs can be read.
    pub fn recovering(&self) -> Option<RecoveryProgress> {
        *self.recovery.progress.borrow()
    }

    /// Waits until that is done; for ever, if it fails.
    pub async fn recovered(&self) {
        if self.recovery.progress.clone().wait_for(Option::is_none).await.is_err() {
            std::future::pending().await
        }
    }

    /// The log of this name, if that is known while the recovery is under way. Who is told none waits for more
    /// `names`, or for the state.
    pub fn log_of(&self, name: &ChannelName) -> Option<LogId> {
        match name.as_str() {
            TASKS_CHANNEL => Some(LogId::TASKS),
            _ => self.recovery.names.borrow().get(name).copied(),
        }
    }

    /// Changes whenever more names are known.
    pub(crate) fn names(&self) -> watch::Receiver<Names> {
        self.recovery.names.clone()
    }

    /// Opens or resumes a session. Messages for it go to `outbox`, the welcome first, until the driver drops
    /// it: then the connection is to be closed, after what is in the outbox.
    ///
    /// # Errors
    /// Why the connection is to be closed.
    pub async fn connect(
        &self,
        hello: Hello,
        outbox: mpsc::UnboundedSender<Outgoing>,
    ) -> Result<Connected, Closing> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Connect { hello: Box::new(hello), outbox, reply };
        self.calls.send(call).await.map_err(|_| Closing::ShuttingDown)?;
        answer.await.unwrap_or(Err(Closing::ShuttingDown))
    }

    /// Hands over requests, in order, each with its number. Waits while the driver has much to do.
    ///
    /// # Errors
    /// When the scheduler is gone.
    pub async fn send(&self, connection: ConnectionId, requests: Vec<(u64, Request)>) -> Result<(), Stopped> {
        let arrived = Instant::now();
        self.calls.send(Call::Requests { connection, arrived, requests }).await.map_err(|_| Stopped)
    }

    /// Says that a connection is gone.
    pub async fn disconnect(&self, connection: ConnectionId, departure: Departure) {
        // A scheduler that is gone needs no farewell.
        let _ = self.calls.send(Call::Disconnect { connection, departure }).await;
    }

    /// Asks the scheduler to stop in order: everything accepted so far becomes durable, everyone is
    /// told, then the driver ends. A recovery is broken off.
    pub async fn shutdown(&self) {
        self.recovery.stopping.store(true, Ordering::Relaxed);
        let _ = self.calls.send(Call::Shutdown).await;
    }
}

//! A session over a connection: it reconnects by itself, and what was asked is sent again until it is answered. The
//! connection is a socket of its own, or, for those of a worker's attempts, a strand of a trunk ([`Trunks`]).
//!
//! [`Connection`] is a handle. An actor, one task for each connection, owns the socket and the
//! [`Link`]; handles send it calls, in order, without waiting:
//!
//! ```text
//!   Connection ──calls──▶ actor: link ──frames──▶ transport ──▶ scheduler
//!   Reply, Subscription ◀──deliveries──┘ ◀──frames──┘
//! ```
//!
//! A call takes its place in the order of the session when it is made, not when its answer is first
//! polled; values for one channel that wait share a command ([`Connection::append`]). Appends that have no answer yet
//! are bounded ([`UNANSWERED_BYTES_MAX`], [`Connection::ready`]), and of a subscription's records no more than a window
//! is kept here; how much else is asked at once is bounded by what the caller does not wait for.
//!
//! When the last handle is dropped, the actor waits for the answers to all commands, says goodbye, and
//! closes: at most [`LEAVE_MS_MAX`] later. A program that ends its runtime before that should
//! [`close`](Connection::close), or its session lives on for its lease.
//!
//! This module never imports `log`, `scheduler` or `server`.

mod actor;
mod bounds;
mod call;
mod clock;
mod flush;
mod membership;
mod pausing;
mod recovery;
mod room;
mod run;
mod subscription;
#[cfg(test)]
mod tests;
pub(super) mod transport;
mod trunks;
mod waiting;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use self::actor::Actor;
use self::call::Call;
pub use self::clock::CLOCKS_APART_MS_MAX;
pub(crate) use self::clock::Clock;
use self::recovery::Recovery;
use self::run::Runs;
use self::trunks::Way;
use super::blob::{Content, Room};
use super::error::{Error, Result};
use super::fetch::{self, FetchError};
use super::link::Link;
use crate::protocol::command::{Answer, AppendOptions, Command, Query, Rejection};
use crate::protocol::message::{Assignment, Position, Reads};
use crate::protocol::result::Located;
use crate::protocol::session::{HeldAttempt, Retire, Role};
use crate::protocol::start::RecoveryProgress;
use crate::protocol::{AttemptNumber, ChannelName, Elements, Epoch, LogId, Outcome, SessionId, TaskId};

pub use self::membership::{MemberItem, Membership};
pub(crate) use self::pausing::{Pausing, Wait, pausing};
pub use self::room::UNANSWERED_BYTES_MAX;
pub use self::run::Share;
pub use self::subscription::{ReadItem, Subscription};
pub use self::trunks::Trunks;

/// How long a connection that leaves waits for answers and for its goodbye to be read: 5 s.
pub const LEAVE_MS_MAX: u64 = 5_000;

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the scheduler listens: `host:port`.
    pub address: String,
    /// As whom.
    pub role: Role,
    /// The cluster's token, where there is one.
    pub token: Option<String>,
    /// How long to try until the first welcome, or until the scheduler says that it recovers: then it is waited
    /// for. After that, a connection that is lost is made again for as long as it takes.
    pub connect_timeout: Duration,
}

impl Options {
    /// A client's, without a token, with a timeout of 10 s.
    pub fn new(address: impl Into<String>) -> Self {
        let connect_timeout = Duration::from_secs(10);
        Options { address: address.into(), role: Role::Client, token: None, connect_timeout }
    }
}

/// For a worker, in order of their coming.
#[derive(Debug, Clone)]
pub enum WorkerMessage {
    /// The session is open on a new connection.
    Welcomed,
    /// Run this.
    Assign(Assignment),
    /// This attempt is not wanted any more.
    Abort {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// Retire.
    Retire(Retire),
    /// This stored result is not needed any more: the attempt that brought it.
    Free(HeldAttempt),
    /// Keep a copy of this stored result.
    Copy(Located),
    /// The session is over; nothing follows.
    Closed(Error),
}

/// A handle to a session. Cheap to clone. See the [module](self).
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    calls: mpsc::UnboundedSender<Call>,
    runs: Mutex<Runs>,
    ended: Ended,
    address: Arc<str>,
    session: SessionId,
    last_subscription: AtomicU64,
    epoch: Arc<AtomicU64>,
    clock: Clock,
    recovery: watch::Receiver<Option<RecoveryProgress>>,
    token: Option<Secret>,
    /// The attempt whose client this is, where that pauses as it waits.
    attempt: Option<Arc<dyn Pausing>>,
}

/// A token that no log line shows.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Why the actor ended, once it has.
type Ended = Arc<OnceLock<Error>>;

impl Connection {
    /// Opens a session. While the scheduler recovers, this returns before the welcome: channels are found and read
    /// then, all else waits, and that the session is refused is learned by what is asked.
    ///
    /// # Errors
    /// [`Error::Connect`] when the scheduler could not be reached within the timeout; [`Error::Closed`] when it
    /// refuses the session; [`Error::TooLarge`] for a role that is over its limits.
    pub async fn open(options: Options) -> Result<Self> {
        Ok(Self::open_as_worker(options).await?.0)
    }

    /// Opens a session, and gives what comes for its worker. One of [`Role::Worker`] is open once it is welcomed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_as_worker(options: Options) -> Result<(Self, mpsc::UnboundedReceiver<WorkerMessage>)> {
        let Options { address, role, token, connect_timeout } = options;
        Self::open_on(Way::Socket(address.into()), role, token, connect_timeout, None).await
    }

    /// Opens a session that shares its connection with others. As [`Self::open`] otherwise. Who waits on it for what others
    /// do pauses the attempt.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn open_shared(
        trunks: &Trunks,
        role: Role,
        connect_timeout: Duration,
        attempt: Option<Arc<dyn Pausing>>,
    ) -> Result<Self> {
        let (way, token) = (Way::Trunk(trunks.clone()), trunks.token());
        Ok(Self::open_on(way, role, token, connect_timeout, attempt).await?.0)
    }

    async fn open_on(
        way: Way,
        role: Role,
        token: Option<String>,
        connect_timeout: Duration,
        attempt: Option<Arc<dyn Pausing>>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<WorkerMessage>)> {
        bounds::check_role(&role)?;
        let session = SessionId(Uuid::now_v7().into_bytes());
        let link = Link::new(session, role, token.clone());
        let token = token.map(Secret);
        let (calls, called) = mpsc::unbounded_channel();
        let (inbox, messages) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let (ended, epoch, clock) = (Ended::default(), Arc::new(AtomicU64::new(0)), Clock::default());
        let (shows, recovery) = Recovery::new();
        let actor =
            Actor::new(link, called, inbox, ready, ended.clone(), epoch.clone(), (clock.clone(), shows));
        let address = way.address().clone();
        tokio::spawn(actor.run(way, connect_timeout));
        let last_subscription = AtomicU64::new(0);
        let runs = Mutex::new(Runs::of(attempt.clone()));
        let shared = Shared {
            calls,
            runs,
            ended,
            address,
            session,
            last_subscription,
            epoch,
            clock,
            recovery,
            token,
            attempt,
        };
        is_ready.await.map_err(|_| Error::Stopped)??;
        Ok((Connection { shared: Arc::new(shared) }, messages))
    }

    /// Where the scheduler listens: `host:port`.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.shared.session
    }

    /// The scheduler's clock, as far as it is known here.
    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The scheduler's epoch, as of the last welcome; 0 before the first.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.shared.epoch.load(Ordering::Relaxed))
    }

    /// How far the recovery of the scheduler is that this session waits for, once a second; nothing while it waits for none.
    /// Log lines say it as long as nobody has this.
    pub fn recovery(&self) -> watch::Receiver<Option<RecoveryProgress>> {
        self.shared.recovery.clone()
    }

    /// Why the session is over, if it is.
    pub fn ended(&self) -> Option<Error> {
        self.shared.ended.get().cloned()
    }

    /// Asks for a command. It has its place in the session's order when this returns.
    ///
    /// The reply may bring [`Error::Rejected`], [`Error::TooLarge`] (nothing was sent), or why the
    /// session ended. If it is dropped, the command is carried out all the same.
    pub fn command(&self, command: Command) -> Reply<Answer> {
        let (sender, reply) = self.reply();
        match bounds::check_command(&command) {
            Ok(()) => self.call(Call::Command(command, sender)),
            // Its receiver is here.
            Err(error) => drop(sender.send(Err(error.into()))),
        }
        reply
    }

    /// Appends these elements to a channel, all or none, next to each other, and brings their offsets. They have
    /// their place in the channel when this returns. Values that wait to be sent to one channel go as one command, which
    /// is taken or refused as a whole; so appends to different channels may change places, as long as nothing else was asked
    /// between them. One with options goes alone. As [`Self::command`] otherwise.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TooManyInFlight`]: nothing is sent. The share brings every other.
    pub fn append(&self, log: LogId, elements: &Elements, options: AppendOptions) -> Result<Share> {
        bounds::check_elements(elements)?;
        let mut runs = self.runs();
        let bytes = elements.encoded_bytes() + room::APPEND_BYTES;
        if let Err(taken) = runs.room.take(bytes) {
            let full = Error::TooManyInFlight { bytes: taken as u64, max: UNANSWERED_BYTES_MAX as u64 };
            return Err(self.ended().unwrap_or(full));
        }
        let (share, begun) = runs.append(log, elements, !options.is_default(), &self.shared.ended);
        if let Some(run) = begun {
            // As below. The runs are still locked: the actor hears of this one in its turn.
            let _ = self.shared.calls.send(Call::Append { log, run, options });
        }
        Ok(share)
    }

    /// Waits until there is room for more appends: those that have no answer yet are few enough. Whoever makes many
    /// without waiting for each waits here before each, and is not refused with [`Error::TooManyInFlight`].
    ///
    /// # Errors
    /// Why the session ended.
    pub async fn ready(&self) -> Result<()> {
        let room = self.runs().room.clone();
        room.ready().await;
        self.ended().map_or(Ok(()), Err)
    }

    /// Brings nothing, once all commands so far are answered and what they ask for is durable, or refused; of those that
    /// write to one channel, if it is named. What was acknowledged before it was durable is made so now. While the
    /// connection is lost it waits, as they do.
    ///
    /// The future brings [`Rejection::Undone`] when something that was
    /// acknowledged as buffered is gone, once, or why the session ended.
    pub fn flush(&self, log: Option<LogId>) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let (sender, buffered) = self.reply();
        self.call(Call::Flush(log, sender));
        let connection = self.clone();
        async move {
            for acked in buffered.await? {
                let answer = connection.query(Query::Durable { acked }).await;
                if let Err(Error::Rejected(Rejection::Undone(_))) = answer {
                    // Here, since a flush that was given up has told nobody.
                    connection.call(Call::Undone { log, acked });
                }
                answer?;
            }
            Ok(())
        }
    }

    /// Asks a query, behind the commands before it.
    pub fn query(&self, query: Query) -> Reply<Answer> {
        let (sender, reply) = self.reply();
        match bounds::check_query(&query) {
            Ok(()) => self.call(Call::Query(query, sender)),
            // Its receiver is here.
            Err(error) => drop(sender.send(Err(error.into()))),
        }
        reply
    }

    /// Asks for the log of a channel that must be there, as [`Self::query`] otherwise. The reply brings
    /// [`Answer::Channel`]; or [`Answer::Log`], at once, while the scheduler recovers. So may that to
    /// [`Command::OpenChannel`], for a channel that is there.
    pub fn find_channel(&self, name: ChannelName) -> Reply<Answer> {
        let (sender, reply) = self.reply();
        self.call(Call::FindChannel(name, sender));
        reply
    }

    /// Asks how a task ends. All who wait for one task share one request.
    ///
    /// The reply may bring [`Rejection::UnknownTask`].
    pub fn watch(&self, task: TaskId) -> Watch {
        let (sender, reply) = self.reply();
        self.call(Call::Watch(task, sender));
        // It is not for an answer that whoever has this waits.
        let (reply, attempt) = (Reply { attempt: None, ..reply }, self.attempt().cloned());
        Watch { reply, attempt, wait: Wait::default() }
    }

    /// The attempt that pauses as it waits on this, if one does.
    pub(crate) fn attempt(&self) -> Option<&Arc<dyn Pausing>> {
        self.shared.attempt.as_ref()
    }

    /// Fetches a stored result from a worker that keeps it, once from each until one gives it; with the token of
    /// this connection. It is put where there is room.
    ///
    /// # Errors
    /// What each of them said.
    pub async fn fetch(&self, located: &Located, room: &Room) -> Result<Content, FetchError> {
        let token = self.shared.token.as_ref().map(|Secret(token)| token.as_str());
        fetch::fetch(located, self.address(), token, room).await
    }

    /// Says that this worker takes nothing more, on each connection from now on. Behind the answer comes no
    /// assignment.
    pub fn retire(&self) -> Reply<Answer> {
        let (sender, reply) = self.reply();
        self.call(Call::Retire(sender));
        reply
    }

    /// Holds a task no longer. Several that follow each other become one command.
    pub fn release(&self, task: TaskId) {
        self.call(Call::Release(task));
    }

    /// Begins to read a log.
    pub fn subscribe(&self, log: LogId, from: Position) -> Subscription {
        self.subscribe_to(log, from, Reads::Durable)
    }

    /// As [`Self::subscribe`], of these records.
    pub fn subscribe_to(&self, log: LogId, from: Position, reads: Reads) -> Subscription {
        let id = self.shared.last_subscription.fetch_add(1, Ordering::Relaxed) + 1;
        let (items, received) = mpsc::unbounded_channel();
        self.call(Call::Subscribe { id, log, from, reads, items });
        Subscription::new(self.clone(), id, received)
    }

    /// Waits for the answers to all commands so far, says goodbye, and closes; at most
    /// [`LEAVE_MS_MAX`] later it is done. What is asked afterwards fails with [`Error::Stopped`].
    pub async fn close(&self) {
        let (sender, closed) = oneshot::channel();
        self.call(Call::Close(sender));
        // The actor drops it when it ends, or has ended.
        let _ = closed.await;
    }

    #[cfg(test)]
    pub(super) fn unconnected() -> Self {
        let (calls, _) = mpsc::unbounded_channel();
        let session = SessionId([0; 16]);
        let (ended, last_subscription, epoch, clock, token, attempt) = Default::default();
        let address = "".into();
        let runs = Mutex::default();
        let (_, recovery) = Recovery::new();
        let shared = Shared {
            calls,
            runs,
            ended,
            address,
            session,
            last_subscription,
            epoch,
            clock,
            recovery,
            token,
            attempt,
        };
        Connection { shared: Arc::new(shared) }
    }

    fn reply<T>(&self) -> (oneshot::Sender<Result<T>>, Reply<T>) {
        let (sender, answer) = oneshot::channel();
        let (ended, attempt) = (self.shared.ended.clone(), self.attempt().cloned());
        (sender, Reply { answer, ended, attempt })
    }

    fn call(&self, call: Call) {
        let mut runs = self.runs();
        // What was read changes nothing: it has no place in the order.
        if !matches!(call, Call::Consumed { .. }) {
            runs.end();
        }
        // An actor that has ended drops the call, and with it the sender of its reply.
        let _ = self.shared.calls.send(call);
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.shared.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a request, soon or late.
#[derive(Debug)]
#[must_use = "the request is on its way, but its answer is not known"]
pub struct Reply<T> {
    answer: oneshot::Receiver<Result<T>>,
    ended: Ended,
    attempt: Option<Arc<dyn Pausing>>,
}

impl<T> Future for Reply<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let polled = Pin::new(&mut self.answer).poll(context);
        let answer = ready!(pausing::asks(self.attempt.as_ref(), polled));
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.ended.get().cloned().unwrap_or(Error::Stopped))))
    }
}

/// How a task ends, soon or late.
#[derive(Debug)]
#[must_use = "the task is watched, but how it ends is not known"]
pub struct Watch {
    reply: Reply<Outcome>,
    attempt: Option<Arc<dyn Pausing>>,
    wait: Wait,
}

impl Future for Watch {
    type Output = Result<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Outcome>> {
        let Watch { reply, attempt, wait } = &mut *self;
        wait.follow(attempt.as_ref(), Pin::new(reply).poll(context))
    }
}

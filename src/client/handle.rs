//! The client's handle: what a program has of a cluster.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::channel::Channel;
use super::connection::{Connection, Options, Reply};
use super::error::{Error, Result};
use super::function::{Arguments, Registered, TaskFn, registered_of};
use super::future::TaskFuture;
use super::holds::Holds;
use super::link::ProtocolError;
use super::reading::{Offset, Records};
use super::submit::{Submission, Submit};
use crate::protocol::channel::TASKS_CHANNEL;
use crate::protocol::command::{Answer, Command, Overview, Query};
use crate::protocol::message::Reads;
use crate::protocol::session::Role;
use crate::protocol::task::{Explanation, TaskOptions, TaskStatus};
use crate::protocol::terms::Terms;
use crate::protocol::{ChannelName, LogId, TaskEvent, TaskKey};

/// A program's session with a cluster. Cheap to clone; the session ends when the last clone, channel,
/// future and stream of it is dropped, or at [`Client::close`].
///
/// When the scheduler cannot be reached, calls wait until it can: nothing is lost, and nothing is
/// carried out twice. While it recovers, channels are found and read, and all other calls wait.
#[derive(Debug, Clone)]
pub struct Client {
    holds: Arc<Holds>,
    /// What is to live as long as the client: a scheduler of its own, say.
    _kept: Option<Arc<dyn Any + Send + Sync>>,
}

impl Client {
    /// Connects to the scheduler at `address` (`host:port`), without a token.
    ///
    /// # Errors
    /// [`Error::Connect`] when it cannot be reached for 10 s; [`Error::Closed`] when it refuses. One that recovers
    /// may refuse later: then the calls say so.
    pub async fn connect(address: impl Into<String>) -> Result<Client> {
        Client::builder().connect(address).await
    }

    /// To connect with a token or another timeout.
    pub fn builder() -> Builder {
        Builder { options: Options::new(""), token_file: None }
    }

    /// A client over a connection that is there.
    pub fn over(connection: Connection) -> Client {
        Client { holds: Arc::new(Holds::new(connection)), _kept: None }
    }

    /// The same client, which keeps something alive as long as it or a clone of it lives.
    #[must_use]
    pub fn keeping(self, kept: Arc<dyn Any + Send + Sync>) -> Client {
        Client { _kept: Some(kept), ..self }
    }

    /// The channel of this name. It is made when it is not there. One that is there is found, and can be read, while
    /// the scheduler still recovers.
    ///
    /// # Errors
    /// [`Error::BadName`]; [`Error::Rejected`] for a name that is the scheduler's own.
    pub async fn channel<T>(&self, name: &str) -> Result<Channel<T>> {
        let name = ChannelName::new(name)?;
        let reply = self.connection().command(Command::OpenChannel { name: name.clone() });
        self.channel_of(name, reply).await
    }

    /// The channel of this name, which must be there. It is found, and can be read, while the scheduler still
    /// recovers.
    ///
    /// # Errors
    /// [`Error::BadName`]; [`Error::Rejected`] when there is no such channel.
    pub async fn existing_channel<T>(&self, name: &str) -> Result<Channel<T>> {
        let name = ChannelName::new(name)?;
        let reply = self.connection().find_channel(name.clone());
        self.channel_of(name, reply).await
    }

    async fn channel_of<T>(&self, name: ChannelName, reply: Reply<Answer>) -> Result<Channel<T>> {
        let log = match reply.await? {
            Answer::Channel(info) => info.log,
            Answer::Log(log) => log,
            _ => return Err(wrong_answer("the opening of a channel")),
        };
        Ok(Channel::new(self.clone(), name, log))
    }

    /// Calls a function with `#[task]` on the cluster. The call is submitted when what this returns is
    /// awaited; before that, options can be set.
    ///
    /// ```
    /// # use headwater::{Client, Result, task};
    /// #[task(pure)]
    /// fn add(a: f64, b: f64) -> f64 { a + b }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let client = Client::local().await?;
    /// let three = client.submit(add, (1.0, 2.0)).await?;
    /// let five = client.submit(add, (&three, 2.0)).retries(3).await?;
    /// assert_eq!(five.await?, 5.0);
    /// # Ok(()) }
    /// ```
    pub fn submit<F, P, T, M, A>(&self, function: F, arguments: A) -> Submit<T>
    where
        F: TaskFn<P, T, M>,
        A: Arguments<P>,
    {
        Submit::new(self.clone(), typed_submission(&function, arguments))
    }

    /// Submits a call whose arguments are encoded already. It has its place in the session's order when
    /// this returns.
    pub fn submit_encoded<T>(
        &self,
        submission: Submission,
    ) -> impl Future<Output = Result<TaskFuture<T>>> + Send + use<T> {
        submission.send(self)
    }

    /// The future of a task that somebody has submitted, held from now on.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the task is not known.
    pub async fn future<T>(&self, key: &TaskKey) -> Result<TaskFuture<T>> {
        let (hold, reply) = self.holds.hold(key.id, Command::Hold { task: key.id, detach: false });
        match reply.await? {
            Answer::Held(key) => Ok(TaskFuture::new(key, self.clone(), Some(hold))),
            _ => Err(wrong_answer("a hold")),
        }
    }

    /// Cancels a task, whoever submitted it: it never runs, or its attempt is aborted, and what needs its result fails. An
    /// async function ends where it waits; one that is not goes on to its end, and can ask
    /// [`is_cancelled`](crate::Context::is_cancelled). That is durable when this returns. Answers where the task stands now: one
    /// that had ended before stays as it was.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the task is not known, or the session is over.
    pub async fn cancel(&self, key: &TaskKey) -> Result<TaskStatus> {
        match self.connection().command(Command::Cancel { task: key.id }).await? {
            Answer::Ended(status) => Ok(status),
            _ => Err(wrong_answer("a cancellation")),
        }
    }

    /// Why a task is where it is, or does not run: as of now, by what the scheduler would decide.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the task is not known, or the session is over.
    pub async fn explain(&self, key: &TaskKey) -> Result<Explanation> {
        match self.connection().query(Query::Explain { task: key.id }).await? {
            Answer::Explained(explanation) => Ok(*explanation),
            _ => Err(wrong_answer("the question why")),
        }
    }

    /// Tries a task again that has failed or was cancelled, whoever submitted it, and with it those that it needs, near or
    /// far, and that have: as if none of their attempts had failed. A deadline begins anew. That is durable when this
    /// returns. What else had failed since it needed them stays as it is. Who awaits it from now on waits for what comes of
    /// that.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the task is not known, or stands otherwise, or the session is over.
    pub async fn retry(&self, key: &TaskKey) -> Result<()> {
        match self.connection().command(Command::Retry { task: key.id }).await? {
            Answer::Retried => Ok(()),
            _ => Err(wrong_answer("another try")),
        }
    }

    /// Asks a [`Query`]: the listings that the command line shows.
    pub fn query(&self, query: Query) -> Reply<Answer> {
        self.connection().query(query)
    }

    /// All rows of a listing, which is asked for page by page, behind the last row until none comes. `rows` takes them out
    /// of the right answer.
    pub(super) async fn all_pages<R>(
        &self,
        to: &'static str,
        ask: impl Fn(Option<&R>) -> Query,
        rows: impl Fn(Answer) -> Option<Vec<R>>,
    ) -> Result<Vec<R>> {
        let mut all = Vec::new();
        loop {
            let answer = self.query(ask(all.last())).await?;
            let page = rows(answer).ok_or_else(|| wrong_answer(to))?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// The log and the cluster at a glance.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn overview(&self) -> Result<Overview> {
        match self.query(Query::Overview).await? {
            Answer::Overview(overview) => Ok(overview),
            _ => Err(wrong_answer("the question for an overview")),
        }
    }

    /// Reads the task log, `$tasks`: all that ever happened to tasks, sessions and channels. Its records
    /// have no index: [`Offset::Index`] reads from its beginning.
    pub fn task_log(&self, from: Offset) -> Records<TaskEvent> {
        let from = if let Offset::Index(_) = from { Offset::Start } else { from };
        let name = ChannelName::new(TASKS_CHANNEL).expect("it is a name");
        Records::new(self, name, LogId::TASKS, from, Reads::Durable)
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        self.holds.connection()
    }

    /// Brings nothing, once everything that this client, or a clone of it, has asked for so far is durable or refused:
    /// appends, stops, submissions, holds and releases; appends that were acknowledged as buffered are made durable now. It has
    /// its place in the session's order when this returns; what was refused was said to whoever asked for it. While the
    /// scheduler is away it waits, as all calls do.
    ///
    /// # Errors
    /// When the session is over: then it is not known of all. [`Error::Rejected`] with
    /// [`Rejection::Undone`](crate::protocol::command::Rejection::Undone), once, when what was acknowledged as buffered is
    /// gone since the scheduler's machine failed.
    pub fn flush(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        self.connection().flush(None)
    }

    /// Waits for the answers to all commands so far, and ends the session, for all its clones. What it
    /// held is released. A program should call it before it ends.
    pub async fn close(&self) {
        self.connection().close().await;
    }

    pub(crate) fn holds(&self) -> &Arc<Holds> {
        &self.holds
    }
}

/// How to connect: [`Client::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    options: Options,
    token_file: Option<PathBuf>,
}

impl Builder {
    /// The cluster's token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.options.token = Some(token.into());
        self
    }

    /// The file that holds the cluster's token. White space around it does not count.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// How long to try to reach the scheduler at first; 10 s unless told. One that is reached and says that it
    /// recovers is waited for, however long that takes, by what is asked of it.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// As whom: [`Role::Attempt`] for a task that is a client.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.options.role = role;
        self
    }

    /// Connects to the scheduler at `address` (`host:port`).
    ///
    /// # Errors
    /// As [`Client::connect`]; also [`Error::Connect`] when the token's file cannot be read.
    pub async fn connect(mut self, address: impl Into<String>) -> Result<Client> {
        self.options.address = address.into();
        if let Some(path) = &self.token_file {
            let token = std::fs::read_to_string(path).map_err(|error| {
                let why = format!("the token file {} cannot be read: {error}", path.display());
                Error::connect(&self.options.address, why)
            })?;
            self.options.token = Some(token.trim().to_owned());
        }
        Ok(Client::over(Connection::open(self.options).await?))
    }
}

pub(super) fn typed_submission<F, P, T, M, A>(function: &F, arguments: A) -> Result<Submission>
where
    F: TaskFn<P, T, M>,
    A: Arguments<P>,
{
    let Some(registered) = registered_of(function) else {
        let mut tasks: Vec<Box<str>> = Registered::all().map(|known| known.name.into()).collect();
        tasks.sort_unstable();
        return Err(Error::NotATask { function: std::any::type_name::<F>().into(), tasks });
    };
    let encoded = arguments.encode()?;
    Ok(Submission {
        function: registered.name.into(),
        version: registered.version,
        is_pure: registered.pure,
        arguments: encoded.arguments,
        options: TaskOptions::default(),
        terms: Terms::default(),
        name: None,
        kept: encoded.kept,
    })
}

/// The scheduler answered with something else than what was asked for.
pub(super) fn wrong_answer(to: &'static str) -> Error {
    ProtocolError::Unexpected { what: "an answer of another kind", when: to }.into()
}

//! Submitting a call.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::connection::Reply;
use super::error::{Error, Result};
use super::future::TaskFuture;
use super::handle::{Client, wrong_answer};
use super::holds::Hold;
use super::lists;
use super::millis::millis;
use crate::protocol::command::{Answer, Command};
use crate::protocol::equipment::BadEquipment;
use crate::protocol::task::{Argument, TaskOptions};
use crate::protocol::terms::{Backoff, Tag, Term, Terms};
use crate::protocol::{self, TaskKey};

/// A call with its arguments encoded.
pub struct Submission {
    /// The function's full name: `rust:my_crate::add`.
    pub function: Box<str>,
    /// The function's version.
    pub version: u32,
    /// Whether the same call is always the same task.
    pub is_pure: bool,
    /// The arguments in order.
    pub arguments: Vec<Argument>,
    /// The options.
    pub options: TaskOptions,
    /// Under what conditions it is run.
    pub terms: Terms,
    /// The name that the task is to have, when the user gives one.
    pub name: Option<Box<str>>,
    /// What must not be dropped before the submission is acknowledged: the futures among the arguments.
    pub kept: Vec<Box<dyn Any + Send>>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Submission({}{:?})", self.function, self.arguments)
    }
}

impl Submission {
    /// The key: of its name if it has one, of the call if the function is pure, else like no other.
    fn key(&self) -> TaskKey {
        let label = TaskKey::label_of(&self.function);
        if let Some(name) = &self.name {
            return TaskKey::named(name);
        }
        if !self.is_pure {
            return TaskKey::unique(label, Uuid::now_v7().into_bytes());
        }
        pure_key(label, &self.function, self.version, &self.arguments)
    }

    pub(super) fn send<T>(
        mut self,
        client: &Client,
    ) -> impl Future<Output = Result<TaskFuture<T>>> + Send + use<T> {
        let is_pure = self.is_pure && self.name.is_none();
        let lists = lists::put_together(&mut self.arguments, is_pure, self.options.priority);
        let key = self.key();
        let submission = protocol::Submission {
            key: key.clone(),
            function: self.function,
            version: self.version,
            arguments: self.arguments,
            options: self.options,
        };
        let terms = self.terms;
        let checked = lists.iter().chain([&submission]).try_for_each(protocol::Submission::check);
        let checked = checked.map_err(Error::from).and_then(|()| Ok(terms.check()?));
        let sent = checked.map(|()| {
            let send = |key: &TaskKey, command| client.holds().hold(key.id, command);
            let lists = lists.into_iter().map(|list| send(&list.key.clone(), Command::Submit(list)));
            let lists: Vec<_> = lists.collect();
            let (hold, reply) = send(&key, Command::submit(submission, terms));
            (lists, hold, reply, client.clone())
        });
        let kept = self.kept;
        async move {
            let (lists, hold, reply, client) = sent?;
            let answer = answered_behind(lists, reply).await;
            drop(kept);
            match answer? {
                Answer::Submitted => Ok(TaskFuture::new(key, client, Some(hold))),
                _ => Err(wrong_answer("a submission")),
            }
        }
    }
}

/// The key of a pure call.
pub(super) fn pure_key(label: &str, function: &str, version: u32, arguments: &[Argument]) -> TaskKey {
    let arguments =
        postcard::to_stdvec(arguments).expect("arguments hold nothing that postcard cannot carry");
    TaskKey::pure(label, function, version, &arguments)
}

/// The answer to a call, behind those to what it needs and was sent ahead of it, which it keeps from then on. If one of
/// these was refused, so was the call, and that says why.
pub(super) async fn answered_behind(
    ahead: Vec<(Arc<Hold>, Reply<Answer>)>,
    call: Reply<Answer>,
) -> Result<Answer> {
    let mut held = Vec::with_capacity(ahead.len());
    let mut refused = None;
    for (hold, reply) in ahead {
        held.push(hold);
        refused = refused.or(reply.await.err());
    }
    let answer = call.await;
    refused.map_or(answer, Err)
}

/// A call that is about to be submitted: when it is awaited.
#[must_use = "a call is submitted when it is awaited"]
#[derive(Debug)]
pub struct Submit<T> {
    client: Client,
    submission: Result<Submission>,
    result: PhantomData<fn() -> T>,
}

impl<T> Submit<T> {
    /// A call, or why it cannot be submitted, which awaiting it will say.
    pub fn new(client: Client, submission: Result<Submission>) -> Self {
        Submit { client, submission, result: PhantomData }
    }

    /// The name that the task is to have. Submitting under a name that is taken gives the future of the
    /// task that has it, if it is of the same function.
    pub fn key(self, name: impl Into<Box<str>>) -> Self {
        self.with(|submission| submission.name = Some(name.into()))
    }

    /// How many more attempts are made after one that fails; none unless told.
    pub fn retries(self, retries: u32) -> Self {
        self.with(|submission| submission.options.retries = retries)
    }

    /// How long to wait before each of those attempts; not at all unless told. No slot is taken meanwhile.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.term(Term::Backoff(backoff))
    }

    /// How long an attempt may take, from when it begins on its worker; as long as it wants unless told. One that takes
    /// longer has failed, as if it had returned an error: async functions are dropped where they wait, others go on
    /// without a slot unless they ask [`Context::is_cancelled`](crate::Context::is_cancelled), and nobody hears what comes
    /// of them. At least 1 ms, at most a year.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.term(Term::Timeout { ms: millis(timeout) })
    }

    /// How long the task may take in all, from when its submission is in the log, with all its attempts and whatever it
    /// waits for. Then it has failed, wherever it stands, and a running attempt is aborted. By the scheduler's clock,
    /// also while no scheduler runs. At least 1 ms, at most a year. A task that has ended in time, and is computed anew
    /// since its result was lost, may take as long as it wants.
    pub fn deadline(self, deadline: Duration) -> Self {
        self.term(Term::Deadline { ms: millis(deadline) })
    }

    /// A word by which the task is found: `headwater task list --tag`. There may be several.
    pub fn tag(mut self, tag: &str) -> Self {
        match Tag::new(tag) {
            Ok(tag) => self.term(Term::Tag(tag)),
            Err(bad) => {
                self.submission = self.submission.and(Err(bad.into()));
                self
            }
        }
    }

    /// What an attempt has of its worker's resources for itself: `"cpus=2"`, `"gpus=0.5"`, `"memory=4GiB"`; once for each
    /// resource: a call that says it twice of one is not submitted. It waits for a worker that has it free; what workers have is theirs to say, see `headwater worker --help`. The
    /// task finds what it has in [`Context::grants`](crate::Context::grants).
    ///
    /// ```
    /// # use headwater::{task, Client};
    /// #[task]
    /// fn train(epochs: u32) -> u32 { epochs }
    /// # async fn submit(client: Client) -> headwater::Result<()> {
    /// let future = client.submit(train, (90,)).needs("gpus=1").needs("memory=8GiB").on("label=zone:eu").await?;
    /// # let _ = future; Ok(()) }
    /// ```
    pub fn needs(self, need: &str) -> Self {
        self.parsed(need, Term::Needs)
    }

    /// Where it may run: `"worker=NAME"`, `"host=NAME"` or `"label=WORD"`. Given several times, on any of these workers and
    /// hosts, and of them on those that carry all of these labels. It waits for such a worker.
    pub fn on(self, target: &str) -> Self {
        self.parsed(target, Term::On)
    }

    /// Where it runs rather than on others that are free, too; spelled as for [`on`](Self::on).
    pub fn prefers(self, target: &str) -> Self {
        self.parsed(target, Term::Prefers)
    }

    /// Ready tasks of higher priority start first; 0 unless told.
    pub fn priority(self, priority: i32) -> Self {
        self.with(|submission| submission.options.priority = priority)
    }

    /// Lets the task stay when nobody holds it.
    pub fn detach(self) -> Self {
        self.with(|submission| submission.options.detach = true)
    }

    fn parsed<P: FromStr<Err = BadEquipment>>(mut self, text: &str, term: fn(P) -> Term) -> Self {
        match text.parse() {
            Ok(parsed) => self.term(term(parsed)),
            Err(bad) => {
                self.submission = self.submission.and(Err(bad.into()));
                self
            }
        }
    }

    fn term(self, term: Term) -> Self {
        self.with(|submission| submission.terms.set(term))
    }

    fn with(mut self, set: impl FnOnce(&mut Submission)) -> Self {
        if let Ok(submission) = &mut self.submission {
            set(submission);
        }
        self
    }
}

impl<T: 'static> IntoFuture for Submit<T> {
    type Output = Result<TaskFuture<T>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<TaskFuture<T>>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let sent = self.submission.map(|submission| submission.send(&self.client));
        Box::pin(async move { sent?.await })
    }
}

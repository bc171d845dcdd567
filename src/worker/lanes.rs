//! Lanes: where plain functions run, those that follow each other on one thread.
//!
//! To hand each of them to a thread and to wait for it costs two switches between threads, many times what a short
//! function takes. So whoever has come to the end of one tells the outcome, and takes the next whose turn it is by
//! itself. The session hears when nothing more is there for a lane: one wake-up for many outcomes.
//!
//! ```text
//!   session ──add──▶ turns ◀──next── lane: call, report ──commands──▶ Connection
//!      ▲                                  │
//!      └──── large results, has ended ────┘
//! ```
//!
//! A lane is not bound to a slot: it has one for each attempt anew. So one whose function was aborted, or has paused, holds
//! up nothing; the session begins another lane for the slot that is free.
//!
//! Not here: async functions, arguments that have to be fetched, and what becomes of large results, since these wait
//! for others. They are the session's.
//!
//! Invariants:
//! - An outcome is told before the lane begins the next attempt, and only while the attempt was not aborted.
//! - The lock is held while no function of a user's runs, and nothing is waited for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::Options;
use super::advances::Advances;
use super::attempt::command_for;
use super::context::Context;
use super::given;
use super::registry::Registry;
use super::run::{self, PlainFn};
use super::timeouts::Timeouts;
use super::turns::{Turns, held};
use crate::client::blob::Content;
use crate::client::connection::{Connection, Reply, Trunks};
use crate::client::function::{Registered, Run};
use crate::protocol::TaskError;
use crate::protocol::command::Answer;
use crate::protocol::message::Assignment;
use crate::protocol::session::HeldAttempt;
use crate::protocol::task::Advance;

/// The lanes of a worker's session, and what they share with it.
pub(super) struct Lanes {
    connection: Connection,
    /// For the sessions of attempts that become clients.
    trunks: Trunks,
    registry: Arc<Registry>,
    options: Options,
    shared: Mutex<Shared>,
    /// A slot may be free, or there is something for the session to take.
    news: Notify,
}

/// What the lanes and the session share.
pub(super) struct Shared {
    pub turns: Turns,
    /// What is on a lane, and is not aborted.
    running: HashSet<HeldAttempt>,
    /// The same of what the session runs, since it waits for something.
    awaited: HashMap<HeldAttempt, AbortHandle>,
    results: Vec<LargeResult>,
    /// What was told and is not yet taken by the session, which waits for the answers.
    told: Vec<Reply<Answer>>,
    timeouts: Timeouts,
    advances: Advances,
}

/// A result that is too large to be told. Its attempt is not over: it has its slot.
pub(super) struct LargeResult {
    pub attempt: HeldAttempt,
    pub result: Content,
    /// When it began.
    pub since: Instant,
}

impl Shared {
    /// Whether nothing runs on a lane, and the session has taken all that came of it.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.results.is_empty() && self.told.is_empty()
    }

    /// How many attempts run, on lanes or in the session.
    pub fn running(&self) -> usize {
        self.running.len() + self.awaited.len()
    }

    /// Whether an attempt runs, and what comes of it is wanted.
    pub fn is_wanted(&self, attempt: &HeldAttempt) -> bool {
        self.running.contains(attempt) || self.awaited.contains_key(attempt)
    }

    /// An attempt says how far it has come.
    pub fn advance(&mut self, attempt: HeldAttempt, advance: Advance) {
        if self.is_wanted(&attempt) {
            self.advances.say(attempt, advance);
        }
    }

    /// How far attempts have come, as far as it is to be told now.
    pub fn take_advances(&mut self) -> Vec<(HeldAttempt, Advance)> {
        self.advances.take(Instant::now())
    }

    /// An attempt begins: from now on its time runs.
    pub fn begin_timeout(&mut self, assignment: &Assignment) -> bool {
        self.timeouts.begin(assignment, Instant::now())
    }

    /// An attempt that may take too long has this context, with its log.
    pub fn keep_log(&mut self, attempt: &HeldAttempt, context: &Context) {
        self.timeouts.keep_log(attempt, context.task_log().clone());
    }

    /// When the next attempt has taken too long.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timeouts.next()
    }

    /// Aborts the first attempt that has, and says what is to be told of it.
    pub fn time_out(&mut self) -> Option<(HeldAttempt, TaskError)> {
        let (attempt, error) = self.timeouts.pop(Instant::now())?;
        self.abort(&attempt);
        Some((attempt, error))
    }

    /// The session runs an attempt.
    pub fn await_it(&mut self, attempt: HeldAttempt, handle: AbortHandle) {
        self.awaited.insert(attempt, handle);
    }

    /// A lane has run an attempt to its end. Answers whether what comes of it is wanted.
    fn was_wanted(&mut self, attempt: &HeldAttempt) -> bool {
        self.timeouts.end(attempt);
        self.advances.end(attempt);
        self.running.remove(attempt)
    }

    /// The session has run an attempt to its end.
    pub fn has_ended(&mut self, attempt: &HeldAttempt, took: Duration) {
        self.awaited.remove(attempt);
        self.timeouts.end(attempt);
        self.advances.end(attempt);
        self.turns.end(attempt, took);
    }

    /// What was told since this was last asked.
    pub fn take_told(&mut self) -> Vec<Reply<Answer>> {
        std::mem::take(&mut self.told)
    }

    /// The large results since this was last asked.
    pub fn take_results(&mut self) -> Vec<LargeResult> {
        std::mem::take(&mut self.results)
    }

    /// An attempt is not wanted any more, wherever it is: it takes no slot, and nobody hears of it. An async function ends
    /// where it waits; one that is not goes on to its end, and can ask whether it is wanted.
    pub fn abort(&mut self, attempt: &HeldAttempt) {
        self.results.retain(|result| result.attempt != *attempt);
        self.timeouts.end(attempt);
        self.advances.end(attempt);
        self.running.remove(attempt);
        if let Some(awaited) = self.awaited.remove(attempt) {
            awaited.abort();
        }
        self.turns.release(attempt);
        self.turns.drop_waiting(attempt);
    }

    /// Nothing here is wanted any more.
    pub fn abort_all(&mut self) {
        self.turns.end_all();
        self.running.clear();
        self.awaited.drain().for_each(|(_, awaited)| awaited.abort());
        self.results.clear();
        self.timeouts.clear();
        self.advances.clear();
    }
}

impl Lanes {
    pub fn new(
        connection: Connection,
        trunks: Trunks,
        registry: Arc<Registry>,
        options: &Options,
    ) -> Arc<Self> {
        let (running, awaited, results, told, timeouts, advances) = Default::default();
        let turns = Turns::new(options.slots.max(1), &options.equipment.resources);
        let shared = Mutex::new(Shared { turns, running, awaited, results, told, timeouts, advances });
        let (options, news) = (options.clone(), Notify::new());
        Arc::new(Lanes { connection, trunks, registry, options, shared, news })
    }

    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing in here panics half-way.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker's session.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the sessions of its attempts share.
    pub fn trunks(&self) -> &Trunks {
        &self.trunks
    }

    /// How the worker runs, with its name.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Waits until there is something for the session to look at.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// An attempt waits for others: it takes no slot until it returns.
    pub fn pause(&self, attempt: &HeldAttempt) {
        self.lock().turns.pause(attempt);
        self.news.notify_one();
    }

    /// An attempt that has paused wants to return: where it hears that it has. Nothing for one that has not paused, or is not
    /// wanted any more.
    pub fn ask_to_return(&self, attempt: HeldAttempt) -> Option<oneshot::Receiver<()>> {
        let mut shared = self.lock();
        let asked = shared.is_wanted(&attempt).then(|| shared.turns.ask_to_return(attempt)).flatten();
        drop(shared);
        // The scheduler is told.
        self.news.notify_one();
        asked
    }

    /// The function of an assignment that can be called as it is, on a lane.
    pub fn plain(&self, assignment: &Assignment) -> Option<PlainFn> {
        match self.registry.find(&assignment.function, assignment.version) {
            Ok(Registered { run: Run::Blocking(function), .. }) => {
                assignment.arguments.iter().all(given::is_here).then_some(*function)
            }
            _ => None,
        }
    }

    /// Begins a lane with an attempt that has its slot.
    pub fn begin(self: &Arc<Self>, assignment: Assignment, function: PlainFn) {
        self.lock().running.insert(held(&assignment));
        let this = self.clone();
        // A runtime that shuts down never begins it: the task goes to another worker when the session ends.
        tokio::task::spawn_blocking(move || this.run((assignment, function)));
    }

    /// Runs an attempt, and those behind it for as long as there is a slot, and a plain function has its turn.
    fn run(self: Arc<Self>, first: (Assignment, PlainFn)) {
        // It waited for a thread: it may not be wanted by now, and its time begins here.
        let mut next = Some(first).filter(|(assignment, _)| self.begins(assignment));
        let mut began = Instant::now();
        while let Some((assignment, function)) = next {
            let attempt = held(&assignment);
            let key = assignment.key.clone();
            let context = Context::new(self.clone(), &assignment);
            if assignment.timeout_ms.is_some() {
                self.lock().keep_log(&attempt, &context);
            }
            tracing::debug!(task = %key, attempt = %attempt.attempt, "begins");
            let arguments = given::values_given(&assignment.function, assignment.arguments);
            let outcome = arguments.and_then(|arguments| run::call(function, arguments, Some(context)));
            let report = command_for(&key, attempt.attempt, outcome);
            let (since, ended) = (began, Instant::now());
            began = ended;
            let mut shared = self.lock();
            if shared.was_wanted(&attempt) {
                match report {
                    Ok(command) => {
                        shared.told.push(self.connection.command(command));
                        shared.turns.end(&attempt, ended - since);
                    }
                    Err(result) => {
                        shared.results.push(LargeResult { attempt, result, since });
                        self.news.notify_one();
                    }
                }
            }
            next = self.next(&mut shared);
        }
        self.news.notify_one();
    }

    /// The first attempt of a lane begins, if it is wanted still.
    fn begins(&self, assignment: &Assignment) -> bool {
        let mut shared = self.lock();
        let is_wanted = shared.running.contains(&held(assignment));
        if is_wanted && shared.begin_timeout(assignment) {
            self.news.notify_one();
        }
        is_wanted
    }

    /// The next attempt, if it has its turn and is one for a lane.
    fn next(&self, shared: &mut Shared) -> Option<(Assignment, PlainFn)> {
        let mut function = None;
        let assignment = shared.turns.next_if(|assignment| {
            function = self.plain(assignment);
            function.is_some()
        })?;
        shared.running.insert(held(&assignment));
        if shared.begin_timeout(&assignment) {
            self.news.notify_one();
        }
        function.map(|function| (assignment, function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fixture;
    use crate::protocol::{Payload, TaskKey};

    fn assignment(name: &str) -> Assignment {
        fixture::assignment(TaskKey::named(name))
    }

    #[test]
    fn what_is_aborted_is_here_no_more_wherever_it_was() {
        let mut turns = Turns::new(2, &[]);
        ["runs", "is large", "waits", "waits too"].iter().for_each(|name| turns.add(assignment(name)));
        let (running, awaited, results, told, timeouts, advances) = Default::default();
        let mut shared = Shared { turns, running, awaited, results, told, timeouts, advances };
        let [runs, is_large] = [(); 2].map(|()| held(&shared.turns.next().unwrap()));
        shared.running.insert(runs);
        let result = Content::from(Payload::encode(&1).unwrap());
        shared.results.push(LargeResult { attempt: is_large, result, since: Instant::now() });

        shared.abort(&held(&assignment("waits")));
        assert_eq!(shared.turns.next(), None, "no slot is free");
        shared.abort(&is_large);
        assert!(shared.take_results().is_empty());
        assert_eq!(shared.turns.next(), Some(assignment("waits too")));
        assert_eq!(shared.turns.next(), None);
        assert!(shared.is_wanted(&runs));
        shared.abort(&runs);
        assert!(shared.is_idle() && !shared.is_wanted(&runs));
        shared.abort(&runs);
        assert!(!shared.was_wanted(&runs));
        shared.turns.add(assignment("next"));
        assert_eq!(shared.turns.next(), Some(assignment("next")), "its slot is free");
    }

    #[test]
    fn what_is_over_cannot_take_too_long() {
        let mut turns = Turns::new(4, &[]);
        let timed = |name| Assignment { timeout_ms: Some(0), ..assignment(name) };
        ["in time", "of the session", "aborted", "late"].iter().for_each(|name| turns.add(timed(name)));
        let (running, awaited, results, told, timeouts, advances) = Default::default();
        let mut shared = Shared { turns, running, awaited, results, told, timeouts, advances };
        let begun: Vec<HeldAttempt> = std::iter::from_fn(|| {
            let assignment = shared.turns.next()?;
            shared.running.insert(held(&assignment));
            assert!(shared.begin_timeout(&assignment));
            Some(held(&assignment))
        })
        .collect();
        assert!(shared.was_wanted(&begun[0]));
        shared.has_ended(&begun[1], Duration::ZERO);
        shared.abort(&begun[2]);
        let (late, _) = shared.time_out().expect("one has taken too long");
        assert_eq!((late, shared.is_wanted(&late)), (begun[3], false));
        assert!(shared.time_out().is_none() && shared.next_timeout().is_none());
    }

    #[test]
    fn who_waits_for_a_slot_hears_that_the_session_is_over() {
        let mut turns = Turns::new(1, &[]);
        ["client", "other"].iter().for_each(|name| turns.add(assignment(name)));
        let (running, awaited, results, told, timeouts, advances) = Default::default();
        let mut shared = Shared { turns, running, awaited, results, told, timeouts, advances };
        let client = held(&shared.turns.next().unwrap());
        shared.running.insert(client);
        shared.turns.pause(&client);
        shared.running.insert(held(&shared.turns.next().unwrap()));
        let mut told = shared.turns.ask_to_return(client).expect("it has paused");
        assert_eq!(told.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        shared.abort_all();
        assert_eq!(told.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}

//! Waiting for a task's end with its result in hand, wherever that is kept. All who wait for tasks go through
//! here: nobody else sees [`Outcome::Stored`] come of a watch.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::blob::{Content, Room};
use super::connection::{Connection, Pausing, Wait};
use super::error::{Error, Result};
use super::fetch::FetchError;
use crate::protocol::result::{Located, StoredResult};
use crate::protocol::{AttemptNumber, Outcome, TaskKey};

/// The first pause before the scheduler is asked again, and the longest: each is twice the one before.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 1_000;

/// How long trying may fail before it is given up: 30 s, longer than a worker that is gone is taken to be there
/// (its lease, 10 s unless told otherwise). What the scheduler takes to name holders does not count.
const FAILING_MS_MAX: u64 = 30_000;

/// How a task has ended.
#[derive(Debug)]
pub(super) enum End {
    /// What the log says of it. Never [`Outcome::Stored`].
    Told(Outcome),
    /// With a result that workers keep, which was fetched.
    Fetched(Content),
}

/// Waits until a task has ended; brings its result as [`Outcome::Finished`]. It is watched when this is
/// called, not when it is first polled.
pub(super) fn settled(connection: Connection, key: TaskKey) -> impl Future<Output = Result<Outcome>> + Send {
    let ended = ended(connection, key, Room::MEMORY);
    async move {
        match ended.await? {
            End::Told(outcome) => Ok(outcome),
            End::Fetched(content) => content.into_payload().map(Outcome::Finished).map_err(Error::other),
        }
    }
}

/// As [`settled`]; a result that is fetched is put where there is room.
pub(super) fn ended(
    connection: Connection,
    key: TaskKey,
    room: Room,
) -> impl Future<Output = Result<End>> + Send {
    let watch = connection.watch(key.id);
    async move {
        match watch.await? {
            Outcome::Stored(located) => {
                let patience = Duration::from_millis(FAILING_MS_MAX);
                // Few results are fetched, and what fetches them is large: no other waits with room for it.
                Box::pin(fetched(connection, key, located, room, patience)).await
            }
            outcome => Ok(End::Told(outcome)),
        }
    }
}

/// Fetches a result, from wherever the scheduler says that it is by then; computed anew, it may be told.
async fn fetched(
    connection: Connection,
    key: TaskKey,
    mut located: Located,
    room: Room,
    patience: Duration,
) -> Result<End> {
    let mut failing = Failing::default();
    loop {
        let began = Instant::now();
        let error = match fetch(&connection, &located, &room).await {
            Ok(content) => return Ok(End::Fetched(content)),
            Err(error) => error,
        };
        let pause = failing.pause_of(&located);
        sleep(pause).await;
        failing.has_lasted += began.elapsed();
        if failing.has_lasted >= patience {
            return Err(given_up(key, error));
        }
        located = match connection.watch(key.id).await? {
            Outcome::Stored(located) => located,
            outcome => return Ok(End::Told(outcome)),
        };
    }
}

/// Fetches a result. A task that has paused does not go on with each piece of it, but once it is here.
async fn fetch(connection: &Connection, located: &Located, room: &Room) -> Result<Content, FetchError> {
    if connection.attempt().is_none() {
        return connection.fetch(located, room).await;
    }
    let (connection, located, room) = (connection.clone(), located.clone(), room.clone());
    apart(None, async move { connection.fetch(&located, &room).await }).await
}

/// Does something of many steps in a task of its own, so that one that has paused returns once for all of them. An attempt
/// that is named waits for it as for what others do.
pub(super) async fn apart<R: Send + 'static>(
    attempt: Option<Arc<dyn Pausing>>,
    work: impl Future<Output = R> + Send + 'static,
) -> R {
    // It is aborted with this.
    let (mut working, mut wait) = (JoinSet::new(), Wait::default());
    working.spawn(work);
    let done = poll_fn(|context| wait.follow(attempt.as_ref(), working.poll_join_next(context)));
    match done.await.expect("it was spawned") {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down.
            Err(_) => std::future::pending().await,
        },
    }
}

/// How fetching one result has gone so far.
#[derive(Debug, Default)]
struct Failing {
    result: Option<(AttemptNumber, StoredResult)>,
    pause_ms: u64,
    has_lasted: Duration,
}

impl Failing {
    /// How long to wait now. A result that was computed anew is another one: its tries begin with it.
    fn pause_of(&mut self, located: &Located) -> Duration {
        let result = Some((located.attempt, located.result));
        if self.result != result {
            *self = Failing { result, pause_ms: PAUSE_MS_MIN, has_lasted: Duration::ZERO };
        }
        let pause_ms = self.pause_ms;
        self.pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        // Many who wait for one result shall not all come back at the same moment.
        Duration::from_millis(fastrand::u64(pause_ms / 2..=pause_ms))
    }
}

fn given_up(task: TaskKey, mut error: FetchError) -> Error {
    match error.tried.pop() {
        Some((holder, failure)) => {
            let (worker, address) = (holder.worker, holder.address);
            Error::Fetch { task, worker, address, why: failure.to_string().into() }
        }
        None => Error::msg(format!("the result of {task} cannot be fetched: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fixture::{FakeServer, Holding, Peer, Script, assert_matches, soon};
    use crate::protocol::Payload;
    use crate::protocol::message::{ClientMessage, ServerMessage};

    /// Answers the next watch of the task with a stored result.
    async fn settle(peer: &mut Peer, located: &Located) {
        let task = located.key.id;
        let (number, message) = peer.next().await;
        assert_eq!(message, ClientMessage::Watch { tasks: vec![task] });
        peer.send(number, ServerMessage::Settled { task, outcome: Outcome::Stored(located.clone()) }).await;
    }

    fn finished(bytes: &[u8]) -> Outcome {
        Outcome::Finished(Payload {
            codec: crate::protocol::payload::Codec::MessagePack,
            bytes: bytes.to_vec().into(),
        })
    }

    #[tokio::test]
    async fn a_stored_result_is_as_good_as_one_in_the_log() {
        let (server, holding) =
            (FakeServer::new().await, Holding::new(b"large".to_vec(), &[Script::Give]).await);
        let (connection, mut peer) = server.connect().await;
        let wait = settled(connection, holding.located.key.clone());
        let (outcome, ()) = soon(async { tokio::join!(wait, settle(&mut peer, &holding.located)) }).await;
        assert_eq!(outcome.unwrap(), finished(b"large"));
    }

    #[tokio::test]
    async fn one_that_cannot_be_had_is_asked_for_again_and_may_be_another_then() {
        let server = FakeServer::new().await;
        let lost = Holding::new(b"large".to_vec(), &[Script::Missing]).await;
        let cut = Holding::new(b"large".to_vec(), &[Script::CutAfter(0)]).await;
        let mut anew = Holding::new(b"other".to_vec(), &[Script::Give]).await;
        anew.located.attempt = AttemptNumber(2);
        let (connection, mut peer) = server.connect().await;
        let wait = settled(connection, lost.located.key.clone());
        let script = async {
            for holding in [&lost, &cut, &anew] {
                settle(&mut peer, &holding.located).await;
            }
        };
        let (outcome, ()) = soon(async { tokio::join!(wait, script) }).await;
        assert_eq!(outcome.unwrap(), finished(b"other"));
    }

    #[tokio::test]
    async fn holders_that_cannot_be_reached_are_named_in_the_end() {
        let server = FakeServer::new().await;
        let dead = Holding::new(b"large".to_vec(), &[Script::Dead]).await;
        let (connection, mut peer) = server.connect().await;
        let (key, located) = (dead.located.key.clone(), dead.located.clone());
        let wait = fetched(connection, key, located, Room::MEMORY, Duration::from_millis(300));
        let script = async {
            loop {
                settle(&mut peer, &dead.located).await;
            }
        };
        let error = tokio::select! { outcome = wait => outcome.unwrap_err(), () = script => unreachable!() };
        let told = error.to_string();
        assert_matches!(error, Error::Fetch { .. });
        let holder = &dead.located.holders[0];
        let begin = format!(
            "the result of {} cannot be fetched from worker `{}` at {}: ",
            dead.located.key, holder.worker, holder.address
        );
        assert!(told.starts_with(&begin) && told.contains("--results-at"), "{told}");
    }

    #[tokio::test]
    async fn who_waits_takes_little_memory() {
        let (connection, _peer) = FakeServer::new().await.connect().await;
        let wait = settled(connection, TaskKey::named("long"));
        assert!(size_of_val(&wait) <= 1024, "{} bytes", size_of_val(&wait));
    }

    #[test]
    fn a_result_that_was_computed_anew_begins_anew() {
        let (one, mut failing) = (crate::client::fixture::located(b"x", vec![]), Failing::default());
        for _ in 0..10 {
            failing.pause_of(&one);
        }
        failing.has_lasted = Duration::from_secs(29);
        assert!(failing.pause_of(&one) >= Duration::from_millis(PAUSE_MS_MAX / 2));
        assert_eq!(failing.has_lasted, Duration::from_secs(29));
        let two = Located { attempt: AttemptNumber(2), ..one };
        assert!(failing.pause_of(&two) <= Duration::from_millis(PAUSE_MS_MIN));
        assert_eq!(failing.has_lasted, Duration::ZERO);
    }
}

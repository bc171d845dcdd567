//! Runs: elements that callers append to one channel before the actor comes to take them.
//!
//! ```text
//!   append ──▶ run of a channel ──taken──▶ the link gathers, sends, … ──answer──▶ all who have a share in it
//!              values join it    no more
//! ```
//!
//! A run goes to the actor as one call when it begins, and is given one answer; so a value costs a place in it, and no
//! message, memory or wake-up of its own. Whatever else is asked of the connection ends all runs, in the same order for
//! the actor: so the order in which things were asked is that in which the link hears of them, but for values of
//! different channels.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Ended;
use super::pausing::{Pausing, asks};
use super::room::{APPEND_BYTES, Room};
use crate::client::ack::{Ack, Produced};
use crate::client::error::{Error, Result};
use crate::client::handle::wrong_answer;
use crate::protocol::limits::{APPEND_BYTES_MAX, ELEMENTS_PER_APPEND_MAX};
use crate::protocol::{Elements, LogId};

/// The newest run of each channel that may take more.
#[derive(Debug, Default)]
pub(super) struct Runs {
    newest: HashMap<LogId, Arc<Run>>,
    /// Runs that were taken, or are full, still stand there: when there are so many, they are let go.
    sweep_at: usize,
    pub room: Arc<Room>,
    /// The attempt that appends, where it pauses as it waits.
    attempt: Option<Arc<dyn Pausing>>,
}

/// How many runs there may be at least before it is looked which of them are taken.
const RUNS_MIN: usize = 64;

/// How many answers of a run are taken at one go. They are there all at once: whoever takes one after the other, and appends
/// more for each, would not let the actor send any of that before it has taken them all. With 8,192 in flight a client was
/// faster with 512 than with 128 or 1,024; fewer values than that are better sent together.
const ANSWERS_PER_TURN: u64 = 512;

#[derive(Debug)]
struct Run {
    filling: Mutex<Filling>,
    /// Of all elements; `None` when it is known that there will be no answer: the actor has ended.
    answer: OnceLock<Option<Result<Produced>>>,
    ended: Ended,
    room: Arc<Room>,
    attempt: Option<Arc<dyn Pausing>>,
}

#[derive(Debug, Default)]
struct Filling {
    elements: Elements,
    is_taken: bool,
    /// How much room all of it takes.
    room_bytes: usize,
    /// Those who wait for the answer, in the order in which they first did.
    waiting: Vec<Waker>,
}

impl Runs {
    /// Of an attempt's client, or of another one.
    pub fn of(attempt: Option<Arc<dyn Pausing>>) -> Runs {
        Runs { attempt, ..Runs::default() }
    }

    /// Lets nothing join the runs that there are.
    pub fn end(&mut self) {
        self.newest.clear();
    }

    /// Adds elements to the newest run of a channel, or to a new one: then the actor must be told of it. `alone`:
    /// nothing shares it with them.
    pub fn append(
        &mut self,
        log: LogId,
        elements: &Elements,
        alone: bool,
        ended: &Ended,
    ) -> (Share, Option<Taker>) {
        let (count, alone) = (elements.len() as u64, alone || !elements.are_values());
        if !alone
            && let Some(run) = self.newest.get(&log)
            && let Some(first) = run.filling().join(elements)
        {
            return (Share::new(run.clone(), Some((first, count))), None);
        }
        let room_bytes = elements.encoded_bytes() + APPEND_BYTES;
        let filling = Mutex::new(Filling { elements: elements.clone(), room_bytes, ..Filling::default() });
        let (answer, ended) = (OnceLock::new(), ended.clone());
        let (room, attempt) = (self.room.clone(), self.attempt.clone());
        let run = Arc::new(Run { filling, answer, ended, room, attempt });
        // Who is alone has all of the answer, whatever was asked.
        let part = (!alone).then_some((0, count));
        if alone {
            self.newest.remove(&log);
        } else {
            self.sweep();
            self.newest.insert(log, run.clone());
        }
        (Share::new(run.clone(), part), Some(Taker(run)))
    }

    fn sweep(&mut self) {
        if self.newest.len() >= self.sweep_at {
            self.newest.retain(|_, run| !run.filling().is_taken);
            self.sweep_at = RUNS_MIN.max(2 * self.newest.len());
        }
    }
}

impl Run {
    fn filling(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, answer: Option<Result<Produced>>) {
        // It is given once; that there is none comes behind it.
        if self.answer.set(answer).is_ok() {
            let mut filling = self.filling();
            let (waiting, bytes) = (std::mem::take(&mut filling.waiting), filling.room_bytes);
            drop(filling);
            self.room.give_back(bytes);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Filling {
    /// Takes in values that fit, and gives the place of the first.
    fn join(&mut self, values: &Elements) -> Option<u64> {
        let count = self.elements.len() + values.len();
        let bytes = self.elements.content_bytes() + values.content_bytes();
        if self.is_taken || count > ELEMENTS_PER_APPEND_MAX || bytes > APPEND_BYTES_MAX {
            return None;
        }
        let first = self.elements.len() as u64;
        self.elements.append(values);
        self.room_bytes += values.encoded_bytes() + APPEND_BYTES;
        Some(first)
    }
}

/// The actor's end of a run. When it is dropped, those who wait learn that the actor has ended.
#[derive(Debug)]
pub(super) struct Taker(Arc<Run>);

impl Taker {
    /// Takes what is in it. Nothing joins it any more.
    pub fn take(&self) -> Elements {
        let mut filling = self.0.filling();
        filling.is_taken = true;
        std::mem::take(&mut filling.elements)
    }

    /// Gives the answer, for all that is in it.
    pub fn answer(self, brought: Result<Produced>) {
        self.0.give(Some(brought));
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.give(None);
    }
}

/// Some elements' share in a run: brings what is acknowledged of them.
#[derive(Debug)]
#[must_use = "the elements are on their way, but whether they arrive is not known"]
pub struct Share {
    run: Arc<Run>,
    /// The place of the first in the run, and how many they are; none for all that the run brings.
    part: Option<(u64, u64)>,
    /// Its place among those who wait.
    waits_at: Option<usize>,
    /// Whether it has let others have their turn before it brought its answer.
    has_yielded: bool,
}

impl Share {
    fn new(run: Arc<Run>, part: Option<(u64, u64)>) -> Share {
        Share { run, part, waits_at: None, has_yielded: false }
    }

    /// Waits for what a named producer's append brings.
    pub async fn produced(mut self) -> Result<Produced> {
        poll_fn(|context| self.poll_produced(context)).await
    }

    fn answer(&self) -> Option<Result<Produced>> {
        Some(match self.run.answer.get()? {
            Some(Ok(Produced::Appended(ack))) => {
                let ack = self.part.map_or(*ack, |(first, count)| ack.part(first, count));
                Ok(Produced::Appended(ack))
            }
            Some(Ok(before)) => Ok(*before),
            Some(Err(error)) => Err(error.clone()),
            None => Err(self.run.ended.get().cloned().unwrap_or(Error::Stopped)),
        })
    }
}

impl Share {
    fn poll_produced(&mut self, context: &mut Context<'_>) -> Poll<Result<Produced>> {
        if let Some(answer) = self.answer() {
            let place = self.part.map_or(0, |(first, _)| first);
            if place % ANSWERS_PER_TURN == ANSWERS_PER_TURN - 1
                && !std::mem::replace(&mut self.has_yielded, true)
            {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(answer);
        }
        let run = self.run.clone();
        let mut filling = run.filling();
        // The answer is there before those who wait are woken: whoever finds none here is among them.
        if let Some(answer) = self.answer() {
            return Poll::Ready(answer);
        }
        match self.waits_at {
            Some(at) => filling.waiting[at].clone_from(context.waker()),
            None => {
                self.waits_at = Some(filling.waiting.len());
                filling.waiting.push(context.waker().clone());
            }
        }
        drop(filling);
        asks(self.run.attempt.as_ref(), Poll::Pending)
    }
}

impl Future for Share {
    type Output = Result<Ack>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let acked = |produced: Produced| produced.ack().ok_or_else(|| wrong_answer("an append"));
        self.poll_produced(context).map(|brought| brought.and_then(acked))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::protocol::channel::Durability;
    use crate::protocol::{Element, Epoch, Payload, Seq, TaskKey};

    const LOG: LogId = LogId(1);

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn values(ns: &[u8]) -> Elements {
        ns.iter().map(|n| Element::Value(Payload::raw(vec![*n]))).collect::<Vec<_>>().into()
    }

    fn append(runs: &mut Runs, elements: &Elements) -> (Share, Option<Taker>) {
        runs.append(LOG, elements, false, &Ended::default())
    }

    #[test]
    fn values_join_a_run_until_it_is_taken_or_ended_or_full_and_never_one_of_a_future() {
        let mut runs = Runs::default();
        let mut joins = |elements: &Elements| {
            let (_, begun) = append(&mut runs, elements);
            begun.ok_or(())
        };
        let first = joins(&values(&[1])).unwrap();
        assert!(joins(&values(&[2, 3])).is_err());
        assert_eq!(first.take(), values(&[1, 2, 3]));
        let second = joins(&values(&[4])).expect("the first is taken");
        let future = Elements::from(vec![Element::Future(TaskKey::named("x"))]);
        assert!(joins(&future).is_ok());
        let third = joins(&values(&[5])).expect("a future is in between");
        let large = values(&[0; ELEMENTS_PER_APPEND_MAX]);
        let fourth = joins(&large).expect("it has no place for so many");
        assert_eq!([second, third, fourth].map(|run| run.take()), [values(&[4]), values(&[5]), large]);
        assert!(joins(&values(&[6])).is_ok());
        runs.end();
        assert!(append(&mut runs, &values(&[7])).1.is_some());
    }

    #[test]
    fn who_is_to_be_alone_is_joined_by_nobody_and_joins_nobody() {
        let mut runs = Runs::default();
        let mut begins = |alone| runs.append(LOG, &values(&[1]), alone, &Ended::default()).1.is_some();
        assert_eq!([false, false, true, false, false].map(&mut begins), [true, false, true, true, false]);
    }

    #[test]
    fn whoever_waits_is_woken_once_and_has_the_offsets_of_what_was_asked() {
        let mut runs = Runs::default();
        let (first, taker) = append(&mut runs, &values(&[1]));
        let (second, _) = append(&mut runs, &values(&[2, 3]));
        let (mut first, mut second) = (pin!(first), pin!(second));
        let wakers: [Arc<Counts>; 3] = Default::default();
        let [old, new, other] = wakers.clone().map(Waker::from);
        assert!(first.as_mut().poll(&mut Context::from_waker(&old)).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&other)).is_pending());
        assert!(first.as_mut().poll(&mut Context::from_waker(&new)).is_pending());
        let (seq, epoch) = (Seq(7), Epoch(1));
        let durability = Durability::Fsynced;
        taker.unwrap().answer(Ok(Produced::Appended(Ack { offset: 10, count: 3, seq, epoch, durability })));
        assert_eq!(wakers.map(|counts| counts.0.load(Ordering::Relaxed)), [0, 1, 1]);
        let context = &mut Context::from_waker(&new);
        let offsets = [first.poll(context), second.poll(context)].map(|polled| match polled {
            Poll::Ready(Ok(ack)) => (ack.offsets(), ack.seq),
            other => panic!("{other:?}"),
        });
        assert_eq!(offsets, [(10..11, seq), (11..13, seq)]);
    }

    #[tokio::test]
    async fn who_takes_one_answer_after_the_other_lets_others_have_their_turn_now_and_then() {
        let mut runs = Runs::default();
        let (first, taker) = append(&mut runs, &values(&[0]));
        let others: Vec<Share> = (1..1000).map(|_| append(&mut runs, &values(&[1])).0).collect();
        let (seq, epoch, durability) = (Seq(7), Epoch(1), Durability::Fsynced);
        taker.unwrap().answer(Ok(Produced::Appended(Ack { offset: 0, count: 1000, seq, epoch, durability })));
        let turn = tokio::spawn(async {});
        let mut had_its_turn = vec![];
        for share in [first].into_iter().chain(others) {
            share.await.unwrap();
            had_its_turn.push(turn.is_finished());
        }
        assert_eq!(had_its_turn.iter().position(|had| *had), Some(ANSWERS_PER_TURN as usize - 1));
    }

    #[test]
    fn who_waits_for_an_actor_that_has_ended_is_told() {
        let mut runs = Runs::default();
        let (share, taker) = append(&mut runs, &values(&[1]));
        let mut share = pin!(share);
        let counts = Arc::new(Counts::default());
        let waker = Waker::from(counts.clone());
        assert!(share.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(taker);
        assert_eq!(counts.0.load(Ordering::Relaxed), 1);
        assert!(matches!(share.poll(&mut Context::from_waker(&waker)), Poll::Ready(Err(Error::Stopped))));
        // What joins it then is told, too.
        let (late, begun) = append(&mut runs, &values(&[2]));
        assert!(begun.is_none());
        let polled = pin!(late).poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Ready(Err(Error::Stopped))), "{polled:?}");
    }

    #[test]
    fn runs_that_were_taken_do_not_stay_for_ever() {
        let mut runs = Runs::default();
        for log in 0..10 * RUNS_MIN as u32 {
            let (_, taker) = runs.append(LogId(log), &values(&[1]), false, &Ended::default());
            taker.unwrap().take();
        }
        assert!(runs.newest.len() <= RUNS_MIN);
    }
}

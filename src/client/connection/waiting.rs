//! Who waits for the answers to commands and queries.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::run::Taker;
use crate::client::ack::{Ack, Produced};
use crate::client::error::{Error, Result};
use crate::client::handle::wrong_answer;
use crate::protocol::command::{Answer, Rejection};

/// Those who wait, by the number of what they asked for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waiters: HashMap<u64, Waiter>,
}

#[derive(Debug)]
enum Waiter {
    /// One who wants the answer as it is.
    One(oneshot::Sender<Result<Answer>>),
    /// The runs that one append gathers, in their order in it.
    Runs(Vec<Run>),
    /// The run of an append of a named producer, which may have been made before, of other elements.
    Produced(Taker),
}

/// A part of an append, of so many elements.
#[derive(Debug)]
struct Run {
    count: u64,
    taker: Taker,
}

impl Waiting {
    /// One who asked for something of this number.
    pub fn add(&mut self, number: u64, waiter: oneshot::Sender<Result<Answer>>) {
        self.waiters.insert(number, Waiter::One(waiter));
    }

    /// A run of so many elements in the append of this number, behind all that were added to it before.
    pub fn add_run(&mut self, number: u64, count: usize, taker: Taker) {
        let run = Run { count: count as u64, taker };
        match self.waiters.entry(number).or_insert_with(|| Waiter::Runs(Vec::new())) {
            Waiter::Runs(runs) => runs.push(run),
            waiter @ (Waiter::One(_) | Waiter::Produced(_)) => {
                unreachable!("{waiter:?} has a number of its own")
            }
        }
    }

    /// The run of an append of a named producer, which has this number alone.
    pub fn add_produced(&mut self, number: u64, taker: Taker) {
        self.waiters.insert(number, Waiter::Produced(taker));
    }

    /// Gives the answer to those who wait for it: of an append to each run its own part, of a refusal the same to all.
    pub fn answer(&mut self, number: u64, answer: Result<Answer, Rejection>) {
        // A receiver that was dropped is not interested any more.
        match self.waiters.remove(&number) {
            Some(Waiter::One(waiter)) => drop(waiter.send(answer.map_err(Error::Rejected))),
            Some(Waiter::Runs(runs)) => {
                let ack = ack_of(answer, runs.iter().map(|run| run.count).sum());
                let mut behind = 0;
                for Run { count, taker } in runs {
                    taker.answer(ack.clone().map(|ack| Produced::Appended(ack.part(behind, count))));
                    behind += count;
                }
            }
            Some(Waiter::Produced(taker)) => taker.answer(produced_of(answer)),
            None => {}
        }
    }
}

/// What is acknowledged of an append of so many elements.
fn ack_of(answer: Result<Answer, Rejection>, elements: u64) -> Result<Ack> {
    match produced_of(answer)? {
        Produced::Appended(ack) if ack.count == elements => Ok(ack),
        _ => Err(wrong_answer("an append")),
    }
}

/// What an append of a named producer brings.
fn produced_of(answer: Result<Answer, Rejection>) -> Result<Produced> {
    match answer? {
        Answer::Appended { first: offset, count, seq, epoch, durability } => {
            Ok(Produced::Appended(Ack { offset, count: count.into(), seq, epoch, durability }))
        }
        Answer::AppendedBefore { newest } => Ok(Produced::Before { newest }),
        _ => Err(wrong_answer("an append")),
    }
}

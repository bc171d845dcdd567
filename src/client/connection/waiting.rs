//! Who waits for the answers to commands and queries.

use std::collections::HashMap;
use std::ops::Range;

use tokio::sync::oneshot;

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
    /// Those whose elements one append gathers, in their order in it.
    Shares(Vec<Share>),
}

/// A part of an append.
#[derive(Debug)]
struct Share {
    count: u64,
    waiter: oneshot::Sender<Result<Range<u64>>>,
}

impl Waiting {
    /// One who asked for something of this number.
    pub fn add(&mut self, number: u64, waiter: oneshot::Sender<Result<Answer>>) {
        self.waiters.insert(number, Waiter::One(waiter));
    }

    /// One who has so many elements in the append of this number, behind those of all who were added to it before.
    pub fn add_share(&mut self, number: u64, count: usize, waiter: oneshot::Sender<Result<Range<u64>>>) {
        let share = Share { count: count as u64, waiter };
        match self.waiters.entry(number).or_insert_with(|| Waiter::Shares(Vec::new())) {
            Waiter::Shares(shares) => shares.push(share),
            waiter @ Waiter::One(_) => unreachable!("{waiter:?} has a number of its own"),
        }
    }

    /// Gives the answer to those who wait for it: of an append to each its own offsets, of a refusal the same to all.
    pub fn answer(&mut self, number: u64, answer: Result<Answer, Rejection>) {
        // A receiver that was dropped is not interested any more.
        match self.waiters.remove(&number) {
            Some(Waiter::One(waiter)) => drop(waiter.send(answer.map_err(Error::Rejected))),
            Some(Waiter::Shares(shares)) => {
                let mut first = first_of(answer, shares.iter().map(|share| share.count).sum());
                for Share { count, waiter } in shares {
                    let _ = waiter.send(first.clone().map(|first| first..first + count));
                    first = first.map(|first| first + count);
                }
            }
            None => {}
        }
    }
}

/// The first offset of an append of so many elements.
fn first_of(answer: Result<Answer, Rejection>, elements: u64) -> Result<u64> {
    match answer? {
        Answer::Appended { first, count } if u64::from(count) == elements => Ok(first),
        _ => Err(wrong_answer("an append")),
    }
}

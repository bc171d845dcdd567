//! What workers' processes keep of results, and how others get them from there: by the address that each
//! gives in its hello.

use std::collections::BTreeMap;

use fastrand::Rng;
use headwater::protocol::message::{Filling, Given};
use headwater::protocol::result::{Located, StoredResult};
use headwater::protocol::{AttemptNumber, Digest, Payload, TaskId};

/// A result: the task, and the attempt that brought it.
pub type Kept = (TaskId, AttemptNumber);

/// The stores of all processes that live, by address.
pub struct Stores {
    of: BTreeMap<String, BTreeMap<Kept, Payload>>,
    /// While things go wrong, one fetch in so many fails; none when it is 0.
    pub fails_one_in: u32,
}

/// What the log says of a result.
pub fn described(result: &Payload) -> StoredResult {
    let bytes = result.bytes.len() as u64;
    StoredResult { codec: result.codec, bytes, digest: Digest::of_result(&result.bytes) }
}

impl Stores {
    /// None yet.
    pub fn new(fails_one_in: u32) -> Self {
        Stores { of: BTreeMap::new(), fails_one_in }
    }

    /// What a process keeps.
    pub fn of(&self, address: &str) -> impl Iterator<Item = Kept> {
        self.of.get(address).into_iter().flat_map(|kept| kept.keys().copied())
    }

    pub fn put(&mut self, address: &str, kept: Kept, result: Payload) {
        self.of.entry(address.to_owned()).or_default().insert(kept, result);
    }

    /// A process does not keep a result any more. Answers whether it did.
    pub fn free(&mut self, address: &str, kept: Kept) -> bool {
        self.of.get_mut(address).is_some_and(|store| store.remove(&kept).is_some())
    }

    /// The process is gone.
    pub fn die(&mut self, address: &str) {
        self.of.remove(address);
    }

    /// The result from one of those who keep it, if any can be reached.
    pub fn fetch(&self, located: &Located, rng: &mut Rng) -> Option<Payload> {
        if self.fails_one_in > 0 && rng.u32(..self.fails_one_in) == 0 {
            return None;
        }
        let kept = (located.key.id, located.attempt);
        let mut holders = located.holders.iter();
        let result = holders.find_map(|holder| self.of.get(&*holder.address)?.get(&kept))?;
        assert_eq!(described(result), located.result, "another result than was said");
        Some(result.clone())
    }

    /// All arguments of an attempt, or the task whose result cannot be had.
    pub fn arguments(&self, given: &[Given], rng: &mut Rng) -> Result<Vec<Payload>, TaskId> {
        let mut value = |given: &Given| match given {
            Given::Value(value) => Ok(value.clone()),
            Given::Stored(located) => self.fetch(located, rng).ok_or(located.key.id),
            Given::Nested { template, results } => {
                let mut result = |result: &Filling| match result {
                    Filling::Value(value) => Ok(value.clone()),
                    Filling::Stored(located) => self.fetch(located, rng).ok_or(located.key.id),
                };
                let given = results;
                let results: Vec<Payload> = results.iter().map(&mut result).collect::<Result<_, _>>()?;
                for (task, result) in template.tasks().iter().zip(given) {
                    let is_its = !matches!(result, Filling::Stored(located) if located.key.id != *task);
                    assert!(is_its, "{task} is filled with another result");
                }
                Ok(template.fill(&results).expect("all that is in it is there"))
            }
        };
        given.iter().map(&mut value).collect()
    }
}

//! The starts of the scheduler in the tree `meta`.

use std::collections::BTreeMap;

use super::trees::Trees;
use crate::log::failure::Failure;
use crate::protocol::start::{Start, Starts};
use crate::protocol::{Epoch, Seq, StartId};

const ID: &[u8] = b"start";
const AFTER: &[u8] = b"after";

/// Puts a start down.
pub(super) fn put(trees: &Trees, start: &Start) -> Result<(), Failure> {
    trees.set_number(&key(ID, start.epoch), &start.id.0.to_le_bytes())?;
    trees.set_number(&key(AFTER, start.epoch), &start.after.0.to_le_bytes())
}

/// Takes a start out.
pub(super) fn remove(trees: &Trees, start: &Start) -> Result<(), Failure> {
    trees.remove_number(&key(AFTER, start.epoch))?;
    trees.remove_number(&key(ID, start.epoch))
}

/// The starts that are there, up to this epoch: what is put down of a later one has not begun.
pub(super) fn find(trees: &Trees, newest: Epoch) -> Result<Starts, Failure> {
    let ids = by_epoch(trees, ID)?;
    let afters = by_epoch(trees, AFTER)?;
    let start = |(epoch, id): (&Epoch, &u64)| {
        let after = Seq(*afters.get(epoch)?);
        Some(Start { epoch: *epoch, id: StartId(*id), after })
    };
    Ok(ids.range(..=newest).filter_map(start).collect())
}

fn by_epoch(trees: &Trees, name: &[u8]) -> Result<BTreeMap<Epoch, u64>, Failure> {
    let numbers = trees.numbers(name)?;
    let epoch =
        |(key, number): (Vec<u8>, u64)| Some((Epoch(u64::from_be_bytes(key.try_into().ok()?)), number));
    Ok(numbers.into_iter().filter_map(epoch).collect())
}

fn key(name: &[u8], epoch: Epoch) -> Vec<u8> {
    [name, &epoch.0.to_be_bytes()].concat()
}

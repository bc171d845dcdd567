//! A new sled store from the intact batches of a damaged one: the engine's part of a salvage.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::fill::Filling;
use super::starts;
use super::trees::Trees;
use crate::log::failure::{Failure, guarded};
use crate::log::heads::Heads;
use crate::log::salvage::{self, Chosen, LostRange, Repair, Source};
use crate::log::step::{Doing, Steps, Tell};
use crate::log::{Last, OpenError, directory, suspect};
use crate::log::{space, upgrade};
use crate::protocol::batch::Batch;
use crate::protocol::start::Starts;
use crate::protocol::{Epoch, LogId};

/// sled's cache for a store that is only asked.
const ASK_CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// What a damaged store still says of itself.
#[derive(Debug, Default)]
struct Said {
    version: Option<u64>,
    epoch: u64,
    firsts: BTreeMap<LogId, u64>,
    starts: Starts,
}

/// Makes a new store of what is intact in the damaged one, and puts it into its place.
///
/// # Errors
/// [`OpenError::NewerFormat`], or when there is no room or the system refuses: the damaged store is as it was.
pub(super) fn rebuild(
    dir: &Path,
    why: &str,
    known: Option<Last>,
    cache_bytes: u64,
    tell: Tell<'_>,
) -> Result<Repair, OpenError> {
    let refused = |why: io::Error| OpenError::Io { dir: dir.to_owned(), why: in_words(why) };
    suspect::mark(dir, why).map_err(refused)?;
    tracing::warn!(store = %dir.display(), "the store is damaged ({why}): intact batches are gathered from its files");
    let said = salvage::with_asked(dir, tell, ask).map_err(refused)?;
    if let Some(version) = said.version
        && let Err(newer @ OpenError::NewerFormat { .. }) = upgrade::check(dir, version)
    {
        // It is whole for a newer build, as far as this one can tell.
        suspect::clear(dir).map_err(refused)?;
        return Err(newer);
    }
    let store = dir.join("store");
    let mut source = Source::open(&store).map_err(refused)?;
    let found = source.scan(tell).map_err(refused)?;
    let chosen = salvage::choose(found, said.firsts, &mut source).map_err(refused)?;
    let mut repair = Repair {
        why: why.to_owned(),
        kept: None,
        batches: 0,
        records: 0,
        lost: Vec::new(),
        missing: chosen.missing.clone(),
        last: Last::default(),
        head: known,
        bytes: source.bytes,
        unreadable: source.unreadable,
    };
    let epoch = chosen.epoch.0.max(said.epoch).max(known.map_or(0, |known| known.epoch.0));
    let target = salvage::salvaged(dir).map_err(refused)?;
    let steps = Steps::begin(Doing::Writing, (chosen.whole.len() + chosen.lost.len()) as u64, tell);
    let built = guarded(|| {
        build(&target, cache_bytes, (epoch, said.starts), chosen, &mut source, &mut repair, steps)
    });
    built.map_err(|failure| match failure {
        Failure::Io(why) => refused(why),
        other => other.of_open(dir),
    })?;
    if let Ok(data) = File::open(target.join("db")) {
        directory::await_unlock(dir, &data)?;
    }
    repair.lost.sort_by_key(|lost| (lost.log, lost.damage.from));
    repair.kept = salvage::finish(dir).map_err(refused)?;
    Ok(repair)
}

/// Says what to do about a full disk.
fn in_words(why: io::Error) -> io::Error {
    if !space::is_want_of_room(&why) {
        return why;
    }
    let what = "the disk is full: a repair needs twice as much free space as the store has; free some \
                and start again, nothing was changed";
    io::Error::new(why.kind(), what)
}

/// Opens a copy of a damaged store, and reads what it says; nothing when it cannot be opened.
fn ask(copy: &Path) -> Said {
    let said = guarded(|| -> Result<Said, Failure> {
        let trees = Trees::open(copy, ASK_CACHE_BYTES)?;
        Ok(Said {
            version: trees.number(b"version")?,
            epoch: trees.number(b"epoch")?.unwrap_or(0),
            firsts: firsts(&trees)?,
            starts: starts::find(&trees, Epoch(u64::MAX))?,
        })
    });
    said.unwrap_or_default()
}

/// Where logs that were trimmed begin.
fn firsts(trees: &Trees) -> Result<BTreeMap<LogId, u64>, Failure> {
    let numbers = trees.numbers(b"first")?;
    let log = |(key, first): (Vec<u8>, u64)| Some((LogId(u32::from_be_bytes(key.try_into().ok()?)), first));
    Ok(numbers.into_iter().filter_map(log).collect())
}

fn build(
    target: &Path,
    cache_bytes: u64,
    (epoch, starts): (u64, Starts),
    chosen: Chosen,
    source: &mut Source,
    repair: &mut Repair,
    mut steps: Steps<'_>,
) -> Result<(), Failure> {
    let mut filling = Filling::begin(target, cache_bytes)?;
    filling.set_epoch(Epoch(epoch))?;
    filling.set_starts(&starts)?;
    for (log, first) in &chosen.firsts {
        filling.set_first(*log, *first)?;
    }
    for (_, _, entry) in &chosen.whole {
        let batch = source.read(entry)?;
        if batch.damage().is_none() {
            repair.batches += 1;
            repair.records += u64::from(batch.header().count);
        }
        repair.lost.extend(lost_in(&batch));
        filling.add(batch)?;
        steps.add(1);
    }
    for batch in chosen.lost {
        repair.lost.extend(lost_in(&batch));
        filling.add(batch)?;
        steps.add(1);
    }
    filling.finish()
}

fn lost_in(batch: &Batch) -> Option<LostRange> {
    batch.damage().map(|damage| LostRange { log: batch.header().log, damage })
}

/// Whether the files hold newer batches than an open store shows.
pub(super) fn finds_more(dir: &Path, heads: &Heads, tell: Tell<'_>) -> io::Result<bool> {
    let found = Source::open(&dir.join("store"))?.scan(tell)?;
    let last = heads.last();
    Ok(found
        .values()
        .flat_map(BTreeMap::values)
        .any(|entry| (entry.epoch, entry.seq) > (last.epoch, last.seq)))
}

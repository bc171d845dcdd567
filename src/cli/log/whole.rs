//! A copy of a store that nobody has: its files, read through and found whole before they get their name.
//!
//! A backup of such a store and a restore are the same. The original is not opened, only copied while its lock
//! is held: so what opening changes is the copy's.

use std::path::Path;

use tokio::task::spawn_blocking;

use super::copied::Copied;
use super::offline::of_original;
use crate::cli::output::note;
use crate::cli::progress::Progress;
use crate::cli::signals::Signals;
use crate::log::copy::{self, CopyError};
use crate::log::verify::{Finding, Seen, Severity, records_of, verify};
use crate::log::{Log, MakeError, NewDir, Purpose, SledLog, SledOptions};
use crate::scheduler::verify::{Records, fold, recovers};

/// Checks that cannot tell more behind records that were lost before: their commits, and what created a channel.
const BEHIND_LOST: [&str; 2] = ["commits", "channel"];

/// Copies a store to a directory that is not there yet, and checks all of it.
pub async fn copy_whole(from: &Path, to: &Path) -> anyhow::Result<Copied> {
    let mut signals = Signals::listen()?;
    copy::must_be_store(from)?;
    let new = NewDir::begin(to)?;
    let (from, dir, target) = (from.to_owned(), new.dir().to_owned(), new.target().to_owned());
    let work = spawn_blocking(move || {
        let copying = Progress::spin("copying");
        copy::copy(&from, &dir).map_err(|error| of_target(error, &target))?;
        drop(copying);
        check(&from, &dir, Copied::begin("checked"))
    });
    let copied = tokio::select! {
        copied = work => copied??,
        () = signals.next() => anyhow::bail!("interrupted: nothing was made"),
    };
    let last = copied.last;
    spawn_blocking(move || new.finish(last)).await??;
    Ok(copied)
}

/// The disk of the copy is another than the store's, perhaps.
fn of_target(error: CopyError, target: &Path) -> anyhow::Error {
    match error {
        CopyError::Full { .. } => MakeError::Full { dir: target.to_owned() }.into(),
        CopyError::Io { dir, why } => match MakeError::io(target, why) {
            full @ MakeError::Full { .. } => full.into(),
            MakeError::Io { why, .. } => CopyError::Io { dir, why }.into(),
            other => other.into(),
        },
        other => other.into(),
    }
}

/// Opens the copy and checks it as `log verify` does, and that a start finds its state.
fn check(original: &Path, dir: &Path, mut copied: Copied) -> anyhow::Result<Copied> {
    let options = SledOptions { purpose: Purpose::Examine, ..SledOptions::default() };
    let (log, opened) = SledLog::open(dir, options).map_err(|error| of_original(error, original))?;
    copied.last = log.last();
    copied.all = Some(records_of(&log));
    let mut damage: Vec<Finding> =
        opened.damage.into_iter().map(|what| Finding::of_store("head", what)).collect();
    read_snapshots(&log, &mut copied)?;
    read_logs(&log, &mut copied, &mut damage);
    // What is not there, and what is and cannot be read: only the one was lost before.
    let met = log.damage_met();
    let damaged = copied.lost.iter().filter(|(id, lost)| met.contains(&(*id, lost.from)));
    damage.splice(0..0, damaged.map(|(id, lost)| Finding::lost(*id, lost)));
    if met.is_empty() && !copied.lost.is_empty() {
        damage.retain(|finding| !BEHIND_LOST.contains(&finding.check));
    }
    if damage.is_empty() {
        copied.tell();
        damage.extend(if copied.lost.is_empty() { fold(&log) } else { recovers(&log) });
    }
    let Some(first) = damage.first() else { return Ok(copied) };
    let place = first.log.map_or(String::new(), |log| format!("log {log}: "));
    anyhow::bail!(
        "the store {0} is damaged (places: {1}; {place}{2}): `headwater log verify --data {0}` names them all, \
         `headwater log repair --data {0}` makes a store of all that is whole",
        original.display(),
        damage.len(),
        first.what
    )
}

/// Reads all snapshots. One that cannot be used is left out: a start would do the same.
fn read_snapshots(log: &SledLog, copied: &mut Copied) -> anyhow::Result<()> {
    for at in log.snapshots()? {
        let mut bytes = 0;
        match log.read_snapshot(at, &mut |piece| bytes += piece.len() as u64) {
            Ok(()) => {
                copied.bytes += bytes;
                copied.snapshots.push(at);
            }
            Err(error) => {
                note(format_args!("{error}: it is left out"));
                log.drop_snapshot(at)?;
            }
        }
    }
    Ok(())
}

fn read_logs(log: &SledLog, copied: &mut Copied, damage: &mut Vec<Finding>) {
    let mut records = Records::default();
    records.learn(log);
    let mut found = |finding: Finding| {
        if finding.severity == Severity::Damage {
            damage.push(finding);
        }
    };
    verify(log, &mut |seen| match seen {
        Seen::Batch(batch) => {
            copied.records += u64::from(batch.header().count);
            copied.bytes += batch.bytes().len() as u64;
            copied.tell();
            records.check(batch, &mut found);
        }
        Seen::Lost(id, lost) => copied.lost.push((id, lost)),
        Seen::Finding(finding) => found(finding),
        Seen::End(..) => copied.logs += 1,
    });
}

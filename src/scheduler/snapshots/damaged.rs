//! Those who look back on a store that was damaged, and repaired: what they are told is exact, or they are told what is lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use memchr::memmem;

use super::told::{CHANNEL, Told};
use crate::log::{Log, NewDir, NewStore, Reader, SledLog, SledOptions, copy};
use crate::protocol::batch::Batch;
use crate::protocol::channel::Retention;
use crate::protocol::{LogId, Seq};
use crate::scheduler::core::{Channel, State};
use crate::scheduler::hindsight::Hindsight;
use crate::scheduler::names;

const SEEDS: u64 = 6;

/// The history of a seed, and a store that holds it.
fn stored(seed: u64) -> (Told, tempfile::TempDir) {
    let told = Told::new(seed, Retention::ALL);
    let (log, folder) = (told.rig.log.clone(), tempfile::tempdir().unwrap());
    let new = NewDir::begin(&folder.path().join("data")).unwrap();
    let mut store = NewStore::begin(&new, log.last(), &log.starts()).unwrap();
    for id in log.logs() {
        batches(log.as_ref(), id).into_iter().for_each(|batch| store.add(batch).unwrap());
    }
    for at in log.snapshots().unwrap() {
        let mut snapshot = store.begin_snapshot(at).unwrap();
        log.read_snapshot(at, &mut |piece| snapshot.add(piece).unwrap()).unwrap();
        snapshot.finish().unwrap();
    }
    store.finish().unwrap();
    new.finish(log.last()).unwrap();
    (told, folder)
}

fn open(dir: &Path) -> Arc<dyn Log> {
    Arc::new(SledLog::open(dir, SledOptions::default()).unwrap().0)
}

/// All batches of a log.
fn batches(log: &dyn Log, id: LogId) -> Vec<Batch> {
    log.read(id, 0, usize::MAX).unwrap()
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Damages all copies of these batches in the files of a store that is closed.
fn damage(dir: &Path, gone: &[Batch]) {
    for path in files(&dir.join("store")) {
        let mut bytes = fs::read(&path).unwrap();
        for batch in gone {
            let places: Vec<usize> = memmem::find_iter(&bytes, batch.bytes()).collect();
            places.into_iter().for_each(|at| bytes[at + 50] ^= 1);
        }
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn from_below_a_snapshot_that_is_damaged_the_same_is_told() {
    let mut folded = 0;
    for seed in 0..SEEDS {
        let (told, folder) = stored(seed);
        let dir = folder.path().join("data");
        let (log, mut rng) = (open(&dir), Rng::with_seed(seed));
        let newest_first = files(&dir.join("snapshots")).into_iter().rev();
        let mut damaged = BTreeSet::new();
        for (path, at) in newest_first.zip(log.snapshots().unwrap()) {
            if rng.bool() {
                let mut bytes = fs::read(&path).unwrap();
                let place = rng.usize(..bytes.len());
                bytes[place] ^= 1;
                fs::write(path, bytes).unwrap();
                damaged.insert(at);
            }
        }
        let hindsight = || Hindsight::new(Reader::new(log.clone()));
        let warm = hindsight();
        for offset in told.offsets(&mut rng) {
            for hindsight in [&warm, &hindsight()] {
                let as_of = hindsight.before(offset, &|| Ok(())).unwrap();
                let is_exact = as_of.state() == &told.states[&as_of.seq];
                assert!(is_exact && as_of.lost.is_none(), "seed {seed}, offset {offset}: {damaged:?}");
            }
        }
        folded += damaged.len();
    }
    assert!(folded > 20, "{folded} are damaged");
}

/// What is lost of a history.
#[derive(Debug, Clone, Copy)]
enum Gone {
    /// Batches anywhere.
    Anywhere,
    /// The last of a log.
    EndOf(LogId),
}

impl Gone {
    fn choose(self, log: &dyn Log, rng: &mut Rng) -> Vec<Batch> {
        match self {
            Gone::Anywhere => {
                let all = log.logs().into_iter().flat_map(|id| batches(log, id));
                all.filter(|_| rng.u8(..20) == 0).collect()
            }
            Gone::EndOf(id) => {
                let mut all = batches(log, id);
                all.split_off(all.len() - rng.usize(1..all.len().min(12)))
            }
        }
    }
}

/// Looks back at many places, on and on and each time anew, and compares what is told with what was; answers how often it was
/// exact, and how often less was known.
fn compare(told: &Told, rng: &mut Rng) -> (u64, u64) {
    let tasks = batches(told.rig.log.as_ref(), LogId::TASKS);
    let lost = tasks.iter().filter_map(Batch::damage);
    let in_lost = lost.flat_map(|lost| [lost.from, lost.to - 1, lost.to]);
    let mut offsets: Vec<u64> = told.offsets(rng).into_iter().chain(in_lost).collect();
    offsets.sort_unstable();
    let (mut exact, mut less, warm) = (0, 0, told.rig.hindsight());
    for offset in offsets {
        let cold = told.rig.hindsight().before(offset, &|| Ok(())).unwrap();
        let as_of = warm.before(offset, &|| Ok(())).unwrap();
        assert!(as_of.state() == cold.state(), "offset {offset}: however one gets there");
        assert_eq!((as_of.lost.as_ref(), as_of.seq), (cold.lost.as_ref(), cold.seq), "offset {offset}");
        let whole = tasks.iter().rfind(|batch| !batch.is_lost() && batch.header().base_offset <= offset);
        let is_before = whole.is_some_and(|batch| batch.header().seq == as_of.seq.next());
        assert!(is_before || whole.is_none() || as_of.seq == told.rig.log.last().seq, "offset {offset}");
        let state = as_of.state();
        state.check();
        assert!(as_of.offset <= offset && state.tasks_head == as_of.offset, "offset {offset}");
        let Some(then) = told.states.get(&as_of.seq) else { continue };
        let is_of_then = |(id, channel): (&LogId, &Channel)| channel.head <= then.head_of(*id).0;
        let is_known = |id| then.channels.contains_key(id);
        assert!(state.channels.iter().all(is_of_then), "offset {offset}: of what was still to come");
        assert!(state.channels.keys().all(is_known), "offset {offset}: channels that were still to come");
        if as_of.lost.is_some() {
            less += 1;
        } else {
            assert!(state == then, "offset {offset}, commit {}", as_of.seq);
            exact += 1;
        }
    }
    (exact, less)
}

#[test]
fn behind_lost_records_it_is_exact_or_what_is_lost_is_told() {
    let (mut exact, mut less, mut ahead, mut removed) = (0, 0, 0, 0);
    for seed in 0..3 * SEEDS {
        let gone = [Gone::Anywhere, Gone::EndOf(LogId::TASKS), Gone::EndOf(CHANNEL)][seed as usize % 3];
        eprintln!("seed {seed}: {gone:?}");
        let (told, folder) = stored(seed);
        let (dir, mut rng) = (folder.path().join("data"), Rng::with_seed(seed));
        damage(&dir, &gone.choose(told.rig.log.as_ref(), &mut rng));
        if seed % 2 == 1 {
            // Of the newest snapshot the beginning can be read, and no more.
            let newest = files(&dir.join("snapshots")).pop().unwrap();
            let mut bytes = fs::read(&newest).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(newest, bytes).unwrap();
        }
        SledLog::repair(&dir, true, &mut |_| {}).unwrap().unwrap();
        let heads = |log: &dyn Log| log.logs().into_iter().map(|id| log.bounds(id).head).sum::<u64>();
        let log = open(&dir);
        let (before, snapshots) = (heads(log.as_ref()), log.snapshots().unwrap());
        let mut told = told.restarted(log, if seed % 4 < 2 { 50 } else { u64::MAX });
        let log = told.rig.log.clone();
        ahead += u64::from(heads(log.as_ref()) != before);
        let left = log.snapshots().unwrap();
        removed += u64::from(left.first() < snapshots.first());
        let is_ahead = |at: &Seq| names::of_snapshot(log.as_ref(), *at).unwrap().is_ahead_of(log.as_ref());
        assert!(!left.iter().any(is_ahead), "{left:?}");
        // What logs have lost at their ends, behind the snapshot that a start goes on from, nothing tells of: of the commits there no
        // more is known than what the start has found.
        let (last, known) = (log.last().seq, told.rig.recovered.1);
        told.states.retain(|seq, _| *seq <= known || *seq == last);
        told.go_on(40);
        let found = compare(&told, &mut rng);
        (exact, less) = (exact + found.0, less + found.1);
    }
    assert!(exact > 200 && less > 60 && ahead > 3 && removed > 1, "{exact}, {less}, {ahead}, {removed}");
}

#[test]
fn a_snapshot_of_a_future_that_is_lost_is_used_by_nobody() {
    let (mut ahead, mut others) = (0, 0);
    for seed in 0..4 {
        let (told, folder) = stored(seed);
        let (dir, older) = (folder.path().join("data"), folder.path().join("older"));
        fs::create_dir(&older).unwrap();
        copy::copy(&dir, &older).unwrap();
        fs::remove_dir_all(older.join("snapshots")).unwrap();
        // It goes on, and an older copy of all but the snapshots is put in its place.
        let mut told = told.restarted(open(&dir), 50);
        let last = told.rig.log.last().seq;
        told.go_on(60);
        ahead += told.rig.log.snapshots().unwrap().iter().filter(|at| **at > last).count();
        let (states, elsewhere) = (told.states.clone(), told.parted(seed));
        fs::remove_dir_all(dir.join("store")).unwrap();
        copy::copy(&older, &dir).unwrap();
        // Snapshots are removed with the next one that is taken, if not before: so in half of them none is.
        let mut told = elsewhere.restarted(open(&dir), if seed % 2 == 0 { 50 } else { u64::MAX });
        told.go_on(120);
        let (exact, less) = compare(&told, &mut Rng::with_seed(seed));
        assert!(exact > 40 && less == 0, "seed {seed}: {exact}, {less}");
        let is_other = |(seq, then): (&Seq, &State)| states.get(seq).is_some_and(|other| other != then);
        others += told.states.iter().filter(|(seq, then)| is_other((seq, then))).count();
    }
    assert!(ahead > 8 && others > 100, "{ahead} of the lost future, {others} commits that are others");
}

//! Each kind of damage, at fixed and at random places.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use headwater::log::Purpose;

use super::damage::{SEGMENT, cut, flip, length_and_used, overwrite, remove_index, zero};
use super::store::{Original, Served, kept, open};

/// Written in one run: sled has no index of it yet.
static ONE_RUN: LazyLock<Original> = LazyLock::new(|| Original::write(1, 240, 120));
/// Written in three runs: sled has an index of the first two.
static THREE_RUNS: LazyLock<Original> = LazyLock::new(|| Original::write(3, 100, 120));
/// Written in two runs of two to three segments each: what is damaged in those of the first is not seen at
/// a start, but when it is read.
static LARGE: LazyLock<Original> = LazyLock::new(|| Original::write(2, 900, 3000));

/// How often each kind of damage is done at a random place, for each of the two stores. `HEADWATER_ROUNDS`
/// does it as often as it says.
static ROUNDS: LazyLock<u64> =
    LazyLock::new(|| std::env::var("HEADWATER_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap()));

/// Random numbers that can be had again.
pub fn random() -> fastrand::Rng {
    let seed =
        std::env::var("HEADWATER_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("HEADWATER_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Damages copies of all stores at random places, and checks what is made of them.
fn at_random(words: &str, damage: impl Fn(&Path, &mut fastrand::Rng, u64)) -> Vec<Served> {
    let mut random = random();
    let mut served = Vec::new();
    for (original, rounds) in [(&*ONE_RUN, *ROUNDS), (&*THREE_RUNS, *ROUNDS), (&*LARGE, *ROUNDS / 3)] {
        let (_, used) = length_and_used(original.copy().path());
        for round in 0..rounds {
            let copy = original.copy();
            let at = random.u64(0..used);
            eprintln!("{words}, round {round}: from {at} of {used}");
            let mut random = random.fork();
            damage(copy.path(), &mut random, at);
            served.push(original.check(copy.path()));
        }
    }
    served
}

/// How many batches the stores that `at_random` damaged had.
fn written() -> u64 {
    *ROUNDS * (ONE_RUN.batches() + THREE_RUNS.batches()) + *ROUNDS / 3 * LARGE.batches()
}

fn whole_of(served: &[Served]) -> u64 {
    served.iter().map(|served| served.whole_batches).sum()
}

#[test]
fn flipped_bytes_cost_what_they_lie_in() {
    for original in [&*ONE_RUN, &*THREE_RUNS] {
        let (_, used) = length_and_used(original.copy().path());
        // The headers of the segment and of its first message, the first batches, the last bytes.
        for at in [0, 7, 19, 20, 24, 26, 40, 200, used / 2, used - 100, used - 1] {
            let copy = original.copy();
            flip(copy.path(), at);
            eprintln!("at {at} of {used}");
            let served = original.check(copy.path());
            assert!(served.whole_batches + 3 >= original.batches(), "{served:?} of {}", original.batches());
        }
    }
    let served = at_random("one byte", |dir, _, at| flip(dir, at));
    let all = written();
    assert!(whole_of(&served) + 3 * served.len() as u64 >= all, "{} of {all}", whole_of(&served));
    at_random("64 bytes", |dir, _, at| overwrite(dir, at, 64, |byte| *byte ^= 0x10));
}

#[test]
fn zeroed_ranges_cost_what_they_lie_in() {
    let served = at_random("4 KiB of zeros", |dir, _, at| zero(dir, at, 4096));
    let all = written();
    assert!(whole_of(&served) * 10 >= all * 9, "{} of {all}", whole_of(&served));
    at_random("a zeroed range", |dir, random, at| zero(dir, at, random.u64(1..100_000)));
}

#[test]
fn a_file_that_is_cut_serves_what_is_before_the_cut() {
    for original in [&*ONE_RUN, &*THREE_RUNS] {
        let (length, used) = length_and_used(original.copy().path());
        for to in [0, 1, 19, 20, 100, used / 4 * 3, length / 4 * 3, used - 1, used] {
            let copy = original.copy();
            cut(copy.path(), to);
            eprintln!("to {to} of {used}");
            let served = original.check(copy.path());
            assert!(to < used || (served.short, served.lost_records) == (0, 0), "{served:?}");
        }
    }
    at_random("cut", |dir, _, at| cut(dir, at));
    at_random("a zeroed tail", |dir, _, at| zero(dir, at, SEGMENT));
}

#[test]
fn files_that_are_gone_are_missed() {
    for original in [&*ONE_RUN, &*THREE_RUNS] {
        let gone = original.copy();
        fs::remove_dir_all(gone.path().join("store")).unwrap();
        let (log, opened) = open(gone.path(), Purpose::Serve);
        let damage = opened.damage.unwrap();
        assert!(
            damage.contains("store/db is gone")
                && damage.contains(&format!("says commit {}", original.last())),
            "{damage}"
        );
        assert_eq!((original.compare(&log).whole_batches, opened.fresh), (0, false));
        assert!(kept(gone.path()).is_empty());

        let no_data = original.copy();
        fs::remove_file(no_data.path().join("store/db")).unwrap();
        let served = original.check(no_data.path());
        assert_eq!((served.whole_batches, kept(no_data.path()).len()), (0, 1));

        let whole = Served { whole_batches: original.batches(), lost_records: 0, short: 0 };
        let no_conf = original.copy();
        fs::remove_file(no_conf.path().join("store/conf")).unwrap();
        assert_eq!((original.check(no_conf.path()), kept(no_conf.path()).len()), (whole, 1));

        // sled makes its index anew.
        let no_index = original.copy();
        remove_index(no_index.path());
        let served = original.check(no_index.path());
        assert_eq!((served.lost_records, served.short), (0, 0));
        let no_index = original.copy();
        remove_index(no_index.path());
        fs::remove_file(no_index.path().join("store/conf")).unwrap();
        assert_eq!(original.check(no_index.path()).short, 0);
    }
    let with_index = THREE_RUNS.copy();
    for entry in fs::read_dir(with_index.path().join("store")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let served = THREE_RUNS.check(with_index.path());
    assert_eq!((served.lost_records, served.short, kept(with_index.path()).len()), (0, 0, 1));
}

#[test]
fn zeros_in_the_middle_of_a_large_store_cost_less_than_a_hundredth() {
    let original = Original::write(1, 3000, 200);
    assert_eq!(original.batches(), 4000);
    let (_, used) = length_and_used(original.copy().path());
    let copy = original.copy();
    zero(copy.path(), used / 2, 64 * 1024);
    let served = original.check(copy.path());
    eprintln!("{served:?} of {} batches, {used} bytes", original.batches());
    assert!(served.whole_batches * 100 >= original.batches() * 99, "{served:?}");
    assert_eq!(served.short, 0);
}

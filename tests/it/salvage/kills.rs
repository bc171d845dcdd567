//! A process that is killed leaves no damage: what its store looks like then is not taken for one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use headwater::log::{Log, Purpose};
use headwater::protocol::LogId;

use super::kinds::random;
use super::store::open;
use crate::engines::Writer;

/// Where the process that is to be killed finds its store.
const DIR: &str = "HEADWATER_KILLED_DIR";

/// How often one is killed. `HEADWATER_KILLS` does it as often as it says.
fn kills() -> u64 {
    std::env::var("HEADWATER_KILLS").map_or(6, |kills| kills.parse().unwrap())
}

/// Writes commits of all sizes until it is killed, and trims, so that sled takes segments anew.
#[test]
#[ignore = "it is killed by the next test"]
fn a_process_that_writes() {
    let dir = std::env::var(DIR).unwrap();
    let (log, opened) = open(Path::new(&dir), Purpose::ServeWhole);
    assert_eq!(opened.damage, None);
    let mut writer = Writer::begin(&log);
    let mut random = fastrand::Rng::new();
    for at in 0u64.. {
        let (some, pad) = (1 + random.u32(0..5), random.usize(10..8000));
        let commit = writer.commit_padded(&[(0, &[false]), (some, &[true; 3]), (7, &[true])], pad);
        log.append(&commit).unwrap();
        log.flush().unwrap();
        if at % 200 == 199 {
            for id in log.logs() {
                log.trim(id, log.bounds(id).head.saturating_sub(300)).unwrap();
            }
        }
    }
}

#[test]
fn a_process_that_is_killed_leaves_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = random();
    for round in 0..kills() {
        let child = "salvage::kills::a_process_that_writes";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.args([child, "--ignored", "--exact"]).env(DIR, dir.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(100..1000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let (log, opened) = open(dir.path(), Purpose::ServeWhole);
        assert_eq!(opened.damage, None, "round {round}");
        for id in log.logs() {
            let mut next = log.bounds(id).first;
            while let Some(batch) = log.read(id, next, 0).unwrap().first() {
                assert!(batch.damage().is_none(), "round {round}: log {id} at {next}");
                next = batch.header().end_offset();
            }
        }
        assert!(log.bounds(LogId(0)).head > 0 || round < 3);
    }
}

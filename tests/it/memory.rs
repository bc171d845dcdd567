//! What reading a store leaves in memory.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;

use headwater::log::{Log, SledLog, SledOptions};
use headwater::protocol::batch::{Batch, Commit, OpenBatch};
use headwater::protocol::{LogId, Seq};

const LOG: LogId = LogId(1);

/// 100,000 batches of one value, of about 400 bytes: more than sled's cache was ever given.
const COMMITS: u64 = 200;
const BATCHES: u64 = 500;
const VALUE_BYTES: usize = 340;

const READERS: usize = 12;

/// What the process may take: about 25 MiB beside the cache, and three threads' part of the allocator (which writes, and
/// the two and more that read, one for every two cores) with 8 MiB of small batches, which take twice as much in memory.
/// 65 MiB were seen.
fn rss_bytes_max() -> u64 {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    (80 + 16 * (cores / 2).clamp(2, 16)) << 20
}

fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

fn write(log: &SledLog) {
    let epoch = log.begin_epoch().unwrap();
    let value = "x".repeat(VALUE_BYTES);
    for commit in 0..COMMITS {
        let seq = Seq(commit + 1);
        let batch = |number: u64| {
            let offset = commit * BATCHES + number;
            let mut open = OpenBatch::new(LOG, offset, offset);
            assert!(open.push(&value, true));
            open.seal(seq, epoch, 0)
        };
        let batches: Vec<Batch> = (0..BATCHES).map(batch).collect();
        log.append(&Commit { seq, epoch, batches }).unwrap();
        log.flush().unwrap();
    }
}

fn read(log: &SledLog) {
    let mut next = 0;
    while let Some(last) = log.read(LOG, next, 1 << 20).unwrap().last() {
        next = last.header().end_offset();
    }
    assert_eq!(next, COMMITS * BATCHES);
}

/// In a process of its own, since the memory of this one is that of all tests.
#[test]
fn many_threads_that_read_small_batches_in_turn_leave_no_memory_each() {
    let name = concat!(module_path!(), "::many_threads_read_in_turn").split_once("::").unwrap().1;
    let arguments = [name, "--exact", "--ignored", "--nocapture"];
    let ran = Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    let (told, why) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && told.contains("1 passed"), "{told}{why}");
}

#[test]
#[ignore = "run by the test above"]
fn many_threads_read_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    let log = Arc::new(log);
    write(&log);
    // Threads that have read stay, as those of a runtime do: a new one would take the arena of one that has ended.
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let ((done, is_done), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
        let log = Arc::clone(&log);
        let reader = thread::spawn(move || {
            read(&log);
            drop(log);
            done.send(()).unwrap();
            ends.recv().unwrap_err();
        });
        is_done.recv().unwrap();
        readers.push((end, reader));
    }
    let rss = rss_bytes();
    for (end, reader) in readers {
        drop(end);
        reader.join().unwrap();
    }
    eprintln!("RSS {rss}");
    assert!(rss < rss_bytes_max(), "{rss} bytes after {READERS} threads have read");
}

//! Backups of stores, and their way back.

mod cut_off;
mod refusals;
mod whole;

use std::collections::BTreeMap;
use std::path::Path;

use headwater::log::{Last, Log, Purpose, SledLog, SledOptions};
use headwater::protocol::batch::Batch;
use headwater::protocol::{LogId, Seq};
use serde_json::Value;

use crate::process::{Ended, run};

/// All batches of a store that nobody has, up to a commit; where each log begins; and its newest commit.
struct Stored {
    batches: BTreeMap<LogId, Vec<Batch>>,
    firsts: BTreeMap<LogId, u64>,
    last: Last,
}

fn stored(dir: &Path, upto: Seq) -> Stored {
    let options = SledOptions { purpose: Purpose::Examine, ..SledOptions::default() };
    let (log, opened) = SledLog::open(dir, options).unwrap();
    assert_eq!(opened.damage, None);
    let mut batches = BTreeMap::new();
    for id in log.logs() {
        let mut read: Vec<Batch> = Vec::new();
        let mut next = 0;
        loop {
            let more = log.read(id, next, 1 << 20).unwrap();
            let Some(last) = more.last() else { break };
            next = last.header().end_offset();
            read.extend(more);
        }
        read.retain(|batch| batch.header().seq <= upto);
        if !read.is_empty() {
            batches.insert(id, read);
        }
    }
    let firsts = log.logs().into_iter().map(|id| (id, log.bounds(id).first)).collect();
    Stored { batches, firsts, last: log.last() }
}

/// What `log verify` says in the end.
async fn verified(dir: &str) -> Value {
    let ended = run(&["log", "verify", "--data", dir, "--json", "--quiet"]).await;
    let summary = crate::process::json(ended.stdout.last().unwrap_or_else(|| panic!("{:?}", ended.stderr)));
    assert_eq!((ended.code, &summary["summary"]), (Some(0), &"whole".into()), "{:?}", ended.stdout);
    summary
}

/// The error of a command that failed: the last line on stderr. Log lines may stand before it.
fn error(ended: Ended) -> String {
    assert_eq!((ended.code, &ended.stdout[..]), (Some(1), &[][..]), "{:?}", ended.stderr);
    let last = ended.stderr.last().expect("it says why");
    last.strip_prefix("error: ").expect(last).to_owned()
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

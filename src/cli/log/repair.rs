//! `headwater log repair`.

use std::path::PathBuf;

use serde::Serialize;
use tokio::sync::watch;

use super::lost::Lost;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::log::salvage::Repair as Done;
use crate::log::{Last, SledLog, Step};
use crate::protocol::Seq;

/// Repair a damaged store, as a start of the scheduler does by itself.
///
/// The files of the store are searched for intact batches, and a new store is made of them. What is lost is
/// said in its place to everyone who reads. The damaged store is kept as it is, as `store.damaged-N` in the
/// same directory, so the disk needs twice as much free space again as the store has. It can be removed
/// when nobody wants to look at it any more. Meanwhile it says how far it is: bytes that are copied and looked
/// through, then batches that are written.
///
/// Unlike a start, it reads every batch to find damage, not only what was written last. A store that is
/// whole is left alone. No scheduler may run on it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater log repair
  headwater log repair --data /var/lib/headwater --json

With --json, it prints one object:
  {\"repaired\":false}    nothing was wrong
  {\"repaired\":true,\"why\",\"kept\"?,\"batches\",\"records\",\"records_lost\",\"lost\":[{\"log\",\"from\",\"to\",\"why\"}],
   \"missing_commits\":[[FIRST,LAST]],\"newest\":{\"seq\",\"epoch\",\"digest\"},\"acknowledged\"?:{…},\"bytes\",\"unreadable\"}")]
pub struct Repair {
    /// The directory that a scheduler keeps its log in; no scheduler may have it
    #[arg(long, value_name = "DIR", default_value = "./headwater-data")]
    data: PathBuf,

    /// Make a new store even if nothing is wrong
    #[arg(long)]
    force: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    repaired: bool,
    #[serde(flatten)]
    done: Option<Details<'a>>,
}

#[derive(Debug, Serialize)]
struct Details<'a> {
    why: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
    batches: u64,
    records: u64,
    records_lost: u64,
    lost: Vec<Lost<'a>>,
    missing_commits: &'a [(Seq, Seq)],
    newest: Commit,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Commit>,
    bytes: u64,
    unreadable: u64,
}

#[derive(Debug, Serialize)]
struct Commit {
    seq: u64,
    epoch: u64,
    digest: String,
}

impl Repair {
    pub async fn run(self) -> anyhow::Result<()> {
        let Repair { data, force, json } = self;
        anyhow::ensure!(
            ["store", "head", "suspect"].iter().any(|name| data.join(name).exists()),
            "there is no store in {}: name the directory that the scheduler keeps its log in",
            data.display()
        );
        let dir = data.clone();
        let (told, far) = watch::channel(None::<Step>);
        let repair = tokio::task::spawn_blocking(move || {
            SledLog::repair(&dir, force, &mut |step| {
                told.send_replace(Some(step));
            })
        });
        let far = || (*far.borrow()).map(|step| (step.done, step.of, step.to_string()));
        let done = Progress::spin("repairing").until(repair, far).await??;
        let mut output = Output::new();
        match (&done, json) {
            (done, true) => output.json(&shown(done.as_ref()))?,
            (Some(done), false) => output.line(done)?,
            (None, false) => {
                output.line(format!("the store in {} is whole: nothing was changed", data.display()))?
            }
        }
        output.flush()
    }
}

fn shown(done: Option<&Done>) -> Shown<'_> {
    Shown { repaired: done.is_some(), done: done.map(details) }
}

fn details(done: &Done) -> Details<'_> {
    let lost = done.lost.iter().map(|range| Lost::of(range.log, &range.damage));
    Details {
        why: &done.why,
        kept: done.kept.as_ref().map(|kept| kept.display().to_string()),
        batches: done.batches,
        records: done.records,
        records_lost: done.records_lost(),
        lost: lost.collect(),
        missing_commits: &done.missing,
        newest: commit(done.last),
        acknowledged: done.head.map(commit),
        bytes: done.bytes,
        unreadable: done.unreadable,
    }
}

fn commit(last: Last) -> Commit {
    Commit { seq: last.seq.0, epoch: last.epoch.0, digest: last.digest.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::salvage::LostRange;
    use crate::protocol::LogId;
    use crate::protocol::batch::Damage;

    #[test]
    fn programs_see_what_was_done() {
        assert_eq!(serde_json::to_string(&shown(None)).unwrap(), r#"{"repaired":false}"#);
        let damage = Damage { from: 3, to: 7, why: "gone".to_owned() };
        let done = Done {
            why: "x".to_owned(),
            kept: None,
            batches: 1,
            records: 2,
            lost: vec![LostRange { log: LogId(1), damage }],
            missing: vec![(Seq(4), Seq(5))],
            last: Last::default(),
            head: None,
            bytes: 9,
            unreadable: 0,
        };
        let json = serde_json::to_value(shown(Some(&done))).unwrap();
        assert_eq!((&json["repaired"], &json["records_lost"]), (&true.into(), &4.into()));
        assert_eq!(json["lost"][0], serde_json::json!({ "log": 1, "from": 3, "to": 7, "why": "gone" }));
        assert_eq!(json["missing_commits"].to_string(), "[[4,5]]");
        assert!(json.get("kept").is_none() && json.get("acknowledged").is_none());
    }
}

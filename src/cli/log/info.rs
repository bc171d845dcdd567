//! `headwater log info`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::command::Overview;
use crate::rows::counted;
use crate::rows::task::Counts;
use crate::rows::task_record::of_receipt;

/// Show the log and the cluster at a glance.
///
/// Where the records are kept and how many there are, what the last start of the scheduler found, how many
/// tasks wait, run and are done, and which workers there are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater log info --json")]
pub struct Info {
    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    store: &'a str,
    epoch: u64,
    seq: u64,
    records: u64,
    tasks_head: u64,
    channels: u64,
    tasks: Counts,
    workers: Vec<Worker<'a>>,
    receipt: Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct Worker<'a> {
    name: &'a str,
    slots: u32,
    running: u32,
    connected: bool,
}

impl Info {
    pub async fn run(self) -> anyhow::Result<()> {
        let overview = self.connect.with(async |client| Ok(client.overview().await?)).await?;
        let mut output = Output::new();
        if self.json {
            output.json(&shown(&overview))?;
        } else {
            lines(&overview).iter().try_for_each(|line| output.line(line))?;
        }
        output.flush()
    }
}

fn shown(overview: &Overview) -> Shown<'_> {
    let workers = overview.workers.iter().map(|worker| Worker {
        name: &worker.name,
        slots: worker.slots,
        running: worker.running,
        connected: worker.connected,
    });
    Shown {
        store: &overview.store,
        epoch: overview.epoch.0,
        seq: overview.seq.0,
        records: overview.records,
        tasks_head: overview.tasks_head,
        channels: overview.channels,
        tasks: Counts::of(overview),
        workers: workers.collect(),
        receipt: of_receipt(&overview.receipt),
    }
}

fn lines(overview: &Overview) -> Vec<String> {
    let receipt = &overview.receipt;
    let mut lines = vec![
        format!("store     {}", overview.store),
        format!("epoch     {}, newest commit {}", overview.epoch, overview.seq),
        format!("records   {}, {} of them in the task log", overview.records, overview.tasks_head),
        format!("channels  {}", overview.channels),
        format!(
            "tasks     {} pending, {} running, {} finished, {} failed or cancelled",
            overview.pending, overview.running, overview.finished, overview.failed
        ),
        format!(
            "recovery  from commit {} (digest {}): {}, {} kept, {} of them requeued and {} running",
            receipt.seq,
            receipt.digest,
            counted(receipt.records, "record"),
            counted(receipt.tasks_kept, "task"),
            receipt.tasks_requeued,
            receipt.tasks_running
        ),
    ];
    lines.extend(receipt.damage.iter().map(|damage| format!("damage    {damage}")));
    if overview.workers.is_empty() {
        lines.push("workers   none: `headwater worker` starts one".to_owned());
    }
    for (position, worker) in overview.workers.iter().enumerate() {
        let heading = if position == 0 { "workers" } else { "" };
        let state = match worker.connected {
            // Tasks that wait as clients take no slot, so there may be more running than there are slots.
            true => format!("{} running, {} slots", worker.running, worker.slots),
            false => format!("away, {} of its attempts are waited for", worker.running),
        };
        lines.push(format!("{heading:<9} {}: {state}", worker.name));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::Receipt;
    use crate::protocol::session::WorkerInfo;
    use crate::protocol::{Epoch, Seq};

    fn overview() -> Overview {
        let worker =
            |name: &str, connected| WorkerInfo { name: name.into(), slots: 4, running: 1, connected };
        Overview {
            epoch: Epoch(2),
            seq: Seq(9),
            receipt: Receipt { damage: Some("the end is gone".to_owned()), ..Receipt::default() },
            store: "memory".to_owned(),
            tasks_head: 3,
            records: 7,
            pending: 1,
            running: 2,
            finished: 3,
            failed: 4,
            channels: 5,
            workers: vec![worker("w1", true), worker("w2", false)],
        }
    }

    #[test]
    fn people_see_workers_and_damage() {
        let lines = lines(&overview());
        assert!(lines.contains(&"damage    the end is gone".to_owned()), "{lines:?}");
        assert_eq!(
            lines[7..],
            ["workers   w1: 1 running, 4 slots", "          w2: away, 1 of its attempts are waited for"]
        );
    }

    #[test]
    fn programs_see_the_same() {
        let json = serde_json::to_value(shown(&overview())).unwrap();
        assert_eq!(json["tasks"]["failed"], 4);
        assert_eq!(json["workers"][1]["connected"], false);
        assert_eq!(json["receipt"]["damage"], "the end is gone");
    }
}

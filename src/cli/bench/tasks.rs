//! How many tasks a second go from one client through workers and back.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::figures::{Measured, Runs};
use super::graph::{Graph, Shape, WIDTH_MAX};
use super::ground::{Commits, Ground};
use super::limits::Limits;
use super::options::Target;
use super::report::Report;
use super::scheduler::Scheduler;
use super::workers::{Workers, argument, noop};
use crate::cli::progress::say;
use crate::client::{Client, Item, Offset, Result, TaskFuture};
use crate::protocol::command::Overview;
use crate::protocol::limits::IN_FLIGHT_MAX;

/// Tasks that are run before anything is measured, at most.
const WARM_UP_TASKS: u64 = 10_000;

/// How many records of the task log are looked at for their size.
const RECORDS_LOOKED_AT: u64 = 1_000;

/// Measure how many tasks a second are run
///
/// One client submits tasks that do nothing, with an argument and a result of eight bytes, as many at a time as
/// a session may have in flight, and waits for each result as soon as its submission is acknowledged. Two worker
/// processes of one slot each run them. It is over when the client knows all results; it holds all futures until
/// then. Where several numbers of tasks are given, what a task costs is compared with the first.
///
/// With `--shape` tasks need the results of others, and are submitted level by level: all those that need none, then
/// those that need their results. A graph has as many tasks as fit into the number that is given: a line on stderr
/// says so where these are fewer, and where not even the smallest fits, nothing is run. `bytes_per_task` is the
/// most memory that the scheduler ever took, above what it had before, for each: its caches (some 64 MiB) are
/// in there, so it falls as the number grows. Over 64 results for one task are put together by tasks of their own, which are
/// measured with the others but not counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater bench tasks --tasks 10000        # a short look
  headwater bench tasks --shape tree --tasks 100000,1000000
  headwater bench tasks --shape fan --width 10000 --tasks 100000")]
pub struct Tasks {
    /// Tasks; several numbers are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "100000,1000000",
        value_parser = clap::value_parser!(u64).range(1..))]
    tasks: Vec<u64>,

    /// Which tasks need the results of which
    #[arg(long, value_enum, default_value_t = Shape::Independent)]
    shape: Shape,

    /// How many results a task takes, of a fan or a tree
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=WIDTH_MAX))]
    width: Option<u64>,

    #[command(flatten)]
    target: Target,
}

impl Tasks {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.width.is_none() || self.shape.width().is_some(),
            "--width is for --shape fan and --shape tree"
        );
        let graphs = self.tasks.iter().map(|tasks| self.graph(*tasks));
        let graphs = graphs.collect::<anyhow::Result<Vec<Graph>>>()?;
        let mut first_cost = None;
        for (graph, tasks) in graphs.iter().zip(&self.tasks) {
            if graph.tasks() < *tasks {
                say(format_args!("--tasks {tasks}: {} are run, as many as fit", graph.name()));
            }
            let (mut runs, mut limits) = (Runs::default(), Limits::default());
            let mut commits = Commits::of(0);
            for run in 1..=self.target.options.runs {
                // Each on a ground of its own: nothing of the run before is to be forgotten meanwhile.
                let ground = Ground::prepare(&self.target).await?;
                commits = measure(graph, &ground, &mut runs).await?;
                say(format_args!("{}, run {run}: done", graph.name()));
                limits = ground.measure(limits, commits).await?;
                ground.end().await?;
            }
            let (figures, limits) = (runs.figures(), limits.figures());
            let (rate, cost) = (figures["tasks_per_s"].median, figures["us_per_task"].median);
            let records_per_s = rate * figures["records_per_task"].median;
            let of_bare_file = records_per_s / limits["bare_file_records_per_s"].median;
            let mut ratios = BTreeMap::from([("tasks_per_s", of_bare_file)]);
            match first_cost {
                Some(first) => drop(ratios.insert("us_per_task", cost / first)),
                None => first_cost = Some(cost),
            }
            report.add(&Measured {
                variant: graph.name(),
                params: BTreeMap::from([
                    ("shape", json!(graph.shape)),
                    ("width", json!(graph.width)),
                    ("tasks", json!(graph.tasks())),
                    ("argument_bytes", json!(size_of::<u64>())),
                    ("record_bytes", json!(commits.record_bytes)),
                    ("records_per_commit", json!(commits.records())),
                ]),
                figures,
                limits,
                ratios,
                ..Measured::of("tasks")
            })?;
        }
        Ok(())
    }

    /// The graph that is run for a number of tasks.
    fn graph(&self, tasks: u64) -> anyhow::Result<Graph> {
        let graph = Graph::of(self.shape, tasks, self.width);
        let least = graph.tasks();
        anyhow::ensure!(
            least <= tasks,
            "--tasks {tasks} is too few: the least there is of this shape are {}; give --tasks {least} or more",
            graph.name()
        );
        Ok(graph)
    }
}

async fn measure(graph: &Graph, ground: &Ground, runs: &mut Runs) -> anyhow::Result<Commits> {
    let workers = Workers::start(ground).await?;
    let client = ground.client().await?;
    let tasks = graph.tasks();
    Graph::of(graph.shape, WARM_UP_TASKS.min(tasks), Some(graph.width)).run(&client).await?;
    let bytes_before = ground.rss_bytes();
    let before = client.overview().await?;
    let started = Instant::now();
    let held = graph.run(&client).await?;
    let seconds = started.elapsed().as_secs_f64();
    let (records, commits) = commits_since(&client, &before).await?;
    runs.add("tasks_per_s", tasks as f64 / seconds, "1/s");
    runs.add("us_per_task", seconds * 1e6 / tasks as f64, "us");
    runs.add("records_per_task", records as f64 / tasks as f64, "records");
    runs.add("seconds", seconds, "s");
    runs.add_bytes("rss_bytes", ground.rss_bytes());
    let peak = ground.scheduler().and_then(Scheduler::peak_rss_bytes);
    if let Some((peak, before)) = peak.zip(bytes_before) {
        runs.add("bytes_per_task", peak.saturating_sub(before) as f64 / tasks as f64, "bytes");
    }
    drop(held);
    // Nobody waits for what it held to be released.
    workers.end().await?;
    Ok(commits)
}

/// Submits so many tasks. Answers the futures once all are acknowledged.
pub async fn submit_all(client: &Client, tasks: u64) -> Result<Vec<TaskFuture<u64>>> {
    submissions(client, tasks).try_collect().await
}

fn submissions(client: &Client, tasks: u64) -> impl futures_util::Stream<Item = Result<TaskFuture<u64>>> {
    let submit = |number| client.submit(noop, (argument(number),)).into_future();
    stream::iter(0..tasks).map(submit).buffered(IN_FLIGHT_MAX as usize)
}

/// How many records there are more than before, and the commits that brought them.
pub async fn commits_since(client: &Client, before: &Overview) -> anyhow::Result<(u64, Commits)> {
    let records = client.overview().await?.records - before.records;
    let commits = Commits::of(record_bytes(client).await?).and(records, before.seq.0, client).await?;
    Ok((records, commits))
}

/// How many bytes a record of the task log has, on the average of the newest.
async fn record_bytes(client: &Client) -> anyhow::Result<usize> {
    let head = client.overview().await?.tasks_head;
    let mut records = client.task_log(Offset::At(head.saturating_sub(RECORDS_LOOKED_AT)));
    let (mut bytes, mut count) = (0, 0);
    while let Some(Item::Record(record)) = records.next().await.transpose()? {
        bytes += postcard::to_stdvec(&record.event)?.len();
        count += 1;
    }
    Ok(bytes / count.max(1))
}

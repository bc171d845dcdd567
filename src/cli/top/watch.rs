//! Looks at the scheduler, now and then, for as long as somebody wants to know.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::anyhow;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::model::{Counted, Input, Seen};
use crate::cli::ask;
use crate::cli::connect::{Connect, is_session_over};
use crate::cli::report::one_line;
use crate::client::connection::ReadItem;
use crate::client::millis::now_ms;
use crate::client::{Client, Error};
use crate::protocol::command::{Answer, Query, Rejection};
use crate::protocol::message::{Position, Reads};
use crate::protocol::session::WorkerStatus;
use crate::protocol::task::TaskInfo;
use crate::protocol::{LogId, TaskEvent, TaskId};

/// How many records of the task log are looked back for tasks that were submitted last.
const TASKS_BACK: u64 = 2_000;

/// Of how many tasks that run the function is asked for in one look at most: those that are left are asked for in the next.
const FUNCTIONS_ASKED_MAX: usize = 100;

/// How long an answer may take until the scheduler counts as away: 2 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long after a failure it is tried again: 1 s.
const TRIED_AFTER: Duration = Duration::from_secs(1);

/// Looks each `every`, and tells what it sees. Ends only when nobody wants to know any more.
///
/// # Errors
/// When the scheduler could not be reached, or refused, before anything was seen of it. Later that is told, and tried again.
pub async fn watch(connect: &Connect, every: Duration, tell: mpsc::Sender<Input>) -> anyhow::Result<()> {
    let mut is_seen = false;
    loop {
        let watched = connect.with(async |client| look(client, every, &tell, &mut is_seen).await).await;
        match watched {
            Ok(()) => return Ok(()),
            Err(error) if !is_seen && !is_session_over(&error) => return Err(error),
            Err(error) => {
                let lost = Input::Lost { why: one_line(&error), at_ms: now_ms() };
                if tell.send(lost).await.is_err() {
                    return Ok(());
                }
                sleep(TRIED_AFTER).await;
            }
        }
    }
}

/// Looks as long as the session lives. A connection that is lost is made again by the client.
async fn look(
    client: &Client,
    every: Duration,
    tell: &mpsc::Sender<Input>,
    is_seen: &mut bool,
) -> anyhow::Result<()> {
    let mut events = client.connection().subscribe_to(LogId::TASKS, Position::End, Reads::Durable);
    let mut counted = Counted::default();
    let mut functions = HashMap::new();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            item = events.next() => match item {
                Some(item) => count(&mut counted, item?)?,
                None => return Err(anyhow!("the session is over")),
            },
            _ = ticks.tick() => {
                let input = match timeout(ANSWER_TIMEOUT, see(client, counted, &mut functions)).await {
                    Ok(seen) => {
                        *is_seen = true;
                        Input::Seen(Box::new(seen?))
                    }
                    Err(_) => Input::Lost { why: "the scheduler does not answer".to_owned(), at_ms: now_ms() },
                };
                if tell.send(input).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn see(
    client: &Client,
    counted: Counted,
    functions: &mut HashMap<TaskId, Box<str>>,
) -> anyhow::Result<Seen> {
    let overview = client.overview().await?;
    let workers = client.workers().await?;
    let channels = ask::channels(client).await?;
    let tasks = ask::tasks(client, overview.tasks_head.saturating_sub(TASKS_BACK)).await?;
    learn_functions(client, &workers, &tasks, functions).await?;
    let functions = functions.clone();
    Ok(Seen { at_ms: now_ms(), overview, workers, channels, tasks, functions, counted })
}

/// Learns the functions of the tasks that run and are not listed: each is asked for once, and forgotten when it runs no more.
async fn learn_functions(
    client: &Client,
    workers: &[WorkerStatus],
    listed: &[TaskInfo],
    known: &mut HashMap<TaskId, Box<str>>,
) -> anyhow::Result<()> {
    let mut older: HashSet<TaskId> =
        workers.iter().flat_map(|worker| &worker.runs).map(|run| run.key.id).collect();
    listed.iter().for_each(|info| _ = older.remove(&info.key.id));
    known.retain(|task, _| older.contains(task));
    let unknown = older.into_iter().filter(|task| !known.contains_key(task)).take(FUNCTIONS_ASKED_MAX);
    let asked = unknown.map(|task| client.query(Query::Task { task })).collect::<Vec<_>>();
    for answer in join_all(asked).await {
        match answer {
            Ok(Answer::Task(info)) => _ = known.insert(info.key.id, info.function),
            Ok(other) => return Err(ask::unexpected(&other)),
            // It has ended meanwhile, and nobody keeps it.
            Err(Error::Rejected(Rejection::UnknownTask(_))) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Counts what has happened to tasks.
fn count(counted: &mut Counted, item: ReadItem) -> anyhow::Result<()> {
    let ReadItem::Records { batch, .. } = item else { return Ok(()) };
    if batch.damage().is_some() {
        return Ok(());
    }
    for record in batch.records::<TaskEvent>() {
        let counter = match record?.1 {
            TaskEvent::Submitted { .. } | TaskEvent::SubmittedUnder { .. } => &mut counted.submitted,
            TaskEvent::Started { .. } | TaskEvent::StartedWith { .. } => &mut counted.started,
            TaskEvent::Finished { .. } => &mut counted.finished,
            TaskEvent::Failed { .. } => &mut counted.failed,
            TaskEvent::Cancelled { .. } | TaskEvent::CancelledBy { .. } => &mut counted.cancelled,
            _ => continue,
        };
        *counter += 1;
    }
    Ok(())
}

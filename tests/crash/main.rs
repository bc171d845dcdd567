//! Real processes, killed: what was promised is checked from outside.

mod buffered;
mod cluster;
mod results;
mod torture;

use std::collections::BTreeMap;

use headwater::client::Record;
use headwater::protocol::channel::Progress;
use headwater::protocol::task::ErrorKind;
use headwater::protocol::{ChannelEvent, TaskEvent, TaskId};
use headwater::{Channel, Client, Item, Offset, Result};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, results, submit_demo};

/// How often the scheduler is killed.
const ROUNDS: usize = 5;

/// How far `adds` must get in each round.
const PAIRS_PER_ROUND: u64 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scheduler_is_killed_again_and_again_and_nobody_sees_a_gap() -> Result<()> {
    let mut cluster = Cluster::start();
    let client = cluster.client().await;
    cluster.start_worker("one");
    cluster.start_worker("two");
    start_demo(&client).await?;
    let adds = client.channel::<f64>("adds").await?;
    let (follower, appender) = (follow(&adds), append_on(client.channel("own").await?));
    for round in 1..=ROUNDS as u64 {
        wait_for(&adds, round * PAIRS_PER_ROUND).await?;
        cluster.kill_scheduler();
        cluster.start_scheduler();
    }
    wait_for(&adds, (ROUNDS as u64 + 1) * PAIRS_PER_ROUND).await?;
    check_sums(&client).await?;
    let epochs = check_attempts(&client, 1).await?;
    assert_eq!(epochs, ROUNDS + 1);
    assert!(follower.await.expect("it does not panic")? > 0);
    check_own(&client, appender.await.expect("it does not panic")?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_killed_and_its_namesake_goes_on_where_it_was() -> Result<()> {
    let mut cluster = Cluster::start();
    let client = cluster.client().await;
    cluster.start_worker("one");
    start_demo(&client).await?;
    let adds = client.channel::<f64>("adds").await?;
    for round in 1..=3 {
        wait_for(&adds, round * PAIRS_PER_ROUND).await?;
        // In the second round the older one lives on: it is fenced.
        if round != 2 {
            cluster.kill_worker("one");
        }
        cluster.start_worker("one");
    }
    wait_for(&adds, 4 * PAIRS_PER_ROUND).await?;
    check_sums(&client).await?;
    check_attempts(&client, 4).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_workers_are_killed_is_failed_as_poison() -> Result<()> {
    let mut cluster = Cluster::start_with(3);
    let client = cluster.client().await;
    cluster.start_worker("one");
    // It waits for futures that nobody appends, on channels that there are: so it gets nothing done before it dies, however
    // long it lives.
    for name in ["a", "b", "adds"] {
        client.channel::<f64>(name).await?;
    }
    let combine = submit_demo(&client, "combine", "combine", &[]).await?;
    let watched = client.channel::<()>("watched").await?;
    watched.append(&combine).await?;
    let mut records = watched.records();
    for round in 1..=3 {
        while let Some(item) = records.next().await {
            let Item::Record(Record { event: ChannelEvent::Progress { progress, .. }, .. }) = item? else {
                continue;
            };
            if matches!(progress, Progress::Started { attempt, .. } if attempt.0 == round) {
                break;
            }
        }
        cluster.kill_worker("one");
        if round == 2 {
            cluster.kill_scheduler();
            cluster.start_scheduler();
        }
        cluster.start_worker("one");
    }
    let Err(headwater::Error::Task(error)) = combine.await else { panic!("it is not failed") };
    assert_eq!((error.kind, error.attempt.0, &*error.worker), (ErrorKind::Poison, 3, "one"));
    assert_eq!(error.causes.len(), 3, "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_gets_something_done_outlives_any_number_of_workers() -> Result<()> {
    let mut cluster = Cluster::start_with(2);
    let client = cluster.client().await;
    cluster.start_worker("one");
    client.channel::<f64>("interval").await?.append_value(&0.002).await?;
    submit_demo(&client, "emit-a", "emit", &["a"]).await?;
    let a = client.channel::<f64>("a").await?;
    for round in 1..=5 {
        // Once for what comes from the attempt before, and once more.
        let elements = a.len().await?;
        wait_for(&a, elements + 2 * PAIRS_PER_ROUND).await?;
        cluster.kill_worker("one");
        if round == 3 {
            cluster.kill_scheduler();
            cluster.start_scheduler();
        }
        cluster.start_worker("one");
    }
    let elements = a.len().await?;
    wait_for(&a, elements + PAIRS_PER_ROUND).await
}

async fn start_demo(client: &Client) -> Result<()> {
    client.channel::<f64>("interval").await?.append_value(&0.002).await?;
    submit_demo(client, "emit-a", "emit", &["a"]).await?;
    submit_demo(client, "emit-b", "emit", &["b"]).await?;
    submit_demo(client, "combine", "combine", &[]).await?;
    Ok(())
}

/// Waits until a channel has so many elements.
async fn wait_for(channel: &Channel<f64>, elements: u64) -> Result<()> {
    let mut futures = channel.elements_from(elements - 1).futures();
    futures.next().await.expect("the channel is not stopped").map(drop)
}

/// Follows a channel through all restarts until it has got far: each offset must come once, in order.
fn follow(channel: &Channel<f64>) -> JoinHandle<Result<u64>> {
    let mut records = channel.from(Offset::Start).records();
    tokio::spawn(async move {
        let (mut next, mut elements) = (0, 0);
        while elements < (ROUNDS as u64 + 1) * PAIRS_PER_ROUND {
            if let Item::Record(record) = records.next().await.expect("it is not stopped")? {
                assert_eq!(record.offset, next, "a gap, a repeat or a reorder");
                next += 1;
                elements += u64::from(matches!(record.event, ChannelEvent::Appended { .. }));
            }
        }
        Ok(next)
    })
}

/// Appends values through all restarts, several at a time. Answers the offset that each was given.
fn append_on(channel: Channel<u64>) -> JoinHandle<Result<BTreeMap<u64, u64>>> {
    tokio::spawn(async move {
        let mut offsets = BTreeMap::new();
        for step in 0..200 {
            let values: Vec<u64> = (step * 8..(step + 1) * 8).collect();
            let appends: Vec<_> = values.iter().map(|value| channel.append_value(value)).collect();
            for (value, append) in values.into_iter().zip(appends) {
                offsets.insert(value, append.await?.offset);
            }
        }
        Ok(offsets)
    })
}

async fn check_own(client: &Client, offsets: BTreeMap<u64, u64>) -> Result<()> {
    let channel = client.channel::<u64>("own").await?;
    channel.stop().await?;
    let mut values = channel.values();
    let mut there = Vec::new();
    while let Some(value) = values.next().await {
        there.push(value?);
    }
    assert_eq!(there, (0..1600).collect::<Vec<u64>>(), "each once, in order");
    assert!(offsets.iter().all(|(value, offset)| value == offset), "where it was said to be");
    Ok(())
}

/// `adds[i]` is exactly `a[i] + b[i]`, for every sum that is there.
async fn check_sums(client: &Client) -> Result<()> {
    // Sums first: what they were made of is there, then.
    let adds = results(client, "adds").await?;
    let (a, b) = (results(client, "a").await?, results(client, "b").await?);
    let mut checked = 0;
    for (i, sum) in adds.iter().enumerate() {
        if let Some(sum) = sum {
            assert_eq!(Some(*sum), a[i].zip(b[i]).map(|(a, b)| a + b), "pair {i}");
            checked += 1;
        }
    }
    assert!(checked + 10 >= adds.len(), "only {checked} of {} sums have come", adds.len());
    Ok(())
}

/// The demo's own tasks took no more attempts than they had to, those aside that were given back before they began. Answers how
/// many epochs there were.
async fn check_attempts(client: &Client, attempts_max: u32) -> Result<usize> {
    let (mut names, mut returned, mut epochs) =
        (BTreeMap::<TaskId, String>::new(), BTreeMap::<TaskId, u32>::new(), 0);
    let mut events = client.task_log(Offset::Start);
    while let Some(item) = events.next().await {
        let record = match item? {
            Item::Record(record) => record,
            Item::CaughtUp { .. } => break,
            other => panic!("nothing was trimmed or lost: {other:?}"),
        };
        match record.event {
            TaskEvent::Recovered(_) => epochs += 1,
            TaskEvent::Submitted { submission, .. } => {
                names.insert(submission.key.id, submission.key.label.into());
            }
            TaskEvent::Started { task, attempt, .. }
                if ["emit-a", "emit-b", "combine"].contains(&&*names[&task]) =>
            {
                let returned = returned.get(&task).copied().unwrap_or_default();
                assert!(
                    attempt.0 - returned <= attempts_max,
                    "attempt {attempt} of {}, {returned} of them given back",
                    names[&task]
                );
            }
            TaskEvent::Returned { task, .. } => *returned.entry(task).or_default() += 1,
            _ => {}
        }
    }
    Ok(epochs)
}

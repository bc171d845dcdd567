//! Workers that are given more than they run at a time, from end to end.

use std::time::Duration;

use headwater::local::{Local, Options};
use headwater::protocol::TaskEvent;
use headwater::protocol::task::TaskStatus;
use headwater::{Client, Item, Offset, Result, TaskFuture, task};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Closed until the test opens it.
static GATE: Semaphore = Semaphore::const_new(0);

#[task]
async fn wait_at_the_gate() {
    GATE.acquire().await.expect("nobody closes it for ever").forget();
}

#[task]
fn echo(number: u64) -> u64 {
    number
}

async fn submit(client: &Client, numbers: std::ops::Range<u64>) -> Vec<TaskFuture<u64>> {
    let mut futures = Vec::new();
    for number in numbers {
        futures.push(client.submit(echo, (number,)).into_future());
    }
    futures_util::future::join_all(futures).await.into_iter().map(Result::unwrap).collect()
}

async fn all_bring_their_number(futures: Vec<TaskFuture<u64>>, from: u64) {
    for (number, future) in (from..).zip(futures) {
        let brought = timeout(Duration::from_secs(30), future).await.expect("nothing holds it up");
        assert_eq!(brought.unwrap(), number);
    }
}

/// How many attempts were given back.
async fn returned(client: &Client) -> usize {
    let (mut records, mut returned) = (client.task_log(Offset::Start), 0);
    while let Some(item) = records.next().await {
        match item.unwrap() {
            Item::Record(record) => {
                returned += usize::from(matches!(record.event, TaskEvent::Returned { .. }))
            }
            Item::CaughtUp { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    returned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_takes_long_holds_up_none_of_those_that_were_given_behind_it() -> Result<()> {
    let options = Options { listen: "127.0.0.1:0".to_owned(), workers: 2, ..Options::default() };
    let local = Local::start(options).await.unwrap();
    let client = Client::connect(local.address().to_string()).await?;
    // Until the workers know that it takes no time, and want many.
    all_bring_their_number(submit(&client, 0..500).await, 0).await;
    // A machine that is busy may have looked like a task that takes long.
    let before = returned(&client).await;
    let waits = client.submit(wait_at_the_gate, ()).await?;
    all_bring_their_number(submit(&client, 500..1_000).await, 500).await;
    assert_eq!(waits.status().await?, TaskStatus::Running);
    assert!(returned(&client).await > before, "some were given to the worker that stood at the gate");
    GATE.add_permits(1);
    timeout(Duration::from_secs(30), waits).await.expect("the gate is open")?;
    client.close().await;
    local.stop().await;
    Ok(())
}

//! Terms from end to end: waits between attempts, timeouts, deadlines, tags.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headwater::local::Store;
use headwater::protocol::channel::Progress;
use headwater::protocol::task::{ErrorKind, TaskError, TaskStatus};
use headwater::protocol::{ChannelEvent, TaskEvent};
use headwater::{Backoff, Client, Context, Error, Item, Offset, Result, TaskFuture, blocking, task};
use tokio::time::{sleep, timeout};

use crate::cancelling::with_slots;

const SOON: Duration = Duration::from_secs(20);

/// How many attempts were dropped where they waited, by what each was told to count in; the last lets one go on.
static DROPPED: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];
static SEEN: AtomicU32 = AtomicU32::new(0);

struct Notice(&'static AtomicU32);

impl Drop for Notice {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Attempts up to this one end only when they are aborted.
#[task]
async fn stuck_until(attempt: u32, counter: usize) -> u32 {
    let now = Context::current().unwrap().attempt().0;
    if now <= attempt {
        let _notice = Notice(&DROPPED[counter]);
        std::future::pending().await
    }
    now
}

/// The same of one that is not async.
#[task]
fn deaf_until(attempt: u32) -> u32 {
    let context = Context::current().unwrap();
    if context.attempt().0 <= attempt {
        // Not for ever: a runtime that ends waits for it.
        for _ in 0..4_000 {
            if context.is_cancelled() {
                SEEN.fetch_add(1, Ordering::SeqCst);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    context.attempt().0
}

#[task]
fn fails_until(attempt: u32) -> Result<u32> {
    match Context::current().unwrap().attempt().0 {
        now if now <= attempt => Err(Error::msg("not yet")),
        now => Ok(now),
    }
}

async fn ended<T: serde::de::DeserializeOwned + 'static>(future: &TaskFuture<T>) -> Result<T> {
    timeout(SOON, future).await.expect("it ends")
}

async fn failed<T: serde::de::DeserializeOwned + std::fmt::Debug + 'static>(
    future: &TaskFuture<T>,
) -> TaskError {
    match ended(future).await {
        Err(Error::Task(error)) => *error,
        other => panic!("{other:?}"),
    }
}

async fn until(counter: &AtomicU32, count: u32) {
    let waits = async {
        while counter.load(Ordering::SeqCst) < count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waits).await.expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_takes_too_long_has_failed_and_its_slot_is_free() -> Result<()> {
    let local = with_slots(Store::Memory, 1).await;
    let client = Client::connect(&local.address().to_string()).await?;
    let short = Duration::from_millis(50);
    let again = client.submit(stuck_until, (2, 0)).timeout(short).retries(2).await?;
    assert_eq!(ended(&again).await?, 3);
    until(&DROPPED[0], 2).await;
    let never = client.submit(stuck_until, (9, 0)).timeout(short).await?;
    let error = failed(&never).await;
    assert_eq!((error.kind, error.attempt.0), (ErrorKind::TimedOut, 1));
    assert_eq!(error.message, "it took longer than its timeout of 50 ms");
    assert!(!error.worker.is_empty());
    // One that is not async can see it, and takes no slot meanwhile.
    let deaf = client.submit(deaf_until, (1,)).timeout(short).retries(1).await?;
    assert_eq!(ended(&deaf).await?, 2);
    until(&SEEN, 1).await;
    // One that is in time is not touched, also when it follows others on their thread.
    for _ in 0..20 {
        assert_eq!(ended(&client.submit(deaf_until, (0,)).timeout(SOON).await?).await?, 1);
    }
    client.close().await;
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_fail_are_followed_by_others_after_a_wait() -> Result<()> {
    let local = with_slots(Store::Memory, 1).await;
    let client = Client::connect(&local.address().to_string()).await?;
    let backoff = Backoff::exponential(Duration::from_millis(20)).capped(Duration::from_millis(30));
    let future = client.submit(fails_until, (3,)).retries(3).backoff(backoff).await?;
    assert_eq!(ended(&future).await?, 4);
    let (mut waits, mut due) = (Vec::new(), None);
    let mut records = client.task_log(Offset::Start);
    while let Some(item) = records.next().await {
        let record = match item? {
            Item::Record(record) => record,
            Item::CaughtUp { .. } => break,
            other => panic!("{other:?}"),
        };
        match record.event {
            TaskEvent::RetriedAfter { wait_ms, .. } => {
                waits.push(wait_ms);
                due = Some(record.time_ms + wait_ms);
            }
            TaskEvent::Awaited { .. } => assert!(due.take().is_some_and(|due| due <= record.time_ms)),
            _ => {}
        }
    }
    assert_eq!((waits, due), (vec![20, 30, 30], None));
    client.close().await;
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_not_done_in_time_has_failed_wherever_it_stands() -> Result<()> {
    let local = with_slots(Store::Memory, 1).await;
    let client = Client::connect(&local.address().to_string()).await?;
    let deadline = Duration::from_millis(100);
    let runs = client.submit(stuck_until, (9, 1)).deadline(deadline).retries(9).tag("nightly").await?;
    // It waits for the slot, or has it when the other's time is over before its own.
    let waits = client.submit(stuck_until, (9, 1)).deadline(deadline).await?;
    let info = runs.info().await?;
    assert_eq!(info.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["nightly"]);
    let error = failed(&runs).await;
    assert_eq!(
        (error.kind, &*error.message),
        (ErrorKind::DeadlinePassed, "it was not done within its deadline of 100 ms")
    );
    assert_eq!(error.causes, ["attempt 1 was under way"]);
    assert_eq!(failed(&waits).await.kind, ErrorKind::DeadlinePassed);
    until(&DROPPED[1], 1).await;
    // There is one slot, and it is free.
    assert_eq!(ended(&client.submit(fails_until, (0,)).deadline(SOON).await?).await?, 1);
    client.close().await;
    local.stop().await;
    Ok(())
}

#[task]
async fn advances(counter: usize) -> u32 {
    let context = Context::current().unwrap();
    context.progress(0, 0, "first");
    while DROPPED[counter].load(Ordering::SeqCst) == 0 {
        context.progress(3, 10, "waiting");
        sleep(Duration::from_millis(5)).await;
    }
    context.attempt().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_a_task_has_come_is_on_its_channels_and_rarely_so() -> Result<()> {
    let local = with_slots(Store::Memory, 1).await;
    let client = Client::connect(&local.address().to_string()).await?;
    let channel = client.channel::<u32>("advances").await?;
    let future = client.submit(advances, (2,)).await?;
    channel.append(&future).await?;
    let mut said = Vec::new();
    let mut records = channel.records();
    let mut watch = async || {
        while said.last() != Some(&"3 of 10: waiting".to_owned()) {
            let Some(Item::Record(record)) = records.next().await.transpose()? else { continue };
            if let ChannelEvent::Progress { progress: Progress::Advanced(advance), .. } = record.event {
                said.push(advance.to_string());
            }
        }
        Ok::<_, Error>(())
    };
    timeout(SOON, watch()).await.expect("it is told")?;
    assert!(said.len() <= 2, "the newest wins: {said:?}");
    assert_eq!(
        future.info().await?.advance.map(|advance| advance.to_string()).as_deref(),
        Some("3 of 10: waiting")
    );
    DROPPED[2].fetch_add(1, Ordering::SeqCst);
    assert_eq!(ended(&future).await?, 1);
    assert_eq!(future.info().await?.advance, None, "it is over");
    client.close().await;
    local.stop().await;
    Ok(())
}

/// How often it was called.
static CALLS: AtomicU32 = AtomicU32::new(0);

#[task]
fn fails_at_first(more: u32) -> Result<u32> {
    match CALLS.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Error::msg("not yet")),
        _ => Ok(more),
    }
}

#[task]
fn doubled(number: u32) -> u32 {
    2 * number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_failed_is_tried_again_with_what_it_needs() -> Result<()> {
    let local = with_slots(Store::Memory, 1).await;
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let doubles = client.channel::<u32>("doubles").await?;
    let first = client.submit(fails_at_first, (4,)).await?;
    let second = client.submit(doubled, (&first,)).await?;
    doubles.append(&second).await?;
    assert!(ended(&second).await.unwrap_err().to_string().contains("not yet"));
    let mut view = doubles.view();
    while view.futures().first().is_none_or(|entry| entry.status != TaskStatus::Error) {
        timeout(SOON, view.changed()).await.expect("it has failed")?;
    }
    second.retry().await?;
    assert_eq!((ended(&second).await?, ended(&first).await?), (8, 4));
    while view.futures().first().is_none_or(|entry| entry.status != TaskStatus::Finished) {
        timeout(SOON, view.changed()).await.expect("it has finished")?;
    }
    let error = client.retry(second.key()).await.unwrap_err().to_string();
    assert!(
        error.contains("is finished: only what has failed or was cancelled can be tried again"),
        "{error}"
    );
    client.close().await;
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_told_before_it_is_sent_and_the_same_goes_without_async() -> Result<()> {
    let local = with_slots(Store::Memory, 1).await;
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let refused = client.submit(fails_until, (0,)).tag("two words").await.unwrap_err().to_string();
    assert!(refused.starts_with("`two words` cannot name a tag: it has other characters"), "{refused}");
    let refused = client.submit(fails_until, (0,)).timeout(Duration::ZERO).await.unwrap_err().to_string();
    assert!(
        refused.ends_with("the timeout of an attempt, in ms, is 0: give one from 1 to 31536000000"),
        "{refused}"
    );
    let in_a_year = Duration::from_hours(24 * 366);
    let refused = client.submit(fails_until, (0,)).deadline(in_a_year).await.unwrap_err().to_string();
    assert!(refused.contains("the deadline of a task, in ms, is 31622400000"), "{refused}");
    let done = tokio::task::spawn_blocking(move || -> Result<u32> {
        let client = blocking::Client::connect(&address)?;
        let submit =
            client.submit(fails_until, (1,)).retries(1).backoff(Backoff::fixed(Duration::from_millis(5)));
        let ended = submit.timeout(SOON).deadline(SOON).tag("blocking").send()?.wait();
        let mut log = client.task_log(Offset::Start);
        let is_tagged = |item: Item<TaskEvent>| match item {
            Item::Record(record) => match record.event {
                TaskEvent::SubmittedUnder { terms, .. } => terms.tags().any(|tag| tag.as_str() == "blocking"),
                _ => false,
            },
            Item::CaughtUp { .. } => panic!("it is behind what was submitted"),
            _ => false,
        };
        assert!(log.any(|item| item.is_ok_and(is_tagged)));
        assert_eq!(client.overview()?.workers.len(), 1);
        ended
    });
    assert_eq!(timeout(SOON, done).await.expect("it ends").expect("no panic")?, 2);
    client.close().await;
    local.stop().await;
    Ok(())
}

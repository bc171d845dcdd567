//! Cancelling tasks, and waiting for several of them, from end to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater::local::{Local, Options, Store};
use headwater::protocol::AttemptNumber;
use headwater::protocol::task::TaskStatus;
use headwater::{Client, Context, Error, Result, StreamExt, TaskFuture, blocking, task};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::local::start;

const SOON: Duration = Duration::from_secs(20);

static WAS_DROPPED: AtomicBool = AtomicBool::new(false);
static HAS_SEEN: AtomicBool = AtomicBool::new(false);

struct Notice;

impl Drop for Notice {
    fn drop(&mut self) {
        WAS_DROPPED.store(true, Ordering::SeqCst);
    }
}

#[task]
async fn for_ever() {
    let _notice = Notice;
    std::future::pending().await
}

#[task]
fn until_cancelled() {
    let context = Context::current().unwrap();
    assert_eq!(context.attempt(), AttemptNumber(1));
    // Not for ever: a runtime that ends waits for it.
    for _ in 0..6_000 {
        if context.is_cancelled() {
            HAS_SEEN.store(true, Ordering::SeqCst);
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Those who wait at a gate go through one by one, as often as it is opened.
static GATES: [Semaphore; 8] = [const { Semaphore::const_new(0) }; 8];

#[task]
async fn through(gate: u64) -> u64 {
    GATES[gate as usize].acquire().await.unwrap().forget();
    gate
}

#[task]
fn fails(number: u64) -> Result<u64> {
    Err(Error::msg(format!("no luck with {number}")))
}

/// A scheduler, and a worker with so many slots.
pub async fn with_slots(store: Store, slots: u32) -> Local {
    let options =
        Options { listen: "127.0.0.1:0".to_owned(), store, workers: 1, slots, ..Options::default() };
    Local::start(options).await.expect("it starts")
}

async fn until(condition: impl Fn() -> bool) {
    let waits = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waits).await.expect("it comes to that");
}

async fn runs<T>(future: &TaskFuture<T>) {
    let waits = async {
        while future.status().await.unwrap() != TaskStatus::Running {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waits).await.expect("it begins");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cancelled_ends_where_it_is_and_stays_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let local = with_slots(Store::Directory(dir.path().to_owned()), 1).await;
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let (waits, asks) = (client.submit(for_ever, ()).await?, client.submit(until_cancelled, ()).await?);
    let futures = client.channel::<()>("futures").await?;
    futures.append(&waits).await?;
    futures.stop().await?;
    let long = client.submit(through, (0,)).await?;
    let needs = client.submit(through, (&long,)).await?;
    runs(&waits).await;
    // Another client may.
    let other = Client::connect(&address).await?;
    assert_eq!(other.cancel(waits.key()).await?, TaskStatus::Cancelled);
    until(|| WAS_DROPPED.load(Ordering::SeqCst)).await;
    // There is one slot, which is the next one's.
    runs(&asks).await;
    assert!(!HAS_SEEN.load(Ordering::SeqCst));
    assert_eq!(asks.cancel().await?, TaskStatus::Cancelled);
    assert_eq!(needs.cancel().await?, TaskStatus::Cancelled);
    until(|| HAS_SEEN.load(Ordering::SeqCst)).await;
    let error = timeout(SOON, waits.into_future()).await.expect("it has ended").unwrap_err();
    assert!(matches!(error, Error::Cancelled(_)) && error.to_string().contains("was cancelled"), "{error}");
    let mut results = futures.results();
    let ended = timeout(SOON, results.next()).await.expect("it is on the channel").unwrap()?;
    assert!(matches!(ended.result, Err(Error::Cancelled(_))), "{ended:?}");
    // What has ended stays as it is.
    long.cancel().await?;
    GATES[1].add_permits(1);
    let done = client.submit(through, (1,)).await?;
    assert_eq!(timeout(SOON, &done).await.expect("it ends")?, 1);
    assert_eq!(done.cancel().await?, TaskStatus::Finished);
    let unknown = client.cancel(&headwater::protocol::TaskKey::named("nobody")).await.unwrap_err();
    assert!(unknown.to_string().contains("is not known"), "{unknown}");
    local.stop().await;
    let local = start(dir.path(), &address).await;
    assert_eq!(timeout(SOON, asks.status()).await.expect("it is there")?, TaskStatus::Cancelled);
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_are_waited_for_together() -> Result<()> {
    let local = with_slots(Store::Memory, 4).await;
    let client = Client::connect(local.address().to_string()).await?;
    let mut futures = vec![];
    for gate in [2, 3, 4] {
        futures.push(client.submit(through, (gate,)).await?);
    }
    let mut ended = headwater::as_completed(&futures);
    assert_eq!(ended.len(), 3);
    for (gate, index) in [(3, 1), (4, 2), (2, 0)] {
        GATES[gate as usize].add_permits(1);
        let first = timeout(SOON, headwater::wait(&futures).first().into_future()).await.expect("one has")?;
        assert!(!first.ended.is_empty(), "{first:?}");
        let completed = timeout(SOON, ended.next()).await.expect("it ends").expect("one of them");
        assert_eq!((completed.index, completed.result?), (index, gate));
    }
    assert!(ended.next().await.is_none());
    assert_eq!(headwater::gather(&futures).await?, [2, 3, 4]);
    let waited = headwater::wait(&futures).await?;
    assert_eq!((waited.ended.len(), waited.open), (3, vec![]));
    // An error is brought while others go on, or in its place.
    let late = client.submit(through, (0,)).await?;
    let mixed = [late.clone(), client.submit(fails, (7,)).await?, futures[1].clone()];
    let error = timeout(SOON, headwater::gather(&mixed)).await.expect("at once").unwrap_err();
    assert!(error.to_string().contains("no luck with 7"), "{error}");
    let waited = headwater::wait(&mixed).timeout(Duration::from_secs(2)).await?;
    assert_eq!(waited.open, [0]);
    let error = late.timeout(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("did not come within 50 ms"), "{error}");
    late.cancel().await?;
    let all = timeout(SOON, headwater::gather_all(&mixed)).await.expect("all have ended");
    assert!(matches!(all[0], Err(Error::Cancelled(_))) && matches!(all[1], Err(Error::Task(_))));
    assert_eq!(all[2].as_ref().unwrap(), &3);
    // One that is forgotten is no reason to wait.
    let gone = client.submit(through, (0,)).await?;
    let read = client.channel::<u64>("gone").await?;
    read.append(&gone).await?;
    let of_channel = read.futures().next().await.transpose()?.expect("it is there");
    drop(gone);
    read.clear().await?;
    client.flush().await?;
    let error = timeout(SOON, headwater::wait([&of_channel]).into_future()).await.expect("it is told");
    assert!(error.unwrap_err().to_string().contains("is not known"));
    let nothing: [TaskFuture<u64>; 0] = [];
    assert!(headwater::gather(&nothing).await?.is_empty());
    Ok(())
}

#[test]
fn synchronous_code_waits_for_several_and_cancels() -> Result<()> {
    let client = blocking::Client::local()?;
    let futures = [client.submit(through, (5,)).send()?, client.submit(through, (6,)).send()?];
    let mut ended = blocking::as_completed(&futures);
    for (index, gate) in [(0, 5), (1, 6)] {
        GATES[gate].add_permits(1);
        assert_eq!(ended.next().map(|completed| completed.index), Some(index));
    }
    assert!(ended.next().is_none());
    assert_eq!(blocking::gather(&futures)?, [5, 6]);
    assert!(!blocking::wait(&futures).first().wait()?.ended.is_empty());
    let late = client.submit(through, (0,)).send()?;
    assert!(matches!(late.timeout(Duration::from_millis(20)), Err(Error::TimedOut { .. })));
    assert_eq!(blocking::wait([&late]).timeout(Duration::from_millis(20)).wait()?.open, [0]);
    assert_eq!(late.cancel()?, TaskStatus::Cancelled);
    assert!(matches!(blocking::gather_all([&late])[..], [Err(Error::Cancelled(_))]));
    assert_eq!(client.cancel(futures[0].key())?, TaskStatus::Finished);
    Ok(())
}

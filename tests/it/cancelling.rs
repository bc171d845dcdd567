//! Cancelling tasks, and waiting for several of them, from end to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater::local::{Local, Options, Store};
use headwater::protocol::AttemptNumber;
use headwater::protocol::task::TaskStatus;
use headwater::{Client, Context, Error, Result, StreamExt, TaskFuture, blocking, task};
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

#[task]
async fn after(ms: u64) -> u64 {
    sleep(Duration::from_millis(ms)).await;
    ms
}

#[task]
fn fails(number: u64) -> Result<u64> {
    Err(Error::msg(format!("no luck with {number}")))
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
    let store = Store::Directory(dir.path().to_owned());
    let options = Options { listen: "127.0.0.1:0".to_owned(), store, workers: 1, ..Options::default() };
    let local = Local::start(options).await.expect("it starts");
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let (waits, asks) = (client.submit(for_ever, ()).await?, client.submit(until_cancelled, ()).await?);
    let futures = client.channel::<()>("futures").await?;
    futures.append(&waits).await?;
    futures.stop().await?;
    let long = client.submit(after, (60_000,)).await?;
    let needs = client.submit(after, (&long,)).await?;
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
    let done = client.submit(after, (1,)).await?;
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
    let client = Client::local().await?;
    let mut futures = vec![];
    for ms in [400, 1, 200] {
        futures.push(client.submit(after, (ms,)).await?);
    }
    let first = timeout(SOON, headwater::wait(&futures).first().into_future()).await.expect("one ends")?;
    assert!(first.ended.contains(&1), "{first:?}");
    let mut order = vec![];
    let mut ended = headwater::as_completed(&futures);
    assert_eq!(ended.len(), 3);
    while let Some(completed) = timeout(SOON, ended.next()).await.expect("all end") {
        order.push((completed.index, completed.result?));
    }
    assert_eq!(order, [(1, 1), (2, 200), (0, 400)]);
    assert_eq!(headwater::gather(&futures).await?, [400, 1, 200]);
    let waited = headwater::wait(&futures).await?;
    assert_eq!((waited.ended.len(), waited.open), (3, vec![]));
    // An error is brought while others go on, or in its place.
    let late = client.submit(after, (60_000,)).await?;
    let mixed = [late.clone(), client.submit(fails, (7,)).await?, futures[1].clone()];
    let error = timeout(SOON, headwater::gather(&mixed)).await.expect("at once").unwrap_err();
    assert!(error.to_string().contains("no luck with 7"), "{error}");
    let waited = headwater::wait(&mixed).timeout(Duration::from_millis(100)).await?;
    assert_eq!(waited.open, [0]);
    let error = late.timeout(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("did not come within 50 ms"), "{error}");
    late.cancel().await?;
    let all = timeout(SOON, headwater::gather_all(&mixed)).await.expect("all have ended");
    assert!(matches!(all[0], Err(Error::Cancelled(_))) && matches!(all[1], Err(Error::Task(_))));
    assert_eq!(all[2].as_ref().unwrap(), &1);
    // One that is forgotten is no reason to wait.
    let key = late.key().clone();
    let _other = client.future::<u64>(&key).await?;
    let gone = client.submit(after, (2,)).await?;
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
    let futures = [client.submit(after, (100,)).send()?, client.submit(after, (1,)).send()?];
    let order: Vec<usize> = blocking::as_completed(&futures).map(|completed| completed.index).collect();
    assert_eq!(order, [1, 0]);
    assert_eq!(blocking::gather(&futures)?, [100, 1]);
    assert!(!blocking::wait(&futures).first().wait()?.ended.is_empty());
    let late = client.submit(after, (60_000,)).send()?;
    assert!(matches!(late.timeout(Duration::from_millis(20)), Err(Error::TimedOut { .. })));
    assert_eq!(blocking::wait([&late]).timeout(Duration::from_millis(20)).wait()?.open, [0]);
    assert_eq!(late.cancel()?, TaskStatus::Cancelled);
    assert!(matches!(blocking::gather_all([&late])[..], [Err(Error::Cancelled(_))]));
    assert_eq!(client.cancel(futures[0].key())?, TaskStatus::Finished);
    Ok(())
}

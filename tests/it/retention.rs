//! What channels keep, from end to end: what goes, what stays, and what those who read are told.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater::client::Error;
use headwater::local::Local;
use headwater::protocol::command::{Query, Rejection};
use headwater::protocol::{ChannelEvent, Element};
use headwater::{Channel, Client, Item, Offset, Result, Retention, StreamExt, TaskFuture, task};
use tokio::time::{sleep, timeout};

use crate::local::start;

#[task]
fn square(number: u64) -> u64 {
    number * number
}

static CALLS: AtomicU64 = AtomicU64::new(0);

#[task]
fn call() -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed)
}

async fn cluster(dir: &Path) -> (Local, Client) {
    let local = start(dir, "127.0.0.1:0").await;
    let client = Client::connect(local.address().to_string()).await.expect("it is there");
    (local, client)
}

/// The records of a channel that there are, and the offset before which they are gone.
async fn read<T>(channel: &Channel<T>, from: Offset) -> (Option<u64>, Vec<ChannelEvent>) {
    let (mut records, mut trimmed, mut all) = (channel.from(from).records(), None, Vec::new());
    while let Some(item) = records.next().await {
        match item.expect("it can be read") {
            Item::Record(record) => all.push(record.event),
            Item::Trimmed { first, .. } => trimmed = Some(first),
            Item::CaughtUp { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    (trimmed, all)
}

fn values(records: &[ChannelEvent]) -> Vec<u64> {
    let values = records.iter().filter_map(|record| match record {
        ChannelEvent::Appended { element: Element::Value(payload), .. } => Some(payload.decode().unwrap()),
        _ => None,
    });
    values.collect()
}

/// As the ancestor's `maxlen`: of ten tasks on a channel of five the last five are kept, and nothing else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounded_channel_keeps_exactly_its_newest_tasks_alive() -> Result<()> {
    let client = Client::local().await?;
    let squares = client.create_channel::<u64>("squares", Retention::ALL.with_elements(5)).await?;
    let mut futures: Vec<TaskFuture<u64>> = Vec::new();
    for number in 1..=10 {
        let future = client.submit(square, (number,)).await?;
        squares.append(&future).await?;
        (&future).await?;
        futures.push(future);
    }
    let ids: Vec<_> = futures.iter().map(TaskFuture::id).collect();
    drop(futures);
    let there: Vec<u64> = squares
        .from(Offset::Index(5))
        .futures()
        .take(5)
        .then(|future| async { future.unwrap().await.unwrap() })
        .collect()
        .await;
    assert_eq!(there, [36, 49, 64, 81, 100]);
    for (number, id) in (1..).zip(ids) {
        let is_kept = timeout(Duration::from_secs(20), async {
            // Handles let go of their tasks a little later.
            loop {
                if client.query(Query::Task { task: id }).await.is_ok() == (number > 5) {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        is_kept.await.unwrap_or_else(|_| panic!("the task of {number}, after a while"));
    }
    Ok(())
}

/// The same future twice on a channel counts twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_future_is_released_when_its_last_element_goes() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.create_channel::<u64>("twice", Retention::ALL.with_elements(2)).await?;
    let future = client.submit(square, (3,)).await?;
    (&future).await?;
    channel.append(&future).await?;
    channel.append(&future).await?;
    let id = future.id();
    drop(future);
    let is_known = || client.query(Query::Task { task: id });
    // The handle has let go of it, too.
    client.flush().await?;
    channel.append_value(&1).await?;
    assert!(is_known().await.is_ok(), "one element is left");
    channel.append_value(&2).await?;
    assert!(is_known().await.is_err(), "none is");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_trimmed_is_announced_and_stays_so_after_a_restart() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let (local, client) = cluster(dir.path()).await;
    let channel = client.create_channel::<u64>("numbers", Retention::ALL.with_elements(3)).await?;
    // In one commit: the bound lies inside of a batch.
    channel.append_values(&[1, 2, 3, 4, 5]).await?;
    let (trimmed, records) = read(&channel, Offset::Start).await;
    assert_eq!((trimmed, values(&records)), (Some(3), vec![3, 4, 5]));
    let at = channel.from(Offset::Index(1)).values().next().await;
    assert!(matches!(at, Some(Err(Error::Trimmed { first: 3, .. }))), "{at:?}");
    channel.set_retention(Retention::ALL).await?;
    channel.append_value(&6).await?;
    let before = channel.info().await?;
    client.close().await;
    local.end().await;

    let (local, client) = cluster(dir.path()).await;
    let channel = client.existing_channel::<u64>("numbers").await?;
    assert_eq!(channel.info().await?, before);
    let (trimmed, records) = read(&channel, Offset::Start).await;
    assert_eq!((trimmed, values(&records)), (Some(3), vec![3, 4, 5, 6]));
    let info = channel.trim(before.head).await?;
    assert_eq!((info.first, info.trimmed, info.bytes), (before.head, 6, 0));
    assert_eq!(channel.trim(2).await?.first, before.head, "it is trimmed already");
    let past = channel.trim(before.head + 100).await.unwrap_err();
    assert!(matches!(past, Error::Rejected(Rejection::PastHead { .. })), "{past}");
    let (_, records) = read(&channel, Offset::At(before.head)).await;
    assert!(matches!(records[..], [ChannelEvent::Trimmed { index: 6, .. }]), "{records:?}");
    client.close().await;
    local.end().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_goes_by_itself() -> Result<()> {
    let client = Client::local().await?;
    let channel =
        client.create_channel::<u64>("old", Retention::ALL.with_age(Duration::from_millis(300))).await?;
    channel.append_value(&1).await?;
    assert_eq!(channel.info().await?.trimmed, 0);
    let gone = timeout(Duration::from_secs(20), async {
        while channel.info().await.unwrap().trimmed == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    gone.await.expect("it goes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_holds_back_what_it_has_not_passed_for_its_time() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.create_channel::<u64>("pinned", Retention::ALL.with_elements(2)).await?;
    let reader = channel.cursor("reader")?.pinned_for(Duration::from_secs(3600));
    assert_eq!(reader.position().await?, 0);
    let head = channel.info().await?.head;
    reader.commit(head).await?;
    for number in 0..6 {
        channel.append_value(&number).await?;
    }
    assert_eq!(channel.info().await?.trimmed, 0);
    let [info] = &channel.cursors().await?[..] else { panic!("one cursor") };
    assert_eq!((info.lag, info.holds_back, info.name.as_str()), (6, true, "reader"));
    // It passes three: those may go, and no more.
    let third = head + 3;
    reader.advance(head, third).await?;
    assert_eq!(channel.info().await?.trimmed, 3);
    let moved = reader.advance(head, third).await.unwrap_err().to_string();
    assert!(moved.contains(&format!("is at offset {third}, not at {head}")), "{moved}");
    assert!(reader.commit(u64::MAX).await.is_err(), "past the head");
    // Its time is over.
    channel.cursor("reader")?.pinned_for(Duration::from_millis(200)).commit(third).await?;
    let gone = timeout(Duration::from_secs(20), async {
        while channel.info().await.unwrap().trimmed < 4 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    gone.await.expect("a reader that is gone holds nothing back for ever");
    // By hand it is trimmed in any case.
    reader.commit(third).await?;
    channel.clear().await?;
    assert_eq!(channel.info().await?.trimmed, 6);
    reader.delete().await?;
    assert_eq!(channel.cursors().await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_and_held_back_goes_when_nobody_holds_it_and_nothing_waits_for_that() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<u64>("old-and-pinned").await?;
    let head = channel.append_values(&[1, 2]).await?.offset;
    // It holds back the second of two that came together.
    let reader = channel.cursor("reader")?.pinned_for(Duration::from_secs(3600));
    reader.commit(head + 1).await?;
    channel.set_retention(Retention::ALL.with_age(Duration::from_millis(100))).await?;
    sleep(Duration::from_millis(500)).await;
    let info = timeout(Duration::from_secs(10), channel.info()).await.expect("the scheduler answers")?;
    assert_eq!((info.trimmed, info.first), (1, head + 1));
    assert!(channel.cursors().await?[0].holds_back, "that is why it is not trimmed");
    reader.commit(info.head).await?;
    let gone = timeout(Duration::from_secs(20), async {
        while channel.info().await.unwrap().trimmed < 2 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    gone.await.expect("it goes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_stopped_resumed_deleted_and_made_again_without_reusing_an_offset() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<u64>("again").await?;
    let future = client.submit(call, ()).await?;
    (&future).await?;
    channel.append(&future).await?;
    channel.cursor("c")?.commit(1).await?;
    channel.stop().await?;
    assert!(channel.append_value(&1).await.unwrap_err().to_string().contains("resume"));
    channel.resume().await?;
    channel.append_value(&2).await?;
    let mut follower = channel.from(Offset::End).records();
    assert!(matches!(follower.next().await, Some(Ok(Item::CaughtUp { .. }))));
    let head = channel.info().await?.head;
    channel.delete().await?;
    let told = timeout(Duration::from_secs(20), follower.next()).await.expect("followers are told");
    assert!(
        matches!(told, Some(Ok(Item::Record(record))) if matches!(record.event, ChannelEvent::Deleted { .. }))
    );
    assert!(channel.append_value(&3).await.unwrap_err().to_string().contains("deleted"));
    assert!(client.existing_channel::<u64>("again").await.is_err());
    let id = future.id();
    drop(future);
    let forgotten = timeout(Duration::from_secs(20), async {
        while client.query(Query::Task { task: id }).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    forgotten.await.expect("its futures are released");
    let again = client.channel::<u64>("again").await?;
    let offset = again.append_value(&4).await?.offset;
    assert!(offset > head, "offsets go on");
    assert_eq!(again.info().await?.elements, 3);
    assert_eq!(again.cursors().await?, []);
    let taken = client.create_channel::<u64>("again", Retention::ALL).await.unwrap_err().to_string();
    assert!(taken.contains("already"), "{taken}");
    let zero = again.set_retention(Retention::ALL.with_bytes(0)).await.unwrap_err().to_string();
    assert!(zero.contains("at least 1"), "{zero}");
    Ok(())
}

fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        // It went meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}

/// 150 MB go through a channel that keeps 4 MiB. sled takes more than twice of what is written before it is trimmed: 190 MB
/// were seen in the end, and 304 without trimming.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_space_comes_back() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let (local, client) = cluster(dir.path()).await;
    let channel = client.create_channel::<Vec<u8>>("churn", Retention::ALL.with_bytes(4 << 20)).await?;
    let value = vec![7_u8; 20_000];
    let mut largest = 0;
    for _ in 0..150 {
        let appends: Vec<_> = (0..50).map(|_| channel.append_value(&value)).collect();
        for append in appends {
            append.await?;
        }
        largest = largest.max(size_of(dir.path()));
    }
    eprintln!("at most {largest} bytes, in the end {}", size_of(dir.path()));
    assert!(largest < 256 << 20, "{largest} bytes for a channel that keeps 4 MiB");
    client.close().await;
    local.end().await;
    Ok(())
}

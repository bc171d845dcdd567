//! Channels and appends that are buffered, as a program sees them: what is on the disk when, and what a power failure
//! takes away.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use headwater::client::streams::Reading;
use headwater::protocol::command::Rejection;
use headwater::protocol::{Element, Seq};
use headwater::{Client, Durability, Error, Item, Offset, Result, StreamExt};
use tokio::time::timeout;

use crate::engines::copy_dir;
use crate::local::start;
use crate::wal::entry_of;

/// Long enough for nothing to be flushed by time.
const MINUTE: Duration = Duration::from_secs(60);

async fn soon<F: IntoFuture>(work: F) -> F::Output {
    timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

async fn is_quiet<F: IntoFuture>(work: F) -> bool {
    timeout(Duration::from_millis(150), work).await.is_err()
}

/// The values that are read, as they come.
fn values(reading: &Reading<u64>) -> Pin<Box<dyn Stream<Item = Result<u64>>>> {
    let values = reading.records().filter_map(async |item| match item {
        Ok(Item::Record(record)) => match record.event.appended()?.element {
            Element::Value(payload) => Some(Ok(payload.decode().unwrap())),
            Element::Future(_) => None,
        },
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    Box::pin(values)
}

/// What a power failure leaves at this moment, where the system had not written this commit, nor those behind it.
fn fail_power(dir: &Path, left: &Path, from: Seq) {
    copy_dir(dir, left);
    let wal = left.join("store/wal");
    let mut bytes = fs::read(&wal).unwrap();
    let at = entry_of(&bytes, from.0);
    bytes[at..].fill(0);
    fs::write(&wal, bytes).unwrap();
}

fn put_back(dir: &Path, left: &Path) {
    fs::remove_dir_all(dir).unwrap();
    copy_dir(left, dir);
}

fn undone(error: &Error) -> (Seq, Seq) {
    match error {
        Error::Rejected(Rejection::Undone(regress)) => (regress.from, regress.to),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_buffered_is_read_once_it_is_flushed_and_ahead_of_that_by_who_asks() -> Result<()> {
    let client = Client::local().await?;
    let other = Client::connect(client.connection().address()).await?;
    let channel = client.create_channel::<u64>("gauge", Durability::buffered(MINUTE)).await?;
    assert_eq!(channel.info().await?.durability, Durability::Buffered { flush_ms: 60_000 });
    let read = other.existing_channel::<u64>("gauge").await?;
    // Records: who reads values asks whether the channel is stopped, and an answer waits for all that it may tell of.
    let (mut durable, mut ahead) =
        (values(&read.from(Offset::Start)), values(&read.from(Offset::Start).undurable()));
    for round in 0..3 {
        let ack = soon(channel.append_value(&round)).await?;
        assert_eq!(ack.durability, Durability::Buffered { flush_ms: 60_000 });
        assert_eq!(soon(ahead.next()).await.unwrap()?, round);
        assert!(is_quiet(durable.next()).await, "it is not on the disk");
        match round {
            0 => soon(channel.flush()).await?,
            1 => soon(client.flush()).await?,
            _ => {
                // One that waits for the disk takes the others with it.
                let ack = soon(channel.batch().value(&7).fsynced().append()).await?;
                assert_eq!(ack.durability, Durability::Fsynced);
            }
        }
        assert_eq!(soon(durable.next()).await.unwrap()?, round);
    }
    // By time, too; and of a channel that is not buffered one append may be.
    channel.set_durability(Durability::Fsynced).await?;
    assert_eq!(soon(channel.append_value(&8)).await?.durability, Durability::Fsynced);
    let within = Duration::from_millis(20);
    let ack = soon(channel.batch().value(&9).buffered(within).append()).await?;
    assert_eq!(ack.durability, Durability::buffered(within));
    for value in [7, 8, 9] {
        assert_eq!(soon(durable.next()).await.unwrap()?, value);
    }
    let error = channel.batch().value(&1).buffered(Duration::ZERO).append().await.unwrap_err().to_string();
    assert!(error.contains("give at least 1 ms"), "{error}");
    client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_order_flushes_what_is_buffered() {
    let dir = tempfile::tempdir().unwrap();
    let local = start(dir.path(), "127.0.0.1:0").await;
    let client = Client::connect(local.address().to_string()).await.unwrap();
    let channel = client.create_channel::<u64>("gauge", Durability::buffered(MINUTE)).await.unwrap();
    let last = soon(channel.append_value(&1)).await.unwrap();
    local.stop().await;
    assert!(fs::read(dir.path().join("store/wal")).unwrap().is_empty(), "it is closed in order");
    let local = start(dir.path(), "127.0.0.1:0").await;
    assert!(local.receipt().seq >= last.seq && local.receipt().damage.is_none());
    local.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_failure_takes_the_newest_away_and_who_has_seen_them_or_flushes_is_told() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, left) = (parent.path().join("data"), parent.path().join("left"));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let local = start(&dir, &address).await;
    let client = Client::connect(&address).await.unwrap();
    let channel = client.create_channel::<u64>("gauge", Durability::buffered(MINUTE)).await.unwrap();
    let quiet = client.channel::<u64>("quiet").await.unwrap();
    let reader = Client::connect(&address).await.unwrap().existing_channel::<u64>("gauge").await.unwrap();
    let mut ahead = reader.from(Offset::End).undurable().records();
    assert!(matches!(soon(ahead.next()).await, Some(Ok(Item::CaughtUp { .. }))));
    soon(channel.append_value(&1)).await.unwrap();
    soon(channel.flush()).await.unwrap();
    let lost = soon(channel.append_value(&2)).await.unwrap();
    for value in 1..=2u64 {
        let Some(Ok(Item::Record(record))) = soon(ahead.next()).await else { panic!("{value}") };
        assert_eq!(record.offset, lost.offset - 2 + value);
    }
    fail_power(&dir, &left, lost.seq);
    local.stop().await;
    put_back(&dir, &left);

    let local = start(&dir, &address).await;
    assert_eq!((local.receipt().damage.clone(), local.receipt().seq.next()), (None, lost.seq));
    // Its offset is given again.
    let again = soon(quiet.append_value(&0)).await.unwrap();
    assert_eq!(again.durability, Durability::Fsynced);
    let other = Client::connect(&address).await.unwrap().existing_channel::<u64>("gauge").await.unwrap();
    assert_eq!(soon(other.batch().value(&3).fsynced().append()).await.unwrap().offset, lost.offset);
    soon(quiet.flush()).await.expect("nothing of this channel is lost");
    assert_eq!(undone(&soon(channel.flush()).await.unwrap_err()), (lost.seq, lost.seq));
    soon(client.flush()).await.expect("it was told once");
    let error = soon(ahead.next()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("never became durable"), "{error}");
    assert_eq!(undone(&error), (lost.seq, lost.seq));
    assert!(soon(ahead.next()).await.is_none());
    local.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_channel_whose_elements_are_gone_is_told_of_and_a_flush_that_was_given_up_tells_nobody() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, left) = (parent.path().join("data"), parent.path().join("left"));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let local = start(&dir, &address).await;
    let client = Client::connect(&address).await.unwrap();
    let one = client.create_channel::<u64>("one", Durability::buffered(MINUTE)).await.unwrap();
    let two = client.create_channel::<u64>("two", Durability::buffered(MINUTE)).await.unwrap();
    let first = soon(one.append_value(&1)).await.unwrap().seq;
    let last = soon(two.append_value(&2)).await.unwrap().seq;
    assert!(first < last);
    fail_power(&dir, &left, first);
    local.stop().await;
    assert!(is_quiet(client.flush()).await, "nobody is there");
    put_back(&dir, &left);
    let local = start(&dir, &address).await;
    assert_eq!(soon(one.len()).await.unwrap(), 0);
    // The newer one first: of the other it says nothing.
    assert_eq!(undone(&soon(two.flush()).await.unwrap_err()), (first, last));
    soon(two.flush()).await.expect("it was told");
    assert_eq!(undone(&soon(one.flush()).await.unwrap_err()), (first, first));
    soon(client.flush()).await.expect("all was told");
    local.stop().await;
}

/// The offsets of the records up to where it is caught up.
async fn offsets(reading: Reading<u64>) -> Vec<u64> {
    let (mut records, mut offsets) = (reading.records(), Vec::new());
    loop {
        match soon(records.next()).await.unwrap().unwrap() {
            Item::Record(record) => offsets.push(record.offset),
            Item::CaughtUp { .. } => return offsets,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_reading_begins_is_looked_for_in_what_is_read() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.create_channel::<u64>("gauge", Durability::buffered(MINUTE)).await?;
    for value in 0..3 {
        soon(channel.append_value(&value)).await?;
    }
    soon(channel.flush()).await?;
    let first = soon(channel.info()).await?.head;
    let mut last = None;
    for value in 3..6 {
        // So that their times differ.
        tokio::time::sleep(Duration::from_millis(5)).await;
        last = Some(soon(channel.append_value(&value)).await?);
    }
    let last = last.unwrap().offset;
    let ahead = |from| channel.from(from).undurable();
    assert_eq!(offsets(ahead(Offset::At(first))).await, [first, first + 1, last]);
    let mut newest = ahead(Offset::At(last)).records();
    let Some(Ok(Item::Record(record))) = soon(newest.next()).await else { panic!("it is there") };
    assert!(offsets(ahead(Offset::End)).await.is_empty());
    assert_eq!(offsets(ahead(Offset::Last(2))).await, [last - 1, last]);
    assert_eq!(offsets(ahead(Offset::Last(4))).await, [first - 1, first, last - 1, last]);
    assert_eq!(offsets(ahead(Offset::Time(record.time_ms))).await, [last]);
    assert_eq!(offsets(ahead(Offset::Index(4))).await, [last - 1, last]);
    // Who reads what is durable may begin where something is acknowledged, and behind it, and waits for it.
    let mut there = channel.from(Offset::At(last)).records();
    let mut behind = channel.from(Offset::At(last + 1)).records();
    assert!(is_quiet(there.next()).await && is_quiet(behind.next()).await);
    let error = soon(channel.from(Offset::At(last + 2)).records().next()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Rejected(Rejection::PastHead { .. })), "{error}");
    soon(channel.flush()).await?;
    let Some(Ok(Item::Record(record))) = soon(there.next()).await else { panic!("it is durable") };
    assert_eq!(record.offset, last);
    assert!(matches!(soon(there.next()).await, Some(Ok(Item::CaughtUp { .. }))));
    assert!(matches!(soon(behind.next()).await, Some(Ok(Item::CaughtUp { .. }))));
    Ok(())
}

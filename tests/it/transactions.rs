//! Transactions from end to end: what is read, worked on and written is written once.

use std::time::Duration;

use headwater::blocking;
use headwater::client::Error;
use headwater::protocol::command::Rejection;
use headwater::{Client, Offset, Result};
use tokio::time::timeout;

use crate::local::{start, values};

const NUMBERS: u64 = 200;

/// Appends the square of each number and twice the number, to two channels, until all are read or this is dropped.
async fn work(address: &str) -> Result<()> {
    let client = Client::connect(address).await?;
    let numbers = client.channel::<u64>("numbers").await?;
    let (squares, doubles) =
        (client.channel::<u64>("squares").await?, client.channel::<u64>("doubles").await?);
    let cursor = numbers.cursor("worker")?;
    let mut at = cursor.position().await?;
    let mut values = numbers.from(Offset::At(at)).values().placed();
    while let Some(number) = values.next().await.transpose()? {
        let next = number.offset + 1;
        let transaction = client.transaction().batch(squares.batch().value(&(number.item * number.item)));
        let transaction = transaction.batch(doubles.batch().value(&(2 * number.item)));
        transaction.advance(&cursor, at, next).commit().await?;
        at = next;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_and_written_in_one_transaction_is_written_once_whoever_is_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut local = start(dir.path(), "127.0.0.1:0").await;
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let numbers = client.channel::<u64>("numbers").await?;
    numbers.append_values(&(1..=NUMBERS).collect::<Vec<_>>()).await?;
    numbers.stop().await?;
    let mut rng = fastrand::Rng::with_seed(7);
    let mut kills = 0;
    loop {
        let (address, patience) = (address.clone(), Duration::from_millis(rng.u64(10..60)));
        // What is dropped has no word for its session: that is waited for, as of one that was killed.
        match timeout(patience, work(&address)).await {
            Ok(done) => break done?,
            Err(_) => kills += 1,
        }
        if kills == 3 {
            local.stop().await;
            local = start(dir.path(), &address).await;
        }
        assert!(kills < 200, "it does not come to an end");
    }
    let squares = values(&client.channel("squares").await?).await?;
    let doubles = values(&client.channel("doubles").await?).await?;
    assert_eq!(squares, (1..=NUMBERS).map(|n| n * n).collect::<Vec<_>>());
    assert_eq!(doubles, (1..=NUMBERS).map(|n| 2 * n).collect::<Vec<_>>());
    assert!(kills >= 3, "it was killed {kills} times");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_do_the_same_by_mistake_one_is_told() -> Result<()> {
    let client = Client::local().await?;
    let (numbers, sums) = (client.channel::<u64>("numbers").await?, client.channel::<u64>("sums").await?);
    numbers.append_values(&[1, 2]).await?;
    let cursor = numbers.cursor("worker")?;
    let transaction = |sum: u64| client.transaction().batch(sums.batch().value(&sum)).advance(&cursor, 0, 2);
    let committed = transaction(3).commit().await?;
    let ack = committed.ack(sums.log()).expect("something was appended to it");
    assert_eq!((ack.offsets(), ack.seq), (0..1, committed.seq));
    assert_eq!(committed.ack(numbers.log()), None);
    let error = transaction(3).commit().await.unwrap_err();
    assert!(matches!(error, Error::Rejected(Rejection::CursorMoved { at: 2, from: 0, .. })), "{error}");
    assert_eq!((sums.len().await?, cursor.position().await?), (1, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_transaction_is_said_and_nothing_of_it_is_done() -> Result<()> {
    let client = Client::local().await?;
    let (a, b) = (client.channel::<f64>("a").await?, client.channel::<String>("b").await?);
    let one = || client.transaction().batch(a.batch().value(&1.0));
    for (transaction, expected) in [
        (client.transaction(), "needs something to do"),
        (one().batch(b.batch().header("k", "v")), "belongs to no element"),
        (one().batch(b.batch()), "at least one element"),
        (one().batch(b.batch().value(&"x".repeat(60 * 1024 + 1))), "the value is 61444, over the limit"),
        (one().batch(a.batch().value(&2.0).expect(7)), "is said with the first batch"),
        (one().advance(&b.cursor("c")?, 0, 1), "past the head"),
        (one().advance(&b.cursor("c")?, 3, 0), "is at offset 0, not at 3"),
    ] {
        let told = transaction.commit().await.unwrap_err().to_string();
        assert!(told.contains(expected), "{expected}: {told}");
        assert_eq!((a.len().await?, b.len().await?), (0, 0), "{expected}");
    }
    // Several batches for one channel are one.
    let both = one().batch(a.batch().value(&2.0).value(&3.0)).commit().await?;
    assert_eq!(both.ack(a.log()).map(|ack| ack.offsets()), Some(0..3));
    Ok(())
}

#[test]
fn synchronous_code_has_the_same() -> Result<()> {
    let client = blocking::Client::local()?;
    let (numbers, squares) = (client.channel::<u64>("numbers")?, client.channel::<u64>("squares")?);
    numbers.batch().value(&3).append()?;
    let cursor = numbers.cursor("squarer")?.pinned_for(Duration::from_secs(5));
    let transaction = client.transaction().batch(squares.batch().value(&9)).advance(&cursor, 0, 1);
    let ack = transaction.commit()?.ack(squares.log()).expect("it was appended to");
    assert_eq!((ack.offset, cursor.position()?, squares.len()?), (0, 1, 1));
    assert!(client.transaction().set(&cursor, 9).commit().is_err());
    assert_eq!(numbers.cursors()?.iter().map(|info| info.pin_ms).collect::<Vec<_>>(), [5_000]);
    cursor.commit(0)?;
    cursor.advance(0, 1)?;
    cursor.delete()?;
    let bounded = client.create_channel::<u64>("bounded", headwater::Retention::ALL.with_elements(1))?;
    for number in 0..3 {
        bounded.batch().value(&number).append()?;
    }
    assert_eq!((bounded.info()?.trimmed, bounded.subscribers()?), (2, 0));
    bounded.set_retention(headwater::Retention::ALL)?;
    bounded.trim(3)?;
    bounded.clear()?;
    bounded.stop()?;
    bounded.resume()?;
    bounded.delete()?;
    Ok(())
}

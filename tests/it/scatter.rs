//! Values that are futures, from end to end.

use headwater::protocol::limits::{PAYLOAD_BYTES_MAX, SCATTERED_BYTES_MAX};
use headwater::protocol::task::TaskStatus;
use headwater::{Client, Offset, Result, task};

#[task]
fn number(n: u32) -> f64 {
    f64::from(n)
}

#[task]
fn sum(all: Vec<f64>) -> f64 {
    all.iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scattered_value_is_a_future_like_others() -> Result<()> {
    let client = Client::local().await?;
    let value = client.scatter(&vec![1.0, 2.0]).await?;
    assert_eq!((&value).await?, [1.0, 2.0]);
    assert_eq!(value.status().await?, TaskStatus::Finished);
    let info = value.info().await?;
    assert_eq!((&*info.function, &*info.key.label, info.attempt.0), ("scatter", "scatter", 0));
    assert_eq!(client.submit(sum, (&value,)).await?.await?, 3.0);
    // The same value is the same future, another is none under its name.
    assert_eq!(client.scatter(&vec![1.0, 2.0]).await?.key(), value.key());
    let named = client.scatter(&5.0).key("five").await?;
    assert_eq!(client.scatter(&5.0).key("five").await?.key(), named.key());
    let error = client.scatter(&6.0).key("five").await.unwrap_err().to_string();
    assert_eq!(error, "key `five` already names another value: choose another key");
    let error = client.submit(number, (1,)).key("five").await.unwrap_err().to_string();
    assert_eq!(error, "key `five` already names a task of `scatter`: choose another key");
    let task = client.submit(number, (1,)).key("one").await?;
    let error = client.scatter(&1.0).key("one").await.unwrap_err().to_string();
    assert!(error.starts_with("key `one` already names a task of `rust:"), "{error}");
    drop(task);
    // It is on channels as others are.
    let channel = client.channel::<f64>("values").await?;
    channel.append(&named).await?;
    channel.stop().await?;
    let mut results = channel.from(Offset::Start).futures();
    assert_eq!(results.next().await.expect("one")?.await?, 5.0);
    // Nothing can be done to it that is done to calls.
    for error in [named.cancel().await.unwrap_err(), named.retry().await.unwrap_err()] {
        assert!(
            error.to_string().contains("is a value that was scattered, no call: there is nothing to"),
            "{error}"
        );
    }
    // It is kept as long as somebody keeps it.
    let key = value.key().clone();
    drop(value);
    client.flush().await?;
    assert!(client.future::<Vec<f64>>(&key).await.is_err());
    let key = client.scatter(&8.0).detach().await?.key().clone();
    client.flush().await?;
    assert_eq!(client.future::<f64>(&key).await?.await?, 8.0);
    let error = client.scatter(&"x".repeat(SCATTERED_BYTES_MAX)).await.unwrap_err().to_string();
    assert!(error.contains("over the limit of 67108864: have a task return it"), "{error}");
    Ok(())
}

/// Bytes that no two pieces of are the same.
fn large(bytes: usize) -> Vec<u64> {
    (0..bytes as u64 / 9).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_too_large_for_a_record_is_a_future_all_the_same() -> Result<()> {
    let client = Client::local().await?;
    // More pieces than one task puts together.
    let value = large(5 << 20);
    let future = client.scatter(&value).await?;
    assert_eq!((&future).await?, value);
    assert_eq!(client.submit(count, (&future,)).await?.await?, value.len() as u64);
    // The same value is the same future, also in other hands; one that differs in its last byte is another.
    assert_eq!(client.scatter(&value).await?.key(), future.key());
    let other = [&value[..value.len() - 1], &[0]].concat();
    assert_ne!(client.scatter(&other).await?.key(), future.key());
    // Pieces that are the same are there once.
    let same = "x".repeat(10 * PAYLOAD_BYTES_MAX);
    assert_eq!(client.scatter(&same).await?.await?, same);
    // Names are as for small ones.
    let named = client.scatter(&value).key("table").await?;
    assert_eq!(client.scatter(&value).key("table").await?.key(), named.key());
    for taken in
        [client.scatter(&other).key("table").await, client.scatter(&value[..9].to_vec()).key("table").await]
    {
        let error = taken.unwrap_err().to_string();
        assert!(error.starts_with("key `table` already names "), "{error}");
    }
    assert_eq!(named.await?, value);
    Ok(())
}

#[task]
fn count(all: Vec<u64>) -> u64 {
    all.len() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_is_no_value_of_its_own() -> Result<()> {
    let client = Client::local().await?;
    // Behind three bytes that say how many there are, each is a byte: the second piece is one of them.
    let numbers = vec![0x79_u8; PAYLOAD_BYTES_MAX - 2];
    let future = client.scatter(&numbers).await?;
    assert_eq!(client.scatter(&0x79_u8).await?.await?, 0x79);
    assert_eq!(future.await?, numbers);
    Ok(())
}

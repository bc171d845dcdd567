//! Values that are futures, from end to end.

use headwater::protocol::limits::PAYLOAD_BYTES_MAX;
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
    let error = client.scatter(&"x".repeat(PAYLOAD_BYTES_MAX + 1)).await.unwrap_err().to_string();
    assert!(error.contains("over the limit of 61440: have a task return it"), "{error}");
    Ok(())
}

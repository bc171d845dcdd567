//! A whole cluster in this process, over loopback, as a program uses it.

use headwater::{Client, Offset, Result, StreamExt, local_client, task};

#[task(pure)]
fn add(a: f64, b: f64) -> f64 {
    a + b
}

#[task]
fn fails(why: String) -> Result<f64> {
    let inner = std::io::Error::other(why);
    Err(headwater::Error::other(inner))
}

#[task]
async fn panics() -> f64 {
    panic!("at the disco")
}

#[task]
async fn sum_through(channel: String, numbers: Vec<f64>) -> Result<f64> {
    let client = local_client().await?;
    let sums = client.channel::<f64>(&channel).await?;
    let mut sum = client.submit(add, (0.0, 0.0)).await?;
    for number in numbers {
        sum = client.submit(add, (&sum, number)).await?;
        sums.append(&sum).await?;
    }
    sum.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_and_futures_are_arguments() -> Result<()> {
    let client = Client::local().await?;
    let three = client.submit(add, (1.0, 2.0)).await?;
    let six = client.submit(add, (&three, 3.0)).await?;
    assert_eq!((&six).await?, 6.0);
    assert_eq!(six.await?, 6.0);
    assert_eq!(three.await?, 3.0);
    assert_eq!(add(1.0, 2.0), 3.0, "it is still an ordinary function");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_can_be_a_client_on_a_worker_with_one_slot() -> Result<()> {
    let client = Client::local().await?;
    let sum = client.submit(sum_through, ("sums".to_owned(), vec![1.0, 2.0, 3.0])).await?;
    assert_eq!(sum.await?, 6.0);
    let sums = client.channel::<f64>("sums").await?;
    sums.stop().await?;
    let results: Vec<f64> = sums
        .from(Offset::Start)
        .futures()
        .then(async |future| future?.await)
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(results, [1.0, 3.0, 6.0]);
    Ok(())
}

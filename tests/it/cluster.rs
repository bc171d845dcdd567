//! A whole cluster in this process, over loopback, as a program uses it.

use headwater::local::{Local, Options, Store};
use headwater::protocol::task::TaskStatus;
use headwater::{Client, Item, Offset, Result, StreamExt, TaskFuture, blocking, local_client, task};

#[task(pure)]
pub fn add(a: f64, b: f64) -> f64 {
    a + b
}

#[task]
pub fn number() -> f64 {
    4.0
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

#[task]
fn sum_twice(a: f64, b: f64) -> Result<f64> {
    let client = blocking::local_client()?;
    let sum = client.submit(add, (a, b)).send()?;
    client.submit(add, (&sum, &sum)).send()?.wait()
}

#[task]
fn parsed(text: String) -> std::result::Result<f64, String> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_and_futures_are_arguments() -> Result<()> {
    let client = Client::local().await?;
    let three = client.submit(add, (1.0, 2.0)).await?;
    let six = client.submit(add, (&three, 3.0)).await?;
    assert_eq!((&six).await?, 6.0);
    assert_eq!(six.status().await?, TaskStatus::Finished);
    assert_eq!(six.await?, 6.0);
    assert_eq!(three.clone().await?, 3.0);
    assert_eq!(add(1.0, 2.0), 3.0, "it is still an ordinary function");
    let text: TaskFuture<f64> = client.submit(parsed, ("2.5",)).await?;
    assert_eq!(text.await?, 2.5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_pure_call_is_the_same_task_and_others_are_not() -> Result<()> {
    let client = Client::local().await?;
    let (one, two) = (client.submit(add, (1.0, 2.0)).await?, client.submit(add, (1.0, 2.0)).await?);
    assert_eq!(one.key(), two.key());
    let (one, two) = (client.submit(number, ()).await?, client.submit(number, ()).await?);
    assert_ne!(one.key(), two.key());
    let named = client.submit(number, ()).key("the-number").await?;
    let found = client.future::<f64>(&"the-number".parse()?).await?;
    assert_eq!(named.key(), found.key());
    drop(named);
    assert_eq!(found.await?, 4.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_holds_is_forgotten() -> Result<()> {
    let client = Client::local().await?;
    let future = client.submit(number, ()).await?;
    let key = future.key().clone();
    let clone = future.clone();
    drop(future);
    assert_eq!((&clone).await?, 4.0);
    drop(clone);
    let error = client.future::<f64>(&key).await.unwrap_err().to_string();
    assert!(error.contains("is not known: nobody kept it"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_clients_on_a_worker_with_few_slots() -> Result<()> {
    let client = Client::local().await?;
    let outer = (0..8).map(|n| client.submit(sum_through, (format!("sums-{n}"), vec![1.0, 2.0, 3.0])));
    let outer: Vec<TaskFuture<f64>> =
        futures_util::future::try_join_all(outer.map(IntoFuture::into_future)).await?;
    for sum in outer {
        assert_eq!(sum.await?, 6.0);
    }
    let sums = client.channel::<f64>("sums-7").await?;
    sums.stop().await?;
    let results = sums.from(Offset::Start).futures().then(async |future| future?.await);
    let results: Vec<f64> = results.map(Result::unwrap).collect().await;
    assert_eq!(results, [1.0, 3.0, 6.0]);
    let twice = client.submit(sum_twice, (1.0, 2.0)).await?;
    assert_eq!(twice.await?, 6.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_sees_one_order() -> Result<()> {
    let client = Client::local().await?;
    let address = client.connection().address().to_owned();
    let writers = (0..3).map(async |writer: u64| {
        let client = Client::connect(&address).await?;
        let channel = client.channel::<u64>("shared").await?;
        // All on their way at once, in this order.
        let appends: Vec<_> = (0..100).map(|n| channel.append_value(&(writer * 1000 + n))).collect();
        let offsets = futures_util::future::try_join_all(appends).await?;
        assert!(offsets.is_sorted_by_key(|ack| ack.offset));
        Ok::<_, headwater::Error>(())
    });
    futures_util::future::try_join_all(writers).await?;
    let channel = client.channel::<u64>("shared").await?;
    channel.stop().await?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let reader = Client::connect(&address).await?.channel::<u64>("shared").await?;
        seen.push(reader.values().map(Result::unwrap).collect::<Vec<u64>>().await);
    }
    assert_eq!((&seen[0], &seen[1]), (&seen[1], &seen[2]));
    for writer in 0..3 {
        let own: Vec<u64> = seen[0].iter().copied().filter(|value| value / 1000 == writer).collect();
        assert_eq!(own, (0..100).map(|n| writer * 1000 + n).collect::<Vec<_>>());
    }
    assert_eq!(channel.len().await?, 300);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_knows_the_statuses_of_its_futures() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<f64>("mixed").await?;
    let (good, bad) = (client.submit(add, (1.0, 1.0)).await?, client.submit(parsed, ("x",)).await?);
    channel.append(&good).await?;
    channel.append(&bad).await?;
    good.outcome().await?;
    bad.outcome().await?;
    let statuses: Vec<TaskStatus> = channel.statuses().await?.into_iter().map(|entry| entry.status).collect();
    assert_eq!(statuses, [TaskStatus::Finished, TaskStatus::Error]);
    Ok(())
}

#[test]
fn synchronous_code_has_the_same() -> Result<()> {
    let client = blocking::Client::local()?;
    let three = client.submit(add, (1.0, 2.0)).send()?;
    let sums = client.channel::<f64>("sums")?;
    assert_eq!(sums.append(&three)?.offset, 0);
    assert_eq!(three.wait()?, 3.0);
    sums.append_value(&7.0)?;
    sums.stop()?;
    assert_eq!(sums.values().collect::<Result<Vec<f64>>>()?, [7.0]);
    assert_eq!(sums.futures().count(), 1);
    assert_eq!(sums.len()?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_can_be_opened_again_as_soon_as_its_scheduler_has_stopped() {
    let dir = tempfile::tempdir().unwrap();
    for epoch in 1..=20 {
        let store = Store::Directory(dir.path().to_owned());
        let local = Local::start(Options { listen: "127.0.0.1:0".to_owned(), store, ..Options::default() });
        let local = local.await.unwrap();
        assert_eq!(local.receipt().epoch.0, epoch);
        local.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_keeps_the_scheduler_of_its_client() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<u64>("numbers").await?;
    channel.append_values(&[1, 2, 3]).await?;
    let (mut records, mut log) = (channel.records(), client.task_log(Offset::Start));
    drop((channel, client));
    for offset in 0..3 {
        let Some(Ok(Item::Record(record))) = records.next().await else { panic!() };
        assert_eq!(record.offset, offset);
    }
    let Some(Ok(Item::Record(_))) = log.next().await else { panic!() };
    Ok(())
}

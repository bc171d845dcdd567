//! Reading channels, as the users of the ancestor did it and as they asked for it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater::client::{Element, Marked};
use headwater::protocol::task::TaskStatus;
use headwater::{Client, Error, Offset, Result, StreamExt, Until, View, blocking, task};
use serde_json::{Value, json};

#[task(pure)]
fn doubled(x: u64) -> u64 {
    2 * x
}

#[task]
fn zeros(bytes: usize) -> Vec<u8> {
    vec![0; bytes]
}

#[task]
fn after(ms: u64) -> std::result::Result<u64, String> {
    std::thread::sleep(Duration::from_millis(ms));
    if ms == 0 { Err("it had no time".to_owned()) } else { Ok(ms) }
}

/// What is awaited must not take for ever.
async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it hangs")
}

async fn until_next<T>(view: &mut View<T>, index: u64) -> Result<()> {
    while view.state().next_index < index {
        soon(view.changed()).await?;
    }
    Ok(())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_have_views_of_different_lengths_of_one_channel() -> Result<()> {
    let client = Client::local().await?;
    let other = Client::connect(client.connection().address()).await?;
    let channel = client.channel::<u64>("numbers").await?;
    let mut ten = channel.view_of_last(10);
    let mut twenty = other.channel::<u64>("numbers").await?.view_of_last(20);
    let mut all = channel.view();
    for n in 0..15 {
        channel.append(&client.submit(doubled, (n,)).await?).await?;
    }
    for (view, len, first_index) in [(&mut ten, 10, 5), (&mut twenty, 15, 0), (&mut all, 15, 0)] {
        until_next(view, 15).await?;
        let state = view.state();
        assert_eq!((view.len(), state.first_index, state.trimmed), (len, first_index, first_index));
        let is_done = |view: &View<u64>| view.futures().iter().all(|it| it.status == TaskStatus::Finished);
        while !is_done(view) {
            soon(view.changed()).await?;
        }
    }
    for n in 15..40 {
        channel.append(&client.submit(doubled, (n,)).await?).await?;
    }
    for (view, len) in [(&mut ten, 10), (&mut twenty, 20), (&mut all, 40)] {
        until_next(view, 40).await?;
        let futures = view.futures();
        let indexes: Vec<u64> = futures.iter().map(|entry| entry.index).collect();
        assert_eq!(indexes, (40 - len..40).collect::<Vec<_>>());
        for entry in futures {
            assert_eq!(soon(entry.future.into_future()).await?, 2 * entry.index);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_iteration_for_everyone_late_readers_included() -> Result<()> {
    let client = Client::local().await?;
    let other = Client::connect(client.connection().address()).await?;
    let channel = client.channel::<u64>("numbers").await?;
    let same = other.channel::<u64>("numbers").await?;
    let following = tokio::spawn(channel.values().map(Result::unwrap).collect::<Vec<_>>());
    let waiting = tokio::spawn(same.element(5).into_future());
    let futures = tokio::spawn(same.from(Offset::End).futures().collect::<Vec<_>>());
    for n in 0..4 {
        channel.append_value(&n).await?;
    }
    assert_eq!(channel.stop().await?, 4);
    assert_eq!(soon(following).await?, [0, 1, 2, 3]);
    let Err(Error::NoElement { index: 5, count: 4, .. }) = soon(waiting).await? else { panic!("it came") };
    assert!(soon(futures).await?.is_empty());
    // And who comes only now, from anywhere.
    for from in [Offset::Start, Offset::Last(9), Offset::Index(0), Offset::Time(0)] {
        let late: Vec<u64> = soon(same.from(from).values().map(Result::unwrap).collect()).await;
        assert_eq!(late, [0, 1, 2, 3], "{from:?}");
    }
    for from in [Offset::End, Offset::Index(9), Offset::Time(now_ms() + 60_000), Offset::Last(0)] {
        let marked: Vec<_> = soon(same.from(from).elements().with_markers().collect()).await;
        let Some(Ok(Marked::Stopped { count: 4, .. })) = marked.last() else {
            panic!("{from:?}: {marked:?}")
        };
        let scanned: Vec<_> = soon(same.from(from).scan().results_as_completed().collect()).await;
        assert!(scanned.is_empty());
    }
    let Err(Error::NoElement { .. }) = soon(same.element(4).into_future()).await else { panic!("it came") };
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_user_of_a_bounded_view_sees_what_it_has_missed() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<u64>("numbers").await?;
    let mut view = channel.view_of_last(10);
    soon(view.caught_up()).await?;
    let (mut next, mut seen, mut missed) = (0, Vec::new(), 0);
    // It looks only after every 25 elements.
    for round in 0..4 {
        channel.append_values(&(25 * round..25 * (round + 1)).collect::<Vec<u64>>()).await?;
        until_next(&mut view, 25 * (round + 1)).await?;
        missed += view.state().first_index.saturating_sub(next);
        for placed in view.elements() {
            assert!(placed.index >= next);
            assert_eq!(placed.item?.value(), Some(placed.index));
            next = placed.index + 1;
            seen.push(placed.index);
        }
    }
    assert_eq!((seen.len(), missed), (40, 60));
    assert_eq!(view.state().trimmed, 90, "all that it had and has not");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_any_shape_arrive_equal_and_in_order() -> Result<()> {
    let client = Client::local().await?;
    let other = Client::connect(client.connection().address()).await?;
    let values = [
        json!(1),
        json!(-2.5),
        json!("text"),
        json!({"a": [1, {"b": null}, [true]], "größe": {"x": []}}),
        json!([[], {}, "", 0]),
    ];
    client.channel::<Value>("shapes").await?.append_values(&values).await?;
    let channel = other.channel::<Value>("shapes").await?;
    assert_eq!(channel.scan().values().map(Result::unwrap).collect::<Vec<_>>().await, values);
    let typed = client.channel::<BTreeMap<String, Vec<u64>>>("maps").await?;
    let map = BTreeMap::from([("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![])]);
    typed.append_value(&map).await?;
    let Element::Value(read) = soon(typed.element(0).into_future()).await? else { panic!("no value") };
    assert_eq!(read, map);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_read_from_and_to_anywhere() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<u64>("numbers").await?;
    channel.append_values(&[0, 1, 2, 3, 4]).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    channel.append_values(&[5, 6, 7]).await?;
    let records: Vec<_> = channel.scan().records().map(Result::unwrap).collect().await;
    let times: Vec<u64> = records
        .iter()
        .filter_map(
            |item| if let headwater::Item::Record(record) = item { Some(record.time_ms) } else { None },
        )
        .collect();
    let later = times[5];
    assert!(times[4] < later, "{times:?}");
    let reading = |from: Offset, until: Until| {
        let values = channel.from(from).until(until).values();
        async move { soon(values.map(Result::unwrap).collect::<Vec<u64>>()).await }
    };
    assert_eq!(reading(Offset::Last(3), Until::Now).await, [5, 6, 7]);
    assert_eq!(reading(Offset::Time(later), Until::Now).await, [5, 6, 7]);
    assert_eq!(reading(Offset::Start, Until::Time(later)).await, [0, 1, 2, 3, 4]);
    assert_eq!(reading(Offset::At(2), Until::Offset(6)).await, [2, 3, 4, 5]);
    assert_eq!(reading(Offset::End, Until::Now).await, Vec::<u64>::new());
    // A bound that is still to come is waited for.
    let following = tokio::spawn(reading(Offset::At(6), Until::Offset(9)));
    channel.append_values(&[8, 9]).await?;
    assert_eq!(following.await?, [6, 7, 8]);
    let tasks = client.task_log(Offset::Last(1)).until(Until::Now).collect::<Vec<_>>().await;
    assert_eq!(tasks.len(), 2, "the newest record of the task log, and where it ends");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_come_in_the_order_of_the_channel_or_in_that_of_their_ends() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<u64>("results").await?;
    for ms in [400, 1, 0, 150] {
        channel.append(&client.submit(after, (ms,)).await?).await?;
    }
    channel.append_value(&7).await?;
    channel.append(&client.submit(doubled, (4,)).await?).await?;
    channel.stop().await?;
    let seen = |results: Vec<Result<headwater::client::Ended<u64>>>| -> Vec<(u64, Option<u64>)> {
        let ended = results.into_iter().map(Result::unwrap);
        ended.map(|ended| (ended.index, ended.result.ok())).collect()
    };
    let in_order = seen(soon(channel.results().collect()).await);
    assert_eq!(in_order, [(0, Some(400)), (1, Some(1)), (2, None), (3, Some(150)), (5, Some(8))]);
    let mut as_completed = seen(soon(channel.results_as_completed().collect()).await);
    assert_eq!(seen(soon(channel.results_as_completed().collect()).await), as_completed, "it is in the log");
    assert_eq!(as_completed.last(), Some(&(0, Some(400))), "it took longest");
    as_completed.sort_unstable();
    assert_eq!(as_completed, in_order);

    let large = client.channel::<Vec<u8>>("large").await?;
    large.append(&client.submit(zeros, (100_000,)).await?).await?;
    let ended = soon(large.results_as_completed().next()).await.expect("it ends")?;
    assert_eq!(ended.result?, vec![0; 100_000], "one that a worker keeps is fetched there");
    Ok(())
}

#[test]
fn synchronous_code_reads_the_same() -> Result<()> {
    let client = blocking::Client::local()?;
    let channel = client.channel::<u64>("numbers")?;
    channel.append(&client.submit(doubled, (21,)).send()?)?;
    channel.append_values(&[1, 2, 3])?;
    assert_eq!(channel.element(3).wait()?.value(), Some(3));
    let late = channel.element(4).timeout(Duration::from_millis(10)).wait();
    assert!(matches!(late, Err(Error::TimedOut { timeout_ms: 10, .. })));
    let values: Vec<u64> = channel.scan().values().collect::<Result<_>>()?;
    assert_eq!((values, channel.scan().elements().count()), (vec![1, 2, 3], 4));
    let last: Vec<u64> = channel.from(Offset::Last(2)).scan().values().collect::<Result<_>>()?;
    assert_eq!(last, [2, 3]);
    let mut view = channel.view_of_last(3);
    view.caught_up()?;
    assert_eq!((view.len(), view.values()?, view.state().first_index), (3, vec![1, 2, 3], 1));
    assert_eq!(view.elements().iter().map(|placed| placed.index).collect::<Vec<_>>(), [1, 2, 3]);
    channel.stop()?;
    for results in [
        channel.from(Offset::Start).results().collect::<Result<Vec<_>>>()?,
        channel.from(Offset::Start).results_as_completed().collect::<Result<Vec<_>>>()?,
    ] {
        let [ended] = &results[..] else { panic!("{results:?}") };
        assert_eq!((ended.index, ended.result.clone()?, ended.future.wait()?), (0, 42, 42));
    }
    Ok(())
}

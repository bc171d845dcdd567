//! What users of the ancestor, the `Channel` of Dask distributed (`distributed/channels.py`), relied on, and what went
//! wrong with it: each holds here, or cannot happen here, as a test.
//!
//! What its tests ask for:
//!
//! | of the ancestor | held here by |
//! |---|---|
//! | `test_channel`: the same name is the same channel for every client | [`a_name_is_one_channel_for_everyone`], `cluster.rs::everyone_sees_one_order` |
//! | `test_local_client`: tasks produce into channels and consume from them, with `take(15)` | [`two_producers_and_a_consumer_are_tasks`], `cluster.rs::tasks_are_clients_on_a_worker_with_few_slots` |
//! | `test_channel_maxlen`: of ten futures five are kept, with the results 6 to 10 | `retention.rs::a_bounded_channel_keeps_exactly_its_newest_tasks_alive` |
//! | `test_multiple_maxlen`: each client has a length of its own | `reading.rs::two_clients_have_views_of_different_lengths_of_one_channel` |
//! | `test_stop`: iteration ends for everyone, and for clients that come later | [`who_connects_behind_a_stop_comes_to_an_end`], `reading.rs::a_stop_ends_iteration_for_everyone_late_readers_included` |
//! | `test_values`: numbers, texts, nested maps and lists arrive equal and in order | `reading.rs::values_of_any_shape_arrive_equal_and_in_order` |
//! | `test_channel_scheduler`: the content and the results outlive who made them | [`what_is_on_a_channel_outlives_who_put_it_there`] |
//!
//! Its defects:
//!
//! | of the ancestor | held here by |
//! |---|---|
//! | `flush` counted what was appended, and hung when a stop overtook some of it | `flush.rs::a_flush_ends_when_the_channel_is_stopped_while_others_append` |
//! | a restart left ghosts: futures on channels that were pending for ever | [`behind_a_restart_no_future_is_pending_for_ever`], `results.rs::behind_a_restart_of_the_scheduler_what_workers_keep_counts_again` |
//! | a scheduler that crashed took the content of the channels with it, and iterators hung | [`a_restart_empties_no_channel_and_iterators_go_on`]; with SIGKILL `tests/crash/main.rs::the_scheduler_is_killed_again_and_again_and_nobody_sees_a_gap` and `tests/cli/following.rs::late_monitors_see_everything_once_across_kills_of_the_scheduler` |
//! | an append to a channel that is not known ended the connection of its client | [`an_append_to_an_unknown_channel_harms_nobody`] |
//! | `maxlen` 0 ended the scheduler's handler with an exception | [`a_length_of_nothing_is_refused_or_is_nothing`], `retention.rs::a_channel_is_stopped_resumed_deleted_and_made_again_without_reusing_an_offset` |
//! | the same key twice on a bounded channel was released when the first of it went | `retention.rs::a_future_is_released_when_its_last_element_goes` |
//! | a value that cannot be encoded ended the connection | [`what_cannot_be_encoded_harms_nobody`], `src/client/tests/batches.rs::what_is_wrong_with_a_batch_is_said_and_nothing_is_sent` |
//! | an iterator missed a wake-up between looking and waiting | [`no_wake_up_is_lost`], `src/server/tests/mod.rs::no_move_of_the_head_is_missed` |
//! | a slow iterator of a bounded channel was moved on in silence | [`a_slow_reader_of_a_bounded_channel_is_told_what_is_gone`], `reading.rs::a_slow_user_of_a_bounded_view_sees_what_it_has_missed` |

use std::path::Path;
use std::time::Duration;

use headwater::client::Marked;
use headwater::local::{Local, Options, Store};
use headwater::protocol::channel::Progress;
use headwater::protocol::command::{AppendOptions, Command, Rejection};
use headwater::protocol::message::{ClientMessage, ServerMessage};
use headwater::protocol::task::TaskStatus;
use headwater::protocol::{ChannelEvent, Element, LogId, Payload, frame};
use headwater::{
    Channel, Client, Error, Item, Offset, Result, Retention, StreamExt, TaskFuture, local_client, task,
};
use serde::{Deserialize, Serialize, Serializer};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::refusals::Raw;

#[task]
fn one_more(number: u64) -> u64 {
    number + 1
}

/// Closed until the test opens it for all.
static GATE: Semaphore = Semaphore::const_new(0);

#[task]
async fn pass_the_gate(number: u64) -> u64 {
    drop(GATE.acquire().await);
    number
}

#[task]
async fn produce(channel: String, from: u64) -> Result<u64> {
    let client = local_client().await?;
    let channel = client.channel::<u64>(&channel).await?;
    for number in from..from + 10 {
        channel.append(&client.submit(one_more, (number,)).await?).await?;
    }
    Ok(10)
}

#[task]
async fn consume(channel: String, count: usize) -> Result<Vec<u64>> {
    let client = local_client().await?;
    let futures = client.channel::<u64>(&channel).await?.futures();
    let results: Vec<Result<u64>> = futures.take(count).then(async |future| future?.await).collect().await;
    results.into_iter().collect()
}

/// A value that serde can write or not.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Ink(bool);

impl Serialize for Ink {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            true => serializer.serialize_bool(true),
            false => Err(serde::ser::Error::custom("the ink is out")),
        }
    }
}

#[task]
fn write(is_there: bool) -> Ink {
    Ink(is_there)
}

/// What is awaited must not take for ever.
async fn soon<F: IntoFuture>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

async fn start(dir: &Path, listen: &str) -> Local {
    let options = Options {
        store: Store::Directory(dir.to_owned()),
        listen: listen.to_owned(),
        workers: 1,
        slots: 2,
        ..Options::default()
    };
    Local::start(options).await.expect("it starts")
}

async fn another(client: &Client) -> Result<Client> {
    Client::connect(client.connection().address()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_channel_for_everyone() -> Result<()> {
    let client = Client::local().await?;
    let mut clients = vec![client.clone()];
    for _ in 0..4 {
        clients.push(another(&client).await?);
    }
    // All at once, before there is one.
    let opening = clients.iter().map(|client| client.channel::<u64>("x"));
    let same: Vec<Channel<u64>> = soon(futures_util::future::try_join_all(opening)).await?;
    let other = client.channel::<u64>("y").await?;
    for (number, channel) in (0..).zip(&same) {
        assert_eq!((channel.log(), channel.name()), (same[0].log(), "x"));
        assert_eq!(channel.append_value(&number).await?.offset, number);
    }
    assert_ne!(other.log(), same[0].log());
    assert!(other.is_empty().await?);
    for channel in &same {
        let seen: Vec<u64> = soon(channel.scan().values().map(Result::unwrap).collect()).await;
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
    let taken = client.create_channel::<u64>("x", Retention::ALL).await.map(drop);
    assert!(matches!(taken, Err(Error::Rejected(Rejection::ChannelExists(_)))), "{taken:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_producers_and_a_consumer_are_tasks() -> Result<()> {
    let client = Client::local().await?;
    // Who consumes is there first, and waits.
    let consumer = client.submit(consume, ("x", 15)).await?;
    let producers = [client.submit(produce, ("x", 0)).await?, client.submit(produce, ("x", 100)).await?];
    let consumed = soon(consumer).await?;
    for producer in producers {
        assert_eq!(soon(producer).await?, 10);
    }
    let channel = client.existing_channel::<u64>("x").await?;
    let all: Vec<u64> = soon(channel.results().take(20).map(|ended| ended?.result).collect::<Vec<_>>())
        .await
        .into_iter()
        .collect::<Result<_>>()?;
    assert_eq!(consumed, all[..15], "the first of those that everyone sees");
    for from in [0, 100] {
        let own: Vec<u64> = all.iter().copied().filter(|number| number / 100 == from / 100).collect();
        assert_eq!(own, (from + 1..=from + 10).collect::<Vec<_>>());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_behind_a_stop_comes_to_an_end() -> Result<()> {
    let client = Client::local().await?;
    let creator = another(&client).await?;
    let channel = creator.channel::<u64>("x").await?;
    channel.append(&creator.submit(one_more, (1,)).await?).await?;
    channel.append_values(&[7, 8]).await?;
    channel.stop().await?;
    creator.close().await;
    let late = another(&client).await?.channel::<u64>("x").await?;
    assert_eq!(soon(late.values().map(Result::unwrap).collect::<Vec<_>>()).await, [7, 8]);
    let results: Vec<u64> = soon(late.results().map(|ended| ended.unwrap().result.unwrap()).collect()).await;
    assert_eq!(results, [2]);
    assert_eq!(soon(late.from(Offset::End).elements().count()).await, 0);
    let refused = late.append_value(&9).await.map(drop);
    assert!(matches!(refused, Err(Error::Rejected(Rejection::ChannelStopped(_, 3)))), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_a_channel_outlives_who_put_it_there() -> Result<()> {
    let client = Client::local().await?;
    let creator = another(&client).await?;
    let channel = creator.channel::<u64>("x").await?;
    channel.append_value(&5).await?;
    channel.append(&creator.submit(one_more, (1,)).await?).await?;
    // One that is on no channel goes with its creator.
    let nowhere = creator.submit(one_more, (50,)).await?;
    let (key, producer) = (nowhere.key().clone(), creator.submit(produce, ("x", 10)).await?);
    assert_eq!(soon(&producer).await?, 10, "a task that is a creator has ended");
    soon(creator.close()).await;
    drop((channel, nowhere, producer));

    let late = another(&client).await?;
    let forgotten = late.future::<u64>(&key).await.map(drop);
    assert!(matches!(forgotten, Err(Error::Rejected(Rejection::UnknownTask(_)))), "{forgotten:?}");
    let channel = late.existing_channel::<u64>("x").await?;
    assert_eq!(channel.scan().values().map(Result::unwrap).collect::<Vec<_>>().await, [5]);
    let futures: Vec<TaskFuture<u64>> =
        channel.futures().take(11).map(Result::unwrap).collect::<Vec<_>>().await;
    for (future, expected) in futures.into_iter().zip([2].into_iter().chain(11..=20)) {
        assert_eq!(soon(future).await?, expected);
    }
    Ok(())
}

/// Reads until a task was given to a worker.
async fn until_started(channel: &Channel<u64>, future: &TaskFuture<u64>) -> Result<()> {
    let mut records = channel.records();
    while let Some(item) = soon(records.next()).await {
        if let Item::Record(record) = item?
            && let ChannelEvent::Progress { key, progress: Progress::Started { .. } } = record.event
            && key.id == future.id()
        {
            return Ok(());
        }
    }
    panic!("the channel has ended")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_restart_no_future_is_pending_for_ever() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let local = start(dir.path(), "127.0.0.1:0").await;
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let channel = client.channel::<u64>("x").await?;
    // One has ended, one runs, one waits for it.
    let runs = client.submit(pass_the_gate, (2,)).await?;
    for future in [&client.submit(one_more, (0,)).await?, &runs, &client.submit(one_more, (&runs,)).await?] {
        channel.append(future).await?;
    }
    let waiting = tokio::spawn(channel.results().take(3).map(|it| it?.result).collect::<Vec<_>>());
    until_started(&channel, &runs).await?;
    soon(local.stop()).await;

    let local = start(dir.path(), &address).await;
    let late = Client::connect(&address).await?;
    let found = late.existing_channel::<u64>("x").await?;
    let statuses: Vec<TaskStatus> = found.statuses().await?.iter().map(|entry| entry.status).collect();
    assert_eq!((statuses[0], statuses.len()), (TaskStatus::Finished, 3));
    GATE.close();
    for results in [
        soon(waiting).await.expect("it does not panic"),
        soon(found.results().take(3).map(|it| it?.result).collect::<Vec<_>>()).await,
    ] {
        assert_eq!(results.into_iter().collect::<Result<Vec<_>>>()?, [1, 2, 3]);
    }
    let statuses = found.statuses().await?;
    assert!(statuses.iter().all(|entry| entry.status == TaskStatus::Finished), "{statuses:?}");
    late.close().await;
    client.close().await;
    soon(local.stop()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_empties_no_channel_and_iterators_go_on() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let mut local = start(dir.path(), "127.0.0.1:0").await;
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let channel = client.channel::<u64>("x").await?;
    let (mut following, mut view) = (channel.values(), channel.view_of_last(5));
    let mut next = 0;
    for _ in 0..2 {
        channel.append_values(&(next..next + 10).collect::<Vec<_>>()).await?;
        for expected in next..next + 10 {
            assert_eq!(soon(following.next()).await.transpose()?, Some(expected));
        }
        // They wait while the scheduler goes away.
        let waiting = tokio::spawn(channel.element(next + 10).into_future());
        soon(local.stop()).await;
        local = start(dir.path(), &address).await;
        assert_eq!(soon(channel.append_value(&(next + 10))).await?.offset, next + 10);
        assert_eq!(soon(waiting).await.expect("it does not panic")?.value(), Some(next + 10));
        assert_eq!(soon(following.next()).await.transpose()?, Some(next + 10));
        next += 11;
    }
    while view.state().next_index < next {
        soon(view.changed()).await?;
    }
    assert_eq!(view.values()?, (next - 5..next).collect::<Vec<_>>());
    let late = Client::connect(&address).await?.existing_channel::<u64>("x").await?;
    let all: Vec<u64> = soon(late.scan().values().map(Result::unwrap).collect()).await;
    assert_eq!(all, (0..next).collect::<Vec<_>>());
    client.close().await;
    soon(local.stop()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_to_an_unknown_channel_harms_nobody() -> Result<()> {
    let client = Client::local().await?;
    let (alive, deleted) = (client.channel::<u64>("alive").await?, client.channel::<u64>("gone").await?);
    let mut following = alive.values();
    deleted.delete().await?;
    let told = soon(deleted.append_value(&1)).await.unwrap_err().to_string();
    assert!(told.contains("`gone`: it was deleted"), "{told}");
    // One that there never was; on a connection that nobody makes anew.
    let append = Command::Append {
        log: LogId(999),
        elements: vec![Element::Value(Payload::encode(&1).unwrap())].into(),
        options: AppendOptions::default(),
    };
    let told = soon(client.connection().command(append.clone())).await.unwrap_err().to_string();
    assert!(told.contains("there is no channel with log 999"), "{told}");
    let mut raw = Raw::welcomed(client.connection().address()).await;
    for number in [1, 3] {
        let (append, ping): (ClientMessage, ClientMessage) =
            (ClientMessage::Command(append.clone()), ClientMessage::Ping);
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, number, &append).unwrap();
        frame::encode(&mut bytes, number + 1, &ping).unwrap();
        raw.stream.write_all(&bytes).await.unwrap();
        let mut answers = [soon(raw.message()).await, soon(raw.message()).await];
        answers.sort_by_key(|(number, _)| *number);
        let [(_, ServerMessage::Answer(Err(refused))), pong] = answers else { panic!("{answers:?}") };
        assert!(matches!(refused, Rejection::UnknownChannel(_)), "{refused}");
        assert_eq!(pong, (number + 1, ServerMessage::Pong), "the connection goes on");
    }
    soon(alive.append_value(&2)).await?;
    assert_eq!(soon(following.next()).await.transpose()?, Some(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_of_nothing_is_refused_or_is_nothing() -> Result<()> {
    let client = Client::local().await?;
    let nothing = Retention::ALL.with_elements(0);
    let words = "a channel that keeps nothing cannot be read: give at least 1";
    let told = client.create_channel::<u64>("x", nothing).await.unwrap_err().to_string();
    assert!(told.contains(words), "{told}");
    let channel = client.channel::<u64>("x").await?;
    channel.append_values(&[1, 2]).await?;
    let told = channel.set_retention(nothing).await.unwrap_err().to_string();
    assert!(told.contains(words), "{told}");
    assert_eq!(channel.info().await?.retention, Retention::ALL, "it is as it was");
    // A reader may want none of those that there are.
    let mut view = channel.view_of_last(0);
    soon(view.caught_up()).await?;
    assert_eq!(soon(channel.from(Offset::Last(0)).scan().elements().count()).await, 0);
    channel.append_value(&3).await?;
    while view.state().next_index < 3 {
        soon(view.changed()).await?;
    }
    assert_eq!((view.len(), view.values()?), (0, vec![]));
    assert_eq!(channel.len().await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_encoded_harms_nobody() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<Ink>("x").await?;
    let mut following = channel.values();
    channel.append_value(&Ink(true)).await?;
    for refused in [
        channel.append_value(&Ink(false)).await,
        channel.append_values(&[Ink(true), Ink(false)]).await,
        channel.batch().value(&Ink(true)).value(&Ink(false)).append().await,
    ] {
        let told = refused.unwrap_err().to_string();
        assert_eq!(told, "the value cannot be encoded: the ink is out");
    }
    assert_eq!(channel.len().await?, 1, "nothing of it was appended");
    let future = client.submit(write, (false,)).await?;
    channel.append(&future).await?;
    let told = soon(future).await.unwrap_err().to_string();
    assert!(told.contains("the ink is out"), "{told}");
    // Nor does what cannot be read.
    let texts = client.channel::<String>("x").await?;
    assert!(matches!(soon(texts.values().next()).await, Some(Err(Error::Decode { .. }))));
    channel.append_value(&Ink(true)).await?;
    for _ in 0..2 {
        assert_eq!(soon(following.next()).await.transpose()?, Some(Ink(true)));
    }
    assert_eq!(soon(client.submit(write, (true,)).await?).await?, Ink(true), "its worker goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() -> Result<()> {
    let client = Client::local().await?;
    let other = another(&client).await?;
    let channel = client.channel::<u64>("x").await?;
    let same = other.channel::<u64>("x").await?;
    let (mut here, mut there, mut view) = (channel.values(), same.values(), same.view_of_last(1));
    for number in 0..300 {
        // Sometimes all wait when it comes, sometimes they are on their way to it.
        let waiting = same.element(number).into_future();
        for _ in 0..number % 5 {
            tokio::task::yield_now().await;
        }
        let appending = channel.append_value(&number);
        assert_eq!(soon(here.next()).await.transpose()?, Some(number));
        assert_eq!(soon(there.next()).await.transpose()?, Some(number));
        assert_eq!(soon(waiting).await?.value(), Some(number));
        while view.state().next_index <= number {
            soon(view.changed()).await?;
        }
        soon(appending).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_a_bounded_channel_is_told_what_is_gone() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.create_channel::<Vec<u8>>("x", Retention::ALL.with_elements(10)).await?;
    // More than what is on its way to a reader.
    let value = vec![200_u8; 10_000];
    let mut reading = channel.elements().with_markers();
    let mut appended = vec![channel.append_value(&value).await?.offset];
    let (mut seen, mut gone) = (Vec::new(), Vec::new());
    while seen.is_empty() {
        if let Marked::Item(placed) = soon(reading.next()).await.expect("it goes on")? {
            seen.push(placed.offset);
        }
    }
    for _ in 0..300 {
        appended.push(channel.append_value(&value).await?.offset);
    }
    channel.stop().await?;
    while let Some(marked) = soon(reading.next()).await {
        match marked? {
            Marked::Item(placed) => seen.push(placed.offset),
            Marked::Trimmed { from, first } => gone.push(from..first),
            Marked::CaughtUp { .. } | Marked::Stopped { .. } => {}
            Marked::Damaged { .. } => panic!("nothing is damaged"),
        }
    }
    assert!(!gone.is_empty() && seen.is_sorted_by(|one, next| one < next), "{gone:?}, {seen:?}");
    let is_told = |offset: &u64| gone.iter().any(|range| range.contains(offset));
    for offset in &appended {
        assert!(seen.contains(offset) != is_told(offset), "{offset} was passed by, or is gone and came");
    }
    assert!(seen.ends_with(&appended[appended.len() - 10..]), "what is kept comes");
    Ok(())
}

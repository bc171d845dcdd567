//! Where reading begins and ends, and what lies between the elements.

use super::*;
use crate::client::Element;
use crate::client::fixture::scheduler_now_ms;
use crate::protocol::Epoch;
use crate::protocol::TimeMs;
use crate::protocol::batch::{Batch, Header, OpenBatch};

/// These records as a stored batch of this time.
fn stored_at(time_ms: TimeMs, base: (u64, u64), records: &[ChannelEvent]) -> bytes::Bytes {
    let mut open = OpenBatch::new(LOG, base.0, base.1);
    assert!(records.iter().all(|record| open.push(record, record.is_element())));
    open.seal(Seq(1), Epoch(1), time_ms).bytes().clone()
}

/// A batch in the place of lost records.
fn lost((base_offset, base_index): (u64, u64), count: u32, elements: u32) -> bytes::Bytes {
    let (seq, epoch) = (Seq(1), Epoch(1));
    let header = Header { log: LOG, count, elements, base_offset, base_index, seq, epoch, time_ms: 7 };
    Batch::lost(header, "a bad sector").bytes().clone()
}

fn finished(n: u8, result: f64) -> ChannelEvent {
    progress(n, Progress::Finished { result: Payload::encode(&result).unwrap() })
}

/// What a stream still brings, up to its end.
async fn all<S: StreamExt + Unpin>(mut stream: S) -> Vec<S::Item> {
    let mut items = Vec::new();
    while let Some(item) = soon(stream.next()).await {
        items.push(item);
    }
    items
}

/// The offsets of records, and the markers in between.
async fn seen(records: Records) -> Vec<String> {
    let told = |item: Result<Item>| match item.unwrap() {
        Item::Record(record) => record.offset.to_string(),
        other => format!("{other:?}"),
    };
    all(records).await.into_iter().map(told).collect()
}

/// Takes what the reader still asks until it is gone.
async fn until_it_ends(peer: &mut Peer) {
    while !matches!(peer.next().await, (_, ClientMessage::Unsubscribe)) {}
}

struct Site {
    _server: FakeServer,
    peer: Peer,
    channel: Channel<f64>,
}

async fn site() -> Site {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    Site { _server: server, peer, channel }
}

/// Sends ten values in two batches, at the times 10 and 20.
async fn send_ten(peer: &mut Peer, number: u64) {
    let values: Vec<ChannelEvent> = (0..10).map(value).collect();
    let batches = [stored_at(10, (0, 0), &values[..5]), stored_at(20, (5, 5), &values[5..])];
    peer.send_with(number, ServerMessage::Records, &batches).await;
}

#[tokio::test]
async fn reading_begins_where_it_is_asked_to() {
    let Site { mut peer, channel, .. } = site().await;
    for (from, position) in
        [(Offset::Last(3), Position::Last(3)), (Offset::Time(70_000), Position::Time(70_000))]
    {
        let mut records = channel.from(from).records();
        let number = begin(&mut peer, position, 7).await;
        let values: Vec<ChannelEvent> = (5..10).map(value).collect();
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (5, 5), &values)]).await;
        let Some(Ok(Item::Record(first))) = soon(records.next()).await else { panic!("no record") };
        assert_eq!((first.offset, first.index), (7, Some(7)), "not what is before it in its batch");
        drop(records);
        assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
    }
}

#[tokio::test]
async fn a_scan_ends_at_the_head_that_it_comes_to() {
    let Site { mut peer, channel, .. } = site().await;
    let mut script = async || {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        send_ten(&mut peer, number).await;
        peer.send(number, ServerMessage::CaughtUp { head: 10 }).await;
        // More comes, which is not wanted; and the question for the channel is not answered, as during a recovery.
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (10, 10), &[value(10)])]).await;
        until_it_ends(&mut peer).await;
    };
    let (records, ()) = tokio::join!(seen(channel.scan().records()), script());
    let (values, ()) = tokio::join!(all(channel.scan().values()), script());
    assert_eq!(records.join(" "), "0 1 2 3 4 5 6 7 8 9 CaughtUp { head: 10 }");
    let values: Vec<f64> = values.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, (0..10).map(f64::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_scan_of_a_channel_that_grows_faster_than_it_is_read_ends_too() {
    let Site { mut peer, channel, .. } = site().await;
    let records = channel.scan().records();
    let number = begin(&mut peer, Position::Offset(0), 0).await;
    let script = async {
        tell_of_channel(&mut peer, info(false, 7)).await;
        // The head is never reached.
        send_ten(&mut peer, number).await;
    };
    let (records, ()) = tokio::join!(seen(records), script);
    assert_eq!(records.join(" "), "0 1 2 3 4 5 6 CaughtUp { head: 7 }");
}

#[tokio::test]
async fn reading_ends_before_the_offset_or_the_time_of_its_bound() {
    let all_of_it = "0 1 2 3 4 5 6 7 8 9";
    for (until, expected) in [
        (Until::Offset(0), ""),
        (Until::Offset(3), "0 1 2"),
        (Until::Offset(5), "0 1 2 3 4"),
        (Until::Offset(10), all_of_it),
        (Until::Time(5), ""),
        (Until::Time(11), "0 1 2 3 4"),
        (Until::Time(20), "0 1 2 3 4"),
    ] {
        let script = async |mut peer| {
            let number = begin(&mut peer, Position::Offset(0), 0).await;
            send_ten(&mut peer, number).await;
            until_it_ends(&mut peer).await;
        };
        let Site { peer, channel, .. } = site().await;
        let reading = channel.from(Offset::Start).until(until);
        let (records, ()) = tokio::join!(seen(reading.records()), script(peer));
        assert_eq!(records.join(" "), expected, "{until:?}");
        let Site { peer, channel, .. } = site().await;
        let reading = channel.from(Offset::Start).until(until);
        let (values, ()) = tokio::join!(all(reading.values()), script(peer));
        assert_eq!(values.len(), records.len(), "{until:?}");
    }
}

#[tokio::test]
async fn a_bound_that_a_stopped_channel_never_reaches_is_its_end() {
    let Site { mut peer, channel, .. } = site().await;
    // Stopped before reading began, and while it goes on.
    for stopped_before in [true, false] {
        let records = channel.from(Offset::Start).until(Until::Offset(100)).records();
        let script = async {
            let number = begin(&mut peer, Position::Offset(0), 0).await;
            tell_of_channel(&mut peer, info(stopped_before, 4)).await;
            let batch = stored(LOG, (0, 0), &[future(1), value(1), stopped(), finished(1, 1.0)]);
            peer.send_with(number, ServerMessage::Records, &[batch]).await;
            if !stopped_before {
                tell_of_channel(&mut peer, info(true, 4)).await;
            }
            assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
        };
        let (records, ()) = tokio::join!(seen(records), script);
        assert_eq!(records.join(" "), "0 1 2 3", "with what became of its futures until then");
    }
}

#[tokio::test]
async fn a_time_that_goes_by_without_a_record_ends_reading_once_all_is_read() {
    let Site { mut peer, channel, .. } = site().await;
    // The scheduler's clock counts: by this machine's, which is an hour ahead, both would have gone by.
    let now = scheduler_now_ms;
    // One that has gone by, and one that is to come.
    for (until, asks) in [(now() - 60_000, 1), (now() - CLOCKS_APART_MS_MAX + 300, 2)] {
        let records = channel.from(Offset::Start).until(Until::Time(until)).records();
        let script = async {
            let number = begin(&mut peer, Position::Offset(0), 0).await;
            for _ in 0..asks {
                tell_of_channel(&mut peer, info(false, 10)).await;
            }
            assert!(now() >= until + CLOCKS_APART_MS_MAX, "not before its time");
            send_ten(&mut peer, number).await;
            assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
        };
        let (records, ()) = tokio::join!(seen(records), script);
        assert_eq!(records.join(" "), "0 1 2 3 4 5 6 7 8 9");
    }
}

#[tokio::test]
async fn markers_lie_between_the_elements_and_can_be_left_out() {
    let Site { mut peer, channel, .. } = site().await;
    let mut script = async || {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        tell_of_channel(&mut peer, info(false, 6)).await;
        peer.send(number, ServerMessage::Trimmed { from: 0, first: 2 }).await;
        let batches = [stored(LOG, (2, 2), &[value(2.5), future(3)]), lost((4, 4), 2, 1)];
        peer.send_with(number, ServerMessage::Records, &batches).await;
        peer.send(number, ServerMessage::CaughtUp { head: 6 }).await;
        let batch = stored(LOG, (6, 5), &[value("x"), stopped()]);
        peer.send_with(number, ServerMessage::Records, &[batch]).await;
        until_it_ends(&mut peer).await;
    };
    let (marked, ()) = tokio::join!(all(channel.elements().with_markers()), script());
    let (plain, ()) = tokio::join!(all(channel.elements()), script());
    let [trimmed, value, future, damaged, caught_up, other, stopped] = &marked[..] else {
        panic!("{marked:?}")
    };
    assert_matches!(trimmed, Ok(Marked::Trimmed { from: 0, first: 2 }));
    let Ok(Marked::Item(Placed { index: 2, offset: 2, time_ms: 7, item: Element::Value(2.5) })) = value
    else {
        panic!("{value:?}")
    };
    let Ok(Marked::Item(Placed { index: 3, offset: 3, item: Element::Future(future), .. })) = future else {
        panic!("{future:?}")
    };
    assert_eq!(future.key(), &key(3));
    assert_matches!(damaged, Ok(Marked::Damaged { from: 4, to: 6, .. }));
    assert_matches!(caught_up, Ok(Marked::CaughtUp { head: 6 }));
    assert_matches!(other, Err(Error::Decode { .. }));
    assert_matches!(stopped, Ok(Marked::Stopped { count: 2, .. }));
    let [trimmed, value, future, damaged, other] = &plain[..] else { panic!("{plain:?}") };
    assert_matches!(trimmed, Err(Error::Trimmed { from: 0, first: 2, .. }));
    assert_matches!((value, future), (Ok(Element::Value(2.5)), Ok(Element::Future(_))));
    assert_matches!((damaged, other), (Err(Error::Damaged { .. }), Err(Error::Decode { .. })));
}

#[tokio::test]
async fn who_begins_behind_the_stop_is_told_of_it_too() {
    let Site { mut peer, channel, .. } = site().await;
    let reading = channel.from(Offset::End);
    let mut script = async || {
        let number = begin(&mut peer, Position::End, 9).await;
        peer.send(number, ServerMessage::CaughtUp { head: 9 }).await;
        let digest = Digest(77);
        tell_of_channel(&mut peer, ChannelInfo { digest, ..info(true, 9) }).await;
        until_it_ends(&mut peer).await;
    };
    let (values, ()) = tokio::join!(all(reading.values().with_markers()), script());
    let (results, ()) = tokio::join!(all(reading.results_as_completed().with_markers()), script());
    assert_matches!(values.last().unwrap(), Ok(Marked::Stopped { count: 2, digest: Digest(77) }));
    assert_matches!(results.last().unwrap(), Ok(Marked::Stopped { count: 2, digest: Digest(77) }));
}

/// Tells how a task that is watched ended.
async fn settle(peer: &mut Peer, n: u8, outcome: Outcome) {
    let (number, message) = peer.next().await;
    let task = key(n).id;
    assert_eq!(message, ClientMessage::Watch { tasks: vec![task] });
    peer.send(number, ServerMessage::Settled { task, outcome }).await;
}

fn brings(result: f64) -> Outcome {
    Outcome::Finished(Payload::encode(&result).unwrap())
}

/// The index and the result of each.
fn results(items: Vec<Result<Ended<f64>>>) -> Vec<(u64, u64, String)> {
    let told = |result: Result<f64>| result.map_or_else(|error| error.to_string(), |x| x.to_string());
    let ended = items.into_iter().map(Result::unwrap);
    ended.map(|ended| (ended.index, ended.offset, told(ended.result))).collect()
}

#[tokio::test]
async fn results_come_in_the_order_of_the_channel_and_a_failure_is_one_of_them() {
    let Site { mut peer, channel, .. } = site().await;
    let stream = channel.results();
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        tell_of_channel(&mut peer, info(false, 6)).await;
        let records = [future(1), value(0.0), future(2), future(1), finished(2, 2.0), stopped()];
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (0, 0), &records)]).await;
        peer.send(number, ServerMessage::CaughtUp { head: 6 }).await;
        let error = TaskError::new(ErrorKind::Returned, "no paper", vec![]);
        settle(&mut peer, 1, Outcome::Failed(Box::new(error))).await;
        settle(&mut peer, 2, brings(2.0)).await;
        settle(&mut peer, 1, Outcome::Cancelled).await;
    };
    let (items, ()) = tokio::join!(all(stream), script);
    let [(0, 0, failed), (2, 2, two), (3, 3, cancelled)] = &results(items)[..] else {
        panic!("other places")
    };
    assert!(failed.contains("no paper") && cancelled.contains("was cancelled"), "{failed}, {cancelled}");
    assert_eq!(two, "2");
}

#[tokio::test]
async fn results_come_as_the_records_have_them_and_nobody_is_asked() {
    let Site { mut peer, channel, .. } = site().await;
    let stream = channel.results_as_completed();
    let large = super::super::fixture::located(b"\xcb\x40\x08\0\0\0\0\0\0", vec![]).result;
    let stored_on_workers = || progress(4, Progress::Stored { result: large });
    let lost = progress(4, Progress::Lost { worker: "w".into() });
    let records = [
        future(1),
        future(2),
        future(1),
        future(3),
        future(4),
        progress(3, started()),
        finished(3, 3.0),
        // In the place of each element one, though there is one record.
        finished(1, 1.0),
        // It has ended before it was appended again: each element is brought.
        future(3),
        finished(3, 3.0),
        stored_on_workers(),
        lost,
        progress(4, started()),
        stored_on_workers(),
        stopped(),
        progress(2, Progress::Cancelled),
    ];
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        tell_of_channel(&mut peer, info(false, 6)).await;
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (0, 0), &records)]).await;
        peer.send(number, ServerMessage::CaughtUp { head: 16 }).await;
        // The one that is not in the records.
        settle(&mut peer, 4, brings(4.0)).await;
        assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
    };
    let (items, ()) = tokio::join!(all(stream), script);
    let seen = results(items);
    let places: Vec<(u64, &str)> = seen.iter().map(|(index, _, told)| (*index, &told[..])).collect();
    assert_eq!(places[..5], [(3, "3"), (0, "1"), (2, "1"), (5, "3"), (4, "4")]);
    assert!(places.len() == 6 && places[5].0 == 1 && places[5].1.contains("was cancelled"), "{places:?}");
}

#[tokio::test]
async fn behind_lost_records_the_futures_before_them_are_asked_for() {
    let Site { mut peer, channel, .. } = site().await;
    let stream = channel.results_as_completed();
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        tell_of_channel(&mut peer, info(false, 9)).await;
        let last = stored(LOG, (5, 2), &[future(3), finished(3, 3.0), stopped()]);
        let batches = [stored(LOG, (0, 0), &[future(1), future(2)]), self::lost((2, 2), 3, 0), last];
        peer.send_with(number, ServerMessage::Records, &batches).await;
        peer.send(number, ServerMessage::CaughtUp { head: 8 }).await;
        settle(&mut peer, 1, brings(1.0)).await;
        settle(&mut peer, 2, brings(2.0)).await;
    };
    let (mut items, ()) = tokio::join!(all(stream), script);
    assert_matches!(items.remove(0), Err(Error::Damaged { from: 2, to: 5, .. }));
    let told: Vec<String> = results(items).into_iter().map(|(.., told)| told).collect();
    assert_eq!(told, ["1", "2", "3"]);
}

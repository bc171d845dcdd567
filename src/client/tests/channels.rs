use super::*;
use crate::client::connection::ReadItem;
use crate::protocol::batch::{Batch, Header};
use crate::protocol::{Epoch, Seq};

#[tokio::test]
async fn appends_in_flight_keep_their_order() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let first = channel.append_value(&1.5);
    let values = channel.append_values(&[2.5, 3.5]);
    let append = |elements: Vec<ChannelEvent>| Command::Append {
        log: LOG,
        elements: elements
            .into_iter()
            .map(|event| match event {
                ChannelEvent::Appended { element, .. } => element,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
            .into(),
        options: AppendOptions::default(),
    };
    // Both are on their way, though neither was polled: in one command, since they waited together.
    assert_eq!(peer.command().await, (2, append(vec![value(1.5), value(2.5), value(3.5)])));
    let behind = channel.append_value(&4.5);
    assert_eq!(peer.command().await, (3, append(vec![value(4.5)])));
    peer.answer(2, acked(7, 3)).await;
    peer.answer(3, acked(10, 1)).await;
    let acks = [behind.await, values.await, first.await].map(|ack| ack.unwrap().offsets());
    assert_eq!(acks, [10..11, 8..10, 7..8]);
    let future = super::fixture::future(TaskId([1; 16]));
    let third = channel.append(&future);
    let (number, command) = peer.command().await;
    let element = Element::Future(future.key().clone());
    assert_eq!(command, Command::append(LOG, vec![element].into()));
    let rejection = Rejection::ChannelStopped(ChannelName::new("a").unwrap(), 3);
    peer.send(number, ServerMessage::Answer(Err(rejection))).await;
    assert_matches!(third.await, Err(Error::Rejected(Rejection::ChannelStopped(_, 3))));
}

#[tokio::test]
async fn bad_names_are_refused_here() {
    let server = FakeServer::new().await;
    let (client, _peer) = connect(&server).await;
    assert_matches!(client.channel::<f64>("two words").await, Err(Error::BadName(_)));
}

#[tokio::test]
async fn records_come_with_offset_time_and_index() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut records = channel.from(Offset::At(5)).records();
    let number = begin(&mut peer, Position::Offset(5), 5).await;
    // The batch begins before what was asked for: two elements at 3 and 4, then these.
    let batch = [value(0.0), value(0.5), progress(1, started()), value(1.0), stopped()];
    peer.send_with(number, ServerMessage::Records, &[stored(LOG, (3, 10), &batch)]).await;
    peer.send(number, ServerMessage::CaughtUp { head: 8 }).await;
    let [_, _, started, one, stopped] = batch;
    for (offset, index, event) in [(5, None, started), (6, Some(12), one), (7, None, stopped)] {
        let record = Record { offset, time_ms: 7, index, event };
        assert_eq!(records.next().await.unwrap().unwrap(), Item::Record(record));
    }
    assert_matches!(records.next().await, Some(Ok(Item::CaughtUp { head: 8 })));
}

#[tokio::test]
async fn futures_and_values_end_where_the_channel_was_stopped() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let batch = stored(LOG, (0, 0), &[future(1), value(1.5), value("x"), future(2), stopped()]);
    let script = async {
        for _ in 0..2 {
            let number = begin(&mut peer, Position::Offset(0), 0).await;
            // The reader asks whether the channel is stopped, and reads on meanwhile.
            let (question, _) = peer.query().await;
            peer.send_with(number, ServerMessage::Records, std::slice::from_ref(&batch)).await;
            peer.answer(question, Answer::Channel(info(false, 0))).await;
            // Before that the channel may have been resumed behind its stop.
            peer.send(number, ServerMessage::CaughtUp { head: 5 }).await;
            assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
        }
    };
    let reading = async {
        let mut futures = channel.futures();
        assert_eq!(futures.next().await.unwrap().unwrap().key(), &key(1));
        assert_eq!(futures.next().await.unwrap().unwrap().key(), &key(2));
        assert_matches!(futures.next().await, None);
        assert_matches!(futures.next().await, None);
        drop(futures);
        let mut values = channel.values();
        assert_eq!(values.next().await.unwrap().unwrap(), 1.5);
        let error = values.next().await.unwrap().unwrap_err().to_string();
        assert!(error.starts_with("the value at offset 2 of a cannot be decoded"), "{error}");
        assert_matches!(values.next().await, None);
    };
    tokio::join!(reading, script);
}

#[tokio::test]
async fn who_begins_behind_the_stop_comes_to_an_end() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut futures = channel.from(Offset::End).futures();
    let script = async {
        let number = begin(&mut peer, Position::End, 9).await;
        tell_of_channel(&mut peer, info(true, 10)).await;
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (9, 2), &[progress(1, started())])])
            .await;
    };
    let (end, ()) = tokio::join!(soon(futures.next()), script);
    assert_matches!(end, None);
}

#[tokio::test]
async fn a_stop_that_is_still_to_come_is_waited_for() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut futures = channel.from(Offset::End).futures();
    let script = async {
        let number = begin(&mut peer, Position::End, 9).await;
        tell_of_channel(&mut peer, info(false, 9)).await;
        let records = [future(1), stopped()];
        peer.send(number, ServerMessage::CaughtUp { head: 9 }).await;
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (9, 2), &records)]).await;
        peer
    };
    let (first, _peer) = tokio::join!(futures.next(), script);
    assert_eq!(first.unwrap().unwrap().key(), &key(1));
    assert_matches!(futures.next().await, None);
}

#[tokio::test]
async fn a_stop_that_was_lifted_is_passed_by() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let resumed = || ChannelEvent::Resumed { origin: ORIGIN };
    let script = async {
        for _ in 0..2 {
            let number = begin(&mut peer, Position::Offset(0), 0).await;
            let (question, _) = peer.query().await;
            let history = [future(1), stopped(), resumed(), future(2), stopped(), resumed()];
            peer.send_with(number, ServerMessage::Records, &[stored(LOG, (0, 0), &history)]).await;
            peer.answer(question, Answer::Channel(info(false, 6))).await;
            peer.send(number, ServerMessage::CaughtUp { head: 6 }).await;
            let live = [future(3), stopped()];
            peer.send_with(number, ServerMessage::Records, &[stored(LOG, (6, 2), &live)]).await;
            assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
        }
    };
    let reading = async {
        let keys: Vec<_> = channel.futures().map(|future| future.unwrap().key().clone()).collect().await;
        assert_eq!(keys, [key(1), key(2), key(3)]);
        let values = channel.values().next().await;
        assert_matches!(values, None);
    };
    tokio::join!(reading, script);
}

#[tokio::test]
async fn reading_from_an_index_leaves_out_what_is_before_it() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut records = channel.elements_from(6).records();
    let number = begin(&mut peer, Position::Index(6), 20).await;
    let first = [progress(9, started()), value(4.0)];
    let second = [value(5.0), progress(9, Progress::Cancelled), value(6.0), progress(8, started())];
    let batches = [stored(LOG, (20, 4), &first), stored(LOG, (22, 5), &second)];
    peer.send_with(number, ServerMessage::Records, &batches).await;
    for (wanted, index) in [(24, Some(6)), (25, None)] {
        let Some(Ok(Item::Record(record))) = records.next().await else { panic!("no record") };
        assert_eq!((record.offset, record.index), (wanted, index));
    }
}

#[tokio::test]
async fn a_trimmed_range_is_announced_and_reading_goes_on() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut values = channel.values();
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        tell_of_channel(&mut peer, info(false, 6)).await;
        peer.send(number, ServerMessage::Trimmed { from: 0, first: 5 }).await;
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (5, 5), &[value(5.0)])]).await;
        peer
    };
    let (first, _peer) = tokio::join!(values.next(), script);
    assert_matches!(first, Some(Err(Error::Trimmed { from: 0, first: 5, .. })));
    assert_eq!(values.next().await.unwrap().unwrap(), 5.0);
}

/// A batch in the place of lost records: from this offset and index on, so many records and elements.
fn lost((base_offset, base_index): (u64, u64), count: u32, elements: u32) -> bytes::Bytes {
    let (seq, epoch) = (Seq(1), Epoch(1));
    let header = Header { log: LOG, count, elements, base_offset, base_index, seq, epoch, time_ms: 0 };
    Batch::lost(header, "a bad sector").bytes().clone()
}

#[tokio::test]
async fn a_lost_range_is_announced_and_reading_goes_on() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let batches =
        [stored(LOG, (0, 0), &[value(0.0)]), lost((1, 1), 4, 3), stored(LOG, (5, 4), &[value(4.0)])];
    let mut records = channel.records();
    let number = begin(&mut peer, Position::Offset(0), 0).await;
    peer.send_with(number, ServerMessage::Records, &batches).await;
    assert_matches!(records.next().await, Some(Ok(Item::Record(Record { offset: 0, .. }))));
    let Some(Ok(Item::Damaged { from: 1, to: 5, why })) = records.next().await else { panic!("no marker") };
    assert_eq!((&*why, records.next_offset()), ("a bad sector", Some(5)));
    assert_matches!(records.next().await, Some(Ok(Item::Record(Record { offset: 5, index: Some(4), .. }))));

    let mut values = channel.values();
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        tell_of_channel(&mut peer, info(false, 6)).await;
        peer.send_with(number, ServerMessage::Records, &batches).await;
    };
    let (first, ()) = tokio::join!(values.next(), script);
    assert_eq!(first.unwrap().unwrap(), 0.0);
    assert_matches!(values.next().await, Some(Err(Error::Damaged { from: 1, to: 5, .. })));
    assert_eq!(values.next().await.unwrap().unwrap(), 4.0);

    let mut middle = channel.from(Offset::At(3)).records();
    let number = begin(&mut peer, Position::Offset(3), 3).await;
    peer.send_with(number, ServerMessage::Records, &batches[1..]).await;
    assert_matches!(middle.next().await, Some(Ok(Item::Damaged { from: 3, to: 5, .. })));
}

#[tokio::test]
async fn reading_from_an_index_leaves_out_what_is_lost_before_it() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let (early, late) = (lost((0, 0), 6, 4), lost((6, 4), 3, 3));
    let batches = [early, late, stored(LOG, (9, 7), &[value(7.0)])];
    let mut records = channel.elements_from(5).records();
    let number = begin(&mut peer, Position::Index(5), 0).await;
    peer.send_with(number, ServerMessage::Records, &batches).await;
    assert_matches!(records.next().await, Some(Ok(Item::Damaged { from: 6, to: 9, .. })));
    assert_matches!(records.next().await, Some(Ok(Item::Record(Record { offset: 9, index: Some(7), .. }))));
    let mut behind = channel.elements_from(7).records();
    let number = begin(&mut peer, Position::Index(7), 6).await;
    peer.send_with(number, ServerMessage::Records, &batches[1..]).await;
    assert_matches!(behind.next().await, Some(Ok(Item::Record(Record { offset: 9, .. }))));
}

#[tokio::test]
async fn two_channels_are_read_side_by_side() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut pairs = channel.futures().zip(channel.elements_from(1).futures());
    let script = async {
        let first = begin(&mut peer, Position::Offset(0), 0).await;
        let second = begin(&mut peer, Position::Index(1), 0).await;
        let batch = stored(LOG, (0, 0), &[future(1), future(2), stopped()]);
        for number in [first, second] {
            peer.send_with(number, ServerMessage::Records, std::slice::from_ref(&batch)).await;
            peer.send(number, ServerMessage::CaughtUp { head: 3 }).await;
        }
        peer
    };
    let (pair, _peer) = tokio::join!(pairs.next(), script);
    let (a, b) = pair.unwrap();
    assert_eq!((a.unwrap().key(), b.unwrap().key()), (&key(1), &key(2)));
    assert_matches!(pairs.next().await, None);
}

#[tokio::test]
async fn statuses_are_what_the_records_say() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let result = Payload::encode(&1.0).unwrap();
    let records = [
        future(1),
        progress(1, started()),
        value(2.0),
        future(2),
        progress(1, Progress::Finished { result }),
        future(3),
        progress(3, started()),
    ];
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (0, 0), &records)]).await;
        peer.send(number, ServerMessage::CaughtUp { head: 7 }).await;
    };
    let (entries, ()) = tokio::join!(channel.statuses(), script);
    let entries = entries.unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.index, entry.offset, entry.status)).collect();
    let expected = [(0, 0, TaskStatus::Finished), (2, 3, TaskStatus::Pending), (3, 5, TaskStatus::Running)];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_task_log_is_read_as_it_is() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let mut records = client.task_log(Offset::Start);
    let (number, message) = peer.next().await;
    assert_matches!(message, ClientMessage::Subscribe { log: LogId::TASKS, from: Position::Offset(0), .. });
    peer.send(number, ServerMessage::Subscribed { from: 0, seq: Seq(0) }).await;
    peer.send(number, ServerMessage::CaughtUp { head: 0 }).await;
    assert_matches!(records.next().await, Some(Ok(Item::CaughtUp { head: 0 })));
    let mut raw = client.connection().subscribe(LOG, Position::End);
    let number = begin(&mut peer, Position::End, 3).await;
    assert_matches!(raw.next().await, Some(Ok(ReadItem::Subscribed { from: 3 })));
    drop(raw);
    assert_eq!(peer.next().await, (number, ClientMessage::Unsubscribe));
}

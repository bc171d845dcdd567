//! Named producers: what their appends say, and what they bring.

use super::*;
use crate::protocol::channel::Durability;
use crate::protocol::producer::{ProducedBy, ProducerInfo, ProducerName};

fn name() -> ProducerName {
    ProducerName::new("importer").unwrap()
}

/// The number of the next command, and of the producer's append that it is: that and the one behind which it is to be.
async fn produced(peer: &mut Peer) -> (u64, u64, Option<u64>) {
    match peer.command().await {
        (
            at,
            Command::Append {
                log: LOG, options: AppendOptions { expect: None, producer: Some(by), .. }, ..
            },
        ) => {
            assert_eq!(by.name, name());
            (at, by.number, by.from)
        }
        (_, other) => panic!("{other:?}"),
    }
}

fn appended(offset: u64, count: u64) -> Produced {
    Produced::Appended(Ack { offset, count, seq: Seq(7), epoch: Epoch(1), durability: Durability::Fsynced })
}

#[tokio::test]
async fn appends_of_a_producer_go_alone_and_each_behind_the_one_before() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let importer = channel.producer("importer").unwrap();
    let future = super::super::fixture::future(TaskId([1; 16]));
    let batch = channel.batch().value(&3.5).header("unit", "m").expect(9);
    let first = importer.append_value(5, &1.5);
    let second = importer.clone().append(8, &future);
    let third = batch.produced_by(&importer, 20).append();
    let again = importer.append_value(2, &0.5);
    drop(channel.append_value(&0.5));
    assert_eq!(produced(&mut peer).await, (2, 5, None));
    assert_eq!(produced(&mut peer).await, (3, 8, Some(5)));
    let headers = [("unit", "m")].into_iter().collect();
    let elements = vec![(headers, Element::Value(Payload::encode(&3.5).unwrap()))].into();
    let producer = Some(ProducedBy { name: name(), number: 20, from: Some(8) });
    let options = AppendOptions { expect: Some(9), producer, durability: None };
    assert_eq!(peer.command().await, (4, Command::Append { log: LOG, elements, options }));
    assert_eq!(produced(&mut peer).await, (5, 2, None), "an older number is behind nothing");
    peer.answer(2, acked(7, 1)).await;
    peer.answer(3, Answer::AppendedBefore { newest: 9 }).await;
    // It was of more elements when it was appended first.
    peer.answer(4, acked(30, 12)).await;
    peer.answer(5, acked(0, 2)).await;
    assert_eq!(first.await.unwrap(), appended(7, 1));
    assert_eq!(second.await.unwrap(), Produced::Before { newest: 9 });
    assert_eq!(third.await.unwrap(), appended(30, 12));
    assert_eq!(again.await.unwrap(), appended(0, 2));
}

#[tokio::test]
async fn behind_what_is_refused_nothing_is_asked_for_until_that_was_told() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let importer = channel(&client, &mut peer).await.producer("importer").unwrap();
    let low = || Rejection::Invalid("the disk is low".to_owned());
    let moved = || Rejection::ProducerMoved { name: name(), at: 0, from: 1 };
    let (first, second) = (importer.append_value(1, &1.5), importer.append_value(2, &1.5));
    assert_eq!(produced(&mut peer).await, (2, 1, None));
    assert_eq!(produced(&mut peer).await, (3, 2, Some(1)));
    peer.send(2, ServerMessage::Answer(Err(low()))).await;
    assert_matches!(first.await, Err(Error::Rejected(_)));
    // The newest is not told yet.
    let third = importer.append_value(3, &1.5);
    assert_eq!(produced(&mut peer).await, (4, 3, Some(2)));
    for at in [3, 4] {
        peer.send(at, ServerMessage::Answer(Err(moved()))).await;
    }
    assert_matches!(second.await, Err(Error::Rejected(Rejection::ProducerMoved { .. })));
    assert_matches!(third.await, Err(Error::Rejected(Rejection::ProducerMoved { .. })));
    // Whoever goes on now knows of it.
    drop(importer.append_value(4, &1.5));
    assert_eq!(produced(&mut peer).await, (5, 4, None));
    // So is what was never sent.
    let large = channel_of_texts(&client).producer("importer").unwrap();
    let too_large = large.append_value(4, &"x".repeat(PAYLOAD_BYTES_MAX));
    drop(large.append_value(5, &"x".to_owned()));
    assert_eq!(produced(&mut peer).await, (6, 5, Some(4)));
    assert_matches!(too_large.await, Err(Error::TooLarge(_)));
}

fn channel_of_texts(client: &Client) -> Channel<String> {
    Channel::new(client.clone(), ChannelName::new("a").unwrap(), LOG)
}

#[tokio::test]
async fn the_last_number_is_where_to_go_on() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let importer = channel(&client, &mut peer).await.producer("importer").unwrap();
    let info = |name: &str| {
        let name = ProducerName::new(name).unwrap();
        ProducerInfo { name, number: 7, first: 0, count: 1, seq: Seq(7) }
    };
    for (all, last, from) in [(vec![], None, 0), (vec![info("a"), info("importer")], Some(7), 7)] {
        let script = async {
            let (number, query) = peer.query().await;
            assert_eq!(query, Query::Producers { log: LOG, after: None });
            peer.answer(number, Answer::Producers(all.clone())).await;
            if let Some(info) = all.last() {
                let (number, query) = peer.query().await;
                assert_eq!(query, Query::Producers { log: LOG, after: Some(info.name.clone()) });
                peer.answer(number, Answer::Producers(vec![])).await;
            }
        };
        let (found, ()) = tokio::join!(importer.last(), script);
        assert_eq!(found.unwrap(), last);
        drop(importer.append_value(10, &1.5));
        let (_, number, behind) = produced(&mut peer).await;
        assert_eq!((number, behind), (10, Some(from)));
    }
}

#[tokio::test]
async fn what_another_one_has_appended_since_is_gone_on_behind() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let importer = channel(&client, &mut peer).await.producer("importer").unwrap();
    let before = importer.append_value(3, &1.5);
    let (at, ..) = produced(&mut peer).await;
    peer.answer(at, Answer::AppendedBefore { newest: 9 }).await;
    assert_eq!(before.await.unwrap(), Produced::Before { newest: 9 });
    drop(importer.append_value(10, &1.5));
    assert_eq!(produced(&mut peer).await, (3, 10, Some(9)));
}

#[tokio::test]
async fn a_producer_is_one_of_its_channel_and_has_a_good_name() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let told = channel.producer("two words").unwrap_err().to_string();
    assert!(told.starts_with("`two words` cannot name a producer: it has other characters"), "{told}");
    let other = Channel::<f64>::new(client.clone(), ChannelName::new("b").unwrap(), LogId(2));
    let producer = other.producer("importer").unwrap();
    let told = channel.batch().value(&1.0).produced_by(&producer, 1).append().await.unwrap_err().to_string();
    assert!(told.contains("is not one of Channel(a, log 1): ask that channel for it"), "{told}");
    // An append that is nobody's has not been made before.
    let ack = channel.append_value(&1.0);
    let (at, _) = peer.command().await;
    peer.answer(at, Answer::AppendedBefore { newest: 1 }).await;
    assert_matches!(ack.await, Err(Error::Protocol(_)));
}

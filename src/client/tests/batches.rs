//! Appends of several elements, all or none.

use super::*;
use crate::protocol::channel::Durability;
use crate::protocol::limits::{ELEMENTS_PER_APPEND_MAX, HEADERS_MAX};
use crate::protocol::{Elements, Headers};

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().copied().collect()
}

#[tokio::test]
async fn a_batch_is_one_append_with_headers_and_what_it_expects() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let future = super::super::fixture::future(TaskId([1; 16]));
    let batch = channel.batch().value(&1.5).header("unit", "m").header("unit", "s").header("by", "me");
    let batch = batch.future(&future).value(&2.5).header("last", "").expect(7);
    assert_eq!(
        format!("{batch:?}"),
        "AppendBatch(3 elements for Channel(a, log 1), AppendOptions { expect: Some(7), producer: None, durability: None })"
    );
    let (alone, ack) = (channel.append_value(&0.5), batch.append());
    let elements = |elements: Vec<(Headers, Element)>| Elements::from(elements);
    let value = |x: f64| Element::Value(Payload::encode(&x).unwrap());
    let first = Command::append(LOG, vec![value(0.5)].into());
    assert_eq!(peer.command().await, (2, first), "nothing joins what expects an offset");
    let expected = elements(vec![
        (headers(&[("by", "me"), ("unit", "s")]), value(1.5)),
        (headers(&[]), Element::Future(future.key().clone())),
        (headers(&[("last", "")]), value(2.5)),
    ]);
    let options = AppendOptions { expect: Some(7), ..AppendOptions::default() };
    let second = Command::Append { log: LOG, elements: expected, options };
    assert_eq!(peer.command().await, (3, second));
    peer.answer(2, acked(6, 1)).await;
    peer.answer(3, acked(7, 3)).await;
    assert_eq!(
        ack.await.unwrap(),
        Ack { offset: 7, count: 3, seq: Seq(7), epoch: Epoch(1), durability: Durability::Fsynced }
    );
    assert_eq!(alone.await.unwrap().offset, 6);
}

#[tokio::test]
async fn a_conflict_names_the_head() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let ack = channel.batch().value(&1.5).expect(3).append();
    let (number, _) = peer.command().await;
    let channel = ChannelName::new("a").unwrap();
    let conflict = Rejection::Conflict { channel, expected: 3, head: 5 };
    peer.send(number, ServerMessage::Answer(Err(conflict))).await;
    assert_matches!(ack.await, Err(Error::Rejected(Rejection::Conflict { expected: 3, head: 5, .. })));
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_said_and_nothing_is_sent() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let many =
        (0..=HEADERS_MAX).fold(channel.batch().value(&1.0), |batch, n| batch.header(format!("{n}"), ""));
    let large = "x".repeat(PAYLOAD_BYTES_MAX);
    let texts = Channel::<String>::new(client.clone(), ChannelName::new("a").unwrap(), LOG);
    let too_many = (0..=ELEMENTS_PER_APPEND_MAX).fold(channel.batch(), |batch, _| batch.value(&1.0));
    let too_much = (0..18).fold(texts.batch(), |batch, _| batch.value(&large[..60_000].to_owned()));
    let maps = Channel::<BadMap>::new(client.clone(), ChannelName::new("a").unwrap(), LOG);
    for (ack, told) in [
        (
            boxed(channel.batch().header("k", "v").value(&1.0).append()),
            "header `k` belongs to no element: add",
        ),
        (boxed(many.append()), "the number of headers of an element is 17, over the limit of 16: keep it"),
        (boxed(texts.batch().value(&large).append()), "the value is 61443, over the limit of 61440: keep it"),
        (boxed(too_many.append()), "the number of elements is 4097, over the limit of 4096: append them in"),
        (
            boxed(too_much.append()),
            "all values together is 1080054, over the limit of 1048576: append them in",
        ),
        (boxed(maps.batch().value(&BadMap).append()), "the value cannot be encoded: "),
        (boxed(channel.batch().append()), "an append needs at least one element: add a value or a future"),
    ] {
        let error = ack.await.unwrap_err().to_string();
        assert!(error.starts_with(told), "{error}");
    }
    // At each bound it is sent.
    let most = (0..ELEMENTS_PER_APPEND_MAX).fold(channel.batch(), |batch, _| batch.value(&1.0));
    let most = (0..HEADERS_MAX).fold(most, |batch, n| batch.header(format!("{n}"), ""));
    drop(most.append());
    let (number, command) = peer.command().await;
    let Command::Append { elements, .. } = command else { panic!("{command:?}") };
    assert_eq!((number, elements.len(), elements.have_headers()), (2, ELEMENTS_PER_APPEND_MAX, true));
}

fn boxed<F: Future + 'static>(future: F) -> std::pin::Pin<Box<dyn Future<Output = F::Output>>> {
    Box::pin(future)
}

/// What MessagePack cannot carry.
struct BadMap;

impl serde::Serialize for BadMap {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

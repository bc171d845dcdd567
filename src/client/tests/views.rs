//! A channel as it stands here, and its elements one by one.

use std::time::Duration;

use super::*;
use crate::client::Element;

#[tokio::test]
async fn a_bounded_view_shows_by_its_index_what_it_has_let_go_of() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut view = channel.view_of_last(3);
    let number = begin(&mut peer, Position::Last(3), 40).await;
    let records = [value(20), future(1), progress(1, started())];
    peer.send_with(number, ServerMessage::Records, &[stored(LOG, (40, 20), &records)]).await;
    peer.send(number, ServerMessage::CaughtUp { head: 43 }).await;
    soon(view.caught_up()).await.unwrap();
    let state = ViewState { first_index: 20, next_index: 22, trimmed: 0, is_caught_up: true, stopped: None };
    assert_eq!((view.len(), view.state()), (2, state));
    let [running] = &view.futures()[..] else { panic!("one future") };
    assert_eq!((running.index, running.offset, running.status), (21, 41, TaskStatus::Running));

    // Nobody looks while all of this comes.
    let values: Vec<ChannelEvent> = (22..1022).map(value).chain([stopped()]).collect();
    for (at, part) in values.chunks(100).enumerate() {
        let base = (43 + 100 * at as u64, 22 + 100 * at as u64);
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, base, part)]).await;
    }
    while view.state().stopped.is_none() {
        soon(view.changed()).await.unwrap();
    }
    let stopped = Some((2, Digest::default()));
    let state = ViewState { first_index: 1019, next_index: 1022, trimmed: 999, is_caught_up: true, stopped };
    assert_eq!(view.state(), state, "what it missed is not hidden");
    assert_eq!((view.len(), view.values().unwrap()), (3, vec![1019.0, 1020.0, 1021.0]));
    assert_eq!(view.elements().iter().map(|placed| placed.index).collect::<Vec<_>>(), [1019, 1020, 1021]);
    assert!(view.futures().is_empty() && !view.is_empty());

    let other = view.clone();
    drop(view);
    assert_eq!(other.len(), 3);
    drop(other);
    assert_eq!(soon(peer.next()).await, (number, ClientMessage::Unsubscribe), "with the last clone it ends");
}

#[tokio::test]
async fn a_view_keeps_all_from_the_start_and_says_when_it_ends() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut view = channel.view();
    let number = begin(&mut peer, Position::Offset(0), 0).await;
    peer.send(number, ServerMessage::Trimmed { from: 0, first: 7 }).await;
    let records = [value(1.5), value("x"), future(2), progress(2, Progress::Cancelled)];
    peer.send_with(number, ServerMessage::Records, &[stored(LOG, (7, 4), &records)]).await;
    while view.len() < 3 {
        soon(view.changed()).await.unwrap();
    }
    let state = view.state();
    assert_eq!((state.first_index, state.trimmed, state.is_caught_up), (4, 4, false));
    assert_matches!(view.values(), Err(Error::Decode { .. }));
    let elements = view.elements();
    assert_matches!(&elements[0].item, Ok(Element::Value(1.5)));
    assert_matches!(
        (&elements[1].item, &elements[2].item),
        (Err(Error::Decode { .. }), Ok(Element::Future(_)))
    );
    peer.send(number, ServerMessage::SubscriptionRefused(Rejection::Invalid("the disk is gone".into())))
        .await;
    let ended = loop {
        match soon(view.changed()).await {
            Ok(()) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!((&ended[..], view.len()), ("the disk is gone", 3));
}

/// What waiting for an element brings, while this is said.
async fn element_of(said: &[ServerMessage], batch: &[ChannelEvent]) -> Result<Element<f64>> {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let wait = channel.element(4).timeout(Duration::from_millis(300));
    let script = async {
        let number = begin(&mut peer, Position::Index(4), 9).await;
        tell_of_channel(&mut peer, info(false, 9)).await;
        for message in said {
            peer.send(number, message.clone()).await;
        }
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (9, 2), batch)]).await;
        // Held open until it has heard.
        let _ = peer.try_next().await;
    };
    tokio::select! { element = soon(wait.into_future()) => element, () = async { script.await; std::future::pending().await } => unreachable!() }
}

#[tokio::test]
async fn an_element_is_waited_for_and_never_for_nothing() {
    let five = [value(2.0), value(3.0), value(4.0), value(5.0)];
    assert_matches!(element_of(&[], &five).await, Ok(Element::Value(4.0)));
    assert_matches!(element_of(&[], &[value(2), value(3), future(1)]).await, Ok(Element::Future(_)));
    let late = element_of(&[ServerMessage::CaughtUp { head: 9 }], &five[..1]).await.unwrap_err();
    let expected =
        "element 4 of channel `a` did not come within 300 ms: it may still come, wait again or for longer";
    assert_eq!(late.to_string(), expected);
    let stop =
        element_of(&[ServerMessage::CaughtUp { head: 9 }], &[value(2.0), stopped()]).await.unwrap_err();
    assert_eq!(stop.to_string(), "channel `a` was stopped at 2 elements: element 4 will never come");
    let wrong = element_of(&[], &[value(2), value(3), value("x")]).await.unwrap_err();
    assert_matches!(wrong, Error::Decode { .. });
}

#[tokio::test]
async fn an_element_that_is_gone_is_not_waited_for() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let script = async {
        let number = begin(&mut peer, Position::Index(4), 4).await;
        peer.send(number, ServerMessage::Trimmed { from: 4, first: 9 }).await;
    };
    let (gone, ()) = tokio::join!(soon(channel.element(4).into_future()), script);
    let told = gone.unwrap_err().to_string();
    assert_eq!(told, "element 4 of channel `a` is gone: read from the start to see what is left");
}

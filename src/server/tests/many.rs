//! As many subscriptions of one connection as there may be, and one more.

use super::*;
use crate::protocol::limits::SUBSCRIPTIONS_PER_CONNECTION_MAX;

async fn begins(client: &mut TestClient<impl AsyncRead + AsyncWrite + Unpin>, number: u64) {
    client.send(number, &subscribe(Position::End, 0)).await;
    assert_eq!(client.message().await, (number, ServerMessage::Subscribed { from: 0, seq: Seq(0) }));
    assert_eq!(client.message().await, (number, ServerMessage::CaughtUp { head: 0 }));
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_so_many_subscriptions_and_no_more() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    let most = SUBSCRIPTIONS_PER_CONNECTION_MAX as u64;
    for number in 1..=most {
        begins(&mut client, number).await;
    }
    client.send(most + 1, &subscribe(Position::End, 0)).await;
    let (number, ServerMessage::SubscriptionRefused(refused)) = client.message().await else {
        panic!("it is not refused")
    };
    let told = "the number of subscriptions is 10001, over the limit of 10000: end some";
    assert_eq!((number, refused.to_string()), (most + 1, told.to_owned()));
    // Another connection has its own, and one that ends makes room.
    let (mut other, _outbox) = site.welcomed().await;
    begins(&mut other, 1).await;
    client.send(7, &ClientMessage::Unsubscribe).await;
    begins(&mut client, most + 2).await;
}

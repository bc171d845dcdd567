//! Many subscribers of one channel, some of them stopped dead: the others have everything, and appends go on.

use std::time::Duration;

use headwater::client::{Elements, Records};
use headwater::protocol::ChannelEvent;
use headwater::protocol::command::{Answer, Query};
use headwater::protocol::message::{ClientMessage, Position, Reads};
use headwater::protocol::{LogId, frame};
use headwater::{Client, Item, Result};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::refusals::Raw;

/// How many connections, and how many subscriptions each of them has.
const CLIENTS: u64 = 90;
const PER_CLIENT: u64 = 3;

/// Subscribers whose program does not take what comes, and peers that do not read their connection at all.
const STUCK: u64 = 15;
const DEAD: u64 = 15;

/// Values, of so many bytes: together half as much again as what may be on its way to a subscriber, 1 MiB.
const VALUES: u64 = 48;
const VALUE_BYTES: usize = 32 * 1024;

/// A value that says which it is.
fn value(number: u64) -> String {
    format!("{number:08}{}", "x".repeat(VALUE_BYTES))
}

async fn soon<F: IntoFuture>(work: F) -> F::Output {
    timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

async fn subscribers(client: &Client, log: LogId) -> Result<u64> {
    match client.query(Query::Subscribers { log }).await? {
        Answer::Subscribers(count) => Ok(count),
        other => panic!("{other:?}"),
    }
}

/// Reads all values, in order.
async fn read_all(mut elements: Elements<String>) {
    for number in 0..VALUES {
        let element = elements.next().await.expect("it goes on").expect("it can be read");
        let value = element.value().expect("a value");
        assert_eq!((value[..8].parse(), value.len()), (Ok(number), 8 + VALUE_BYTES));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_subscribers_some_stop_dead_and_the_others_have_everything() -> Result<()> {
    let client = Client::local().await?;
    let address = client.connection().address().to_owned();
    let channel = client.channel::<String>("x").await?;

    let mut live = JoinSet::new();
    for _ in 0..CLIENTS {
        let reader = Client::connect(&address).await?.existing_channel::<String>("x").await?;
        (0..PER_CLIENT).for_each(|_| drop(live.spawn(read_all(reader.elements()))));
    }
    // Each has taken the mark at the head, and takes nothing after it.
    let mut stuck: Vec<Records<ChannelEvent>> = Vec::new();
    for _ in 0..STUCK {
        let reader = Client::connect(&address).await?.existing_channel::<String>("x").await?;
        let mut records = reader.records();
        assert_eq!(soon(records.next()).await.transpose()?, Some(Item::CaughtUp { head: 0 }));
        stuck.push(records);
    }
    let mut dead = Vec::new();
    for _ in 0..DEAD {
        let mut raw = Raw::welcomed(&address).await;
        let (log, from) = (channel.log(), Position::Offset(0));
        let subscribe: ClientMessage =
            ClientMessage::Subscribe { log, from, credit_bytes: u64::MAX, reads: Reads::Durable };
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, 1, &subscribe).unwrap();
        raw.stream.write_all(&bytes).await.unwrap();
        dead.push(raw);
    }
    let all = CLIENTS * PER_CLIENT + STUCK + DEAD;
    soon(async {
        while subscribers(&client, channel.log()).await? < all {
            tokio::task::yield_now().await;
        }
        Ok::<_, headwater::Error>(())
    })
    .await?;

    for number in 0..VALUES {
        soon(channel.append_value(&value(number))).await?;
    }
    while let Some(read) = soon(live.join_next()).await {
        read.expect("it has everything, in order");
    }
    assert!(subscribers(&client, channel.log()).await? >= STUCK + DEAD, "the others were there all the time");
    // Those who go on have missed nothing.
    for mut records in stuck {
        for offset in 0..VALUES {
            let item = soon(records.next()).await.transpose()?;
            let Some(Item::Record(record)) = item else { panic!("in the place of {offset} came {item:?}") };
            assert_eq!((record.offset, record.index), (offset, Some(offset)));
        }
    }
    drop(dead);
    Ok(())
}

//! Flushes against a scheduler: whatever becomes of what was asked, they come to an end.

use std::time::Duration;

use headwater::protocol::command::Rejection;
use headwater::{Client, Error, Result};
use tokio::time::timeout;

/// A flush that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

/// What the ancestor hung at: its flush counted what was appended, and a stop that overtook some of it let the count
/// never come to zero.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_ends_when_the_channel_is_stopped_while_others_append() -> Result<()> {
    let client = Client::local().await?;
    let address = client.connection().address().to_owned();
    for round in 0..10 {
        let other = Client::connect(&address).await?;
        let name = format!("racing-{round}");
        let (mine, others) = (client.channel::<u64>(&name).await?, other.channel::<u64>(&name).await?);
        let appending = tokio::spawn(async move {
            let mut refused = 0;
            for number in 0..2_000 {
                // Some are waited for, most are not.
                let append = mine.append_value(&number);
                if number % 100 == 0 {
                    match append.await {
                        Err(Error::Rejected(Rejection::ChannelStopped(..))) => refused += 1,
                        other => drop(other?),
                    }
                }
            }
            timeout(HANG, mine.flush()).await.expect("the flush of the channel hangs")?;
            Ok::<_, Error>(refused)
        });
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
        let elements = others.stop().await?;
        timeout(HANG, client.flush()).await.expect("the flush of everything hangs")?;
        appending.await.expect("it does not panic")?;
        // Durable or refused: nothing comes any more.
        assert_eq!(others.len().await?, elements);
        other.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_flushed_is_durable() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<u64>("flushed").await?;
    for number in 0..10_000 {
        channel.ready().await?;
        drop(channel.append_value(&number));
    }
    channel.flush().await?;
    let other = Client::connect(client.connection().address()).await?;
    assert_eq!(other.existing_channel::<u64>("flushed").await?.len().await?, 10_000);
    client.close().await;
    assert!(matches!(client.flush().await, Err(Error::Stopped)));
    Ok(())
}

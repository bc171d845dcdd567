//! What torture's workers run: functions whose results anyone can work out again, and a task that is a
//! client itself and writes for as long as it lives.

use std::time::Duration;

use tokio::time::sleep;

use crate::client::{Error, Result};
use crate::protocol::command::Rejection;
use crate::{local_client, task};

/// The pause between two numbers of [`count`].
const COUNT_PAUSE: Duration = Duration::from_millis(40);

/// A sum. The same call is the same task, for all clients.
#[task(pure)]
pub fn sum(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

/// A sum that takes its time. Each call is a task of its own.
#[task]
pub async fn slow_sum(a: u64, b: u64, pause_ms: u64) -> u64 {
    sleep(Duration::from_millis(pause_ms)).await;
    a.wrapping_add(b)
}

/// Appends 0, 1, 2 and so on to a channel, until that is stopped; answers how many elements it has then.
///
/// An attempt goes on behind the last number of the one before it, which is fenced: so each number is
/// there once, whatever becomes of workers.
#[task]
pub async fn count(channel: String) -> Result<u64> {
    let client = local_client().await?;
    let counted = client.channel::<u64>(&channel).await?;
    let mut number = counted.len().await?;
    loop {
        match counted.append_value(&number).await {
            Ok(_) => number += 1,
            Err(Error::Rejected(Rejection::ChannelStopped(_, elements))) => return Ok(elements),
            Err(error) => return Err(error),
        }
        sleep(COUNT_PAUSE).await;
    }
}

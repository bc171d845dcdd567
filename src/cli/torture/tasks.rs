//! What torture's workers run: functions whose results anyone can work out again, and a task that is a
//! client itself and writes for as long as it lives.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::client::{Error, Result};
use crate::protocol::Digest;
use crate::protocol::Payload;
use crate::protocol::command::Rejection;
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::protocol::result::StoredResult;
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

/// A number that is too large for the log: workers keep it, and it is lost with them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Large {
    number: u64,
    fill: String,
}

impl Large {
    fn of(number: u64) -> Self {
        Large { number, fill: "x".repeat(PAYLOAD_BYTES_MAX) }
    }
}

/// What the log says of a number that is too large for it.
pub fn large(number: u64) -> StoredResult {
    let payload = Payload::encode(&Large::of(number)).expect("a number and a text can be encoded");
    let (bytes, digest) = (payload.bytes.len() as u64, Digest::of_result(&payload.bytes));
    StoredResult { codec: payload.codec, bytes, digest }
}

/// A number that is too large for the log.
#[task]
pub fn enlarge(number: u64) -> Large {
    Large::of(number)
}

/// A sum that is too large for the log, of which one part was too.
#[task]
pub async fn large_sum(a: Large, b: u64, pause_ms: u64) -> Large {
    sleep(Duration::from_millis(pause_ms)).await;
    Large::of(a.number.wrapping_add(b))
}

/// A sum of which one part was too large for the log.
#[task]
pub fn small_sum(a: Large, b: u64) -> u64 {
    a.number.wrapping_add(b)
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

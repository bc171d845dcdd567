//! Values of the size that scenarios append, and a channel full of them.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::ground::{Commits, newest};
use crate::client::{Channel, Client};

/// 128 bytes as they are stored: MessagePack has two before a text of this length.
pub const TEXT_BYTES: usize = 126;
pub const VALUE_BYTES: usize = 128;

/// How many values a command brings that fills a channel, and how many of them are in flight.
const FILL_VALUES: u64 = 100;
const FILL_IN_FLIGHT: usize = 256;

/// One value.
pub fn text() -> String {
    "x".repeat(TEXT_BYTES)
}

/// Appends so many values, as fast as it goes.
pub async fn fill(client: &Client, channel: &Channel<String>, values: u64) -> anyhow::Result<Commits> {
    let since = newest(client).await?;
    let many = Arc::new(vec![text(); FILL_VALUES as usize]);
    let commands = (0..values).step_by(FILL_VALUES as usize);
    let appends = stream::iter(commands).map(|at| {
        let count = FILL_VALUES.min(values - at) as usize;
        channel.append_values(&many[..count])
    });
    appends.buffered(FILL_IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
    Commits::of(VALUE_BYTES).and(values, since, client).await
}

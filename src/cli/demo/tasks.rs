//! The demo's tasks: two emitters and a combiner, which are clients themselves, and what they submit.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::client::{Channel, Client, Offset, Result, Values};
use crate::{local_client, task};

/// The channel whose newest value is the emitters' pause, in seconds.
pub const INTERVAL: &str = "interval";

/// The pause until the channel says another.
const INTERVAL_AT_FIRST: Duration = Duration::from_secs(1);

/// The longest pause: a day.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// A number from 0 to 1.
#[task]
pub fn random() -> f64 {
    fastrand::f64()
}

/// A sum.
#[task(pure)]
pub fn add(a: f64, b: f64) -> f64 {
    a + b
}

/// Submits [`random`] and appends its future to a channel, for ever.
#[task]
pub async fn emit(channel: String) -> Result<()> {
    let client = local_client().await?;
    let mut interval = Interval::read(&client).await?;
    let emitted = client.channel(&channel).await?;
    loop {
        emitted.append(&client.submit(random, ()).await?).await?;
        interval.pause().await;
    }
}

/// Pairs the futures of the channels `a` and `b`, submits [`add`] on each pair and appends its future to
/// the channel `adds`, until one of them is stopped.
///
/// A pair is read, its sum appended and both cursors moved behind it in one transaction: whatever is killed, and when,
/// no pair is left out and none is there twice.
#[task]
pub async fn combine() -> Result<()> {
    let client = local_client().await?;
    let (a, b) = (client.channel::<f64>("a").await?, client.channel::<f64>("b").await?);
    let adds = client.channel::<f64>("adds").await?;
    let (a_read, b_read) = (a.cursor("combiner")?, b.cursor("combiner")?);
    let (mut a_at, mut b_at) = (a_read.position().await?, b_read.position().await?);
    let from = |channel: &Channel<f64>, at| channel.from(Offset::At(at)).futures().placed();
    let mut pairs = from(&a, a_at).zip(from(&b, b_at));
    while let Some((a, b)) = pairs.next().await {
        let (a, b) = (a?, b?);
        let sum = client.submit(add, (&a.item, &b.item)).await?;
        let (a_next, b_next) = (a.offset + 1, b.offset + 1);
        let transaction = client.transaction().append(&adds, &sum);
        transaction.advance(&a_read, a_at, a_next).advance(&b_read, b_at, b_next).commit().await?;
        (a_at, b_at) = (a_next, b_next);
    }
    Ok(())
}

/// The pause between two numbers, as the channel [`INTERVAL`] says.
struct Interval {
    seconds: Values<f64>,
    now: Duration,
}

impl Interval {
    async fn read(client: &Client) -> Result<Self> {
        let seconds = client.channel(INTERVAL).await?.values();
        Ok(Interval { seconds, now: INTERVAL_AT_FIRST })
    }

    /// Waits for as long as the newest value says; also when it comes meanwhile.
    async fn pause(&mut self) {
        let begin = Instant::now();
        loop {
            tokio::select! {
                biased;
                seconds = self.seconds.next() => match seconds {
                    Some(Ok(seconds)) => self.now = duration(seconds).unwrap_or(self.now),
                    // No duration: the one before goes on.
                    Some(Err(_)) => {}
                    None => return sleep_until(begin + self.now).await,
                },
                () = sleep_until(begin + self.now) => return,
            }
        }
    }
}

fn duration(seconds: f64) -> Option<Duration> {
    Some(Duration::try_from_secs_f64(seconds).ok()?.min(INTERVAL_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_duration_is_none() {
        assert_eq!(duration(0.2), Some(Duration::from_millis(200)));
        assert_eq!(duration(0.0), Some(Duration::ZERO));
        assert_eq!(duration(1e300), None);
        assert_eq!(duration(1e9), Some(INTERVAL_MAX));
        assert_eq!((duration(-1.0), duration(f64::NAN)), (None, None));
    }
}

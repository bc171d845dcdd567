//! Clients that append values, and note how long each append took.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::TryFutureExt;
use futures_util::future::Either;
use tokio::task::JoinSet;

use super::ground::Ground;
use super::values::text;
use crate::client::{Channel, Result};
use crate::protocol::channel::Durability;

/// How many appends a program that pipelines has in flight at a time: 8,192, of which a commit takes a third to a
/// half. With 16,384 it is no faster, and each waits twice as long.
pub const IN_FLIGHT: usize = 8_192;

/// A way to append.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub clients: usize,
    pub channels: usize,
    pub in_flight: usize,
    /// How many values an append brings.
    pub values: usize,
    /// Whether an append is acknowledged before it is on the disk.
    pub is_buffered: bool,
}

/// Within how long what is buffered is on the disk.
const FLUSH_WITHIN: Duration = Duration::from_millis(100);

/// One client with one channel, and one value an append.
pub const ONE_CLIENT: Way =
    Way { clients: 1, channels: 1, in_flight: IN_FLIGHT, values: 1, is_buffered: false };

/// The clients of a way.
pub struct Writers {
    way: Way,
    writers: Vec<Writer>,
}

/// A client and its channels.
struct Writer {
    way: Way,
    channels: Vec<Channel<String>>,
}

/// What was appended.
#[derive(Debug)]
pub struct Appended {
    pub records: u64,
    pub records_per_s: f64,
    /// How long each append took, in microseconds, until the client could go on with it.
    pub times: Vec<f64>,
}

impl Writers {
    /// Connects them, and opens their channels: all have the same.
    pub async fn connect(ground: &Ground, way: Way, name: &str) -> anyhow::Result<Writers> {
        let mut writers = Vec::new();
        for _ in 0..way.clients {
            let client = ground.client().await?;
            let mut channels = Vec::with_capacity(way.channels);
            for channel in 0..way.channels {
                let channel: Channel<String> = client.channel(&format!("{name}-{channel}")).await?;
                if way.is_buffered {
                    channel.set_durability(Durability::buffered(FLUSH_WITHIN)).await?;
                }
                channels.push(channel);
            }
            writers.push(Writer { way, channels });
        }
        Ok(Writers { way, writers })
    }

    /// The first channel.
    pub fn channel(&self) -> &Channel<String> {
        &self.writers[0].channels[0]
    }

    /// Lets all of them append at the same time, for so long.
    pub async fn append(&mut self, time: Duration) -> anyhow::Result<Appended> {
        let started = Instant::now();
        let mut running: JoinSet<_> = self.writers.drain(..).map(|writer| writer.append(time)).collect();
        let mut times = Vec::new();
        while let Some(done) = running.join_next().await {
            let (writer, its_times) = done??;
            self.writers.push(writer);
            times.extend(its_times);
        }
        anyhow::ensure!(!times.is_empty(), "nothing was appended in {time:?}: give it more --seconds");
        let records = (times.len() * self.way.values) as u64;
        Ok(Appended { records, records_per_s: records as f64 / started.elapsed().as_secs_f64(), times })
    }
}

impl Writer {
    /// Appends for so long, and waits for what is in flight then.
    async fn append(self, time: Duration) -> anyhow::Result<(Writer, Vec<f64>)> {
        let values = vec![text(); self.way.values];
        let mut turn = self.channels.iter().cycle();
        let (until, mut times) = (Instant::now() + time, Vec::new());
        let mut in_flight = VecDeque::new();
        loop {
            while in_flight.len() < self.way.in_flight {
                let (sent, channel) = (Instant::now(), turn.next().expect("a writer has a channel at least"));
                if sent >= until {
                    break;
                }
                in_flight.push_back((sent, append(channel, &values)));
            }
            // They are answered in their order, or hardly later.
            let Some((sent, appended)) = in_flight.pop_front() else { break };
            appended.await?;
            times.push(micros(sent));
        }
        drop(in_flight);
        Ok((self, times))
    }
}

/// Appends these values by one call.
fn append(channel: &Channel<String>, values: &[String]) -> impl Future<Output = Result<()>> + use<> {
    match values {
        [value] => Either::Left(channel.append_value(value).map_ok(drop)),
        values => Either::Right(channel.append_values(values).map_ok(drop)),
    }
}

/// How long ago that was, in microseconds.
pub fn micros(then: Instant) -> f64 {
    then.elapsed().as_secs_f64() * 1e6
}

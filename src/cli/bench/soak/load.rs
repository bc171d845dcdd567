//! The load: who appends, who submits, and who comes and goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::Soak;
use crate::cli::bench::ground::{Door, Ground};
use crate::cli::bench::values::text;
use crate::cli::bench::workers::{argument, noop};
use crate::cli::bench::writers::micros;
use crate::client::{Channel, Client, Item, Offset};

/// All who load.
pub struct Load {
    running: JoinSet<anyhow::Result<()>>,
    times: Arc<Mutex<Times>>,
}

/// What was seen since it was asked last. Times are in microseconds.
#[derive(Debug, Default)]
pub struct Times {
    pub appends: Vec<f64>,
    pub tasks: Vec<f64>,
    pub read: u64,
}

impl Load {
    /// Starts them all.
    pub async fn start(soak: &Soak, ground: &Ground) -> anyhow::Result<Load> {
        let (times, mut running) = (Arc::<Mutex<Times>>::default(), JoinSet::new());
        let name = ground.name("values");
        let channel = ground.client().await?.create_channel(&name, soak.retention()).await?;
        running.spawn(append(channel, soak.append_rate, times.clone()));
        running.spawn(submit(ground.client().await?, soak.task_rate, times.clone()));
        for _ in 0..soak.monitors {
            let monitor = Monitor { door: ground.door(), channel: name.clone(), stay: soak.stay };
            running.spawn(monitor.come_and_go(times.clone()));
        }
        Ok(Load { running, times })
    }

    /// Waits until one of them has failed, and says why. May be dropped without a loss.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.running.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => error.into(),
            Some(Ok(Ok(()))) | None => anyhow!("the load has ended by itself"),
        }
    }

    /// What was seen since this was called last.
    pub fn times(&self) -> Times {
        std::mem::take(&mut *locked(&self.times))
    }

    /// Ends them all.
    pub async fn stop(mut self) {
        self.running.shutdown().await;
    }
}

/// Nothing in here panics half-way.
fn locked(times: &Mutex<Times>) -> std::sync::MutexGuard<'_, Times> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends values at a rate, whether or not those before are acknowledged.
async fn append(channel: Channel<String>, rate: u32, times: Arc<Mutex<Times>>) -> anyhow::Result<()> {
    let (text, mut ticks) = (text(), interval(Duration::from_secs(1) / rate));
    let mut in_flight = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let (called, appended) = (Instant::now(), channel.append_value(&text));
                in_flight.spawn(async move { appended.await.map(|_| micros(called)) });
            }
            Some(time) = in_flight.join_next() => locked(&times).appends.push(time??),
        }
    }
}

/// Submits tasks at a rate, and waits for their results.
async fn submit(client: Client, rate: u32, times: Arc<Mutex<Times>>) -> anyhow::Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    let (mut in_flight, mut number) = (JoinSet::new(), 0);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let (called, submitted) = (Instant::now(), client.submit(noop, (argument(number),)).into_future());
                in_flight.spawn(async move { submitted.await?.await.map(|_| micros(called)) });
                number += 1;
            }
            Some(time) = in_flight.join_next() => locked(&times).tasks.push(time??),
        }
    }
}

/// One who joins, reads and leaves, again and again.
struct Monitor {
    door: Door,
    channel: String,
    stay: Duration,
}

impl Monitor {
    async fn come_and_go(self, times: Arc<Mutex<Times>>) -> anyhow::Result<()> {
        loop {
            // Not all at the same moment.
            sleep(self.stay.mul_f64(fastrand::f64() / 10.0)).await;
            let client = self.door.client().await?;
            let channel = client.existing_channel::<String>(&self.channel).await?;
            let head = channel.info().await?.head;
            let from = if fastrand::bool() { Offset::Start } else { Offset::At(fastrand::u64(..=head)) };
            let mut records = channel.from(from).records();
            let follow = async {
                while let Some(item) = records.next().await {
                    locked(&times).read += u64::from(matches!(item?, Item::Record(_)));
                }
                anyhow::Ok(())
            };
            // That the time is over is how it ends.
            if let Ok(ended) = timeout(self.stay.mul_f64(fastrand::f64()), follow).await {
                ended?;
            }
            client.close().await;
        }
    }
}

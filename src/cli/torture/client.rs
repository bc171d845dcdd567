//! A client that appends and submits, and notes what it was told: a process of its own, killed like the
//! others.

use std::any::Any;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::sleep;

use super::life::{Ack, BURST_MAX, Kind, LifeFile, Stamp};
use super::place::VALUES;
use super::tasks::{self, Large};
use crate::cli::signals::Signals;
use crate::client::{self, Channel, Client, Error, TaskFuture};
use crate::protocol::Digest;
use crate::protocol::command::Rejection;
use crate::protocol::message::Closing;

/// How long a client tries to reach the scheduler: longer than a round may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a client that is to stop waits for what it has sent.
const STOP_MAX: Duration = Duration::from_secs(15);

/// The pause between two bursts of appends, in milliseconds: three clients make some 150 elements a
/// second, so that a thousand rounds are still read in seconds.
const PAUSE_MS: std::ops::Range<u64> = 20..150;

/// A chain of large numbers ends as often as one in so many.
const CHAIN_ENDS_ONE_IN: u32 = 4;

/// The longest that a task takes, in milliseconds.
const TASK_MS_MAX: u64 = 50;

/// Values are mostly small; one in so many is of some KiB.
const LARGE_ONE_IN: u32 = 16;
const SMALL_BYTES_MAX: usize = 64;
const LARGE_BYTES_MAX: usize = 8 * 1024;

/// One of torture's clients (for its own use).
///
/// Appends numbered values and futures of tasks to the channels that all clients share, and notes each
/// acknowledgement in a file, until stdin closes or a signal comes. When its session is over, it begins
/// another one. `headwater torture` starts these, and kills them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  headwater torture-client --connect 127.0.0.1:8786 --number 1 --seed 1 --acks ./acks")]
pub struct TortureClient {
    /// Where the scheduler listens
    #[arg(long, value_name = "HOST:PORT")]
    connect: String,

    /// Which client it is
    #[arg(long, value_name = "N")]
    number: u32,

    /// What it does follows from this
    #[arg(long, value_name = "S")]
    seed: u64,

    /// The directory for what it was told
    #[arg(long, value_name = "DIR")]
    acks: PathBuf,
}

impl TortureClient {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        signals.or_stdin_asks();
        let (stop, stopped) = watch::channel(false);
        let gone = async {
            signals.next().await;
            // The other end is in this function.
            let _ = stop.send(true);
            sleep(STOP_MAX).await;
        };
        tokio::select! {
            ended = self.live_again_and_again(stopped) => Ok(ended?),
            () = gone => anyhow::bail!("what was sent was not answered for {STOP_MAX:?}: is the scheduler there?"),
        }
    }

    async fn live_again_and_again(&self, stopped: watch::Receiver<bool>) -> Result<(), Error> {
        loop {
            match self.live(stopped.clone()).await {
                Err(error) if is_session_over(&error) => {}
                ended => return ended,
            }
        }
    }

    /// A session, from its begin to its end, or until it is time to go.
    async fn live(&self, mut stopped: watch::Receiver<bool>) -> Result<(), Error> {
        let file = LifeFile::begin(&self.acks, self.number)?;
        let purpose = file.id.to_string();
        let rng = Rng::with_seed(Digest(self.seed).with(purpose.as_bytes()).0);
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).connect(&self.connect).await?;
        let mut session = Session::open(client, file, rng).await?;
        loop {
            session.burst().await?;
            tokio::select! {
                // A sender that is gone means the same.
                _ = stopped.wait_for(|stopped| *stopped) => break,
                () = sleep(Duration::from_millis(session.rng.u64(PAUSE_MS))) => {}
            }
        }
        session.client.close().await;
        Ok(())
    }
}

/// Whether another session is to be begun: this one was not heard of for its lease.
pub fn is_session_over(error: &Error) -> bool {
    matches!(
        error,
        Error::Closed(Closing::Rejected(Rejection::SessionEnded(_)))
            | Error::Rejected(Rejection::SessionEnded(_))
    )
}

/// A session and what it does.
pub struct Session {
    pub client: Client,
    file: LifeFile,
    rng: Rng,
    channels: Vec<Handles>,
    /// The next element's number.
    number: u64,
    /// How many calls were made that every other client makes, too.
    shared_calls: u64,
    /// The newest future, with what it must bring: the next may depend on it.
    last: Option<(TaskFuture<u64>, u64)>,
    /// The newest future of a number that is too large for the log, and the number.
    last_large: Option<(TaskFuture<Large>, u64)>,
}

/// One channel, for each type of what is on it.
struct Handles {
    values: Channel<Stamp>,
    numbers: Channel<u64>,
    large: Channel<Large>,
}

/// An append on its way. Its future is held until it is answered.
struct Pending {
    ack: Ack,
    answer: Pin<Box<dyn Future<Output = Result<client::Ack, Error>> + Send>>,
    _held: Option<Held>,
}

/// What keeps a task until the channel does.
type Held = Box<dyn Any + Send>;

impl Session {
    pub async fn open(client: Client, mut file: LifeFile, rng: Rng) -> Result<Self, Error> {
        file.opened(client.connection().session())?;
        let mut channels = Vec::new();
        for name in VALUES {
            channels.push(Handles {
                values: client.channel(name).await?,
                numbers: client.channel(name).await?,
                large: client.channel(name).await?,
            });
        }
        Ok(Session { client, file, rng, channels, number: 0, shared_calls: 0, last: None, last_large: None })
    }

    /// Sends some elements at once, and notes the answers in their order.
    async fn burst(&mut self) -> Result<(), Error> {
        let mut pending = Vec::new();
        for _ in 0..self.rng.u64(1..=BURST_MAX) {
            pending.push(match self.rng.u32(..128) {
                0..32 => self.append_future().await?,
                // Rarely: the channel keeps it, and it is computed anew whenever its worker dies.
                32 => self.append_large().await?,
                _ => self.append_value(),
            });
        }
        for Pending { mut ack, answer, .. } in pending {
            ack.offset = answer.await?.offset;
            self.file.acked(&ack)?;
        }
        if self.rng.u32(..16) == 0 {
            self.look_at_the_last().await?;
        }
        Ok(())
    }

    /// Appends one value and waits until it is acknowledged.
    pub async fn append_one(&mut self) -> Result<(), Error> {
        let Pending { mut ack, answer, .. } = self.append_value();
        ack.offset = answer.await?.offset;
        Ok(self.file.acked(&ack)?)
    }

    fn append_value(&mut self) -> Pending {
        let at = self.rng.usize(..self.channels.len());
        let bytes_max = if self.rng.u32(..LARGE_ONE_IN) == 0 { LARGE_BYTES_MAX } else { SMALL_BYTES_MAX };
        let fill = "x".repeat(self.rng.usize(..bytes_max));
        let stamp = Stamp { life: self.file.id, number: self.number, fill };
        let answer = Box::pin(self.channels[at].values.append_value(&stamp));
        Pending { ack: self.next_ack(at, Kind::Value), answer, _held: None }
    }

    async fn append_future(&mut self) -> Result<Pending, Error> {
        let at = self.rng.usize(..self.channels.len());
        let (future, result) = self.submit().await?;
        let kind = Kind::Future { key: future.key().clone(), result };
        let answer = Box::pin(self.channels[at].numbers.append(&future));
        self.last = Some((future.clone(), result));
        Ok(Pending { ack: self.next_ack(at, kind), answer, _held: Some(Box::new(future)) })
    }

    async fn append_large(&mut self) -> Result<Pending, Error> {
        let at = self.rng.usize(..self.channels.len());
        let (future, result) = self.submit_large().await?;
        let kind = Kind::Future { key: future.key().clone(), result };
        let answer = Box::pin(self.channels[at].large.append(&future));
        Ok(Pending { ack: self.next_ack(at, kind), answer, _held: Some(Box::new(future)) })
    }

    /// Submits a call that brings a large number, and says which. It goes on from the one before as a rule: when
    /// the result of one is lost and needed, those before it have to be computed anew, too.
    async fn submit_large(&mut self) -> Result<(TaskFuture<Large>, u64), Error> {
        let (number, pause_ms) = (self.rng.u64(..1 << 40), self.rng.u64(..TASK_MS_MAX));
        let (future, result) = match self.last_large.take() {
            Some((last, before)) if self.rng.u32(..CHAIN_ENDS_ONE_IN) > 0 => {
                let future = self.client.submit(tasks::large_sum, (&last, number, pause_ms)).await?;
                (future, before.wrapping_add(number))
            }
            _ => (self.client.submit(tasks::enlarge, (number,)).await?, number),
        };
        self.last_large = Some((future.clone(), result));
        Ok((future, result))
    }

    /// Submits a call, and says what its result must be.
    async fn submit(&mut self) -> Result<(TaskFuture<u64>, u64), Error> {
        let (number, pause_ms) = (self.rng.u64(..1 << 40), self.rng.u64(..TASK_MS_MAX));
        if self.rng.u32(..4) == 0 {
            let (large, before) = self.submit_large().await?;
            let future = self.client.submit(tasks::small_sum, (&large, number)).await?;
            return Ok((future, before.wrapping_add(number)));
        }
        match (self.rng.u32(..3), self.last.take()) {
            (0, _) => {
                self.shared_calls += 1;
                let future = self.client.submit(tasks::sum, (self.shared_calls, 1)).await?;
                Ok((future, self.shared_calls + 1))
            }
            (1, Some((last, result))) => {
                let future = self.client.submit(tasks::slow_sum, (&last, number, pause_ms)).await?;
                Ok((future, result.wrapping_add(number)))
            }
            _ => {
                let future = self.client.submit(tasks::slow_sum, (number, number, pause_ms)).await?;
                Ok((future, number.wrapping_add(number)))
            }
        }
    }

    /// Waits for the newest future: it must bring what its function gives.
    async fn look_at_the_last(&mut self) -> Result<(), Error> {
        let Some((future, expected)) = self.last.take() else { return Ok(()) };
        let result = (&future).await?;
        if result != expected {
            return Err(Error::msg(format!("{} brought {result}, not {expected}", future.key())));
        }
        Ok(())
    }

    /// Submits a call and waits for its result.
    pub async fn call_one(&mut self) -> Result<(), Error> {
        self.last = Some(self.submit().await?);
        self.look_at_the_last().await
    }

    fn next_ack(&mut self, at: usize, kind: Kind) -> Ack {
        let (number, channel) = (self.number, VALUES[at].to_owned());
        self.number += 1;
        // The offset is filled in when it is known.
        Ack { number, channel, offset: 0, kind }
    }
}

//! Supervised workers: processes of this same binary, each started anew when it dies. For `worker --supervise`, `up` and
//! `demo`.
//!
//! ```text
//!   supervisor ──stdin: the token, then a byte each time it is to stop──▶ worker
//!       ▲                                                                   │
//!       └─────────── exit code: in order, refused; all else: it died ◀──────┘
//! ```
//!
//! - A worker has its name for as long as it is supervised. So one that is started anew takes the place of the one that died,
//!   whose tasks go on at once, not after its lease.
//! - Its stdin ends when the supervisor does, in whatever way: then it stops, too.
//! - It is in a group of processes of its own: Ctrl-C, which goes to all processes of a terminal's group, comes to it
//!   from its supervisor alone. Where it comes to both ([`Signals`](super::signals::Signals)) it counts once.
//! - Its token is on no command line, where anyone could read it.

mod child;
mod pauses;
mod told;

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::child::Child;
use self::pauses::Pauses;
use crate::worker::FOREVER;

pub use self::child::Recipe;
pub use self::told::{end_with, token};

/// How long a worker that was told to stop may take: it waits up to 5 s for its goodbye to be read.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// How often one is told to stop until it is killed: to retire, to hand over, and no more.
const TOLD_MAX: u32 = 3;

/// How a worker came to be supervised no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It has left in order, or did not run when it was told to stop.
    InOrder,
    /// It was refused, or had to give up, and has said why: it would end so again.
    Refused,
    /// It died when it was told to stop.
    Died(String),
}

/// Worker processes, and those who keep them running.
#[derive(Debug)]
pub struct Supervised {
    /// How often they were told to stop.
    told: watch::Sender<u32>,
    keepers: JoinSet<(String, End)>,
}

impl Supervised {
    /// Starts them.
    pub async fn start(recipes: Vec<Recipe>) -> anyhow::Result<Supervised> {
        let (told, tells) = watch::channel(0);
        let mut keepers = JoinSet::new();
        for recipe in recipes {
            let child = Child::start(&recipe).await?;
            keepers.spawn(keep(recipe, child, tells.clone()));
        }
        Ok(Supervised { told, keepers })
    }

    /// Tells them to stop, if they were not told so often yet: once means to retire for their grace, twice to hand over at
    /// once, and three times that they are killed.
    pub fn tell(&self, times: u32) {
        self.told.send_if_modified(|told| {
            let is_news = times > *told;
            *told = times.max(*told);
            is_news
        });
    }

    /// Waits for the next that is supervised no more; `None`: there is none left. May be dropped without a loss.
    pub async fn ended(&mut self) -> Option<(String, End)> {
        let ended = self.keepers.join_next().await?;
        Some(ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
    }

    /// Says whose workers are not started again while others are. Never returns, and may be dropped without a loss.
    pub async fn note_ends<T>(&mut self) -> T {
        while let Some((worker, end)) = self.ended().await {
            match end {
                End::InOrder => tracing::warn!(worker, "has left in order: it is not started again"),
                End::Refused => tracing::error!(worker, "cannot go on, as it said: it is not started again"),
                End::Died(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Has them retire, and waits until they have ended. May be given up at any moment.
    pub async fn retire(&mut self) {
        self.tell(1);
        while self.ended().await.is_some() {}
    }

    /// Has them stop, and waits until they have ended; those that take too long are killed.
    pub async fn stop(mut self) {
        if timeout(STOP_TIMEOUT, self.retire()).await.is_err() {
            tracing::warn!(workers = self.keepers.len(), "they did not stop in time: killing them");
            self.tell(TOLD_MAX);
            self.retire().await;
        }
    }
}

/// Keeps a worker running until it ends for good, or is told to stop and has ended.
async fn keep(mut recipe: Recipe, mut child: Child, mut told: watch::Receiver<u32>) -> (String, End) {
    let (mut pauses, mut deaths) = (Pauses::default(), 0_u64);
    loop {
        let since = Instant::now();
        let ended = loop {
            tokio::select! {
                ended = child.ended() => break ended,
                Ok(()) = told.changed() => {
                    let times = *told.borrow_and_update();
                    child.tell(times).await;
                }
            }
        };
        let name = recipe.name.clone();
        let End::Died(how) = ended else { return (name, ended) };
        deaths += 1;
        if *told.borrow() > 0 {
            tracing::warn!(worker = name, deaths, "died while it was to stop: {how}");
            return (name, End::Died(how));
        }
        // Whoever was once started waits for as long as the scheduler is away.
        recipe.connect_timeout = FOREVER;
        child = loop {
            let pause = pauses.after(since.elapsed());
            tracing::warn!(worker = name, deaths, ?pause, "died: {how}: starting it again");
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = told.changed() => return (name, End::InOrder),
            }
            match Child::start(&recipe).await {
                Ok(child) => break child,
                Err(error) => tracing::error!(worker = name, error = format!("{error:#}"), "trying again"),
            }
        };
    }
}

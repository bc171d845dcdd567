//! What runs [`Subscription`]s: reads the log and hands pieces to the outbox. Those of a connection run in its session's task, so
//! that what is in memory goes to the socket without a hand-over between tasks; what may wait for a disk is read
//! elsewhere.
//!
//! Nothing is ever kept for a reader: a batch is read only when there is a place for it in the outbox.
//! So any number of subscriptions of a peer that takes nothing cost no more than that outbox.

use std::convert::Infallible;
use std::num::NonZero;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, AbortRegistration, Abortable};
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{Semaphore, mpsc, watch};

use super::outbox::Piece;
use super::subscription::{Step, Subscription};
use super::view::View;
use crate::log::reader::Reader;
use crate::protocol::LogId;
use crate::protocol::command::Rejection;
use crate::protocol::message::{Position, Reads, ServerMessage};
use crate::protocol::start::{Seen, Starts};

/// Most reads of the log that are going on for subscriptions at one time: half as many as there are cores, and at most
/// 16, since more would only make a disk seek. Each holds a thread, and with one for each reader of a long history
/// commands hardly have their turn: beside ten of them, on two cores, appends kept 0.31 to 0.38 of their rate with 16 reads
/// at one time, and 0.69 to 0.86 with one.
fn reads_at_once_max() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    (cores / 2).clamp(1, 16)
}

/// A way to the logs that all feeds share.
#[derive(Clone)]
pub(super) struct Source {
    reader: Reader,
    reads: Arc<Semaphore>,
}

impl Source {
    pub fn new(reader: Reader) -> Self {
        Source { reader, reads: Arc::new(Semaphore::new(reads_at_once_max())) }
    }

    /// How many subscriptions read a log.
    pub fn subscribers(&self, log: LogId) -> u64 {
        self.reader.followers(log) as u64
    }

    /// The starts that the store remembers.
    pub fn starts(&self) -> Starts {
        self.reader.starts()
    }

    /// The newest commit that is durable.
    pub fn newest(&self) -> Seen {
        let last = self.reader.last();
        self.reader.starts().seen(last.epoch, last.seq)
    }

    /// Reads on a thread that may wait for a disk. `None` when the runtime is going down.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.reads).acquire_owned().await.ok()?;
        let reader = self.reader.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&reader)
        });
        reading.await.ok()
    }
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The number that all messages of the subscription carry.
    pub number: u64,
    pub log: LogId,
    pub from: Position,
    pub credit_bytes: u64,
    pub reads: Reads,
}

/// A running subscription. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Feed {
    /// All credit that ever came after the first.
    credit_bytes: watch::Sender<u64>,
    abort: AbortHandle,
}

/// A subscription for [`run_all`].
#[derive(Debug)]
pub(super) struct Begun {
    wanted: Wanted,
    credit: watch::Receiver<u64>,
    abort: AbortRegistration,
}

impl Feed {
    /// What is wanted; it is sent by [`run_all`].
    pub fn begin(wanted: Wanted) -> (Feed, Begun) {
        let (credit_bytes, credit) = watch::channel(0);
        let (abort, registration) = AbortHandle::new_pair();
        (Feed { credit_bytes, abort }, Begun { wanted, credit, abort: registration })
    }

    /// Lets this many more bytes be sent.
    pub fn add_credit(&self, bytes: u64) {
        self.credit_bytes.send_modify(|all| *all = all.saturating_add(bytes));
    }

    /// Whether it has ended by itself, after a refusal.
    pub fn is_over(&self) -> bool {
        self.credit_bytes.is_closed()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// Runs the subscriptions of a connection, all that begin: sends what they bring to `pieces`. It does not end.
pub(super) async fn run_all(
    mut begun: mpsc::UnboundedReceiver<Box<Begun>>,
    source: Source,
    pieces: mpsc::Sender<Piece>,
) -> Infallible {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(begun) = begun.recv() => {
                let Begun { wanted, credit, abort } = *begun;
                let feed = run(wanted, source.clone(), credit, pieces.clone());
                running.push(Abortable::new(feed, abort));
            }
            // There is nobody left to tell when the outbox is gone.
            Some(_) = running.next() => {}
            else => std::future::pending().await,
        }
    }
}

/// Runs until the subscription is refused (`Some`) or whoever is to be told is gone (`None`).
async fn run(
    wanted: Wanted,
    source: Source,
    mut credit: watch::Receiver<u64>,
    pieces: mpsc::Sender<Piece>,
) -> Option<()> {
    let Wanted { number, log, from, credit_bytes, reads } = wanted;

    let slot = pieces.reserve().await.ok()?;
    let opened = source.read(move |reader| {
        let view = View::open(reader, from, reads)?;
        let (subscription, subscribed) = view.begin(reader, log, from, credit_bytes)?;
        Ok((view, subscription, subscribed))
    });
    let (view, mut subscription) = match opened.await? {
        Ok((view, subscription, subscribed)) => {
            slot.send(Piece { number, message: subscribed, batches: Vec::new() });
            (view, subscription)
        }
        Err(rejection) => {
            slot.send(refused(number, rejection));
            return Some(());
        }
    };
    let mut head = view.head(&source.reader, log);
    let mut credit_taken = 0;
    loop {
        // First the place, then the read: so there is never more read than there are places.
        let slot = pieces.clone().reserve_owned().await.ok()?;
        let credit_given = *credit.borrow_and_update();
        subscription.add_credit(credit_given - credit_taken);
        credit_taken = credit_given;
        let (stepped, wait) = send(subscription, number, slot, (&source, view)).await?;
        subscription = stepped;
        match wait {
            Wait::Slot => {}
            Wait::Credit => credit.changed().await.ok()?,
            // It looks at the head before it waits: a move after the last step's look is not missed.
            Wait::Head => drop(head.wait_for(|head| subscription.goes_on_at(*head)).await.ok()?),
            Wait::Over => return Some(()),
        }
    }
}

fn refused(number: u64, rejection: Rejection) -> Piece {
    Piece { number, message: ServerMessage::SubscriptionRefused(rejection), batches: Vec::new() }
}

/// What a subscription waits for.
enum Wait {
    Slot,
    Credit,
    Head,
    /// Nothing: it was refused.
    Over,
}

/// Sends what can be sent; on another thread if something is to be read that is not in memory.
async fn send(
    mut subscription: Subscription,
    number: u64,
    slot: OwnedPermit<Piece>,
    (source, view): (&Source, View),
) -> Option<(Subscription, Wait)> {
    let log = subscription.log();
    let reads = subscription.will_read(view.bounds(&source.reader, log));
    if reads && !view.is_at_hand(&source.reader, log, subscription.next_offset()) {
        let send = move |reader: &Reader| {
            let wait = step(&mut subscription, number, slot, (reader, view));
            (subscription, wait)
        };
        return source.read(send).await;
    }
    let wait = step(&mut subscription, number, slot, (&source.reader, view));
    Some((subscription, wait))
}

/// Steps, from one place on the way out to the next, until it has to wait.
fn step(
    subscription: &mut Subscription,
    number: u64,
    slot: OwnedPermit<Piece>,
    (reader, view): (&Reader, View),
) -> Wait {
    let log = subscription.log();
    let mut slot = slot;
    loop {
        let read = |from, bytes_max| view.read(reader, log, from, bytes_max);
        let step = subscription.step(view.bounds(reader, log), read);
        let pieces = match step {
            Ok(Step::Send(message, batches)) => slot.send(Piece { number, message, batches }),
            Ok(Step::WaitForCredit) => return Wait::Credit,
            Ok(Step::WaitForHead) => return Wait::Head,
            Err(rejection) => {
                slot.send(refused(number, rejection));
                return Wait::Over;
            }
        };
        slot = match pieces.try_reserve_owned() {
            Ok(slot) => slot,
            Err(_) => return Wait::Slot,
        };
    }
}

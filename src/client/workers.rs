//! Who the workers are, and how one is retired.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::error::{Error, Result};
use super::future::TaskFuture;
use super::handle::{Client, wrong_answer};
use super::reading::{Item, Offset};
use crate::protocol::channel::TASKS_CHANNEL;
use crate::protocol::command::{Answer, Command, Query, Rejection};
use crate::protocol::result::Replication;
use crate::protocol::session::{EndReason, Retire, WorkerStatus};
use crate::protocol::{ChannelName, Producer, TaskEvent};

/// How often a worker that retires is looked after while its end is waited for: a scheduler that restarted
/// before it heard of it has to be told again. 1 s, a moment beside what most tasks take.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long until it is asked for the first time how far others have come with copies of a result, and the longest
/// time between two such questions: a small one takes a few ms, a large one seconds.
const COPIES_LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How often a copy of a result is tried that cannot be made. Each worker has tried for some seconds then.
const COPY_TRIES: u32 = 3;

/// Most names that the refusal of an unknown one lists.
const NAMES_SHOWN_MAX: usize = 20;

impl Client {
    /// The workers in the order in which they joined, those that are away and waited for too, and what they
    /// run.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>> {
        let ask = |last: Option<&WorkerStatus>| {
            let after = last.map_or(Producer(0), |row| row.session);
            Query::Workers { after }
        };
        let rows = |answer| if let Answer::Workers(rows) = answer { Some(rows) } else { None };
        self.all_pages("the question for the workers", ask, rows).await
    }

    /// Retires a worker: it is given nothing more from here on, and leaves in order, at once with
    /// [`Retire::HandOver`], else when what it runs is done. This returns when the scheduler has taken note;
    /// [`Retirement::left`] waits for the end. A worker that is away hears of it when it comes back.
    ///
    /// ```no_run
    /// # async fn retire() -> headwater::Result<()> {
    /// use headwater::Client;
    /// use headwater::protocol::session::Retire;
    ///
    /// let client = Client::connect("127.0.0.1:8786").await?;
    /// client.retire_worker("rack-7", Retire::Finish).await?.left().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Rejection::UnknownWorker`], with the names there are.
    pub async fn retire_worker(&self, name: &str, retire: Retire) -> Result<Retirement> {
        let since = self.tasks_head().await?;
        let workers = self.workers().await?;
        let Some(worker) = workers.iter().find(|worker| &*worker.name == name).cloned() else {
            return Err(Rejection::UnknownWorker(unknown(name, &workers)).into());
        };
        let retirement = Retirement { client: self.clone(), worker, retire, since };
        retirement.tell().await?;
        Ok(retirement)
    }

    /// Has so many workers keep a result that is too large for the log, those included that keep it already: then it is
    /// lost, and computed anew, only when all of them are. Waits until so many do, or all that are there, and answers how many;
    /// a result that is in the log is as durable as the rest. It is of the moment: a copy that is lost later is not
    /// made anew. The result must be there: await the future before. A copy that cannot be made is tried
    /// three times.
    ///
    /// ```no_run
    /// # #[headwater::task] fn large() -> Vec<u8> { vec![0; 1_000_000] }
    /// # async fn replicate(client: headwater::Client) -> headwater::Result<()> {
    /// let future = client.submit(large, ()).await?;
    /// (&future).await?;
    /// client.replicate(&future, 2).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Rejected`] when the task has no result or is not known, with 0 copies or more than
    /// [`REPLICAS_MAX`](crate::protocol::limits::REPLICAS_MAX), or when the session is over; [`Error::Other`] when a copy could
    /// not be made.
    pub async fn replicate<T>(&self, future: &TaskFuture<T>, copies: u32) -> Result<Replication> {
        let task = future.id();
        let (mut pause, pause_max) = COPIES_LOOK;
        let (mut tries, mut most) = (0, 0);
        loop {
            match self.connection().command(Command::Replicate { task, copies }).await? {
                Answer::Replicated(replication) if replication.is_done() => return Ok(replication),
                // One more is made since, of these or of others.
                Answer::Replicated(Replication::Kept { by, .. }) if by > most => (tries, most) = (1, by),
                Answer::Replicated(Replication::Kept { by, wanted, under_way: false }) => {
                    if tries == COPY_TRIES {
                        return Err(Error::msg(format!(
                            "no further copy of the result of {} can be made: {by} of {wanted} workers keep it; \
                             look in the log lines of the others why, and whether they reach those (--results-at)",
                            future.key()
                        )));
                    }
                    tries += 1;
                }
                Answer::Replicated(_) => {}
                _ => return Err(wrong_answer("the wish for more copies")),
            }
            sleep(pause).await;
            pause = (2 * pause).min(pause_max);
        }
    }

    async fn tasks_head(&self) -> Result<u64> {
        let name = ChannelName::new(TASKS_CHANNEL)?;
        match self.query(Query::Channel { name }).await? {
            Answer::Channel(info) => Ok(info.head),
            _ => Err(wrong_answer("the question for the task log")),
        }
    }
}

fn unknown(name: &str, workers: &[WorkerStatus]) -> String {
    let names = workers.iter().take(NAMES_SHOWN_MAX).map(|worker| format!("`{}`", worker.name));
    let names = names.collect::<Vec<_>>().join(", ");
    match workers.len() {
        0 => format!("`{name}`: there is none at all"),
        count if count > NAMES_SHOWN_MAX => {
            format!("`{name}`: there are {names} and {} more", count - NAMES_SHOWN_MAX)
        }
        1 => format!("`{name}`: there is {names}"),
        _ => format!("`{name}`: there are {names}"),
    }
}

/// A worker that retires: [`Client::retire_worker`]. It goes on when this is dropped.
#[derive(Debug)]
pub struct Retirement {
    client: Client,
    worker: WorkerStatus,
    retire: Retire,
    /// The head of the task log before.
    since: u64,
}

impl Retirement {
    /// The worker, as it was before.
    pub fn worker(&self) -> &WorkerStatus {
        &self.worker
    }

    /// The worker as it is now, with what it still runs; `None` when it has left. If the scheduler has been
    /// restarted meanwhile and does not know that the worker retires, it is told again.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn status(&self) -> Result<Option<WorkerStatus>> {
        let worker = self.worker.session;
        let mut rows = match self.client.query(Query::Worker { worker }).await {
            Ok(Answer::Workers(rows)) => rows,
            Ok(_) => return Err(wrong_answer("the question for a worker")),
            Err(error) => return without(error),
        };
        let row = rows.pop();
        // A worker that remembers by itself that it retires may not have heard that it is to hand over.
        if row.as_ref().is_some_and(|row| !row.retiring || self.retire == Retire::HandOver)
            && let Err(error) = self.tell().await
        {
            return without(error);
        }
        Ok(row)
    }

    /// Waits until the worker has left, and answers how: [`EndReason::Left`] in order; after another one it is
    /// gone as well, and what it ran is started again elsewhere.
    ///
    /// # Errors
    /// When the session is over; when the record of its end is not in the task log any more.
    pub async fn left(&self) -> Result<EndReason> {
        let mut records = self.client.task_log(Offset::At(self.since));
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            let Ok(next) = timeout_at(look_at, records.next()).await else {
                self.status().await?;
                look_at = Instant::now() + LOOK_EVERY;
                continue;
            };
            match next.ok_or(Error::Stopped)?? {
                Item::Record(record) => {
                    if let TaskEvent::SessionEnded { producer, reason } = record.event
                        && producer == self.worker.session
                    {
                        return Ok(reason);
                    }
                }
                Item::CaughtUp { .. } => {}
                Item::Trimmed { .. } | Item::Damaged { .. } => {
                    if self.status().await?.is_none() {
                        return Err(Error::msg(format!(
                            "worker `{}` is gone, and the record of how is not in the task log any more",
                            self.worker.name
                        )));
                    }
                }
            }
        }
    }

    async fn tell(&self) -> Result<()> {
        let command = Command::RetireWorker { worker: self.worker.session, retire: self.retire };
        match self.client.connection().command(command).await? {
            Answer::Retiring => Ok(()),
            _ => Err(wrong_answer("a retirement")),
        }
    }
}

/// No worker, where that is what the error says.
fn without(error: Error) -> Result<Option<WorkerStatus>> {
    match error {
        Error::Rejected(Rejection::UnknownWorker(_)) => Ok(None),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fixture::{FakeServer, soon};
    use crate::protocol::equipment::Equipment;

    fn worker(n: u64) -> WorkerStatus {
        WorkerStatus {
            session: Producer(n),
            name: format!("w{n}").into(),
            slots: 1,
            running: 0,
            connected: true,
            retiring: false,
            results: 0,
            result_bytes: 0,
            runs: vec![],
            equipment: Equipment::default(),
            free: vec![],
        }
    }

    /// The row that a status brings, and the command that the scheduler gets for it.
    async fn looked_after(retire: Retire, retiring: bool) -> Option<Command> {
        let server = FakeServer::new().await;
        let (connection, mut peer) = server.connect().await;
        let retirement = Retirement { client: Client::over(connection), worker: worker(7), retire, since: 0 };
        let row = WorkerStatus { retiring, ..worker(7) };
        let scheduler = async {
            let (number, query) = peer.query().await;
            assert_eq!(query, Query::Worker { worker: Producer(7) });
            peer.answer(number, Answer::Workers(vec![row.clone()])).await;
            if retiring && retire == Retire::Finish {
                return None;
            }
            let (number, command) = peer.command().await;
            peer.answer(number, Answer::Retiring).await;
            Some(command)
        };
        let (status, told) = soon(async { tokio::join!(retirement.status(), scheduler) }).await;
        assert_eq!(status.unwrap(), Some(row.clone()));
        told
    }

    #[tokio::test]
    async fn a_scheduler_that_knows_nothing_of_a_retirement_is_told_again() {
        let told = |retire| Some(Command::RetireWorker { worker: Producer(7), retire });
        assert_eq!(looked_after(Retire::Finish, false).await, told(Retire::Finish));
        assert_eq!(looked_after(Retire::Finish, true).await, None);
        // The worker may have said by itself that it retires.
        assert_eq!(looked_after(Retire::HandOver, true).await, told(Retire::HandOver));
    }

    #[test]
    fn an_unknown_worker_comes_with_those_there_are() {
        assert_eq!(unknown("x", &[]), "`x`: there is none at all");
        assert_eq!(unknown("x", &[worker(1)]), "`x`: there is `w1`");
        assert_eq!(unknown("x", &[worker(1), worker(2)]), "`x`: there are `w1`, `w2`");
        let many: Vec<WorkerStatus> = (0..23).map(worker).collect();
        assert!(unknown("x", &many).ends_with("`w19` and 3 more"));
    }
}

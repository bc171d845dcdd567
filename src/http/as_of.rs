//! How it is, or how it was: the same questions, asked of the scheduler or of its logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::door::Door;
use super::problem::Problem;
use crate::client::{Client, Error};
use crate::log;
use crate::protocol::command::{Answer, Query};
use crate::rows::time::rfc3339;
use crate::scheduler::AsOf;

/// As of which place of the task log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct At {
    pub(super) at: Option<u64>,
}

/// Who is asked.
pub(super) enum Asked {
    /// The scheduler.
    Now(Client),
    /// Its logs, as of a place.
    Then(Arc<AsOf>),
}

/// Whoever waits for what is folded. When it is dropped, that is broken off.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Door {
    /// Who is to be asked: the scheduler, or what was just before an offset of its log.
    pub(super) async fn asked(&self, at: Option<u64>) -> Result<Asked, Problem> {
        let Some(at) = at else { return Ok(Asked::Now(self.client().await?)) };
        // Here, and not on a thread, of which there are no more than all readers and tasks of this process share.
        let turn = self.looks_back.clone().acquire_owned().await.expect("nobody closes it");
        let hindsight = self.hindsight.clone();
        let is_unwanted = Arc::new(AtomicBool::new(false));
        let _waits = Waits(is_unwanted.clone());
        let goes_on = move || match is_unwanted.load(Ordering::Relaxed) {
            true => Err(log::Error::Refused("nobody waits for it any more".to_owned())),
            false => Ok(()),
        };
        let told = spawn_blocking(move || {
            let _turn = turn;
            hindsight.before(at, &goes_on)
        });
        Ok(Asked::Then(told.await.map_err(Problem::internal)??))
    }
}

impl Asked {
    /// Asks.
    pub(super) async fn query(&self, query: Query) -> Result<Answer, Problem> {
        match self {
            Asked::Now(client) => Ok(client.query(query).await?),
            Asked::Then(as_of) => as_of.ask(query).map_err(|rejection| Error::from(rejection).into()),
        }
    }

    /// All rows of a listing, which is asked for page by page, behind the last row until none comes. `rows` takes them out of the
    /// right answer.
    pub(super) async fn all_pages<R>(
        &self,
        ask: impl Fn(Option<&R>) -> Query,
        rows: impl Fn(Answer) -> Option<Vec<R>>,
    ) -> Result<Vec<R>, Problem> {
        let mut all = Vec::new();
        loop {
            let page = rows(self.query(ask(all.last())).await?).ok_or_else(Problem::unanswered)?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Whether a record of the task log had happened.
    pub(super) fn knows(&self, offset: u64) -> bool {
        match self {
            Asked::Now(_) => true,
            Asked::Then(as_of) => offset < as_of.offset,
        }
    }

    /// What is answered, with as of when.
    pub(super) fn dated(&self, mut answer: Value) -> Value {
        if let Asked::Then(as_of) = self {
            answer["as_of"] =
                json!({ "offset": as_of.offset, "seq": as_of.seq, "time": as_of.time_ms.map(rfc3339) });
            if let Some(lost) = &as_of.lost {
                answer["as_of"]["lost"] = json!(lost);
            }
        }
        answer
    }
}

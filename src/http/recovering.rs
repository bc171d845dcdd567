//! What is asked while the scheduler recovers: it is waited for a little, and then told, so that nobody waits without a bound.
//!
//! What is read is begun at once, since the logs can be read meanwhile. What changes something is begun only once the scheduler
//! has recovered: who is told that it recovers shall know that nothing was done.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::{sleep, timeout};

use super::door::Door;
use super::problem::Problem;
use super::{assets, guard};
use crate::scheduler::Handle;

/// How long its end is waited for: 5 s, as most recoveries take less, and pages give up after 10.
const TIME_MAX: Duration = Duration::from_secs(5);

/// When to come again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Answers a request, or says that the scheduler recovers.
pub(super) async fn bounded(
    State(door): State<Arc<Door>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let path = request.uri().path();
    if guard::OPEN.contains(&path) || assets::has(path) {
        return Ok(next.run(request).await);
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    answer(&door.scheduler, is_read, next.run(request)).await
}

async fn answer<T>(scheduler: &Handle, is_read: bool, asked: impl Future<Output = T>) -> Result<T, Problem> {
    if scheduler.recovering().is_none() {
        return Ok(asked.await);
    }
    if !is_read {
        // Its end may come at the very moment at which it is not waited for any more.
        return match timeout(TIME_MAX, scheduler.recovered()).await {
            Ok(()) => Ok(asked.await),
            Err(_) => Err(told(scheduler)),
        };
    }
    let still_recovers = async {
        sleep(TIME_MAX).await;
        if scheduler.recovering().is_none() {
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        answer = asked => Ok(answer),
        () = still_recovers => Err(told(scheduler)),
    }
}

fn told(scheduler: &Handle) -> Problem {
    Problem::recovering(scheduler.recovering(), AGAIN_AFTER)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::response::IntoResponse;
    use tokio::sync::{mpsc, watch};
    use tokio::time::Instant;

    use super::*;
    use crate::protocol::start::RecoveryProgress;
    use crate::scheduler::Meters;
    use crate::scheduler::handle::Recovery;

    /// A scheduler that recovers until it is told `None`.
    fn recovering() -> (Handle, watch::Sender<Option<RecoveryProgress>>) {
        let (told, progress) = watch::channel(Some(RecoveryProgress::Records(7)));
        let recovery =
            Recovery { progress, names: watch::channel(Default::default()).1, stopping: Arc::default() };
        (Handle::new(mpsc::channel(1).0, recovery, Meters::default()), told)
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_recovers_nothing_is_waited_for_without_a_bound() {
        let (scheduler, told) = recovering();
        for is_read in [true, false] {
            let begun = Instant::now();
            let refused = answer(&scheduler, is_read, pending::<()>()).await.unwrap_err();
            assert_eq!(begun.elapsed(), TIME_MAX);
            assert!(refused.to_json()["error"]["message"].as_str().unwrap().contains("7 records are folded"));
            let refused = refused.into_response();
            assert_eq!(
                (refused.status().as_u16(), &refused.headers()["retry-after"]),
                (503, &"5".parse().unwrap())
            );
        }
        // What has an answer in the log has it at once; what changes something is not even begun.
        assert_eq!(answer(&scheduler, true, async { 1 }).await.unwrap(), 1);
        let mut is_begun = false;
        assert!(answer(&scheduler, false, async { is_begun = true }).await.is_err());
        assert!(!is_begun);
        // Once it is there, nothing is refused, however long it takes.
        for is_read in [true, false] {
            let (scheduler, told) = recovering();
            let asked = tokio::spawn(async move {
                answer(&scheduler, is_read, async { sleep(100 * TIME_MAX).await }).await
            });
            sleep(TIME_MAX / 2).await;
            told.send_replace(None);
            assert!(asked.await.unwrap().is_ok(), "{is_read}");
        }
        drop(told);
    }
}

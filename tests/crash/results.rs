//! What workers keep, while the scheduler is killed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headwater::protocol::equipment::Equipment;
use headwater::worker::{self, results};
use headwater::{Result, task};

use crate::cluster::Cluster;

static RUNS: AtomicU32 = AtomicU32::new(0);

#[task]
fn large(bytes: usize) -> String {
    RUNS.fetch_add(1, Ordering::SeqCst);
    "x".repeat(bytes)
}

#[task]
fn length(text: String) -> usize {
    text.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_keeps_counts_again_when_a_killed_scheduler_is_back() -> Result<()> {
    let mut cluster = Cluster::start();
    let client = cluster.client().await;
    let options = worker::Options {
        address: cluster.address.clone(),
        name: Some("keeper".to_owned()),
        slots: 1,
        token: None,
        connect_timeout: Duration::from_secs(10),
        results: results::Options { memory_bytes: 1_000_000, ..results::Options::default() },
        programs: None,
        equipment: Equipment::default(),
    };
    let working = tokio::spawn(worker::run(options, std::future::pending(), std::future::pending()));
    let mut futures = Vec::new();
    for n in 0..5 {
        futures.push(client.submit(large, (2_000_000 + n,)).await?);
    }
    for future in &futures {
        future.outcome().await?;
    }
    for _ in 0..2 {
        cluster.kill_scheduler();
        cluster.start_scheduler();
        for (n, future) in futures.iter().enumerate() {
            assert_eq!(future.await?.len(), 2_000_000 + n);
            assert_eq!(client.submit(length, (future,)).await?.await?, 2_000_000 + n);
        }
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), 5, "nothing was computed again");
    working.abort();
    Ok(())
}

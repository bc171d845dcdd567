//! SIGTERM of a scheduler that has much to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use headwater::Client;

use crate::cluster::Cluster;
use crate::process::soon;

/// How many clients append, how many values each, and how many of these it does not wait for.
const CLIENTS: u64 = 4;
const VALUES: u64 = 30_000;
const IN_FLIGHT: usize = 5_000;

/// How long a stop may take when a peer takes nothing: 5 s for the peer, and a busy machine.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Appends all values, thousands at a time, and answers the offset of each.
async fn append_all(client: Client, n: u64, acked: Arc<AtomicUsize>) -> Vec<(u64, u64)> {
    use headwater::StreamExt;
    let channel = client.channel::<u64>("load").await.unwrap();
    let appends = futures_util::stream::iter((0..VALUES).map(|value| n * VALUES + value)).map(|value| {
        let append = channel.append_value(&value);
        async move { (append.await.expect("it waits for the next scheduler").offset, value) }
    });
    let acked = appends.buffered(IN_FLIGHT).inspect(|_| {
        acked.fetch_add(1, Ordering::Relaxed);
    });
    acked.collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_before_a_stop_under_load_is_there_and_the_rest_goes_to_the_next_scheduler() {
    let mut cluster = Cluster::start().await;
    let worker = cluster.worker("one").await;
    let acked = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let client = Client::connect(&cluster.address).await.unwrap();
        clients.push(tokio::spawn(append_all(client, n, acked.clone())));
    }
    let all = (CLIENTS * VALUES) as usize;
    for stop in 1..=3 {
        let under_way = async {
            while acked.load(Ordering::Relaxed) < stop * all / 5 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon(under_way).await;
        let (scheduler, since) = (cluster.take_scheduler(), Instant::now());
        scheduler.signal("TERM").await;
        let ended = scheduler.end().await;
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
        assert!(since.elapsed() < STOP_MAX, "{:?}", since.elapsed());
        assert!(acked.load(Ordering::Relaxed) < all, "it was stopped under load");
        cluster.start_scheduler().await;
    }
    let mut there = Vec::new();
    for client in clients {
        there.extend(soon(client).await.unwrap());
    }
    there.sort_unstable();
    let client = Client::connect(&cluster.address).await.unwrap();
    let channel = client.channel::<u64>("load").await.unwrap();
    assert_eq!(channel.stop().await.unwrap(), CLIENTS * VALUES, "each value is there once");
    use headwater::StreamExt;
    let read: Vec<u64> = channel.values().map(|value| value.unwrap()).collect().await;
    let acked: Vec<u64> = there.iter().map(|(_, value)| *value).collect();
    assert!(there.iter().map(|(offset, _)| *offset).eq(0..CLIENTS * VALUES), "each has an offset of its own");
    assert_eq!(read, acked, "each is where its acknowledgement said");
    assert_eq!(worker.interrupt().await.code, Some(0), "a worker comes back by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_delays_a_stop_for_a_few_seconds() {
    let mut cluster = Cluster::start().await;
    cluster.run(&["channel", "append", "x", "1"]).await;
    let mut tail = cluster.spawn(&["channel", "tail", "x", "--follow"]);
    tail.line().await;
    tail.signal("STOP").await;
    let (mut scheduler, since) = (cluster.take_scheduler(), Instant::now());
    scheduler.signal("TERM").await;
    scheduler.said("stopping").await;
    let refused = cluster.run(&["channel", "list", "--connect-timeout", "1s"]).await.refusal();
    assert!(refused.starts_with("cannot connect to "), "nobody is let in any more: {refused}");
    let ended = scheduler.end().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert!(since.elapsed() < STOP_MAX, "{:?}", since.elapsed());
    // It takes it for a pause, and goes on.
    cluster.start_scheduler().await;
    tail.signal("CONT").await;
    cluster.run(&["channel", "append", "x", "2"]).await;
    while !tail.line().await.ends_with("appended   2") {}
    assert_eq!(tail.interrupt().await.lines(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_scheduler_at_once() {
    let mut cluster = Cluster::start().await;
    cluster.run(&["channel", "append", "x", "1"]).await;
    let mut tail = cluster.spawn(&["channel", "tail", "x", "--follow"]);
    tail.line().await;
    tail.signal("STOP").await;
    let mut scheduler = cluster.take_scheduler();
    scheduler.signal("TERM").await;
    scheduler.said("stopping").await;
    let since = Instant::now();
    scheduler.signal("TERM").await;
    let ended = scheduler.end().await;
    assert_eq!(ended.code, Some(1));
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    let last = ended.stderr.last().unwrap();
    assert_eq!(last, "error: interrupted while stopping in order: what was acknowledged is safe");
    cluster.start_scheduler().await;
    assert_eq!(cluster.run(&["channel", "append", "x", "2"]).await.only_line(), "1");
    tail.signal("CONT").await;
}

//! The scheduler's memory: what is on the disk takes none of it.

use std::collections::VecDeque;

use headwater::{Client, Offset};

use crate::cluster::Cluster;

/// Values of 50 kB, 256 MB in all.
const VALUES: usize = 5_120;
const VALUE_BYTES: usize = 50_000;

/// What a scheduler may take: 8 MiB of sled's page cache and 18 MiB before it is told to evict, 16 MiB of
/// newest batches, 16 MiB of sled's write buffers, 2 MB in flight, as much again for what comes and goes, and 32 MiB more
/// that jemalloc gives back within 10 s. (Seen: 111 MB where it gives back at once, else 147 to 169.) History would be 256 MB beside that.
const RSS_BYTES_MAX: u64 = 192 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_takes_no_memory_when_it_is_written_folded_and_read() {
    let mut cluster = Cluster::start().await;
    let client = Client::connect(&cluster.address).await.unwrap();
    let channel = client.channel::<String>("values").await.unwrap();
    let value = "x".repeat(VALUE_BYTES);
    let mut in_flight = VecDeque::new();
    for _ in 0..VALUES {
        in_flight.push_back(channel.append_value(&value));
        if in_flight.len() == 32 {
            in_flight.pop_front().unwrap().await.unwrap();
        }
    }
    for append in in_flight {
        append.await.unwrap();
    }
    let written = cluster.rss_bytes();
    assert!(written < RSS_BYTES_MAX, "{written} bytes after all was written");
    cluster.kill_scheduler().await;
    cluster.start_scheduler().await;
    let folded = cluster.rss_bytes();
    assert!(folded < RSS_BYTES_MAX, "{folded} bytes after a start");
    let mut values = channel.from(Offset::Start).values();
    for _ in 0..VALUES {
        assert_eq!(values.next().await.unwrap().unwrap().len(), VALUE_BYTES);
    }
    let read = cluster.rss_bytes();
    assert!(read < RSS_BYTES_MAX, "{read} bytes after all was read");
    eprintln!("RSS {written} {folded} {read}");
}

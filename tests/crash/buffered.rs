//! What is acknowledged as buffered, while the scheduler is killed: the system has it.

use std::time::Duration;

use headwater::{Durability, Result, StreamExt};

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_buffered_is_there_when_the_scheduler_is_killed() -> Result<()> {
    const ROUNDS: u64 = 3;
    const EACH: u64 = 100;
    let mut cluster = Cluster::start();
    let client = cluster.client().await;
    let buffered = Durability::buffered(Duration::from_secs(60));
    let channel = client.create_channel::<u64>("gauge", buffered).await?;
    for round in 0..ROUNDS {
        for n in 0..EACH {
            let ack = channel.append_value(&(round * EACH + n)).await?;
            // One whose answer was lost with the connection is answered again once it is on the disk.
            assert!(ack.durability == buffered || n == 0, "{ack:?}");
        }
        cluster.kill_scheduler();
        cluster.start_scheduler();
    }
    channel.flush().await?;
    channel.stop().await?;
    let values: Vec<u64> = channel.values().map(|value| value.expect("it is read")).collect().await;
    assert_eq!(values, (0..ROUNDS * EACH).collect::<Vec<_>>());
    client.close().await;
    Ok(())
}

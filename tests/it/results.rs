//! Results that are too large for the log, from end to end: a scheduler and workers over loopback. Each worker
//! has threads of its own, so that it can be killed: all that it has is gone then, and nobody is told goodbye.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwater::client::blob::Room;
use headwater::client::fetch::{Failure, fetch};
use headwater::local::{Local, Options, Store};
use headwater::protocol::channel::Progress;
use headwater::protocol::equipment::Equipment;
use headwater::protocol::result::{Located, Replication};
use headwater::protocol::session::{EndReason, Retire, WorkerStatus};
use headwater::protocol::task::TaskStatus;
use headwater::protocol::{ChannelEvent, Outcome, TaskEvent};
use headwater::scheduler::core::Settings;
use headwater::worker::{self, results};
use headwater::{Client, Item, Offset, Result, TaskFuture, blocking, task};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How often each task ran.
static RUNS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

fn ran(name: &str) -> u32 {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
}

fn run(name: String) {
    *RUNS.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
}

#[task]
fn large(name: String, bytes: usize) -> String {
    let text = expected(&name, bytes);
    run(name);
    text
}

#[task]
fn longer(name: String, text: String) -> String {
    let longer = format!("{text}{name}");
    run(name);
    longer
}

#[task]
fn length(text: String) -> usize {
    text.len()
}

/// What `large` brings: no two names, and no two places in it, have the same.
fn expected(name: &str, bytes: usize) -> String {
    let mut text: String = (0..bytes / 8).map(|at| format!("{at:08}")).collect();
    text.push_str(name);
    text
}

const LARGE: usize = 5_000_000;

async fn scheduler(store: Store, listen: &str) -> Local {
    let settings = Settings { worker_lease_ms: 3_000, client_lease_ms: 20_000, ..Settings::default() };
    Local::start(Options { listen: listen.to_owned(), store, settings, ..Options::default() }).await.unwrap()
}

/// A worker on threads of its own.
struct Worker(Option<Runtime>);

impl Worker {
    async fn start(local: &Local, name: &str, memory_bytes: u64) -> Self {
        Worker::with(local, name, results::Options { memory_bytes, ..results::Options::default() }).await
    }

    async fn with(local: &Local, name: &str, results: results::Options) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = worker::Options {
            address: local.address().to_string(),
            name: Some(name.to_owned()),
            slots: 2,
            token: None,
            connect_timeout: Duration::from_secs(10),
            results,
            programs: None,
            equipment: Equipment::default(),
        };
        let never = std::future::pending;
        runtime.spawn(worker::run(options, never(), never()));
        let client = Client::connect(local.address().to_string()).await.unwrap();
        let joined = async {
            while !client.workers().await.unwrap().iter().any(|row| &*row.name == name && row.connected) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(joined).await;
        client.close().await;
        Worker(Some(runtime))
    }

    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

async fn soon<F: IntoFuture>(work: F) -> F::Output {
    timeout(Duration::from_secs(30), work.into_future()).await.expect("it hangs")
}

async fn cluster(workers: &[&str]) -> (Local, Client, Vec<Worker>) {
    let local = scheduler(Store::Memory, "127.0.0.1:0").await;
    let mut started = Vec::new();
    for name in workers {
        started.push(Worker::start(&local, name, results::MEMORY_BYTES).await);
    }
    let client = Client::connect(local.address().to_string()).await.unwrap();
    (local, client, started)
}

async fn located<T>(future: &TaskFuture<T>) -> Located {
    match future.info().await.unwrap().outcome {
        Some(Outcome::Stored(located)) => located,
        other => panic!("{other:?}"),
    }
}

async fn row(client: &Client, name: &str) -> WorkerStatus {
    client.workers().await.unwrap().into_iter().find(|row| &*row.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_result_is_like_any_other_to_who_awaits_it() -> Result<()> {
    let (_local, client, _workers) = cluster(&["one"]).await;
    let future = client.submit(large, ("awaited".to_owned(), LARGE)).await?;
    assert_eq!(soon(&future).await?, expected("awaited", LARGE));
    assert_eq!(soon(&future).await?, expected("awaited", LARGE), "as often as one likes");
    assert_eq!(future.status().await?, TaskStatus::Finished);
    let Outcome::Finished(payload) = soon(future.outcome()).await? else { panic!("it was not fetched") };
    assert_eq!(payload.decode::<String>(), Ok(expected("awaited", LARGE)));
    let one = row(&client, "one").await;
    assert_eq!((one.results, one.result_bytes), (1, payload.bytes.len() as u64));
    assert_eq!(&*located(&future).await.holders[0].worker, "one");
    // One that just fits the log is in the log.
    let small = client.submit(large, ("small".to_owned(), 1000)).await?;
    assert_eq!(soon(&small).await?, expected("small", 1000));
    assert_eq!(row(&client, "one").await.results, 1);
    Ok(())
}

#[test]
fn synchronous_code_and_a_cluster_in_one_process_have_the_same() -> Result<()> {
    let client = blocking::Client::local()?;
    let future = client.submit(large, ("blocking".to_owned(), LARGE)).send()?;
    assert_eq!(future.wait()?, expected("blocking", LARGE));
    let length = client.submit(length, (&future,)).send()?;
    assert_eq!(length.wait()?, expected("blocking", LARGE).len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_the_schedulers_process_are_where_the_scheduler_is_reached() -> Result<()> {
    let (listen, insecure) = ("0.0.0.0:0".to_owned(), true);
    let local = Local::start(Options { listen, insecure, workers: 2, ..Options::default() }).await.unwrap();
    let client = Client::connect(format!("127.0.0.1:{}", local.address().port())).await?;
    let future = client.submit(large, ("beside".to_owned(), LARGE)).await?;
    assert_eq!(soon(&future).await?, expected("beside", LARGE));
    let address = located(&future).await.holders.remove(0).address;
    assert!(address.starts_with(':'), "{address} may mean nothing elsewhere");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_result_is_an_argument_on_its_own_worker_and_on_another() -> Result<()> {
    let (local, client, mut workers) = cluster(&["one"]).await;
    let text = client.submit(large, ("passed".to_owned(), LARGE)).await?;
    let here = client.submit(longer, ("-here".to_owned(), &text)).await?;
    assert_eq!(soon(here).await?, expected("passed", LARGE) + "-here");
    let two = Worker::start(&local, "two", results::MEMORY_BYTES).await;
    // The first one keeps it, and takes no more.
    client.retire_worker("one", Retire::Finish).await?;
    let there = client.submit(longer, ("-there".to_owned(), &text)).await?;
    assert_eq!(soon(&there).await?, expected("passed", LARGE) + "-there");
    assert_eq!(&*located(&there).await.holders[0].worker, "two");
    assert_eq!(ran("passed"), 1);
    workers.push(two);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_over_the_limit_of_memory_come_from_the_disk() -> Result<()> {
    let local = scheduler(Store::Memory, "127.0.0.1:0").await;
    let spill_dir = tempfile::tempdir().unwrap();
    let limits = results::Options {
        memory_bytes: 1_000_000,
        spill_dir: Some(spill_dir.path().into()),
        ..Default::default()
    };
    let _worker = Worker::with(&local, "one", limits).await;
    let client = Client::connect(local.address().to_string()).await?;
    let futures = futures_util::future::try_join_all(
        (0..4).map(|n| client.submit(large, (format!("disk-{n}"), LARGE)).into_future()),
    );
    let futures = futures.await?;
    for (n, future) in futures.iter().enumerate() {
        assert_eq!(soon(future).await?, expected(&format!("disk-{n}"), LARGE));
        let length = client.submit(length, (future,)).await?;
        assert_eq!(soon(length).await?, expected(&format!("disk-{n}"), LARGE).len());
    }
    // Files without a name: this process has them open.
    #[cfg(target_os = "linux")]
    {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        assert!(open.filter(|file| file.starts_with(spill_dir.path())).count() >= 3, "all but the newest");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_sees_what_is_stored_and_a_reader_gets_it() -> Result<()> {
    let (_local, client, _workers) = cluster(&["one"]).await;
    let channel = client.channel::<String>("texts").await?;
    let text = client.submit(large, ("channel".to_owned(), LARGE)).await?;
    channel.append(&text).await?;
    let described = {
        soon(text.outcome()).await?;
        located(&text).await.result
    };
    drop(text);
    let mut records = channel.records();
    let stored = async {
        while let Some(item) = records.next().await {
            let Item::Record(record) = item? else { continue };
            if let ChannelEvent::Progress { progress: Progress::Stored { result }, .. } = record.event {
                return Ok::<_, headwater::Error>(result);
            }
        }
        panic!("the channel ends")
    };
    assert_eq!(soon(stored).await?, described);
    channel.stop().await?;
    let mut futures = channel.from(Offset::Start).futures();
    let future = soon(futures.next()).await.unwrap()?;
    assert_eq!(soon(future).await?, expected("channel", LARGE));
    let statuses: Vec<TaskStatus> = channel.statuses().await?.into_iter().map(|entry| entry.status).collect();
    assert_eq!(statuses, [TaskStatus::Finished]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_with_its_worker_is_computed_again_as_far_back_as_it_takes() -> Result<()> {
    let (local, client, mut workers) = cluster(&["one"]).await;
    let first = client.submit(large, ("chain-1".to_owned(), LARGE)).await?;
    let second = client.submit(longer, ("chain-2".to_owned(), &first)).await?;
    let third = client.submit(longer, ("chain-3".to_owned(), &second)).await?;
    let unneeded = client.submit(large, ("chain-unneeded".to_owned(), LARGE)).await?;
    soon(unneeded.outcome()).await?;
    soon(third.outcome()).await?;
    // Only the last is needed: what it was computed from is known, and no more.
    drop((first, second, unneeded));
    let runs = || ["chain-1", "chain-2", "chain-3", "chain-unneeded"].map(ran);
    assert_eq!(runs(), [1, 1, 1, 1]);
    let _two = Worker::start(&local, "two", results::MEMORY_BYTES).await;
    workers.remove(0).kill();
    let value = soon(&third).await?;
    assert!(value == expected("chain-1", LARGE) + "chain-2chain-3", "{} bytes", value.len());
    assert_eq!(runs(), [2, 2, 2, 1]);
    assert_eq!(&*located(&third).await.holders[0].worker, "two");
    // The log tells what happened.
    let mut log = client.task_log(Offset::Start);
    let (mut lost, mut reopened) = (0, 0);
    while let Some(Ok(Item::Record(record))) = log.next().await {
        lost += u32::from(matches!(record.event, TaskEvent::Lost { .. }));
        reopened += u32::from(matches!(record.event, TaskEvent::Reopened { .. }));
    }
    assert!(lost >= 3 && reopened == 3, "{lost} lost, {reopened} reopened");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_several_keep_is_not_computed_anew_when_one_of_them_is_killed() -> Result<()> {
    // A lease longer than the test: what goes on without the first does not wait for its end.
    let settings = Settings { worker_lease_ms: 60_000, ..Settings::default() };
    let options = Options { listen: "127.0.0.1:0".to_owned(), settings, ..Options::default() };
    let local = Local::start(options).await.unwrap();
    let client = Client::connect(local.address().to_string()).await?;
    let mut workers = vec![Worker::start(&local, "one", results::MEMORY_BYTES).await];
    let future = client.submit(large, ("several".to_owned(), LARGE)).await?;
    soon(&future).await?;
    let alone = soon(client.replicate(&future, 2)).await?;
    assert!(matches!(alone, Replication::Kept { by: 1, wanted: 1, .. }), "there is no other: {alone:?}");
    workers.push(Worker::start(&local, "two", results::MEMORY_BYTES).await);
    workers.push(Worker::start(&local, "three", results::MEMORY_BYTES).await);
    let both = soon(client.replicate(&future, 2)).await?;
    assert!(matches!(both, Replication::Kept { by: 2, wanted: 2, .. }), "{both:?}");
    assert_eq!(located(&future).await.holders.len(), 2);
    workers.remove(0).kill();
    let gone = async {
        while row(&client, "one").await.connected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(gone).await;
    assert_eq!(located(&future).await.holders.len(), 1);
    // Whoever asks now has seen nothing of it before.
    let other = Client::connect(local.address().to_string()).await?;
    let again: TaskFuture<String> = other.future(future.key()).await?;
    assert_eq!(soon(&again).await?, expected("several", LARGE));
    assert_eq!(ran("several"), 1);

    let small = client.submit(length, ("four".to_owned(),)).await?;
    soon(&small).await?;
    assert_eq!(soon(client.replicate(&small, 2)).await?, Replication::InLog);
    let refused = soon(client.replicate(&future, 0)).await.unwrap_err().to_string();
    assert!(refused.contains("give from 1 to 64"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_retires_hands_its_results_over_and_nothing_is_computed_again() -> Result<()> {
    let (local, client, _workers) = cluster(&["one"]).await;
    let names: Vec<String> = (0..10).map(|n| format!("retired-{n}")).collect();
    let mut futures = Vec::new();
    for name in &names {
        futures.push(client.submit(large, (name.clone(), 200_000)).await?);
    }
    for future in &futures {
        soon(future.outcome()).await?;
    }
    let _two = Worker::start(&local, "two", 500_000).await;
    let retirement = client.retire_worker("one", Retire::Finish).await?;
    assert_eq!(soon(retirement.left()).await?, EndReason::Left);
    for (future, name) in futures.into_iter().zip(&names) {
        assert_eq!(&*located(&future).await.holders[0].worker, "two");
        assert_eq!(soon(future).await?, expected(name, 200_000));
        assert_eq!(ran(name), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_worker_may_retire_and_the_next_one_computes_what_is_needed() -> Result<()> {
    let (local, client, _workers) = cluster(&["one"]).await;
    let future = client.submit(large, ("alone".to_owned(), LARGE)).await?;
    soon(future.outcome()).await?;
    let retirement = client.retire_worker("one", Retire::Finish).await?;
    assert_eq!(soon(retirement.left()).await?, EndReason::Left);
    let _two = Worker::start(&local, "two", results::MEMORY_BYTES).await;
    assert_eq!(soon(future).await?, expected("alone", LARGE));
    assert_eq!(ran("alone"), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_nobody_needs_takes_no_room() -> Result<()> {
    let (local, client, _workers) = cluster(&["one"]).await;
    let future = client.submit(large, ("freed".to_owned(), LARGE)).await?;
    soon(future.outcome()).await?;
    let located = located(&future).await;
    let scheduler = local.address().to_string();
    assert!(fetch(&located, &scheduler, None, &Room::MEMORY).await.is_ok());
    drop(future);
    let freed = async {
        loop {
            match fetch(&located, &scheduler, None, &Room::MEMORY).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error.tried[0].1.clone(),
            }
        }
    };
    let failure = soon(freed).await;
    // It may just be given while it is freed.
    assert!(matches!(failure, Failure::Missing | Failure::Unreachable(_)), "{failure}");
    assert_eq!(row(&client, "one").await.results, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_restart_of_the_scheduler_what_workers_keep_counts_again() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::Directory(dir.path().to_owned());
    let local = scheduler(store.clone(), "127.0.0.1:0").await;
    let address = local.address().to_string();
    let _worker = Worker::start(&local, "one", results::MEMORY_BYTES).await;
    let client = Client::connect(address.as_str()).await?;
    let kept = client.submit(large, ("restart".to_owned(), LARGE)).await?;
    soon(kept.outcome()).await?;
    local.stop().await;
    let local = scheduler(store, &address).await;
    assert_eq!(soon(&kept).await?, expected("restart", LARGE));
    let length = client.submit(length, (&kept,)).await?;
    assert_eq!(soon(length).await?, expected("restart", LARGE).len());
    assert_eq!(ran("restart"), 1);
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_scattered_value_outlives_the_workers_and_the_scheduler() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::Directory(dir.path().to_owned());
    let local = scheduler(store.clone(), "127.0.0.1:0").await;
    let address = local.address().to_string();
    let client = Client::connect(address.as_str()).await?;
    // It is acknowledged though nobody is there to put it together.
    let value = expected("scattered", LARGE);
    let future = soon(client.scatter(&value)).await?;
    local.stop().await;
    let local = scheduler(store, &address).await;
    let first = Worker::start(&local, "first", results::MEMORY_BYTES).await;
    assert_eq!(soon(&future).await?, value);
    first.kill();
    let _second = Worker::start(&local, "second", results::MEMORY_BYTES).await;
    assert_eq!(soon(&future).await?, value);
    assert_eq!(&*located(&future).await.holders[0].worker, "second");
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some 10 GiB of memory and disk, and a minute"]
async fn two_gib_pass_from_task_to_task_through_a_worker_that_keeps_512_mib_in_memory() -> Result<()> {
    let local = scheduler(Store::Memory, "127.0.0.1:0").await;
    let _worker = Worker::start(&local, "one", 512 << 20).await;
    let client = Client::connect(local.address().to_string()).await?;
    let two_gib = client.submit(large, ("two".to_owned(), 2 << 30)).await?;
    let longer = client.submit(longer, ("more".to_owned(), &two_gib)).await?;
    let length = client.submit(length, (&longer,)).await?;
    // Places from 100,000,000 on have a digit more.
    let bytes = (2 << 30) + ((2 << 30) / 8 - 100_000_000) + "twomore".len();
    assert_eq!(timeout(Duration::from_secs(300), length.into_future()).await.expect("it hangs")?, bytes);
    assert_eq!(row(&client, "one").await.results, 2);
    Ok(())
}

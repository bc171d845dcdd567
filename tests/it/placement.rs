//! What tasks need of workers, and where they run, from end to end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headwater::local::{Local, Options};
use headwater::protocol::equipment::Equipment;
use headwater::protocol::task::TaskStatus;
use headwater::{Client, Context, Error, blocking, gather, task};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(20);

/// How many of them run, and how many did at most.
static RUNNING: AtomicU32 = AtomicU32::new(0);
static MOST: AtomicU32 = AtomicU32::new(0);

fn granted() -> String {
    let context = Context::current().expect("it runs as a task");
    context.grants().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[task]
async fn counted(_n: u32) -> String {
    let now = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
    MOST.fetch_max(now, Ordering::SeqCst);
    sleep(Duration::from_millis(20)).await;
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    granted()
}

#[task]
fn plain() -> String {
    granted()
}

async fn cluster() -> (Local, Client) {
    let resources = ["cpus=3", "gpus=[0,1]"].map(|text| text.parse().unwrap()).to_vec();
    let equipment = Equipment { host: "here".into(), labels: vec!["ssd".parse().unwrap()], resources };
    let options =
        Options { listen: "127.0.0.1:0".to_owned(), workers: 1, slots: 8, equipment, ..Options::default() };
    let local = Local::start(options).await.unwrap();
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    (local, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_than_there_are_resources_and_each_knows_what_it_has() {
    let (_local, client) = cluster().await;
    let mut futures = Vec::new();
    for n in 0..6 {
        futures.push(client.submit(counted, (n,)).needs("gpus=1").needs("cpus=0.5").await.unwrap());
    }
    let results = timeout(SOON, gather(&futures)).await.unwrap().unwrap();
    assert_eq!(MOST.load(Ordering::SeqCst), 2);
    let all = ["cpus=0.5 gpus=1 (0)", "cpus=0.5 gpus=1 (1)"];
    assert!(results.iter().all(|granted| all.contains(&granted.as_str())), "{results:?}");
    let nothing = client.submit(plain, ()).await.unwrap();
    assert_eq!(timeout(SOON, &nothing).await.unwrap().unwrap(), "");
    let chosen =
        client.submit(plain, ()).needs("cpus=1.5").on("label=ssd").prefers("host=there").await.unwrap();
    assert_eq!(timeout(SOON, &chosen).await.unwrap().unwrap(), "cpus=1.5");
    let worker = client.workers().await.unwrap().remove(0);
    let free: Vec<String> = worker.free.iter().map(ToString::to_string).collect();
    assert_eq!((worker.equipment.host.as_ref(), free), ("here", vec!["3".to_owned(), "2".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_needed_twice_is_refused() {
    let (_local, client) = cluster().await;
    for second in ["cpus=2", "cpus=1"] {
        let refused =
            client.submit(plain, ()).needs("cpus=1").needs("gpus=1").needs(second).await.unwrap_err();
        assert!(refused.to_string().ends_with("`cpus` is needed twice: say once how much"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_nobody_can_run_waits_and_says_why() {
    let (_local, client) = cluster().await;
    // The worker is there once it has run something.
    let nothing = client.submit(plain, ()).await.unwrap();
    timeout(SOON, &nothing).await.unwrap().unwrap();
    let future = client.submit(plain, ()).needs("gpus=3").await.unwrap();
    let why = client.explain(future.key()).await.unwrap();
    assert_eq!(why.status, TaskStatus::Pending);
    assert_eq!(why.because, "it waits for gpus=3: no connected worker that could run it offers more than 2");
    assert_eq!(
        (why.points[0].of.as_str(), why.points[0].words.as_str()),
        ("local-1", "has 2 of gpus, and 3 is needed")
    );
    let told = client.submit(plain, ()).needs("gpus").await.unwrap_err();
    assert!(matches!(&told, Error::BadEquipment(_)), "{told:?}");
    assert!(told.to_string().starts_with("`gpus`: give a resource and how much of it"), "{told}");
    let told = client.submit(plain, ()).on("here").await.unwrap_err();
    assert!(told.to_string().starts_with("`here` names no workers: give worker=NAME"), "{told}");
    let told = client.submit(plain, ()).needs("gpus=0").await.unwrap_err();
    assert_eq!(told.to_string(), "0 of `gpus` is nothing: give more, or leave it out");
}

#[test]
fn the_same_goes_without_async() {
    let client = blocking::Client::local().unwrap();
    let future = client.submit(plain, ()).needs("cpus=0.5").prefers("worker=nobody").send().unwrap();
    assert_eq!(future.wait().unwrap(), "cpus=0.5");
    let waits = client.submit(plain, ()).on("worker=nobody").send().unwrap();
    let why = client.explain(waits.key()).unwrap();
    assert!(why.because.contains("a worker that is worker=nobody"), "{why:?}");
}

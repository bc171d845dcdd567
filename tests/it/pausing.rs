//! Tasks that wait for others as clients: meanwhile they take neither their slot nor what they were granted, and both again
//! before they go on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwater::local::{Local, Options};
use headwater::protocol::equipment::Equipment;
use headwater::protocol::task::TaskStatus;
use headwater::{
    Client, Context, Error, Result, StreamExt, TaskFuture, as_completed, blocking, gather, gather_all,
    local_client, task, wait,
};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(30);

/// For each test, and each thing in it that may be had once: how many have it now, and how many did at most.
static TAKEN: Mutex<BTreeMap<(String, String), (u32, u32)>> = Mutex::new(BTreeMap::new());

/// Computes for a while: in a slot, and with what was granted.
fn compute(test: &str) {
    let context = Context::current().expect("it runs as a task");
    let mut things = vec!["slots".to_owned()];
    for grant in context.grants() {
        match grant.parts.as_slice() {
            [] => things.push(grant.resource.to_string()),
            parts => things.extend(parts.iter().map(|(part, _)| part.to_string())),
        }
    }
    let change = |by: i32| {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        for thing in &things {
            let (now, most) = taken.entry((test.to_owned(), thing.clone())).or_default();
            *now = now.strict_add_signed(by);
            *most = (*most).max(*now);
        }
    };
    change(1);
    std::thread::sleep(Duration::from_millis(3));
    change(-1);
}

/// The most of each thing that was taken at a time in a test.
fn most(test: &str) -> BTreeMap<String, u32> {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let of_test = taken.iter().filter(|((of, _), _)| of == test);
    of_test.map(|((_, thing), (_, most))| (thing.clone(), *most)).collect()
}

async fn cluster(slots: u32, resources: &[&str]) -> (Local, Client) {
    let resources = resources.iter().map(|text| text.parse().unwrap()).collect();
    let equipment = Equipment { host: "here".into(), labels: vec![], resources };
    let options =
        Options { listen: "127.0.0.1:0".to_owned(), workers: 1, slots, equipment, ..Options::default() };
    let local = Local::start(options).await.unwrap();
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    (local, client)
}

#[task]
fn part(test: String, n: u64) -> u64 {
    compute(&test);
    n
}

#[task]
async fn whole(test: String, to: u64) -> Result<u64> {
    let client = local_client().await?;
    compute(&test);
    let mut parts = Vec::new();
    for n in 0..to {
        parts.push(client.submit(part, (&test, n)).await?);
    }
    let parts = gather(&parts).await?;
    compute(&test);
    Ok(parts.into_iter().sum())
}

#[task]
async fn whole_as_they_come(test: String, to: u64) -> Result<u64> {
    let client = local_client().await?;
    let mut parts = Vec::new();
    for n in 0..to {
        parts.push(client.submit(part, (&test, n)).await?);
    }
    let (mut sum, mut ended) = (0, as_completed(&parts));
    while let Some(part) = ended.next().await {
        compute(&test);
        sum += part.result?;
    }
    Ok(sum)
}

#[task]
fn whole_blocking(test: String, to: u64) -> Result<u64> {
    let client = blocking::local_client()?;
    let parts = (0..to).map(|n| client.submit(part, (&test, n)).send()).collect::<Result<Vec<_>>>()?;
    let mut sum = 0;
    for part in &parts {
        sum += part.wait()?;
        compute(&test);
    }
    Ok(sum)
}

/// Submits each of the three kinds five times: more than there are slots.
async fn wholes(client: &Client, test: &str, need: Option<&str>) -> Vec<TaskFuture<u64>> {
    let mut futures = Vec::new();
    for to in 2..7 {
        let (whole, coming, blocking) = (
            client.submit(whole, (test, to)),
            client.submit(whole_as_they_come, (test, to)),
            client.submit(whole_blocking, (test, to)),
        );
        for submit in [whole, coming, blocking] {
            let submit = match need {
                Some(need) => submit.needs(need),
                None => submit,
            };
            futures.push(submit.await.unwrap());
        }
    }
    futures
}

fn check_sums(sums: &[u64]) {
    let expected: Vec<u64> = (2..7).map(|to| (0..to).sum()).collect();
    assert!(sums.chunks(3).zip(&expected).all(|(three, sum)| three == [*sum; 3]), "{sums:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_takes_no_slot_and_one_again_before_it_goes_on() {
    let (_local, client) = cluster(2, &[]).await;
    let futures = wholes(&client, "slots", None).await;
    check_sums(&timeout(SOON, gather(&futures)).await.expect("it ends").unwrap());
    assert_eq!(most("slots"), BTreeMap::from([("slots".to_owned(), 2)]), "no more than there are");
}

#[task]
async fn with_gpu(test: String, to: u64) -> Result<u64> {
    let client = local_client().await?;
    compute(&test);
    let mut parts = Vec::new();
    for n in 0..to {
        parts.push(client.submit(part, (&test, n)).needs("gpus=1").await?);
    }
    let granted = |context: Context| context.grants().to_vec();
    let before = Context::current().map(granted);
    let parts = gather(&parts).await?;
    compute(&test);
    assert_eq!(Context::current().map(granted), before);
    Ok(parts.into_iter().sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_has_none_of_what_it_was_granted_and_the_same_again_before_it_goes_on() {
    let (_local, client) = cluster(8, &["gpus=[left,right]"]).await;
    let mut futures = Vec::new();
    for to in 2..9 {
        futures.push(client.submit(with_gpu, ("gpus", to)).needs("gpus=1").await.unwrap());
    }
    let sums = timeout(SOON, gather(&futures)).await.expect("it ends").unwrap();
    assert_eq!(sums, (2..9).map(|to| (0..to).sum()).collect::<Vec<u64>>());
    let most = most("gpus");
    assert_eq!((most["left"], most["right"]), (1, 1), "{most:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_sum_is_had_twice() {
    let (_local, client) = cluster(8, &["cpus=2"]).await;
    let futures = wholes(&client, "cpus", Some("cpus=2")).await;
    check_sums(&timeout(SOON, gather(&futures)).await.expect("it ends").unwrap());
    assert_eq!(most("cpus")["cpus"], 1, "each takes all of it");
    let worker = client.workers().await.unwrap().remove(0);
    assert_eq!(worker.free[0].to_string(), "2");
}

#[task]
async fn keeps_its_slot(test: String) -> Result<bool> {
    let client = local_client().await?;
    let kept = Context::current().expect("it runs as a task").keep_slot();
    let part = client.submit(part, (test, 1)).await?;
    let told = part.timeout(Duration::from_millis(300)).await;
    drop(kept);
    Ok(matches!(told, Err(Error::TimedOut { .. })) && part.await? == 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_its_slot_keeps_it_while_it_waits() {
    let (_local, client) = cluster(1, &[]).await;
    let future = client.submit(keeps_its_slot, ("keeps",)).await.unwrap();
    assert!(timeout(SOON, future).await.expect("it ends").unwrap());
}

#[task]
async fn waits_in_what_it_spawned(test: String) -> Result<u64> {
    let client = local_client().await?;
    let part = client.submit(part, (test, 7)).await?;
    tokio::spawn(part.into_future()).await.map_err(Error::other)?
}

#[task]
async fn waits_for_the_first_record(name: String) -> Result<u64> {
    let client = local_client().await?;
    let mut values = client.channel::<u64>(&name).await?.values();
    let _later = client.submit(appends, (name,)).await?;
    values.next().await.ok_or_else(|| Error::msg("the channel ended"))?
}

#[task]
async fn appends(name: String) -> Result<()> {
    local_client().await?.channel::<u64>(&name).await?.append_value(&9).await?;
    Ok(())
}

#[task]
async fn ticks(test: String, ms: u64) -> Result<u64> {
    let client = local_client().await?;
    let part = client.submit(part, (test, 3)).await?;
    // As what goes on for ever and does something now and then: it never waits for the other one.
    while part.status().await? != TaskStatus::Finished {
        sleep(Duration::from_millis(ms)).await;
    }
    part.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_ticks_leaves_room_however_many_and_however_fast() {
    let (_local, client) = cluster(1, &[]).await;
    for (count, ms) in [(1, 20), (1, 200), (4, 100), (8, 40)] {
        let mut ticking = Vec::new();
        for _ in 0..count {
            ticking.push(client.submit(ticks, ("ticks", ms)).await.unwrap());
        }
        let ended = timeout(SOON, gather(&ticking)).await;
        assert_eq!(
            ended.unwrap_or_else(|_| panic!("{count} that tick every {ms} ms")).unwrap(),
            vec![3; count]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_and_for_whatever_others_do_a_task_waits_it_takes_no_slot() {
    let (_local, client) = cluster(1, &[]).await;
    let spawned = client.submit(waits_in_what_it_spawned, ("spawned",)).await.unwrap();
    assert_eq!(timeout(SOON, spawned).await.expect("it ends").unwrap(), 7);
    let reader = client.submit(waits_for_the_first_record, ("records",)).await.unwrap();
    assert_eq!(timeout(SOON, reader).await.expect("it ends").unwrap(), 9);
}

/// Its threads wait for the first and the last of a chain: the one goes on, and ends, long before the other is woken.
#[task]
fn waits_in_threads(test: String) -> Result<u64> {
    let client = blocking::local_client()?;
    let first = client.submit(part, (&test, 1)).send()?;
    let mut last = first.clone();
    for _ in 0..20 {
        last = client.submit(part_behind, (&test, &last)).send()?;
    }
    let threads = [first, last].map(|future| std::thread::spawn(move || future.wait()));
    let ended = threads.map(|thread| thread.join().map_err(|_| Error::msg("it panicked"))?);
    ended.into_iter().sum()
}

#[task]
fn part_behind(test: String, n: u64) -> u64 {
    part(test, n)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_ends_keeps_no_slot_from_what_another_waits_for() {
    let (_local, client) = cluster(1, &["gpu=[0]"]).await;
    for need in [None, Some("gpu=0.5")] {
        let waits = client.submit(waits_in_threads, ("threads",));
        let future = match need {
            Some(need) => waits.needs(need).await.unwrap(),
            None => waits.await.unwrap(),
        };
        assert_eq!(timeout(SOON, future).await.expect("it ends").unwrap(), 2);
    }
}

/// A permit for each that was told that the last of its row has run.
static LAST_HAS_RUN: Semaphore = Semaphore::const_new(0);

#[task]
async fn runs_beside_the_last() -> Result<()> {
    LAST_HAS_RUN.acquire().await.map_err(Error::other)?.forget();
    Ok(())
}

#[task]
fn runs_in_turn(is_last: bool) {
    if is_last {
        LAST_HAS_RUN.add_permits(1);
    }
}

#[task]
async fn waits_for_a_row(how: u32) -> Result<()> {
    let client = local_client().await?;
    let kept = Context::current().expect("it runs as a task").keep_slot();
    let mut row = vec![client.submit(runs_beside_the_last, ()).needs("cpus=1").await?];
    for n in 0..40 {
        row.push(client.submit(runs_in_turn, (n == 39,)).needs("cpus=1").await?);
    }
    drop(kept);
    match how {
        0 => drop(gather(&row).await?),
        1 => drop(gather_all(&row).await),
        _ => drop(wait(&row).timeout(SOON).await?),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_many_returns_for_all_of_them_at_once() {
    let (_local, client) = cluster(8, &["cpus=2"]).await;
    for how in 0..3 {
        // If it wanted all of them with each that ends, the others would not begin before the first is over.
        let future = client.submit(waits_for_a_row, (how,)).needs("cpus=2").await.unwrap();
        timeout(SOON, future).await.expect("it ends").unwrap();
    }
}

#[task]
fn is_refused(_n: u64) -> Result<u64> {
    Err(Error::msg("no"))
}

#[task]
async fn gathers_a_failure() -> Result<String> {
    let client = local_client().await?;
    let never = client.submit(stays, ()).await?;
    let fails = client.submit(is_refused, (1,)).await?;
    let error = gather(&[never.clone(), fails.clone()]).await.expect_err("it brings the first at once");
    never.cancel().await?;
    let all = gather_all(&[never, fails]).await;
    Ok(format!("{error} {}", all.iter().filter(|one| one.is_err()).count()))
}

#[task]
async fn stays() -> u64 {
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gathers_in_a_task_hears_the_first_error_at_once() {
    let (_local, client) = cluster(2, &[]).await;
    let future = client.submit(gathers_a_failure, ()).await.unwrap();
    let told = timeout(SOON, future).await.expect("it ends").unwrap();
    assert!(told.ends_with("no 2"), "{told}");
}

//! A store that went back: an older copy of it is put into its place while clients and workers are away.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use headwater::protocol::equipment::Equipment;
use headwater::protocol::message::Closing;
use headwater::{Client, Error, Item, Offset, task, worker};
use tokio::time::timeout;

use crate::engines::copy_dir;
use crate::local::start;

#[task]
fn doubled(number: i64) -> i64 {
    2 * number
}

/// A port that was free a moment ago.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn soon<F: IntoFuture>(work: F) -> F::Output {
    timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

/// The commits that an error names as gone.
#[track_caller]
fn regress(error: &Error) -> (u64, u64) {
    let Error::Closed(Closing::Regressed(regress)) = error else { panic!("{error}") };
    let words = error.to_string();
    assert!(words.starts_with("the store went back: ") && words.contains("connect again"), "{words}");
    (regress.from.0, regress.to.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_is_told_of_an_older_copy_and_nobody_takes_it_for_the_newer_one() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, copy) = (parent.path().join("data"), parent.path().join("copy"));
    let address = free_port();

    let local = start(&dir, &address).await;
    let client = Client::connect(&address).await.unwrap();
    let channel = client.channel::<i64>("numbers").await.unwrap();
    channel.append_values(&[1, 2, 3]).await.unwrap();
    local.stop().await;
    copy_dir(&dir, &copy);

    // The client goes on after the copy was made: it appends, and another one reads. A worker joins.
    let local = start(&dir, &address).await;
    assert_eq!(soon(channel.append_value(&4)).await.unwrap().offset, 3);
    let reader = Client::connect(&address).await.unwrap();
    let mut records = reader.channel::<i64>("numbers").await.unwrap().from(Offset::Start).records();
    for offset in 0..4 {
        let Some(Ok(Item::Record(record))) = soon(records.next()).await else { panic!() };
        assert_eq!(record.offset, offset);
    }
    let options = worker::Options {
        address: address.clone(),
        name: Some("one".to_owned()),
        slots: 1,
        token: None,
        results: worker::results::Options::default(),
        programs: None,
        equipment: Equipment::default(),
        connect_timeout: Duration::from_secs(10),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let working = tokio::spawn(worker::run(options, std::future::pending(), async { drop(stopped.await) }));
    assert_eq!(soon(client.submit(doubled, (1,)).await.unwrap()).await.unwrap(), 2);
    local.stop().await;
    fs::remove_dir_all(&dir).unwrap();
    copy_dir(&copy, &dir);

    let local = start(&dir, &address).await;
    assert_eq!(local.receipt().damage, None, "the copy is whole, and its head file says so");
    let copied = local.receipt().seq.0;
    let error = soon(channel.append_value(&5)).await.unwrap_err();
    let (from, to) = regress(&error);
    assert!(from == copied + 1 && to > from, "{from} to {to} of {copied}");
    let mut items = Vec::new();
    while let Some(item) = soon(records.next()).await {
        items.push(item);
    }
    let errors: Vec<&Error> = items.iter().filter_map(|item| item.as_ref().err()).collect();
    assert_eq!(errors.len(), 1, "{items:?}");
    regress(errors[0]);

    // Whoever connects anew finds what is there, and the worker does so by itself.
    let client = Client::connect(&address).await.unwrap();
    let channel = client.channel::<i64>("numbers").await.unwrap();
    assert_eq!(channel.append_value(&6).await.unwrap().offset, 3);
    assert_eq!(soon(client.submit(doubled, (4,)).await.unwrap()).await.unwrap(), 8);
    drop(stop);
    soon(working).await.unwrap().unwrap();
    local.stop().await;
}

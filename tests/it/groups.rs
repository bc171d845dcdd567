//! Groups from end to end: consumers that come and go share what is on a channel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater::client::{Error, group::DEAD_LETTER_HEADERS};
use headwater::local::{Local, Options};
use headwater::protocol::command::Rejection;
use headwater::{Client, Result, blocking, task};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::local::{start, values};

const SOON: Duration = Duration::from_secs(20);

/// Takes numbers until all are done with, and appends each to another channel in the same transaction.
fn work(address: String, window: u32) -> JoinHandle<Result<u64>> {
    tokio::spawn(async move {
        let client = Client::connect(address).await?;
        let (numbers, worked) =
            (client.channel::<u64>("numbers").await?, client.channel::<u64>("worked").await?);
        let group = numbers.group("workers")?.lease(Duration::from_millis(300)).window(window);
        let (mut member, mut count) = (group.join().await?, 0);
        while let Some(number) = member.next().await.transpose()? {
            let value = *number.value().expect("a number");
            let transaction = client.transaction().batch(worked.batch().value(&value)).done(&number);
            match transaction.commit().await {
                Ok(_) => count += 1,
                // It was too slow, and somebody else does it.
                Err(Error::Rejected(Rejection::LeaseOver { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_element_is_worked_on_once_whoever_is_killed_and_whoever_comes() -> Result<()> {
    const NUMBERS: u64 = 400;
    let dir = tempfile::tempdir()?;
    let mut local = start(dir.path(), "127.0.0.1:0").await;
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let numbers = client.channel::<u64>("numbers").await?;
    let mut workers: Vec<_> = (1..=3).map(|window| work(address.clone(), 4 * window)).collect();
    for number in 0..NUMBERS {
        numbers.append_value(&number).await?;
        if number % 50 == 25 {
            // Killed without a word, with whatever it had.
            workers.remove(0).abort();
            workers.push(work(address.clone(), 5));
        }
        if number == 200 {
            local.stop().await;
            local = start(dir.path(), &address).await;
        }
    }
    numbers.stop().await?;
    let mut counts = Vec::new();
    for worker in workers {
        counts.push(timeout(SOON, worker).await.expect("it comes to an end").expect("no panic")?);
    }
    let mut worked = values(&client.channel("worked").await?).await?;
    worked.sort_unstable();
    assert_eq!(worked, (0..NUMBERS).collect::<Vec<_>>(), "each once");
    assert!(counts.iter().filter(|count| **count > 0).count() > 1, "one did it all: {counts:?}");
    let groups = numbers.groups().await?;
    assert_eq!((groups.len(), groups[0].lag, groups[0].leased, groups[0].next), (1, 0, 0, NUMBERS));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_is_done_with_goes_to_the_dead_letters_after_so_many_attempts() -> Result<()> {
    let client = Client::local().await?;
    let letters = client.channel::<String>("letters").await?;
    letters.batch().value(&"bad".into()).header("by", "me").value(&"good".into()).append().await?;
    letters.stop().await?;
    let group = letters.group("readers")?.dead_letters("dead", 3);
    let mut member = group.join().await?;
    let mut attempts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    while let Some(letter) = timeout(SOON, member.next()).await.expect("it ends").transpose()? {
        let words = letter.value().expect("words").clone();
        attempts.entry(words.clone()).or_default().push(letter.attempt);
        match words.as_str() {
            "good" => letter.done().await?,
            _ => letter.give_back().await?,
        }
    }
    assert_eq!(attempts, BTreeMap::from([("bad".into(), vec![1, 2, 3]), ("good".into(), vec![1])]));
    let dead = client.channel::<String>("dead").await?;
    let mut records = dead.scan().records();
    let Some(Ok(headwater::Item::Record(record))) = records.next().await else { panic!("it is there") };
    let headers = record.headers().expect("it has some");
    let words: Vec<_> = DEAD_LETTER_HEADERS.iter().map(|key| headers.get(key)).collect();
    assert_eq!(words, [Some("letters"), Some("0"), Some("3")]);
    assert_eq!(headers.get("by"), Some("me"), "its own are kept");
    assert_eq!(dead.element(0).await?.value(), Some("bad".to_owned()));
    assert_eq!(dead.len().await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_another_type_is_said_and_put_among_the_dead_letters() -> Result<()> {
    let client = Client::local().await?;
    client.channel::<String>("mixed").await?.append_value(&"words".to_owned()).await?;
    let numbers = client.channel::<u64>("mixed").await?;
    numbers.append_value(&7).await?;
    numbers.stop().await?;
    let mut member = numbers.group("g")?.dead_letters("dead", 1).join().await?;
    let (mut errors, mut values) = (0, Vec::new());
    while let Some(number) = timeout(SOON, member.next()).await.expect("it ends") {
        match number {
            Ok(number) => {
                values.extend(number.value().copied());
                number.done().await?;
            }
            Err(error) => {
                assert!(matches!(error, Error::Decode { .. }), "{error}");
                errors += 1;
            }
        }
    }
    assert_eq!((errors, values), (1, vec![7]));
    assert_eq!(client.channel::<String>("dead").await?.element(0).await?.value(), Some("words".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_stuck_loses_what_it_has_and_what_waits_behind_it() -> Result<()> {
    let local = Local::start(Options { listen: "127.0.0.1:0".to_owned(), ..Options::default() })
        .await
        .expect("it starts");
    let address = local.address().to_string();
    let [stuck, other] = [Client::connect(&address).await?, Client::connect(&address).await?];
    let numbers = stuck.channel::<u64>("numbers").await?;
    numbers.append_values(&(0..10).collect::<Vec<_>>()).await?;
    numbers.stop().await?;
    let lease = Duration::from_millis(200);
    let mut first = numbers.group("g")?.lease(lease).join().await?;
    let held = first.next().await.expect("there is one")?;
    let mut second = other.channel::<u64>("numbers").await?.group("g")?.join().await?;
    let mut worked = BTreeSet::new();
    while let Some(number) = timeout(SOON, second.next()).await.expect("it ends").transpose()? {
        assert!(worked.insert(number.index), "twice");
        number.done().await?;
    }
    assert_eq!(worked, (0..10).collect());
    let error = held.done().await.unwrap_err();
    assert!(matches!(error, Error::Rejected(Rejection::LeaseOver { index: 0, .. })), "{error}");
    // It hears of the end, and nothing of what was not its any more.
    assert!(timeout(SOON, first.next()).await.expect("it ends").is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_extended_holds_and_so_does_what_waits_behind_a_member_that_goes_on() -> Result<()> {
    let client = Client::local().await?;
    let numbers = client.channel::<u64>("numbers").await?;
    numbers.append_values(&(0..6).collect::<Vec<_>>()).await?;
    numbers.stop().await?;
    let mut member = numbers.group("g")?.lease(Duration::from_millis(1_500)).join().await?;
    let first = member.next().await.expect("there is one")?;
    for _ in 0..6 {
        sleep(Duration::from_millis(300)).await;
        first.extend().await?;
    }
    first.done().await?;
    // Each takes a part of a lease, and all of them two.
    let mut attempts = vec![];
    while let Some(number) = timeout(SOON, member.next()).await.expect("it ends").transpose()? {
        attempts.push(number.attempt);
        sleep(Duration::from_millis(600)).await;
        number.done().await?;
    }
    assert_eq!(attempts, [1; 5]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_without_a_word_comes_again_and_holds_up_nothing() -> Result<()> {
    let client = Client::local().await?;
    let numbers = client.channel::<u64>("numbers").await?;
    numbers.append_values(&[0, 1]).await?;
    numbers.stop().await?;
    let mut member = numbers.group("g")?.lease(Duration::from_millis(300)).join().await?;
    drop(member.next().await.expect("there is one")?);
    let mut attempts = Vec::new();
    while let Some(number) = timeout(SOON, member.next()).await.expect("it ends").transpose()? {
        attempts.push((number.index, number.attempt));
        number.done().await?;
    }
    assert_eq!(attempts.last().map(|(index, _)| *index), Some(0), "{attempts:?}");
    assert!(attempts.last().is_some_and(|(_, attempt)| *attempt > 1), "{attempts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_work_that_is_extended_makes_no_dead_letters_of_what_waits_behind_it() -> Result<()> {
    let client = Client::local().await?;
    let numbers = client.channel::<u64>("numbers").await?;
    numbers.append_values(&(0..4).collect::<Vec<_>>()).await?;
    numbers.stop().await?;
    let group = numbers.group("g")?.lease(Duration::from_millis(600)).dead_letters("dead", 2);
    let mut member = group.join().await?;
    let first = member.next().await.expect("there is one")?;
    for _ in 0..30 {
        sleep(Duration::from_millis(100)).await;
        first.extend().await?;
    }
    first.done().await?;
    let mut attempts = vec![];
    while let Some(number) = timeout(SOON, member.next()).await.expect("it ends").transpose()? {
        attempts.push((number.index, number.attempt));
        number.done().await?;
    }
    assert_eq!(attempts, [(1, 1), (2, 1), (3, 1)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_until_it_was_anothers_is_not_brought() -> Result<()> {
    let local = Local::start(Options { listen: "127.0.0.1:0".to_owned(), ..Options::default() })
        .await
        .expect("it starts");
    let address = local.address().to_string();
    let [late, other] = [Client::connect(&address).await?, Client::connect(&address).await?];
    let numbers = late.channel::<u64>("numbers").await?;
    numbers.append_values(&(0..10).collect::<Vec<_>>()).await?;
    numbers.stop().await?;
    // It asks for nothing before all of it is done with.
    let mut first = numbers.group("g")?.lease(Duration::from_millis(300)).join().await?;
    while numbers.groups().await?[0].leased < 10 {
        sleep(Duration::from_millis(5)).await;
    }
    let mut second = other.channel::<u64>("numbers").await?.group("g")?.join().await?;
    while let Some(number) = timeout(SOON, second.next()).await.expect("it ends").transpose()? {
        number.done().await?;
    }
    let late = timeout(SOON, first.next()).await.expect("it ends").transpose()?;
    assert!(late.is_none(), "{late:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_trimmed_of_others_is_not_announced() -> Result<()> {
    let local = Local::start(Options { listen: "127.0.0.1:0".to_owned(), ..Options::default() })
        .await
        .expect("it starts");
    let address = local.address().to_string();
    let [one, other] = [Client::connect(&address).await?, Client::connect(&address).await?];
    let large = one.channel::<String>("large").await?;
    large.append_value(&"first".to_owned()).await?;
    let mut first = large.group("g")?.window(1).join().await?;
    let held = first.next().await.expect("there is one")?;
    // More than is sent ahead to somebody who does not read on.
    let value = "x".repeat(50_000);
    for _ in 0..200 {
        large.append_value(&value).await?;
    }
    let mut second = other.channel::<String>("large").await?.group("g")?.join().await?;
    for _ in 0..200 {
        timeout(SOON, second.next()).await.expect("it comes").expect("there is one")?.done().await?;
    }
    drop(second);
    while large.groups().await?[0].members.len() > 1 {
        sleep(Duration::from_millis(5)).await;
    }
    large.trim(200).await?;
    held.done().await?;
    large.append_value(&"last".to_owned()).await?;
    let last = timeout(SOON, first.next()).await.expect("it comes").expect("there is one")?;
    assert_eq!((last.index, last.attempt), (201, 1));
    Ok(())
}

#[task]
fn square(number: u64) -> u64 {
    number * number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_are_shared_like_values_and_what_is_trimmed_is_announced() -> Result<()> {
    let client = Client::local().await?;
    let squares = client.channel::<u64>("squares").await?;
    for number in 1..=4 {
        squares.append(&client.submit(square, (number,)).await?).await?;
    }
    let group = squares.group("g")?.window(2);
    let mut member = group.join().await?;
    let first = member.next().await.expect("there is one")?;
    let headwater::client::Element::Future(future) = &first.element else { panic!("a future") };
    assert_eq!(future.clone().await?, 1);
    first.done().await?;
    // What is leased and not read yet goes.
    let third = squares.element(2).await?;
    drop(third);
    let info = squares.clear().await?;
    squares.stop().await?;
    let mut gone = 0;
    while let Some(item) = timeout(SOON, member.next()).await.expect("it ends") {
        match item {
            Ok(delivery) => delivery.done().await?,
            Err(Error::Trimmed { first, .. }) => {
                assert!(first <= info.head);
                gone += 1;
            }
            Err(error) => return Err(error),
        }
    }
    assert!(gone <= 1, "{gone}");
    assert_eq!(squares.groups().await?[0].lag, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_group_is_said() -> Result<()> {
    let client = Client::local().await?;
    let numbers = client.channel::<u64>("numbers").await?;
    assert!(matches!(numbers.group("no spaces"), Err(Error::BadName(_))));
    let group = numbers.group("g")?;
    let told = |error: Error| error.to_string();
    let short = group.clone().lease(Duration::from_millis(1)).join().await.map(drop);
    assert!(told(short.unwrap_err()).contains("a lease of 1 ms: give one from 100 ms"));
    let dead = group.clone().dead_letters("not a name", 1).join().await.map(drop);
    assert!(matches!(dead, Err(Error::BadName(_))));
    let mut wide = group.clone().window(5_000).join().await?;
    assert!(told(wide.next().await.unwrap().unwrap_err()).contains("take from 1 to 4096"));
    assert!(wide.next().await.is_none());
    let mut member = group.join().await?;
    let mut twice = group.join().await?;
    assert!(told(twice.next().await.unwrap().unwrap_err()).contains("one client is one member"));
    // The first one goes on when the other is gone.
    drop(twice);
    let nothing = timeout(Duration::from_millis(300), member.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    group.delete().await?;
    let error = timeout(SOON, member.next()).await.expect("it is told").unwrap().unwrap_err();
    assert!(matches!(error, Error::Rejected(Rejection::UnknownGroup(_))), "{error}");
    assert!(member.next().await.is_none());
    // From the end there is nothing yet.
    numbers.append_value(&1).await?;
    let mut late = group.from_end().join().await?;
    numbers.append_value(&2).await?;
    let delivery = timeout(SOON, late.next()).await.expect("it comes").unwrap()?;
    assert_eq!((delivery.value(), delivery.index), (Some(&2), 1));
    Ok(())
}

#[test]
fn synchronous_code_has_groups() -> Result<()> {
    let client = blocking::Client::local()?;
    let numbers = client.channel::<u64>("numbers")?;
    for number in 0..5 {
        numbers.batch().value(&number).append()?;
    }
    numbers.stop()?;
    let doubled = client.channel::<u64>("doubled")?;
    let group = numbers.group("g")?.lease(Duration::from_secs(5)).window(2);
    let mut values = Vec::new();
    for delivery in group.join()? {
        let delivery = delivery?;
        let value = *delivery.value().expect("a number");
        values.push(value);
        match value {
            0 => delivery.done()?,
            _ => {
                let transaction = client.transaction().batch(doubled.batch().value(&(2 * value)));
                transaction.done(&delivery).commit()?;
            }
        }
    }
    assert_eq!(values, [0, 1, 2, 3, 4]);
    assert_eq!((doubled.len()?, numbers.groups()?[0].lag), (4, 0));
    group.delete()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_element_that_ends_its_members_takes_none_of_those_behind_it_to_the_dead_letters() -> Result<()> {
    let local = Local::start(Options { listen: "127.0.0.1:0".to_owned(), ..Options::default() })
        .await
        .expect("it starts");
    let address = local.address().to_string();
    let client = Client::connect(&address).await?;
    let letters = client.channel::<String>("letters").await?;
    let words = ["fine", "bad", "good", "better"].map(str::to_owned);
    letters.append_values(&words).await?;
    letters.stop().await?;
    let (mut tried, mut done) = (Vec::new(), Vec::new());
    // Each is gone with the bad one in its hands, and the good ones waiting behind it.
    'members: loop {
        let one = Client::connect(&address).await?;
        let group = one.channel::<String>("letters").await?.group("g")?.dead_letters("dead", 3);
        let mut member = group.join().await?;
        while let Some(letter) = timeout(SOON, member.next()).await.expect("it ends").transpose()? {
            let words = letter.value().expect("words").clone();
            if words == "bad" {
                tried.push(letter.attempt);
                assert!(tried.len() < 10, "it comes again and again");
                one.close().await;
                continue 'members;
            }
            done.push((words, letter.attempt));
            letter.done().await?;
        }
        break;
    }
    // What waited behind it counts as tried where it was leased first, and not once more.
    let good = [("fine", 1), ("good", 2), ("better", 2)].map(|(words, attempt)| (words.to_owned(), attempt));
    assert_eq!((done, tried), (good.to_vec(), vec![1, 2, 3]));
    let dead = client.channel::<String>("dead").await?;
    assert_eq!((dead.len().await?, dead.element(0).await?.value()), (1, Some("bad".to_owned())));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_takes_nothing_to_the_dead_letters_that_it_had_not_begun_with() -> Result<()> {
    let client = Client::local().await?;
    let numbers = client.channel::<u64>("numbers").await?;
    numbers.append_values(&[0, 1, 2]).await?;
    numbers.stop().await?;
    let group = numbers.group("g")?.dead_letters("dead", 1);
    let mut member = group.join().await?;
    member.next().await.expect("there is one")?.done().await?;
    let held = member.next().await.expect("there is one")?;
    drop(member);
    let mut member = group.join().await?;
    let mut brought = vec![];
    while let Some(number) = timeout(SOON, member.next()).await.expect("it ends").transpose()? {
        brought.push((number.index, number.attempt));
        number.done().await?;
    }
    assert_eq!(brought, [(2, 1)]);
    assert!(matches!(held.done().await, Err(Error::Rejected(Rejection::LeaseOver { index: 1, .. }))));
    // What it was at work on may have been done.
    assert_eq!(client.channel::<u64>("dead").await?.element(0).await?.value(), Some(1));
    Ok(())
}

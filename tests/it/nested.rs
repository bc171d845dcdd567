//! Futures inside arguments, from end to end.

use std::collections::{BTreeMap, HashMap};

use headwater::protocol::command::{Command, Rejection};
use headwater::protocol::limits::{ARGUMENTS_MAX, NESTED_DEPTH_MAX, PAYLOAD_BYTES_MAX};
use headwater::protocol::task::{Argument, ErrorKind, TaskError, TaskOptions};
use headwater::protocol::{Submission, TaskEvent, TaskId, TaskKey, Template, template};
use headwater::{Client, Error, Item, Offset, Result, TaskFuture, blocking, nested, task};
use serde::{Deserialize, Serialize};

#[task(pure)]
fn number(n: u32) -> f64 {
    f64::from(n)
}

#[task(pure)]
fn sum(all: Vec<f64>) -> f64 {
    all.iter().sum()
}

#[task]
fn sum_of_two(first: Vec<f64>, second: Vec<f64>) -> f64 {
    first.iter().sum::<f64>() - second.iter().sum::<f64>()
}

#[task]
async fn pair((a, b): (f64, f64), c: [f64; 2], d: Option<f64>) -> String {
    format!("{a} {b} {c:?} {d:?}")
}

#[task]
fn maps(sorted: BTreeMap<String, f64>, hashed: HashMap<u8, f64>, rows: Vec<Vec<f64>>) -> String {
    let mut hashed: Vec<_> = hashed.into_iter().collect();
    hashed.sort_by_key(|(key, _)| *key);
    format!("{sorted:?} {hashed:?} {rows:?}")
}

#[task]
fn large(n: u8) -> Vec<u8> {
    vec![n; 2 * PAYLOAD_BYTES_MAX]
}

#[task]
fn lengths(all: Vec<Vec<u8>>) -> Vec<(usize, u8)> {
    all.iter().map(|bytes| (bytes.len(), bytes[0])).collect()
}

#[task]
fn fails() -> Result<f64> {
    Err(Error::msg("disk on fire"))
}

/// With `f64` what a task gets, with futures what is passed for it.
#[derive(Debug, Serialize, Deserialize)]
struct Model<T> {
    name: String,
    rates: Vec<(u8, T)>,
    base: Option<T>,
    kind: Kind<T>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind<T> {
    Scaled { by: T },
    Plain,
}

#[task]
fn shown(model: Model<f64>) -> String {
    format!("{model:?}")
}

async fn numbers(client: &Client, count: u32) -> Result<Vec<TaskFuture<f64>>> {
    let calls: Vec<_> = (0..count).map(|n| client.submit(number, (n,)).into_future()).collect();
    futures_util::future::try_join_all(calls).await
}

async fn failed<T: serde::de::DeserializeOwned + std::fmt::Debug + 'static>(
    future: TaskFuture<T>,
) -> TaskError {
    match future.await {
        Err(Error::Task(error)) => *error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_of_futures_are_arguments() -> Result<()> {
    let client = Client::local().await?;
    let all = numbers(&client, 10).await?;
    assert_eq!(client.submit(sum, (&all,)).await?.await?, 45.0);
    assert_eq!(client.submit(sum, (all.clone(),)).await?.await?, 45.0);
    assert_eq!(client.submit(sum, (&all[7..],)).await?.await?, 24.0);
    assert_eq!(client.submit(sum, ([all[2].clone(), all[2].clone()],)).await?.await?, 4.0);
    assert_eq!(client.submit(sum, (Vec::<TaskFuture<f64>>::new(),)).await?.await?, 0.0);
    let [a, b, c] = [1, 2, 3].map(|n| all[n].clone());
    let call = client.submit(pair, ((a.clone(), b.clone()), [b.clone(), c.clone()], &Some(a.clone())));
    assert_eq!(call.await?.await?, "1 2 [2.0, 3.0] Some(1.0)");
    let call = client.submit(pair, ((a.clone(), 5.0), &[b.clone(), c.clone()], &None::<TaskFuture<f64>>));
    assert_eq!(call.await?.await?, "1 5 [2.0, 3.0] None");
    let call = client.submit(pair, ((5.0, c.clone()), [1.0, 2.0], None));
    assert_eq!(call.await?.await?, "5 3 [1.0, 2.0] None");
    let sorted = BTreeMap::from([("x".to_owned(), a.clone()), ("y".to_owned(), b.clone())]);
    let hashed = HashMap::from([(7, a.clone()), (8, c.clone())]);
    let call = client.submit(maps, (sorted, &hashed, vec![vec![a, b], vec![], vec![c]]));
    let expected = r#"{"x": 1.0, "y": 2.0} [(7, 1.0), (8, 3.0)] [[1.0, 2.0], [], [3.0]]"#;
    assert_eq!(call.await?.await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn structs_hold_futures_and_what_does_not_fit_is_named() -> Result<()> {
    let client = Client::local().await?;
    let all = numbers(&client, 4).await?;
    let model = Model {
        name: "m".to_owned(),
        rates: vec![(1, all[1].clone()), (2, all[2].clone())],
        base: Some(all[3].clone()),
        kind: Kind::Scaled { by: all[1].clone() },
    };
    let told = client.submit(shown, (nested(&model),)).await?.await?;
    let expected =
        r#"Model { name: "m", rates: [(1, 1.0), (2, 2.0)], base: Some(3.0), kind: Scaled { by: 1.0 } }"#;
    assert_eq!(told, expected);
    let plain = Model::<f64> { name: "m".to_owned(), rates: vec![], base: None, kind: Kind::Plain };
    assert!(client.submit(shown, (plain,)).await?.await?.ends_with("kind: Plain }"));
    // What does not fit is seen where it is run, with the field's name.
    let text: TaskFuture<String> = client.submit(shown, (nested(&model),)).await?;
    let wrong = Model { name: "m".to_owned(), rates: vec![], base: Some(text), kind: Kind::Plain };
    let error = failed(client.submit(shown, (nested(&wrong),)).await?).await;
    assert_eq!(error.kind, ErrorKind::BadArguments);
    assert!(error.message.starts_with("argument 1 of shown: "), "{error}");
    #[derive(Serialize)]
    struct Other {
        title: TaskFuture<f64>,
    }
    let error = failed(client.submit(shown, (nested(&Other { title: all[0].clone() }),)).await?).await;
    assert!(error.message.contains("missing field `name`"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_results_are_fetched_into_their_places() -> Result<()> {
    let client = Client::local().await?;
    let small = client.scatter(&vec![7u8]).await?;
    let all = vec![client.submit(large, (1,)).await?, small, client.submit(large, (2,)).await?];
    let size = 2 * PAYLOAD_BYTES_MAX;
    assert_eq!(client.submit(lengths, (all,)).await?.await?, [(size, 1), (1, 7), (size, 2)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_futures_are_one_argument() -> Result<()> {
    let client = Client::local().await?;
    let all = numbers(&client, 10_000).await?;
    let total = client.submit(sum, (&all,)).await?;
    assert_eq!((&total).await?, 49_995_000.0);
    // The lists are pure as the call is: the same lists are the same call.
    assert_eq!(client.submit(sum, (&all,)).await?.key(), total.key());
    assert_ne!(client.submit(sum, (&all[1..],)).await?.key(), total.key());
    // Nobody keeps the lists when the call has its result.
    let lists = client.task_log(Offset::Start);
    let (mut made, mut forgotten, mut records) = (0, 0, lists);
    let mut keys = std::collections::HashSet::new();
    while let Some(item) = records.next().await {
        match item? {
            Item::Record(record) => match record.event {
                TaskEvent::Submitted { submission, .. } if &*submission.function == "list" => {
                    assert!(submission.arguments.len() <= ARGUMENTS_MAX);
                    made += usize::from(keys.insert(submission.key.id));
                }
                TaskEvent::Forgotten { task } => forgotten += usize::from(keys.remove(&task)),
                _ => {}
            },
            Item::CaughtUp { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(made >= 161 && forgotten >= 161, "{made} lists, {forgotten} forgotten");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_a_long_list_is_told_from_its_root() -> Result<()> {
    let client = Client::local().await?;
    let mut all = numbers(&client, 100).await?;
    all[70] = client.submit(fails, ()).await?;
    let error = failed(client.submit(sum, (&all,)).await?).await;
    assert_eq!((error.kind, &*error.message), (ErrorKind::Dependency, "disk on fire"));
    let path: Vec<&str> = error.path.iter().map(|key| &*key.label).collect();
    assert_eq!(path, ["list", "list", "fails"]);
    assert_eq!(error.path.last().map(|key| key.id), Some(all[70].id()));
    // Many arguments with few futures each are put together, too.
    let numbers = numbers(&client, 100).await?;
    let call = client.submit(sum_of_two, (&numbers[..40], &numbers[40..80]));
    assert_eq!(call.await?.await?, 780.0 - 2380.0);
    // What cannot be says what to do.
    let map: BTreeMap<usize, TaskFuture<f64>> = numbers.into_iter().enumerate().collect();
    let error = client.submit(shown, (nested(&map),)).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the number of futures in all arguments is 100, over the limit of 64: pass"),
        "{error}"
    );
    Ok(())
}

/// A submission of a template, as a client might send it that is not ours.
fn submission(template: Template) -> Submission {
    Submission {
        key: TaskKey::unique("sum", uuid()),
        function: "rust:it::nested::sum".into(),
        version: 1,
        arguments: vec![Argument::Nested(template)],
        options: TaskOptions::default(),
    }
}

fn uuid() -> [u8; 16] {
    fastrand::u128(..).to_be_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_takes_no_template_that_makes_no_sense() -> Result<()> {
    let client = Client::local().await?;
    let known = client.submit(number, (1,)).await?;
    let hole = |task| {
        let mut bytes = vec![0x91];
        template::add_hole(&mut bytes, task);
        bytes
    };
    let deep = [vec![0x91; NESTED_DEPTH_MAX], hole(known.id())].concat();
    let unknown = TaskId([0xee; 16]);
    let mut short = hole(known.id());
    short.pop();
    for (bytes, told) in [
        (short, "argument 1 has futures inside, and is no MessagePack: it ends too early, after 18 bytes"),
        ([hole(known.id()), vec![1]].concat(), "the value ends at byte 19, and more follows"),
        (deep, "arrays and maps are in each other more than 128 deep at byte 128"),
        (hole(unknown), "is not known"),
    ] {
        let refused = client.connection().command(Command::Submit(submission(Template::new(bytes)))).await;
        let Err(Error::Rejected(rejection)) = refused else { panic!("{refused:?}") };
        assert!(rejection.to_string().contains(told), "{rejection}");
    }
    let many = [vec![0xdc, 0, 65], hole(known.id())[1..].repeat(65)].concat();
    let refused = client.connection().command(Command::Submit(submission(Template::new(many)))).await;
    let told = refused.unwrap_err().to_string();
    assert!(
        told.starts_with("the number of futures in all arguments is 65, over the limit of 64: "),
        "{told}"
    );
    let deep = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let error = client.submit(sum, (nested(&(&known, deep)),)).await.unwrap_err().to_string();
    assert!(error.starts_with("argument 1 cannot be encoded: arrays and maps are in each other"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_are_kept_until_the_call_is_taken_and_no_longer() -> Result<()> {
    let client = Client::local().await?;
    let all = numbers(&client, 3).await?;
    let ids: Vec<TaskKey> = all.iter().map(|future| future.key().clone()).collect();
    let total = client.submit(sum, (all,)).await?;
    assert_eq!((&total).await?, 3.0);
    client.flush().await?;
    for key in ids {
        let found = client.future::<f64>(&key).await;
        assert!(matches!(found, Err(Error::Rejected(Rejection::UnknownTask(_)))), "{key} is kept: {found:?}");
    }
    Ok(())
}

#[test]
fn the_same_goes_for_code_that_is_not_async() -> Result<()> {
    let client = blocking::Client::local()?;
    let three = client.scatter(&3.0).key("three").send()?;
    assert_eq!((three.wait()?, three.key().clone()), (3.0, TaskKey::named("three")));
    let four = client.submit(number, (4,)).send()?;
    assert_eq!(client.submit(sum, (vec![three.clone(), four.clone()],)).send()?.wait()?, 7.0);
    let model =
        Model { name: "b".to_owned(), rates: vec![(1, three)], base: None, kind: Kind::Scaled { by: four } };
    let told = client.submit(shown, (nested(&model),)).send()?.wait()?;
    assert_eq!(told, r#"Model { name: "b", rates: [(1, 3.0)], base: None, kind: Scaled { by: 4.0 } }"#);
    Ok(())
}

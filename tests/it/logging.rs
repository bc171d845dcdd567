//! What tasks write into their logs comes with their errors.

use std::time::Duration;

use headwater::cli::TaskLogs;
use headwater::local::{Local, Options};
use headwater::protocol::task::{ErrorKind, TaskError};
use headwater::{Client, Context, Error, Result, TaskFuture, task};
use tokio::time::{sleep, timeout};
use tracing_subscriber::layer::SubscriberExt;

const SOON: Duration = Duration::from_secs(20);

#[task]
async fn says_and_fails(number: u64) -> Result<u64> {
    for step in 0..3 {
        tracing::info!(step, "{number} goes on");
        tokio::task::yield_now().await;
    }
    tracing::debug!("{number} is not told");
    Context::current().expect("it runs as a task").log(&format!("{number} ends"));
    Err(Error::msg("no luck"))
}

#[task]
fn says_and_panics(number: u64) -> u64 {
    tracing::warn!("{number} is large");
    panic!("too large");
}

#[task]
async fn says_and_hangs(number: u64) -> u64 {
    tracing::info!("{number} waits");
    sleep(SOON).await;
    number
}

#[task]
fn says_and_blocks(number: u64) -> u64 {
    tracing::info!("{number} blocks");
    let context = Context::current().expect("it runs as a task");
    while !context.is_cancelled() {
        std::thread::sleep(Duration::from_millis(5));
    }
    number
}

#[task]
fn says_much() -> Result<()> {
    (0..100).for_each(|n| tracing::error!("line {n}"));
    Err(Error::msg("enough"))
}

#[task]
fn fails_in_silence() -> Result<()> {
    Err(Error::msg("quiet"))
}

async fn error_of<T: serde::de::DeserializeOwned + 'static>(future: TaskFuture<T>) -> TaskError {
    match timeout(SOON, future.into_future()).await.expect("it ends") {
        Err(Error::Task(error)) => *error,
        other => panic!("{:?}", other.map(drop)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_comes_with_the_end_of_its_attempts_log_and_of_no_other() {
    // Whichever test of this process comes first.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(TaskLogs));
    let options = Options { listen: "127.0.0.1:0".to_owned(), workers: 1, slots: 8, ..Options::default() };
    let local = Local::start(options).await.unwrap();
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    let mut failing = Vec::new();
    for number in 0..50_u64 {
        failing.push(client.submit(says_and_fails, (number,)).await.unwrap());
    }
    let target = "INFO it::logging: ";
    for (number, future) in failing.into_iter().enumerate() {
        let lines: Vec<String> = (0..3).map(|step| format!("{target}{number} goes on step={step}")).collect();
        let log = format!("its log ends with:\n{}\n{number} ends", lines.join("\n"));
        assert_eq!(error_of(future).await.causes, [log]);
    }
    let panics = error_of(client.submit(says_and_panics, (7,)).await.unwrap()).await;
    assert_eq!(
        (panics.kind, panics.causes),
        (ErrorKind::Panicked, vec!["its log ends with:\nWARN it::logging: 7 is large".to_owned()])
    );
    let short = Duration::from_millis(300);
    let hangs = client.submit(says_and_hangs, (8,)).timeout(short).await.unwrap();
    let blocks = client.submit(says_and_blocks, (9,)).timeout(short).await.unwrap();
    for (future, line) in [(hangs, "8 waits"), (blocks, "9 blocks")] {
        let error = error_of(future).await;
        let log = format!("its log ends with:\n{target}{line}");
        assert_eq!((error.kind, error.causes), (ErrorKind::TimedOut, vec![log]));
    }
    let much = error_of(client.submit(says_much, ()).await.unwrap()).await;
    let newest: Vec<String> = (80..100).map(|n| format!("ERROR it::logging: line {n}")).collect();
    assert_eq!(much.causes, [format!("its log ends with:\n{}", newest.join("\n"))]);
    assert_eq!(
        error_of(client.submit(fails_in_silence, ()).await.unwrap()).await.causes,
        Vec::<String>::new()
    );
}

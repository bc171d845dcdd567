//! Bad input: each is refused with words that say what to do, harms nobody else, and loses nothing.

use headwater::client::Record;
use headwater::local::{Local, Options};
use headwater::protocol::channel::Progress;
use headwater::protocol::frame::{self, FrameReader, PREAMBLE_BYTES};
use headwater::protocol::limits::FRAME_BYTES_MAX;
use headwater::protocol::message::{ClientMessage, Hello, ServerMessage};
use headwater::protocol::session::Role;
use headwater::protocol::version::WIRE_VERSION;
use headwater::protocol::{ChannelEvent, SessionId, TaskError};
use headwater::{Channel, Client, Error, Item, Offset, Result, local_client, task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{add, number};

#[task]
fn fails() -> Result<f64> {
    let spark = std::io::Error::other("a spark");
    Err(Error::other(std::io::Error::other(Outer(spark))))
}

#[derive(Debug)]
struct Outer(std::io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("disk on fire")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[task]
async fn panics(list: Vec<f64>) -> f64 {
    list[list.len()]
}

#[task]
fn large_error() -> Result<f64> {
    Err(headwater::Error::msg("x".repeat(100_000)))
}

fn not_a_task() -> f64 {
    0.0
}

/// The error of the newest failure that a channel tells of.
async fn last_failure(channel: &Channel<f64>) -> Result<Box<TaskError>> {
    let (mut records, mut last) = (channel.records(), None);
    while let Some(item) = records.next().await {
        match item? {
            Item::Record(Record {
                event: ChannelEvent::Progress { progress: Progress::Failed { error }, .. },
                ..
            }) => {
                last = Some(error);
            }
            Item::CaughtUp { .. } => break,
            _ => {}
        }
    }
    Ok(last.expect("a failure"))
}

fn said<T>(result: Result<T>) -> String {
    result.err().expect("it is refused").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_is_no_task_is_refused_with_the_names_of_those_that_are() -> Result<()> {
    let client = Client::local().await?;
    let told = said(client.submit(not_a_task, ()).await);
    assert!(told.contains("not_a_task is no task: write #[task] above it"), "{told}");
    assert!(told.contains("rust:it::cluster::add"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_reach_every_holder_and_the_channel() -> Result<()> {
    let client = Client::local().await?;
    let channel = client.channel::<f64>("results").await?;
    for (future, expected) in [
        (client.submit(fails, ()).await?, "disk on fire: a spark"),
        (
            client.submit(panics, (Vec::<f64>::new(),)).await?,
            "index out of bounds: the len is 0 but the index is 0",
        ),
    ] {
        channel.append(&future).await?;
        let second = client.future::<f64>(future.key()).await?;
        let told = said((&future).await);
        assert!(told.contains(expected), "{told}");
        assert_eq!(said(second.await), told, "every holder hears the same");
        let behind = client.submit(add, (&future, 1.0)).await?;
        let told = said(behind.await);
        let path = format!("dependency {} failed: ", future.key());
        assert!(told.contains(&path) && told.contains(expected), "{told}");
        let error = last_failure(&channel).await?;
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.worker.starts_with("local-") && error.attempt.0 == 1, "{error:?}");
    }
    let told = said(client.submit(large_error, ()).await?.await);
    assert!(
        told.ends_with("bytes more)") && told.len() < 3000,
        "a result may be large, an error is cut: {told}"
    );
    assert_eq!(client.submit(number, ()).await?.await?, 4.0, "a panic harms nobody");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_of_another_type_or_size_are_refused() -> Result<()> {
    let client = Client::local().await?;
    let text = client.channel::<String>("text").await?;
    text.append_value(&"words".to_owned()).await?;
    // A future that claims another type than its task has.
    let future = client.submit(number, ()).await?;
    let wrong = client.future::<Vec<f64>>(future.key()).await?;
    let told = said(client.submit(panics, (&wrong,)).await?.await);
    assert!(told.contains("argument 1 of") && told.contains("4.0 is not a"), "{told}");
    let told = said(client.submit(panics, (vec![0.0; 10_000],)).await);
    assert!(told.starts_with("argument 1 is 90003, over the limit of 61440: pass a path or a key"), "{told}");
    let told = said(text.append_value(&"x".repeat(70_000)).await);
    assert!(told.contains("over the limit of 61440"), "{told}");
    assert_eq!(text.len().await?, 1, "and nothing was appended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_refuse_what_makes_no_sense() -> Result<()> {
    let client = Client::local().await?;
    let told = said(client.channel::<f64>("two words").await);
    assert!(
        told.starts_with("`two words` cannot name a channel: it has other characters; use 1 to 200"),
        "{told}"
    );
    let told = said(client.channel::<f64>("$tasks").await);
    assert!(told.contains("the scheduler's own: it can be read, not written"), "{told}");
    let told = said(client.existing_channel::<f64>("nowhere").await);
    assert!(told.contains("there is no channel `nowhere`: `headwater channel list` shows"), "{told}");
    let channel = client.channel::<f64>("a").await?;
    channel.append_value(&1.0).await?;
    let mut records = channel.from(Offset::At(9)).records();
    let told = said(records.next().await.unwrap());
    assert!(
        told.starts_with("offset 9 is past the head of channel `a`, which is 1: give 1 or less"),
        "{told}"
    );
    channel.stop().await?;
    let told = said(channel.append_value(&2.0).await);
    assert!(told.contains("channel `a` is stopped at 1 element: append to another one"), "{told}");
    assert_eq!(channel.stop().await?, 1, "stopping again changes nothing");
    let told = said(local_client().await);
    assert!(told.contains("outside a task"), "{told}");
    Ok(())
}

/// A peer that speaks bytes.
pub struct Raw {
    pub stream: TcpStream,
    frames: FrameReader,
}

impl Raw {
    /// A client that was welcomed.
    pub async fn welcomed(address: &str) -> Raw {
        let mut raw = Raw::connect(address).await;
        let mut bytes = frame::preamble().to_vec();
        let hello: ClientMessage = hello(SessionId(fastrand::u128(..).to_be_bytes()));
        frame::encode(&mut bytes, 0, &hello).unwrap();
        raw.stream.write_all(&bytes).await.unwrap();
        assert!(matches!(raw.message().await, (0, ServerMessage::Welcome { .. })));
        raw
    }

    async fn connect(address: &str) -> Raw {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut theirs = [0; PREAMBLE_BYTES];
        stream.read_exact(&mut theirs).await.unwrap();
        assert_eq!(theirs, frame::preamble());
        Raw { stream, frames: FrameReader::default() }
    }

    pub async fn message(&mut self) -> (u64, ServerMessage) {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return (frame.number, frame.decode().unwrap().0);
            }
            assert_ne!(self.stream.read_buf(self.frames.buffer()).await.unwrap(), 0, "it was closed");
        }
    }
}

fn hello(session: SessionId) -> ClientMessage {
    ClientMessage::Hello(Hello { token: None, session, resume: false, role: Role::Client, seen: None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_port_and_frames_too_large_harm_nobody() -> Result<()> {
    let client = Client::local().await?;
    let address = client.connection().address().to_owned();

    let mut stranger = Raw::connect(&address).await;
    stranger.stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let (_, ServerMessage::Closing(why)) = stranger.message().await else { panic!("not closed") };
    assert!(why.to_string().contains("not the Headwater protocol"), "{why}");

    let mut old = Raw::connect(&address).await;
    let mut preamble = frame::preamble();
    preamble[4] = 99;
    old.stream.write_all(&preamble).await.unwrap();
    let (_, ServerMessage::Closing(why)) = old.message().await else { panic!("not closed") };
    let expected = format!("wire protocol version 99 is not {WIRE_VERSION}");
    assert!(why.to_string().contains(&expected), "{why}");

    let mut large = Raw::connect(&address).await;
    large.stream.write_all(&frame::preamble()).await.unwrap();
    let mut bytes = Vec::new();
    let hello: ClientMessage = hello(SessionId([9; 16]));
    frame::encode(&mut bytes, 0, &hello).unwrap();
    let length = FRAME_BYTES_MAX + 1;
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&7u64.to_le_bytes());
    bytes.resize(bytes.len() + length, 0);
    let ping: ClientMessage = ClientMessage::Ping;
    frame::encode(&mut bytes, 8, &ping).unwrap();
    large.stream.write_all(&bytes).await.unwrap();
    assert!(matches!(large.message().await, (0, ServerMessage::Welcome { .. })));
    let (7, ServerMessage::Answer(Err(rejection))) = large.message().await else { panic!("not refused") };
    assert!(
        rejection.to_string().starts_with("the frame is 4194305, over the limit of 4194304"),
        "{rejection}"
    );
    assert_eq!(large.message().await, (8, ServerMessage::Pong), "the connection goes on");

    assert_eq!(client.submit(number, ()).await?.await?, 4.0, "others do not notice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_of_all_sides() -> Result<()> {
    let options = Options {
        listen: "127.0.0.1:0".to_owned(),
        token: Some("open sesame".to_owned()),
        workers: 1,
        ..Options::default()
    };
    let local = Local::start(options).await.map_err(Error::other)?;
    let address = local.address().to_string();
    for client in [Client::builder(), Client::builder().token("open barley")] {
        let told = said(client.connect(&address).await);
        assert!(
            told.contains("the token is missing or wrong: give the scheduler's with --token-file"),
            "{told}"
        );
    }
    let client = Client::builder().token("open sesame").connect(&address).await?;
    assert_eq!(client.submit(number, ()).await?.await?, 4.0, "its workers have it");
    client.close().await;
    local.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_started_says_why() {
    let local =
        Local::start(Options { listen: "127.0.0.1:0".to_owned(), ..Options::default() }).await.unwrap();
    let taken = Options { listen: local.address().to_string(), ..Options::default() };
    let told = Local::start(taken).await.err().unwrap().to_string();
    assert!(
        told.contains("is in use by another process: stop it, or choose another port with --listen"),
        "{told}"
    );
    let open = Options { listen: "0.0.0.0:0".to_owned(), ..Options::default() };
    let told = Local::start(open).await.err().unwrap().to_string();
    assert!(told.contains("--token-file") && told.contains("--insecure"), "{told}");
    local.stop().await;
}

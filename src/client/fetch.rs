//! Fetching a stored result from the workers that keep it: see [`crate::protocol::result`].
//!
//! One connection brings one result. Nothing that the other side says is believed: it must be the result that
//! the scheduler has told of, byte for byte, and memory is taken as bytes come, not as they are announced. A
//! side that stops is given up after [`PIECE_MS_MAX`].

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::blob::{Content, Room, Spool};
use super::connection::transport::{DialError, Progress, Wire, dial};
use crate::protocol::frame::Frame;
use crate::protocol::limits::{RESULT_BYTES_MAX, RESULT_PIECE_BYTES};
use crate::protocol::message::Closing;
use crate::protocol::result::{Fetch, Fetched, Holder, Located, StoredResult};
use crate::protocol::size::Bytes as Size;
use crate::protocol::{Codec, Digest, Payload};

/// How long a worker may take until a connection is open: 3 s. One that is there answers at once.
const CONNECT_MS_MAX: u64 = 3_000;

/// How long the next piece may take: 10 s, much for 256 KiB over any network that is of use.
pub const PIECE_MS_MAX: u64 = 10_000;

/// How much room is made at first, however large the result is said to be: 1 MiB.
const ROOM_BYTES: usize = 1024 * 1024;

/// Why no worker gave a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    /// Those that were tried, in order, and what went wrong with each.
    pub tried: Vec<(Holder, Failure)>,
}

impl FetchError {
    /// Whether no holder was there to be tried, or each one says that it does not have the result: trying them
    /// again is of no use.
    pub fn is_gone(&self) -> bool {
        self.tried.iter().all(|(_, failure)| *failure == Failure::Missing)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tried.is_empty() {
            return f.write_str("no worker that keeps it is connected");
        }
        for (at, (holder, failure)) in self.tried.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}worker `{}` at {}: {failure}", holder.worker, holder.address)?;
        }
        Ok(())
    }
}

impl std::error::Error for FetchError {}

/// Why one worker did not give a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, or it stopped in the middle.
    #[error("{0}")]
    Unreachable(String),
    /// It does not have it.
    #[error("it does not have it any more")]
    Missing,
    /// It gives nothing to this program.
    #[error("{0}")]
    Refused(Closing),
    /// What came is not the result.
    #[error("{0}")]
    Wrong(String),
    /// The disk here does not take it.
    #[error("it cannot be written to the disk: {0}")]
    Disk(String),
}

/// Fetches a result from one of its holders, each tried once, in an order of chance: so many who want one
/// result spread over those that keep it. `scheduler` is where this program reaches the scheduler. It is put where
/// there is room; what no disk takes is in memory.
///
/// # Errors
/// What went wrong with each.
pub async fn fetch(
    located: &Located,
    scheduler: &str,
    token: Option<&str>,
    room: &Room,
) -> Result<Content, FetchError> {
    let mut holders: Vec<&Holder> = located.holders.iter().collect();
    fastrand::shuffle(&mut holders);
    let mut tried = Vec::new();
    for holder in holders {
        let address = address_of(&holder.address, scheduler);
        let mut fetched = fetch_from(&address, located, token, room).await;
        if let Err(Failure::Disk(why)) = &fetched {
            tracing::warn!(task = %located.key, why, "a large result could not be written to the disk, and is in memory");
            fetched = fetch_from(&address, located, token, &Room::MEMORY).await;
        }
        match fetched {
            Ok(content) => return Ok(content),
            Err(failure) => {
                tracing::debug!(task = %located.key, worker = %holder.worker, %failure, "a result was not given");
                tried.push((holder.clone(), failure));
            }
        }
    }
    Err(FetchError { tried })
}

/// Where a worker gives results: an address without a host is at the scheduler's.
fn address_of(address: &str, scheduler: &str) -> String {
    match (address.strip_prefix(':'), scheduler.rsplit_once(':')) {
        (Some(port), Some((host, _))) => format!("{host}:{port}"),
        _ => address.to_owned(),
    }
}

async fn fetch_from(
    address: &str,
    located: &Located,
    token: Option<&str>,
    room: &Room,
) -> Result<Content, Failure> {
    let bytes = located.result.bytes;
    if bytes > RESULT_BYTES_MAX {
        return Err(Failure::Wrong(format!("a result of {bytes} bytes is over the limit")));
    }
    let dialed = timeout(Duration::from_millis(CONNECT_MS_MAX), dial(address, "worker")).await;
    let wire = match dialed {
        Ok(Ok(wire)) => wire,
        Ok(Err(DialError::Temporary(why))) => return Err(Failure::Unreachable(why)),
        Ok(Err(DialError::Lasting(error))) => return Err(Failure::Unreachable(error.to_string())),
        Err(_) => return Err(Failure::Unreachable(format!("no answer within {CONNECT_MS_MAX} ms"))),
    };
    take(wire, located, token, room, Duration::from_millis(PIECE_MS_MAX)).await
}

/// Asks for the result, and takes it; gives up when nothing comes for as long as there is patience.
async fn take(
    mut wire: Wire,
    located: &Located,
    token: Option<&str>,
    room: &Room,
    patience: Duration,
) -> Result<Content, Failure> {
    let asked = Fetch { token: token.map(str::to_owned), result: located.held() };
    wire.push(0, &asked).map_err(|large| Failure::Unreachable(large.to_string()))?;
    let (mut intake, mut sink) = (Intake::new(located.result), Sink::new(&located.result, room));
    while !intake.is_complete() {
        let frame = next_frame(&mut wire, patience).await?;
        if let Some(piece) = intake.take(&frame)? {
            sink = sink.with(piece).await?;
        }
    }
    intake.finish()?;
    sink.finish(located.result.codec).await
}

/// The next frame, which must not take too long.
async fn next_frame(wire: &mut Wire, patience: Duration) -> Result<Frame, Failure> {
    let frame = async {
        loop {
            match wire.next_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(bad) => return Err(Failure::Wrong(bad.to_string())),
            }
            match wire.advance().await {
                Ok(Progress::Read | Progress::Wrote) => {}
                Ok(Progress::Ended) => {
                    return Err(Failure::Unreachable("it closed the connection too early".to_owned()));
                }
                Err(error) => return Err(Failure::Unreachable(error.to_string())),
            }
        }
    };
    let late = |_| Failure::Unreachable(format!("nothing came for {} ms", patience.as_millis()));
    timeout(patience, frame).await.map_err(late)?
}

/// Where the pieces of a result go.
enum Sink {
    Memory(Vec<u8>),
    File(Spool),
}

impl Sink {
    fn new(expected: &StoredResult, room: &Room) -> Sink {
        if expected.bytes > room.memory_bytes {
            return Sink::File(Spool::new(Room { memory_bytes: 0, ..room.clone() }));
        }
        let room = usize::try_from(expected.bytes).unwrap_or(usize::MAX).min(ROOM_BYTES);
        Sink::Memory(Vec::with_capacity(room))
    }

    /// The same with one more piece.
    async fn with(self, piece: Bytes) -> Result<Sink, Failure> {
        match self {
            Sink::Memory(mut bytes) => {
                bytes.extend_from_slice(&piece);
                Ok(Sink::Memory(bytes))
            }
            Sink::File(mut spool) => {
                on_disk(move || spool.write_all(&piece).map(|()| Sink::File(spool))).await
            }
        }
    }

    async fn finish(self, codec: Codec) -> Result<Content, Failure> {
        match self {
            Sink::Memory(bytes) => Ok(Content::Memory(Payload { codec, bytes: bytes.into() })),
            Sink::File(spool) => on_disk(move || spool.finish(codec)).await,
        }
    }
}

/// Does something that waits for the disk.
async fn on_disk<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, Failure> {
    let done = spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| Failure::Disk(error.to_string()))
}

/// What has come of a result.
struct Intake {
    expected: StoredResult,
    was_found: bool,
    bytes: u64,
    digest: Digest,
}

impl Intake {
    fn new(expected: StoredResult) -> Self {
        Intake { expected, was_found: false, bytes: 0, digest: Digest::default() }
    }

    fn is_complete(&self) -> bool {
        self.was_found && self.bytes == self.expected.bytes
    }

    /// The next piece, if it is one.
    fn take(&mut self, frame: &Frame) -> Result<Option<Bytes>, Failure> {
        let (message, piece) = frame.decode::<Fetched>().map_err(Failure::Wrong)?;
        match message {
            Fetched::Missing => Err(Failure::Missing),
            Fetched::Refused(closing) => Err(Failure::Refused(closing)),
            Fetched::Found(found) if !self.was_found && piece.is_empty() => {
                if found != self.expected {
                    let (is, bytes) = (Size(found.bytes), Size(self.expected.bytes));
                    let (digest, expected) = (found.digest, self.expected.digest);
                    let why = format!("it has {is} with digest {digest}, not {bytes} with {expected}");
                    return Err(Failure::Wrong(why));
                }
                self.was_found = true;
                Ok(None)
            }
            Fetched::Piece if self.was_found => {
                let left = self.expected.bytes - self.bytes;
                if piece.len() as u64 != left.min(RESULT_PIECE_BYTES as u64) {
                    return Err(Failure::Wrong(format!(
                        "a piece of {} bytes with {left} to come",
                        piece.len()
                    )));
                }
                self.digest = self.digest.with(&piece);
                self.bytes += piece.len() as u64;
                Ok(Some(piece))
            }
            Fetched::Found(_) | Fetched::Piece => {
                Err(Failure::Wrong("its messages make no sense".to_owned()))
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        if self.digest != self.expected.digest {
            let (digest, expected) = (self.digest, self.expected.digest);
            return Err(Failure::Wrong(format!("what it gave has digest {digest}, not {expected}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fixture::{Holding, Script, located, soon};

    fn bytes() -> Vec<u8> {
        (0..2 * RESULT_PIECE_BYTES + 5).map(|at| (at / 7) as u8).collect()
    }

    async fn fetched(scripts: &[Script]) -> Result<Payload, FetchError> {
        let holding = Holding::new(bytes(), scripts).await;
        let content = soon(fetch(&holding.located, "127.0.0.1:1", Some("token"), &Room::MEMORY)).await?;
        Ok(content.into_payload().unwrap())
    }

    async fn failure(script: Script) -> Failure {
        fetched(&[script]).await.expect_err("it is not to be had").tried.remove(0).1
    }

    #[tokio::test]
    async fn a_result_comes_in_pieces_and_is_whole() {
        assert_eq!(fetched(&[Script::Give]).await.unwrap().bytes, bytes());
    }

    #[tokio::test]
    async fn the_first_holder_that_gives_it_is_enough() {
        for others in [
            [Script::Refuse, Script::Give, Script::CutAfter(1)],
            [Script::Dead, Script::Missing, Script::Give],
        ] {
            for _ in 0..4 {
                assert_eq!(fetched(&others).await.unwrap().bytes, bytes());
            }
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_and_never_taken() {
        assert_eq!(failure(Script::Missing).await, Failure::Missing);
        assert_eq!(failure(Script::Refuse).await, Failure::Refused(Closing::BadToken));
        for (script, words) in [
            (Script::CutAfter(0), "closed the connection too early"),
            (Script::CutAfter(1), "closed the connection too early"),
            (Script::Damage, "what it gave has digest"),
            (Script::Other, "it has 1 byte with digest"),
            (Script::Long, "a piece of 262144 bytes with 5 to come"),
            (Script::Version, "wire protocol version"),
            (Script::Stranger, "is no Headwater worker (it begins with"),
        ] {
            let failure = failure(script).await.to_string();
            assert!(failure.contains(words), "{failure}");
        }
    }

    #[tokio::test]
    async fn one_that_has_no_room_in_memory_is_in_a_file_unless_no_disk_takes_it() {
        let holding = Holding::new(bytes(), &[Script::Give]).await;
        let here = tempfile::tempdir().unwrap();
        let gone = here.path().join("gone");
        for (memory_bytes, dir, is_in_file) in [
            (bytes().len() as u64, here.path().to_owned(), false),
            (bytes().len() as u64 - 1, here.path().to_owned(), true),
            (0, gone, false),
        ] {
            let room = Room { memory_bytes, dir: Some(dir) };
            let content = soon(fetch(&holding.located, "127.0.0.1:1", None, &room)).await.unwrap();
            assert_eq!(matches!(content, Content::File { .. }), is_in_file, "{room:?}");
            assert_eq!(content.into_payload().unwrap().bytes, bytes());
        }
    }

    #[tokio::test]
    async fn a_worker_that_stops_is_given_up() {
        let holding = Holding::new(bytes(), &[Script::Stall]).await;
        let wire = dial(&holding.located.holders[0].address, "worker").await.unwrap();
        let taken = soon(take(wire, &holding.located, None, &Room::MEMORY, Duration::from_millis(50))).await;
        assert_eq!(taken.unwrap_err().to_string(), "nothing came for 50 ms");
    }

    #[tokio::test]
    async fn without_holders_nothing_is_tried() {
        let error = fetch(&located(b"x", vec![]), "127.0.0.1:1", None, &Room::MEMORY).await.unwrap_err();
        assert!(error.is_gone() && error.to_string().contains("no worker"), "{error}");
    }

    #[test]
    fn an_announced_size_takes_no_memory() {
        let huge = StoredResult { bytes: RESULT_BYTES_MAX, ..located(b"x", vec![]).result };
        let Sink::Memory(bytes) = Sink::new(&huge, &Room::MEMORY) else { panic!("it is in a file") };
        assert!(bytes.capacity() <= 2 * ROOM_BYTES);
    }

    #[test]
    fn an_address_without_a_host_is_at_the_schedulers() {
        assert_eq!(address_of(":9", "[::1]:8786"), "[::1]:9");
        assert_eq!(address_of(":9", "rack.example:8786"), "rack.example:9");
        assert_eq!(address_of("a:9", "rack.example:8786"), "a:9");
    }
}

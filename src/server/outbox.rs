//! The way out of one connection: gathers what is ready into large writes and keeps the order of rank.
//!
//! Three sources, taken in this order each time a write is put together: what the driver says, what the
//! session itself replies, and pieces of subscriptions. The driver must never wait, so its messages come
//! over an unbounded channel and are taken even while the socket takes nothing; the others wait in their
//! bounded channels, and so do those who fill them.
//!
//! Bounds: [`OUTBOX_BYTES_MAX`] on what may be put in line without the peer taking a byte. A peer that
//! does take some, slowly, is bounded by what it asked for itself: its session takes no further requests
//! while the outbox is `congested`, so only outcomes of tasks that it already watches, answers to what is
//! in flight, and its assignments can come.
//!
//! [`Outbox::run`] may be dropped at any moment: nothing is lost, and [`Outbox::finish`] goes on.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::handshake::HANDSHAKE_MS_MAX;
use crate::protocol::command::Rejection;
use crate::protocol::frame;
use crate::protocol::message::{Closing, ServerMessage};
use crate::scheduler::Outgoing;

/// One write is put together up to this: 256 KiB, beyond which a larger one saves no system calls that
/// would show.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// What is kept of a buffer that is empty: 16 KiB, so that thousands of idle connections cost little.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// More than this waiting to be written: the session takes no further requests until it is less. 4 MiB,
/// one largest frame.
const CONGESTED_BYTES: usize = 4 * 1024 * 1024;

/// Most that is put in line while the peer takes nothing: 64 MiB, the outcomes of about a million tasks
/// with small results. Then the connection ends with [`Closing::TooSlow`].
pub(super) const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most pieces of a connection's subscriptions that are read and not yet on their way: 8, at most 2 MiB.
pub(super) const PIECES_MAX: usize = 8;

/// Most replies of the session itself (to pings and to what does not decode) that wait: beyond it
/// reading waits, too.
pub(super) const REPLIES_MAX: usize = 1024;

/// What a subscription sends.
#[derive(Debug)]
pub(super) struct Piece {
    /// The subscription's number.
    pub number: u64,
    /// The message.
    pub message: ServerMessage,
    /// The batches behind it.
    pub batches: Vec<Bytes>,
}

/// Why nothing more is to be sent.
#[derive(Debug)]
pub(super) enum Ended {
    /// The driver dropped its end, or has said [`ServerMessage::Closing`].
    Released,
    /// The socket failed.
    Gone(io::Error),
    /// The peer took nothing while this many bytes waited.
    TooSlow(u64),
}

/// Where messages come from.
#[derive(Debug)]
pub(super) struct Sources {
    /// From the driver.
    pub driver: mpsc::UnboundedReceiver<Outgoing>,
    /// From the session.
    pub replies: mpsc::Receiver<Outgoing>,
    /// From the subscriptions.
    pub pieces: mpsc::Receiver<Piece>,
}

/// The write half of a connection.
#[derive(Debug)]
pub(super) struct Outbox<W> {
    socket: W,
    sources: Sources,
    /// What is being written, and how much of it is.
    writing: Vec<u8>,
    written: usize,
    /// What is written next.
    gathered: Vec<u8>,
    /// How much of `gathered` was put there since the peer last took something.
    gathered_since_progress: usize,
    progress_at: Instant,
    stall_max: Duration,
    /// The driver has dropped its end.
    is_released: bool,
    /// The closing is said: nothing follows.
    is_closing: bool,
    congested: watch::Sender<bool>,
}

enum Happened {
    Wrote(io::Result<usize>),
    Said(Option<Outgoing>),
    Replied(Outgoing),
    Read(Piece),
    Stalled,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    /// An outbox that ends when its peer takes nothing for the lease that it is welcomed with, and
    /// [`HANDSHAKE_MS_MAX`] before. `congested` tells the session when to read no further.
    pub fn new(socket: W, sources: Sources, congested: watch::Sender<bool>) -> Self {
        Outbox {
            socket,
            sources,
            writing: Vec::new(),
            written: 0,
            gathered: Vec::new(),
            gathered_since_progress: 0,
            progress_at: Instant::now(),
            stall_max: Duration::from_millis(HANDSHAKE_MS_MAX),
            is_released: false,
            is_closing: false,
            congested,
        }
    }

    /// Puts a message in line.
    pub fn put(&mut self, message: Outgoing) {
        if let ServerMessage::Welcome { lease_ms, .. } = message.message {
            self.stall_max = Duration::from_millis(lease_ms);
        }
        self.encode(message.number, &message.message, &[]);
    }

    /// Sends until there is no more to send, or nobody to send it to. What is in line then is still
    /// unsent: [`finish`](Outbox::finish) sends it.
    pub async fn run(&mut self) -> Ended {
        loop {
            if self.written == self.writing.len() {
                self.gather_ready();
                self.begin_write();
            }
            if !self.goes_on() {
                return Ended::Released;
            }
            let waiting = self.waiting();
            self.congested.send_if_modified(|congested| {
                let before = std::mem::replace(congested, waiting > CONGESTED_BYTES);
                before != *congested
            });
            match self.happens().await {
                Happened::Wrote(Ok(bytes)) if bytes > 0 => self.note_progress(bytes),
                Happened::Wrote(Ok(_)) => return Ended::Gone(io::ErrorKind::WriteZero.into()),
                Happened::Wrote(Err(error)) => return Ended::Gone(error),
                Happened::Said(Some(message)) => self.put(message),
                Happened::Said(None) => self.is_released = true,
                Happened::Replied(message) => self.put(message),
                Happened::Read(piece) => self.encode(piece.number, &piece.message, &piece.batches),
                Happened::Stalled => return Ended::TooSlow(self.waiting() as u64),
            }
            if self.gathered_since_progress > OUTBOX_BYTES_MAX {
                return Ended::TooSlow(self.waiting() as u64);
            }
        }
    }

    /// Sends what the driver has said so far, then `closing` unless the driver has said why it closes,
    /// and closes the way out.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn finish(&mut self, closing: Option<Closing>) -> io::Result<()> {
        self.sources.driver.close();
        if let Some(Closing::TooSlow(_)) = closing {
            // It would not take this either; and the memory is what it is about.
            self.gathered = Vec::new();
            while self.sources.driver.try_recv().is_ok() {}
        }
        while !self.is_closing
            && let Ok(message) = self.sources.driver.try_recv()
        {
            self.put(message);
        }
        while !self.is_closing
            && let Ok(message) = self.sources.replies.try_recv()
        {
            self.put(message);
        }
        if let Some(closing) = closing
            && !self.is_closing
        {
            self.encode(0, &ServerMessage::Closing(closing), &[]);
        }
        self.socket.write_all(&self.writing[self.written..]).await?;
        self.socket.write_all(&self.gathered).await?;
        self.socket.flush().await?;
        self.socket.shutdown().await
    }

    async fn happens(&mut self) -> Happened {
        let Outbox { socket, sources, writing, written, gathered, .. } = self;
        let is_writing = *written < writing.len();
        let has_room = gathered.len() < WRITE_BYTES_MAX;
        tokio::select! {
            biased;
            result = socket.write(&writing[*written..]), if is_writing => Happened::Wrote(result),
            message = sources.driver.recv() => Happened::Said(message),
            Some(message) = sources.replies.recv(), if has_room => Happened::Replied(message),
            Some(piece) = sources.pieces.recv(), if has_room => Happened::Read(piece),
            () = tokio::time::sleep_until(self.progress_at + self.stall_max), if is_writing => {
                Happened::Stalled
            }
        }
    }

    /// Takes what is there without waiting: one write's worth, but always what the session has to say
    /// and one piece, so that a driver with much to say makes nobody believe that the server is dead.
    fn gather_ready(&mut self) {
        while self.goes_on() && self.gathered.len() < WRITE_BYTES_MAX {
            match self.sources.driver.try_recv() {
                Ok(message) => self.put(message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.is_released = true,
            }
        }
        while self.goes_on()
            && let Ok(message) = self.sources.replies.try_recv()
        {
            self.put(message);
        }
        while self.goes_on()
            && let Ok(piece) = self.sources.pieces.try_recv()
        {
            self.encode(piece.number, &piece.message, &piece.batches);
            if self.gathered.len() >= WRITE_BYTES_MAX {
                break;
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.is_released && !self.is_closing
    }

    fn begin_write(&mut self) {
        self.writing.clear();
        self.written = 0;
        self.gathered_since_progress = 0;
        std::mem::swap(&mut self.writing, &mut self.gathered);
        self.progress_at = Instant::now();
        if self.writing.is_empty() {
            self.writing.shrink_to(KEPT_BYTES_MAX);
            self.gathered.shrink_to(KEPT_BYTES_MAX);
        }
    }

    fn note_progress(&mut self, bytes: usize) {
        self.written += bytes;
        self.gathered_since_progress = 0;
        self.progress_at = Instant::now();
    }

    fn waiting(&self) -> usize {
        self.writing.len() - self.written + self.gathered.len()
    }

    fn encode(&mut self, number: u64, message: &ServerMessage, batches: &[Bytes]) {
        let before = self.gathered.len();
        if let Err(error) = frame::encode_with(&mut self.gathered, number, message, batches) {
            tracing::error!(number, %error, "a message is too large to be sent");
            let refusal = ServerMessage::Answer(Err(Rejection::TooLarge(error)));
            frame::encode(&mut self.gathered, number, &refusal).expect("a refusal is small");
        }
        self.gathered_since_progress += self.gathered.len() - before;
        self.is_closing |= matches!(message, ServerMessage::Closing(_));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::fixture::Received;
    use tokio::io::AsyncReadExt;

    struct Ends {
        driver: mpsc::UnboundedSender<Outgoing>,
        replies: mpsc::Sender<Outgoing>,
        pieces: mpsc::Sender<Piece>,
        congested: watch::Receiver<bool>,
    }

    fn outbox<W: AsyncWrite + Unpin>(socket: W) -> (Ends, Outbox<W>) {
        let (driver, driver_receiver) = mpsc::unbounded_channel();
        let (replies, replies_receiver) = mpsc::channel(REPLIES_MAX);
        let (pieces, pieces_receiver) = mpsc::channel(PIECES_MAX);
        let (congested_sender, congested) = watch::channel(false);
        let sources = Sources { driver: driver_receiver, replies: replies_receiver, pieces: pieces_receiver };
        let mut outbox = Outbox::new(socket, sources, congested_sender);
        outbox.stall_max = Duration::from_secs(60);
        (Ends { driver, replies, pieces, congested }, outbox)
    }

    fn message(number: u64, bytes: usize) -> Outgoing {
        let rejection = Rejection::Invalid("x".repeat(bytes));
        Outgoing { number, message: ServerMessage::Answer(Err(rejection)) }
    }

    fn piece(number: u64, bytes: usize) -> Piece {
        Piece { number, message: ServerMessage::Records, batches: vec![vec![0; bytes].into()] }
    }

    /// Sends everything, and answers the numbers in the order in which they arrive.
    async fn numbers(
        mut outbox: Outbox<tokio::io::DuplexStream>,
        mut peer: tokio::io::DuplexStream,
    ) -> Vec<u64> {
        let sending = async move {
            assert!(matches!(outbox.run().await, Ended::Released));
            outbox.finish(None).await.unwrap();
        };
        let mut bytes = Vec::new();
        let (_, read) = tokio::join!(sending, peer.read_to_end(&mut bytes));
        read.unwrap();
        Received::all_of(&bytes).into_iter().map(|received| received.number).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_driver_goes_first_and_pieces_last() {
        let (socket, peer) = tokio::io::duplex(1 << 20);
        let (ends, outbox) = outbox(socket);
        ends.pieces.try_send(piece(5, 10)).unwrap();
        ends.replies.try_send(message(3, 10)).unwrap();
        ends.driver.send(message(1, 10)).unwrap();
        ends.driver.send(message(2, 10)).unwrap();
        ends.replies.try_send(message(4, 10)).unwrap();
        let release = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(ends.driver)
        };
        assert_eq!(tokio::join!(numbers(outbox, peer), release).0, [1, 2, 3, 4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_driver_does_not_silence_the_others() {
        let (socket, peer) = tokio::io::duplex(1 << 20);
        let (ends, outbox) = outbox(socket);
        for _ in 0..20 {
            ends.driver.send(message(1, WRITE_BYTES_MAX / 4)).unwrap();
        }
        ends.replies.try_send(message(2, 10)).unwrap();
        ends.pieces.try_send(piece(3, 10)).unwrap();
        let release = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(ends.driver)
        };
        let numbers = tokio::join!(numbers(outbox, peer), release).0;
        assert_eq!(numbers[..6], [1, 1, 1, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_follows_a_closing() {
        let (socket, peer) = tokio::io::duplex(1 << 20);
        let (ends, outbox) = outbox(socket);
        ends.driver.send(message(1, 10)).unwrap();
        let closing = ServerMessage::Closing(Closing::Replaced);
        ends.driver.send(Outgoing { number: 0, message: closing }).unwrap();
        ends.driver.send(message(2, 10)).unwrap();
        ends.replies.try_send(message(3, 10)).unwrap();
        assert_eq!(numbers(outbox, peer).await, [1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_before_the_driver_leaves_arrives() {
        let (socket, peer) = tokio::io::duplex(100);
        let (ends, outbox) = outbox(socket);
        for number in 1..=5 {
            ends.driver.send(message(number, WRITE_BYTES_MAX)).unwrap();
        }
        ends.replies.try_send(message(6, 10)).unwrap();
        drop(ends.driver);
        // The session's reply goes with the first write, of which the driver's first message is a whole.
        assert_eq!(numbers(outbox, peer).await, [1, 6, 2, 3, 4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_bounded_in_bytes() {
        let (socket, _peer) = tokio::io::duplex(100);
        let (ends, mut outbox) = outbox(socket);
        let count = OUTBOX_BYTES_MAX / 1_000_000 + 2;
        for number in 0..count {
            ends.driver.send(message(number as u64, 1_000_000)).unwrap();
        }
        let started = Instant::now();
        let Ended::TooSlow(bytes) = outbox.run().await else { panic!() };
        assert!(bytes > OUTBOX_BYTES_MAX as u64 && bytes < OUTBOX_BYTES_MAX as u64 + 2_000_000, "{bytes}");
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_little_now_and_then_is_not_too_slow() {
        let (socket, mut peer) = tokio::io::duplex(100);
        let (ends, mut outbox) = outbox(socket);
        ends.driver.send(message(1, 20_000)).unwrap();
        let slow_peer = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                peer.read_exact(&mut [0; 100]).await.unwrap();
            }
        };
        tokio::select! {
            ended = outbox.run() => panic!("{ended:?}"),
            () = slow_peer => {}
        }
        // Now it takes nothing more.
        assert!(matches!(outbox.run().await, Ended::TooSlow(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn congestion_is_told_and_taken_back() {
        let (socket, mut peer) = tokio::io::duplex(100);
        let (mut ends, mut outbox) = outbox(socket);
        for number in 0..5 {
            ends.driver.send(message(number, 1_000_000)).unwrap();
        }
        let watching = async {
            ends.congested.wait_for(|congested| *congested).await.unwrap();
            let mut sink = vec![0; 1 << 20];
            while *ends.congested.borrow_and_update() {
                assert_ne!(peer.read(&mut sink).await.unwrap(), 0);
            }
        };
        tokio::select! {
            ended = outbox.run() => panic!("{ended:?}"),
            () = watching => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_over_the_frame_s_limit_becomes_a_refusal() {
        let (socket, peer) = tokio::io::duplex(1 << 20);
        let (ends, outbox) = outbox(socket);
        ends.driver.send(message(7, 5 << 20)).unwrap();
        drop(ends.driver);
        assert_eq!(numbers(outbox, peer).await, [7]);
    }
}

//! One connection, from its first byte to its last.
//!
//! The session reads frames and does with each what it asks for; everything that goes out goes through
//! the [`Outbox`]. Both run in one task, with the subscriptions, so that none outlives the others.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::timeout;

use super::early::{Greeted, greet};
use super::farewell::{End, finish, leave, turn_away};
use super::feed::{self, Begun, Feed, Source, Wanted};
use super::finds::Finds;
use super::handshake::{self, fill};
use super::outbox::{Ended, Outbox, PIECES_MAX, Piece, REPLIES_MAX, Sources};
use super::stored::{self, OpenSnapshot};
use crate::log::Reader;
use crate::protocol::command::{Answer, Query, Rejection};
use crate::protocol::frame::{BadFrame, Frame, FrameReader};
use crate::protocol::limits::{SUBSCRIPTIONS_PER_CONNECTION_MAX, TASKS_PER_COMMAND_MAX, TooLarge};
use crate::protocol::message::{ClientMessage, Closing, Hello, ServerMessage};
use crate::scheduler::{Connected, Handle, Outgoing, Request};

/// What all sessions share.
pub(super) struct Shared {
    pub handle: Handle,
    pub source: Source,
    pub token: Option<String>,
}

/// A connection whose peer wants it to be a trunk, and was not answered yet: its halves, and what has come behind the wish.
pub(super) struct TrunkWanted<R, W> {
    pub reader: R,
    pub writer: W,
    pub behind: FrameReader,
}

/// Serves one connection. Ends early once `stop` is true; and at once where a trunk is wanted.
pub(super) async fn serve<R, W>(
    reader: R,
    writer: W,
    shared: &Shared,
    mut stop: watch::Receiver<bool>,
) -> Option<TrunkWanted<R, W>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match greet(reader, writer, shared.token.as_deref(), &mut stop).await? {
        Greeted::Caller(caller) => {
            caller.converse(shared, stop).await;
            None
        }
        Greeted::Trunk(wanted) => Some(wanted),
    }
}

/// Serves a session, from its hello on.
pub(super) async fn converse<R, W>(
    hello: Hello,
    mut frames: FrameReader,
    mut reader: R,
    writer: W,
    shared: &Shared,
    mut stop: watch::Receiver<bool>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    tracing::Span::current().record("session", tracing::field::display(hello.session));
    if shared.handle.recovering().is_some()
        && let Some(seen) = hello.seen
        && let Err(regress) = shared.source.starts().check(&seen)
    {
        // The driver would say so, but until it does the logs would be read.
        return turn_away(reader, writer, Closing::Regressed(regress)).await;
    }
    let (outbox_sender, driver) = mpsc::unbounded_channel();
    let mut connecting = pin!(shared.handle.connect(hello, outbox_sender));
    let (mut session, mut outbox, begun) = begin(writer, driver, shared);
    let feeds = feed::run_all(begun, shared.source.clone(), session.pieces.clone());
    let mut end = tokio::select! {
        end = session.read(&mut reader, &mut frames, connecting.as_mut()) => end,
        ended = send(feeds, &mut outbox) => ended.into(),
        () = stopped(&mut stop) => End::Closing(Closing::ShuttingDown),
    };
    let mut entry = session.entry;
    drop(session);
    if entry == Entry::Waiting {
        if matches!(end, End::Goodbye) {
            // It waits for no more than that this was read.
            return leave(connecting.as_mut(), &shared.handle, reader, outbox).await;
        }
        // Not to be given up half-way: the driver would keep a connection that nobody ends.
        match connecting.await {
            Ok(connected) => entry = Entry::Connected(connected),
            Err(closing) if matches!(end, End::Released) => end = End::Closing(closing),
            Err(_) => {}
        }
    }
    finish(end, entry, &shared.handle, reader, outbox).await;
}

/// Runs the outbox, and the feeds ahead of it: so what they bring is written in the same turn.
async fn send<W: AsyncWrite + Unpin>(
    feeds: impl Future<Output = Infallible>,
    outbox: &mut Outbox<W>,
) -> Ended {
    tokio::select! {
        biased;
        never = feeds => match never {},
        ended = outbox.run() => ended,
    }
}

fn begin<W: AsyncWrite + Unpin>(
    writer: W,
    driver: mpsc::UnboundedReceiver<Outgoing>,
    shared: &Shared,
) -> (Session, Outbox<W>, mpsc::UnboundedReceiver<Box<Begun>>) {
    let (replies, replies_receiver) = mpsc::channel(REPLIES_MAX);
    let (pieces, pieces_receiver) = mpsc::channel(PIECES_MAX);
    let (begins, begun) = mpsc::unbounded_channel();
    let (congested_sender, congested) = watch::channel(false);
    let sources = Sources { driver, replies: replies_receiver, pieces: pieces_receiver };
    let outbox = Outbox::new(writer, sources, congested_sender);
    let session = Session {
        entry: Entry::Waiting,
        finds: Finds::new(&shared.handle),
        handle: shared.handle.clone(),
        source: shared.source.clone(),
        replies,
        pieces,
        begins,
        congested,
        feeds: HashMap::new(),
        snapshot: OpenSnapshot::default(),
    };
    (session, outbox, begun)
}

/// How a session stands with the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It has asked to be let in: while the scheduler recovers it may only read logs.
    Waiting,
    /// It was let in.
    Connected(Connected),
    /// It was not.
    Refused,
}

/// In how many parts a peer's silence is counted. While this process stands still at most one of them goes by,
/// so that it does not take for silent who could not be heard.
const SILENCE_PARTS: u32 = 4;

/// How often a peer hears how far a recovery is.
pub(super) const RECOVERY_TOLD_EVERY: Duration = Duration::from_secs(1);

/// The reading side of a connection.
struct Session {
    entry: Entry,
    /// The names that its client asks for while it waits.
    finds: Finds,
    handle: Handle,
    source: Source,
    replies: mpsc::Sender<Outgoing>,
    pieces: mpsc::Sender<Piece>,
    /// To the feeds that run. In boxes: a channel has room for 32 from the beginning, and most sessions begin none.
    begins: mpsc::UnboundedSender<Box<Begun>>,
    congested: watch::Receiver<bool>,
    /// The subscriptions by number.
    feeds: HashMap<u64, Feed>,
    /// The snapshot that its client reads.
    snapshot: OpenSnapshot,
}

impl Session {
    async fn read(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        frames: &mut FrameReader,
        mut connecting: Pin<&mut impl Future<Output = Result<Connected, Closing>>>,
    ) -> End {
        let mut tell_recovery = tokio::time::interval(RECOVERY_TOLD_EVERY);
        if self.handle.recovering().is_none()
            && let Err(end) = self.enter(connecting.as_mut().await)
        {
            return end;
        }
        loop {
            // The buffer first: the client may have sent more with its hello.
            let mut requests = Vec::new();
            let end = self.take_frames(frames, &mut requests).await.err();
            if !requests.is_empty() {
                let entered = match self.entry {
                    Entry::Waiting => self.enter(connecting.as_mut().await),
                    Entry::Connected(connected) => Ok(connected),
                    Entry::Refused => Err(End::Released),
                };
                let connection = match entered {
                    Ok(connected) => connected.connection,
                    Err(end) => return end,
                };
                if self.handle.send(connection, requests).await.is_err() {
                    return End::Closing(Closing::ShuttingDown);
                }
            }
            if let Some(end) = end {
                return end;
            }
            let went_on = match self.entry {
                Entry::Connected(connected) => self.fill(connected.lease_ms, reader, frames).await,
                Entry::Waiting => tokio::select! {
                    connected = connecting.as_mut() => self.enter(connected).map(drop),
                    filled = fill(reader, frames) => some_bytes(filled),
                    (number, log) = self.finds.next() => {
                        self.reply(number, ServerMessage::Answer(Ok(Answer::Log(log)))).await;
                        Ok(())
                    }
                    _ = tell_recovery.tick() => {
                        self.tell_recovery().await;
                        Ok(())
                    }
                },
                Entry::Refused => Err(End::Released),
            };
            if let Err(end) = went_on {
                return end;
            }
        }
    }

    /// Takes the driver's answer to the hello.
    fn enter(&mut self, answer: Result<Connected, Closing>) -> Result<Connected, End> {
        match answer {
            Ok(connected) => {
                tracing::debug!(connection = connected.connection.0, "connected");
                self.finds.clear();
                self.entry = Entry::Connected(connected);
                Ok(connected)
            }
            Err(closing) => {
                self.entry = Entry::Refused;
                Err(End::Closing(closing))
            }
        }
    }

    async fn tell_recovery(&self) {
        if let Some(progress) = self.handle.recovering() {
            let start = self.source.starts().newest();
            let newest = self.source.newest();
            self.reply(0, ServerMessage::Recovering { start, newest, progress }).await;
        }
    }

    /// Waits for more bytes; no longer than the lease, while they are wanted.
    async fn fill(
        &mut self,
        lease_ms: u64,
        reader: &mut (impl AsyncRead + Unpin),
        frames: &mut FrameReader,
    ) -> Result<(), End> {
        // An outbox that is gone takes the session with it.
        let _ = self.congested.wait_for(|congested| !congested).await;
        for _ in 0..SILENCE_PARTS {
            let part = Duration::from_millis(lease_ms) / SILENCE_PARTS;
            if let Ok(filled) = timeout(part, fill(reader, frames)).await {
                return some_bytes(filled);
            }
        }
        Err(End::Silent(lease_ms))
    }

    /// Takes all frames that are there. What is for the driver goes to `requests`, in order.
    async fn take_frames(
        &mut self,
        frames: &mut FrameReader,
        requests: &mut Vec<(u64, Request)>,
    ) -> Result<(), End> {
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => self.take(&frame, requests).await?,
                Ok(None) => return Ok(()),
                Err(BadFrame::TooLarge(error, number)) => {
                    self.refuse(number, Rejection::TooLarge(error)).await;
                }
                Err(bad) => return Err(End::Closing(handshake::not_headwater(bad.to_string()))),
            }
        }
    }

    async fn take(&mut self, frame: &Frame, requests: &mut Vec<(u64, Request)>) -> Result<(), End> {
        let number = frame.number;
        let message = match whole_message(frame) {
            Ok(message) => message,
            Err(why) => {
                self.refuse(number, Rejection::Invalid(why)).await;
                return Ok(());
            }
        };
        match message {
            ClientMessage::Command(command) => requests.push((number, Request::Command(command))),
            ClientMessage::Query(Query::Stored { after }) => {
                self.answer_from_logs(number, move |reader, _| stored::page(reader, after)).await;
            }
            ClientMessage::Query(Query::SnapshotPieces { at, from }) => {
                let read = move |reader: &Reader, open: &mut OpenSnapshot| open.pieces(reader, at, from);
                self.answer_from_logs(number, read).await;
            }
            ClientMessage::Query(Query::Subscribers { log }) => {
                let count = self.source.subscribers(log);
                self.reply(number, ServerMessage::Answer(Ok(Answer::Subscribers(count)))).await;
            }
            ClientMessage::Query(query) => requests.push((number, Request::Query(query))),
            ClientMessage::Watch { tasks } => {
                let hint = "watch the others with a message of their own";
                match TooLarge::check("the number of tasks", tasks.len(), TASKS_PER_COMMAND_MAX, hint) {
                    Ok(()) => requests.push((number, Request::Watch(tasks))),
                    Err(error) => self.refuse(number, Rejection::TooLarge(error)).await,
                }
            }
            // In the state it is asked for once more, in its turn, by those who ask ahead of it.
            ClientMessage::FindLog { name } if self.entry == Entry::Waiting => self.finds.ask(number, name),
            ClientMessage::FindLog { .. } => {}
            ClientMessage::Subscribe { log, from, credit_bytes, reads } => {
                self.subscribe(Wanted { number, log, from, credit_bytes, reads }).await;
            }
            // Credit for a subscription that has just ended crosses the news of it.
            ClientMessage::Credit { bytes } => {
                if let Some(feed) = self.feeds.get(&number) {
                    feed.add_credit(bytes);
                }
            }
            ClientMessage::Unsubscribe => drop(self.feeds.remove(&number)),
            ClientMessage::Ping => self.reply(number, ServerMessage::Pong).await,
            ClientMessage::Goodbye => return Err(End::Goodbye),
            ClientMessage::Hello(_) => {
                let why = "a connection has one hello: open another one".to_owned();
                self.refuse(number, Rejection::Invalid(why)).await;
            }
            ClientMessage::OpenTrunk { .. } => {
                let why = "a connection with a session is no trunk: open another one".to_owned();
                self.refuse(number, Rejection::Invalid(why)).await;
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, wanted: Wanted) {
        if self.feeds.len() >= SUBSCRIPTIONS_PER_CONNECTION_MAX {
            self.feeds.retain(|_, feed| !feed.is_over());
        }
        let allowed = if self.feeds.remove(&wanted.number).is_some() {
            Err(Rejection::Invalid(format!("subscription {} was there already: it ends", wanted.number)))
        } else {
            let (count, max) = (self.feeds.len() + 1, SUBSCRIPTIONS_PER_CONNECTION_MAX);
            TooLarge::check("the number of subscriptions", count, max, "end some").map_err(Into::into)
        };
        match allowed {
            Ok(()) => {
                let (feed, begun) = Feed::begin(wanted);
                // They run as long as this does.
                let _ = self.begins.send(Box::new(begun));
                self.feeds.insert(wanted.number, feed);
            }
            Err(rejection) => {
                self.reply(wanted.number, ServerMessage::SubscriptionRefused(rejection)).await;
            }
        }
    }

    /// Answers a question from the logs. First the place on its way out, then the read, as for a subscription:
    /// so a peer that asks and takes nothing is not read from any more.
    async fn answer_from_logs(
        &mut self,
        number: u64,
        read: impl FnOnce(&Reader, &mut OpenSnapshot) -> Result<Answer, Rejection> + Send + 'static,
    ) {
        // An outbox that is gone takes the session with it, and so does a runtime.
        let Ok(slot) = self.pieces.reserve().await else { return };
        let mut open = std::mem::take(&mut self.snapshot);
        let reading = self.source.read(move |reader| {
            let answer = read(reader, &mut open);
            (open, answer)
        });
        let Some((open, answer)) = reading.await else { return };
        self.snapshot = open;
        slot.send(Piece { number, message: ServerMessage::Answer(answer), batches: Vec::new() });
    }

    /// Answers a frame that reaches no driver. A frame without a number cannot be answered.
    async fn refuse(&self, number: u64, rejection: Rejection) {
        tracing::debug!(number, %rejection, "refused");
        if number != 0 {
            self.reply(number, ServerMessage::Answer(Err(rejection))).await;
        }
    }

    async fn reply(&self, number: u64, message: ServerMessage) {
        // An outbox that is gone takes the session with it.
        let _ = self.replies.send(Outgoing { number, message }).await;
    }
}

/// What came of a read, which brings something as long as the peer is there.
fn some_bytes(filled: io::Result<usize>) -> Result<(), End> {
    match filled {
        Ok(0) => Err(End::Left(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(error) => Err(End::Left(error)),
    }
}

/// The message in a frame, which holds nothing else.
fn whole_message(frame: &Frame) -> Result<ClientMessage, String> {
    match frame.decode() {
        Ok((message, behind)) if behind.is_empty() => Ok(message),
        Ok((_, behind)) => Err(format!("{} bytes follow a message that ends before them", behind.len())),
        Err(why) => Err(format!("the message does not decode: {why}")),
    }
}

/// A session that broke down harms nobody else.
pub(super) fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a session broke down: its connection is closed");
    }
}

pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

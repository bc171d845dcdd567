//! What a program writes, line by line to a channel.
//!
//! ```text
//!   pipe ──▶ lines ──▶ pending: 256 KiB ──▶ one append at a time ──▶ channel
//! ```
//!
//! The next append takes all that has come while the one before was on its way: a lone line goes at once, and many go
//! together, so that what is written is on the channel one commit later. While as much as may be is pending, nothing is read,
//! and the program waits at its pipe.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{OnceCell, oneshot, watch};
use tokio::time::sleep;

use super::lines::{Line, Lines};
use crate::client::{Channel, Client, Error, Result};
use crate::protocol::command::Rejection;
use crate::protocol::limits::{APPEND_BYTES_MAX, ELEMENTS_PER_APPEND_MAX};
use crate::worker::newest::Newest;

/// Most bytes that wait to be appended, of one program: 256 KiB, a quarter of what an append may have.
const PENDING_BYTES_MAX: usize = 256 * 1024;

/// What a line counts for beside its text and its headers, at most: the names of its own headers, and lengths.
const AROUND_BYTES: usize = 64;

/// Most bytes that are appended together: half of what an append may have.
const TOGETHER_BYTES_MAX: usize = APPEND_BYTES_MAX / 2;

/// How much is read of a pipe at a time: 16 KiB.
const READ_BYTES: usize = 16 * 1024;

/// How long the pipes of a program whose group is gone may bring nothing before they are given up: 100 ms. Somebody has them
/// who has left the group.
const IDLE: Duration = Duration::from_millis(100);

/// Most bytes that are still read then: 2 MiB, more than two pipes hold.
const REST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How long until an append is tried again that was refused for want of room on the scheduler's disk: 1 s.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Debug)]
pub(super) struct Sink {
    client: Client,
    name: String,
    /// The headers of each line, beside that of its stream.
    headers: Vec<(&'static str, String)>,
    channel: OnceCell<Channel<String>>,
}

/// A line that waits.
type Pending = (&'static str, Line);

impl Sink {
    pub fn new(client: Client, name: String, headers: Vec<(&'static str, String)>) -> Self {
        Sink { client, name, headers, channel: OnceCell::new() }
    }

    /// What each line counts for beside its text.
    fn each_bytes(&self) -> usize {
        self.headers.iter().map(|(key, words)| key.len() + words.len()).sum::<usize>() + AROUND_BYTES
    }

    async fn channel(&self) -> Result<&Channel<String>> {
        self.channel.get_or_try_init(|| self.client.channel(&self.name)).await
    }

    /// Appends lines, sooner or later.
    async fn append(self: Arc<Self>, lines: Vec<Pending>) -> Result<()> {
        loop {
            match self.try_append(&lines).await {
                // It is held up until there is room. What the log failed in may be there twice then.
                Err(Error::Rejected(why @ (Rejection::DiskLow { .. } | Rejection::LogFailed(_)))) => {
                    tracing::warn!(channel = self.name, %why, "output waits");
                    sleep(AGAIN_AFTER).await;
                }
                other => return other,
            }
        }
    }

    async fn try_append(&self, lines: &[Pending]) -> Result<()> {
        let channel = self.channel().await?;
        channel.ready().await?;
        let mut batch = channel.batch();
        for (stream, line) in lines {
            batch = batch.value(&line.text).header("stream", *stream);
            for (key, words) in &self.headers {
                batch = batch.header(*key, words.as_str());
            }
            if line.goes_on {
                batch = batch.header("goes_on", "true");
            }
        }
        batch.append().await.map(drop)
    }

    /// All that was appended is durable, also where the channel is buffered.
    async fn flush(&self) -> Result<()> {
        match self.channel.get() {
            Some(channel) => channel.flush().await,
            None => Ok(()),
        }
    }
}

/// One of a program's pipes.
#[derive(Debug)]
struct Stream<R> {
    name: &'static str,
    pipe: Option<R>,
    lines: Lines,
    buffer: Box<[u8]>,
}

impl<R: AsyncRead + Unpin> Stream<R> {
    fn new(name: &'static str, pipe: Option<R>) -> Self {
        Stream { name, pipe, lines: Lines::default(), buffer: vec![0; READ_BYTES].into() }
    }

    /// Reads some bytes: none at the end. May be dropped without a loss.
    async fn read(&mut self) -> usize {
        match &mut self.pipe {
            // What cannot be read is at its end.
            Some(pipe) => pipe.read(&mut self.buffer).await.unwrap_or(0),
            None => std::future::pending().await,
        }
    }

    /// The lines of what was read.
    fn take(&mut self, read: usize, give: impl FnMut(Line)) {
        match read {
            0 => self.close(give),
            read => self.lines.push(&self.buffer[..read], give),
        }
    }

    fn close(&mut self, give: impl FnMut(Line)) {
        self.pipe = None;
        self.lines.end(give);
    }
}

/// What a program writes.
#[derive(Debug)]
pub(super) struct Output {
    stdout: Stream<ChildStdout>,
    stderr: Stream<ChildStderr>,
    /// Where it goes, unless it is not wanted.
    sink: Option<Arc<Sink>>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// What each line counts for beside its text.
    each_bytes: usize,
    newest: Newest,
}

/// What an output is told while it runs.
#[derive(Debug)]
pub(super) struct Orders {
    /// Closed once nothing is wanted any more.
    pub wanted: watch::Receiver<()>,
    /// Closed once the program's group is gone, so that what is in the pipes is the rest.
    pub rest: oneshot::Receiver<()>,
    /// Told when lines are refused; from then on they are dropped.
    pub refused: oneshot::Sender<Error>,
}

type Appending = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

impl Output {
    pub fn new(stdout: Option<ChildStdout>, stderr: Option<ChildStderr>, sink: Option<Sink>) -> Self {
        Output {
            stdout: Stream::new("stdout", stdout),
            stderr: Stream::new("stderr", stderr),
            each_bytes: sink.as_ref().map_or(0, Sink::each_bytes),
            sink: sink.map(Arc::new),
            pending: VecDeque::new(),
            pending_bytes: 0,
            newest: Newest::default(),
        }
    }

    /// Reads and appends until both pipes are closed and everything is durable, and brings the newest lines of stderr.
    ///
    /// # Errors
    /// When what was acknowledged is not durable.
    pub async fn run(mut self, orders: Orders) -> (Newest, Result<()>) {
        let Orders { mut wanted, mut rest, refused } = orders;
        let mut refused = Some(refused);
        let mut appending: Option<Appending> = None;
        let mut rest_bytes = None;
        let mut is_wanted = true;
        loop {
            // Looked at first: nothing that comes behind it is appended.
            if is_wanted && wanted.has_changed().is_err() {
                is_wanted = false;
                appending = None;
                self.discard();
            }
            if appending.is_none()
                && !self.pending.is_empty()
                && let Some(sink) = self.sink.clone()
            {
                appending = Some(Box::pin(sink.append(self.next_lines())));
            }
            let is_open = self.stdout.pipe.is_some() || self.stderr.pipe.is_some();
            if !is_open && appending.is_none() {
                break;
            }
            let has_room = self.pending_bytes < PENDING_BYTES_MAX;
            let is_over_rest = rest_bytes.is_some_and(|bytes| bytes > REST_BYTES_MAX);
            if is_over_rest {
                self.close();
                continue;
            }
            let is_rest = rest_bytes.is_some();
            let read = tokio::select! {
                biased;
                Some(appended) = OptionFuture::from(appending.as_mut()), if appending.is_some() => {
                    appending = None;
                    if let Err(error) = appended {
                        self.discard();
                        refused.take().map(|refused| refused.send(error));
                    }
                    0
                }
                _ = wanted.changed(), if is_wanted => 0,
                _ = &mut rest, if !is_rest => {
                    rest_bytes = Some(0);
                    0
                }
                read = self.stdout.read(), if has_room => {
                    self.take_stdout(read);
                    // All that the program had written is read: what comes now is from others, who have its pipe.
                    if is_rest && read < READ_BYTES {
                        self.take_stdout(0);
                    }
                    read
                }
                read = self.stderr.read(), if has_room => {
                    self.take_stderr(read);
                    if is_rest && read < READ_BYTES {
                        self.take_stderr(0);
                    }
                    read
                }
                () = sleep(IDLE), if is_rest && has_room && is_open => {
                    self.close();
                    0
                }
            };
            rest_bytes = rest_bytes.map(|bytes| bytes + read);
        }
        let flushed = match &self.sink {
            Some(sink) => sink.flush().await,
            None => Ok(()),
        };
        (self.newest, flushed)
    }

    fn take_stdout(&mut self, read: usize) {
        let (name, mut lines) = (self.stdout.name, Vec::new());
        self.stdout.take(read, |line| lines.push(line));
        lines.into_iter().for_each(|line| self.add(name, line));
    }

    fn take_stderr(&mut self, read: usize) {
        let (name, mut lines) = (self.stderr.name, Vec::new());
        self.stderr.take(read, |line| lines.push(line));
        for line in lines {
            self.newest.push(&line.text);
            self.add(name, line);
        }
    }

    fn add(&mut self, stream: &'static str, line: Line) {
        if self.sink.is_some() {
            self.pending_bytes += line.text.len() + self.each_bytes;
            self.pending.push_back((stream, line));
        }
    }

    /// The lines that are appended next: the oldest, as many as may be.
    fn next_lines(&mut self) -> Vec<Pending> {
        let mut bytes = 0;
        let mut next = Vec::new();
        while next.len() < ELEMENTS_PER_APPEND_MAX
            && let Some(pending) = self.pending.pop_front_if(|(_, line)| {
                bytes += line.text.len() + self.each_bytes;
                bytes <= TOGETHER_BYTES_MAX
            })
        {
            self.pending_bytes -= pending.1.text.len() + self.each_bytes;
            next.push(pending);
        }
        next
    }

    /// Nothing goes anywhere any more; the pipes are still read, so that nobody waits at them.
    fn discard(&mut self) {
        self.sink = None;
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// Whoever has the pipes still is not listened to.
    fn close(&mut self) {
        if self.stdout.pipe.is_some() {
            self.take_stdout(0);
        }
        if self.stderr.pipe.is_some() {
            self.take_stderr(0);
        }
    }
}

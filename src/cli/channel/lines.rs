//! Lines that are appended as they come: those that are there together, within the bounds of an append.
//!
//! ```text
//!   stdin ──lines──▶ reader, a thread ──at most LINES_AHEAD──▶ next ──▶ an append, waited for
//! ```
//!
//! What is not read yet stays with whoever writes it: memory is bounded by the lines that are ahead and those of one append.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc;

use crate::client::{Ack, Error};
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::rows::counted;

/// Most lines that are read ahead.
const LINES_AHEAD: usize = 256;

/// What a value has beside its line's bytes, at most: as a text, a kind and a length.
pub const AROUND_BYTES: usize = 8;

/// Longest line, in bytes: none that is longer can be a value within its bound. JSON may shrink a good deal.
const LINE_BYTES_MAX: usize = 4 * PAYLOAD_BYTES_MAX;

/// Why no further line comes.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// It is no text.
    #[error("line {0} is not UTF-8: encode it")]
    NotText(u64),
    /// It cannot be a value.
    #[error("line {0} is over {LINE_BYTES_MAX} bytes: append a path or a key to where the data lie")]
    TooLong(u64),
    /// It cannot be read.
    #[error("line {0} cannot be read: {1}")]
    Unreadable(u64, io::Error),
}

/// The lines of a stream, read by a thread of its own.
#[derive(Debug)]
pub struct Lines {
    lines: mpsc::Receiver<Result<String, BadLine>>,
    /// What did not fit the append before.
    left: Option<String>,
    bad: Option<BadLine>,
}

impl Lines {
    /// Those of stdin. The thread ends with them, or with the process.
    pub fn of_stdin() -> Self {
        Lines::of(|| io::stdin().lock())
    }

    fn of<R: BufRead>(open: impl FnOnce() -> R + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        std::thread::spawn(move || {
            let mut stream = open();
            for number in 1.. {
                let line = line(&mut stream, number).transpose();
                let Some(line) = line else { return };
                let is_bad = line.is_err();
                // Whoever does not want them any more need not be told.
                if sender.blocking_send(line).is_err() || is_bad {
                    return;
                }
            }
        });
        Lines { lines, left: None, bad: None }
    }

    /// The next lines: one at least, which is waited for, and those that are there behind it, as many as fit. Each
    /// counts for so many bytes more. `None` at the end. Lines before a bad one come first.
    pub async fn next(
        &mut self,
        count_max: usize,
        bytes_max: usize,
        each: usize,
    ) -> Option<Result<Vec<String>, BadLine>> {
        if let Some(bad) = self.bad.take() {
            return Some(Err(bad));
        }
        let first = match self.left.take() {
            Some(line) => line,
            None => match self.lines.recv().await? {
                Ok(line) => line,
                Err(bad) => return Some(Err(bad)),
            },
        };
        let mut bytes = first.len() + each;
        let mut all = vec![first];
        while all.len() < count_max {
            match self.lines.try_recv() {
                Ok(Ok(line)) if bytes + line.len() + each <= bytes_max => {
                    bytes += line.len() + each;
                    all.push(line);
                }
                Ok(Ok(line)) => {
                    self.left = Some(line);
                    break;
                }
                Ok(Err(bad)) => {
                    self.bad = Some(bad);
                    break;
                }
                Err(_) => break,
            }
        }
        Some(Ok(all))
    }
}

/// The next line without its end; `None` at the end of all.
fn line(stream: &mut impl BufRead, number: u64) -> Result<Option<String>, BadLine> {
    let mut bytes = Vec::new();
    let read = stream.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes);
    if read.map_err(|error| BadLine::Unreadable(number, error))? == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.len() > LINE_BYTES_MAX {
        return Err(BadLine::TooLong(number));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| BadLine::NotText(number))
}

/// How many lines were appended so far, for whoever has to go on behind them.
#[derive(Debug, Default)]
pub struct Appended {
    lines: u64,
    /// How many of them were in already.
    skipped: u64,
    last: Option<u64>,
    /// Whether a run that begins anew skips what is in.
    is_skipping: bool,
}

impl Appended {
    /// None yet.
    pub fn of(is_skipping: bool) -> Self {
        Appended { is_skipping, ..Appended::default() }
    }

    /// How many lines there were so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// So many lines more were appended.
    pub fn add(&mut self, lines: usize, ack: Ack) {
        self.lines += lines as u64;
        self.last = Some(ack.offsets().end - 1);
    }

    /// So many lines more are in already.
    pub fn skip(&mut self, lines: u64) {
        self.lines += lines;
        self.skipped += lines;
    }

    /// That lines were skipped, in words, if any were.
    pub fn skipped(&self) -> Option<String> {
        match self.skipped {
            0 => None,
            1 => Some("1 line was in already, and is skipped".to_owned()),
            many => Some(format!("{many} lines were in already, and are skipped")),
        }
    }

    /// It broke off before the next line.
    pub fn broke_off_before(&self, error: anyhow::Error) -> anyhow::Error {
        anyhow::anyhow!("{error:#}; {}", self.told())
    }

    /// It broke off in an append of so many lines.
    pub fn broke_off_in(&self, lines: usize, error: Error) -> anyhow::Error {
        let (from, to) = (self.lines + 1, self.lines + lines as u64);
        let became = match error {
            Error::Rejected(ref rejection) if !rejection.may_be_done() => "were not appended",
            Error::TooLarge(_) | Error::Encode { .. } | Error::TooManyInFlight { .. } => "were not appended",
            _ if self.is_skipping => "may have been appended or not: run it again, and what is in is skipped",
            _ => "may have been appended or not: look before they are sent again",
        };
        anyhow::anyhow!("{error}; {}, lines {from} to {to} {became}", self.told())
    }

    fn told(&self) -> String {
        match self.last {
            Some(last) => {
                let lines = self.lines - self.skipped;
                let were = if lines == 1 { "was" } else { "were" };
                format!("{} {were} appended before, the last at offset {last}", counted(lines, "line"))
            }
            None => "no line was appended before".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::channel::Durability;
    use crate::protocol::command::Rejection;
    use crate::protocol::{ChannelName, Epoch, Seq};

    fn lines(bytes: impl Into<Vec<u8>>) -> Lines {
        let bytes = bytes.into();
        Lines::of(move || io::Cursor::new(bytes))
    }

    async fn all(mut lines: Lines, count_max: usize, bytes_max: usize) -> Vec<Result<Vec<String>, String>> {
        let mut all = Vec::new();
        // All of them are there, or the next is waited for: how they are cut is up to the bounds.
        while let Some(some) = lines.next(count_max, bytes_max, 1).await {
            all.push(some.map_err(|bad| bad.to_string()));
        }
        all
    }

    #[tokio::test]
    async fn lines_come_in_order_within_the_bounds_and_without_their_ends() {
        let text = "one\ntwo\r\n\nfour";
        for (count_max, bytes_max) in [(1, 100), (2, 100), (100, 6), (100, 1), (100, 100)] {
            let some = all(lines(text), count_max, bytes_max).await;
            let some: Vec<Vec<String>> = some.into_iter().map(Result::unwrap).collect();
            assert_eq!(some.concat(), ["one", "two", "", "four"]);
            for part in some {
                let bytes: usize = part.iter().map(|line| line.len() + 1).sum();
                assert!(part.len() <= count_max && (bytes <= bytes_max || part.len() == 1), "{part:?}");
            }
        }
        assert_eq!(all(lines(""), 9, 9).await, []);
    }

    #[tokio::test]
    async fn what_comes_before_a_bad_line_is_given_and_the_line_is_named() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let good = all(lines(long.clone() + "\nb"), 1, 1).await;
        assert_eq!(good.len(), 2, "as long as it may be");
        let too_long = format!("line 2 is over {LINE_BYTES_MAX} bytes: append a path");
        for (bytes, told) in [
            (b"a\n\xff\nc".to_vec(), "line 2 is not UTF-8: encode it"),
            (format!("a\n{long}x\nc").into_bytes(), &too_long),
        ] {
            let some = all(lines(bytes), 9, 9).await;
            assert_eq!(some[0], Ok(vec!["a".to_owned()]));
            assert!(some[1].as_ref().unwrap_err().starts_with(told) && some.len() == 2, "{some:?}");
        }
    }

    #[test]
    fn an_end_in_the_middle_says_what_was_appended() {
        let mut appended = Appended::default();
        let channel = ChannelName::new("a").unwrap();
        let stopped = || Error::Rejected(Rejection::ChannelStopped(channel.clone(), 7));
        let told = appended.broke_off_in(3, stopped()).to_string();
        let end = "append to another one, or let it go on with `headwater channel resume`; no line was appended before, lines 1 to 3 were not appended";
        assert!(told.ends_with(end), "{told}");
        let (seq, epoch, durability) = (Seq(1), Epoch(1), Durability::Fsynced);
        appended.add(3, Ack { offset: 10, count: 3, seq, epoch, durability });
        let told = appended.broke_off_in(2, Error::Stopped).to_string();
        let end = "3 lines were appended before, the last at offset 12, lines 4 to 5 may have been appended or not: \
                   look before they are sent again";
        assert!(told.ends_with(end), "{told}");
        let told = appended.broke_off_before(BadLine::NotText(4).into()).to_string();
        assert_eq!(
            told,
            "line 4 is not UTF-8: encode it; 3 lines were appended before, the last at offset 12"
        );
    }
}

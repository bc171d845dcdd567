//! What a client was told, in a file of its own that outlives it.
//!
//! A *life* is one session of one client: it begins with a file and ends when the client is killed or its
//! session is over. The file's lines, in order:
//!
//! ```text
//!   session 0193f1c2…                                   the session, as `$tasks` names it
//!   value  NUMBER CHANNEL OFFSET                        an acknowledged append of a value
//!   future NUMBER CHANNEL OFFSET KEY RESULT             an acknowledged append of a task's future
//! ```
//!
//! Elements of a life are numbered from 0 over all channels. A line is written, with one call, after its
//! acknowledgement has come and before the next is looked at: so each line was promised, and a line that a
//! kill has torn was not there yet. Its place in the log says which value it is: a [`Stamp`].

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::protocol::{SessionId, TaskKey};

/// The most elements of a life that are on their way at a time.
pub const BURST_MAX: u64 = 8;

/// A client's session: the client's number and how many sessions it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LifeId {
    pub client: u32,
    pub life: u32,
}

/// A value as clients append it: unlike any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub life: LifeId,
    /// Counted over the life's elements, values and futures alike.
    pub number: u64,
    /// So that values are of all sizes.
    pub fill: String,
}

/// What was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Value,
    Future { key: TaskKey, result: u64 },
}

/// An acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    pub number: u64,
    pub channel: String,
    pub offset: u64,
    pub kind: Kind,
}

/// All that a life was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub id: LifeId,
    /// The session, as it prints; `None` when it was killed before it had one.
    pub session: Option<String>,
    pub acks: Vec<Ack>,
}

/// A life's file, being written.
#[derive(Debug)]
pub struct LifeFile {
    pub id: LifeId,
    file: File,
}

impl std::fmt::Display for LifeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client-{}-{:05}", self.client, self.life)
    }
}

impl LifeFile {
    /// Begins a client's next life.
    pub fn begin(dir: &Path, client: u32) -> io::Result<Self> {
        let mut life = 0;
        loop {
            let id = LifeId { client, life };
            match File::options().append(true).create_new(true).open(dir.join(id.to_string())) {
                Ok(file) => return Ok(LifeFile { id, file }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => life += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes the session.
    pub fn opened(&mut self, session: SessionId) -> io::Result<()> {
        self.file.write_all(format!("session {session}\n").as_bytes())
    }

    /// Notes an acknowledgement.
    pub fn acked(&mut self, ack: &Ack) -> io::Result<()> {
        let Ack { number, channel, offset, kind } = ack;
        let line = match kind {
            Kind::Value => format!("value {number} {channel} {offset}\n"),
            Kind::Future { key, result } => format!("future {number} {channel} {offset} {key} {result}\n"),
        };
        self.file.write_all(line.as_bytes())
    }
}

/// Reads the files of all lives.
pub fn read_all(dir: &Path) -> anyhow::Result<Vec<Life>> {
    let mut lives = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let life = parse(name, &text).with_context(|| format!("{} is no client's file", path.display()))?;
        lives.push(life);
    }
    lives.sort_by_key(|life| life.id);
    Ok(lives)
}

fn parse(name: &str, text: &str) -> anyhow::Result<Life> {
    let numbers = name.strip_prefix("client-").and_then(|rest| rest.split_once('-'));
    let (client, life) = numbers.context("its name is none of ours")?;
    let id = LifeId { client: client.parse()?, life: life.parse()? };
    let mut read = Life { id, session: None, acks: Vec::new() };
    // What follows the last line end is the line that a kill has torn.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match &words[..] {
            ["session", session] => read.session = Some((*session).to_owned()),
            ["value", number, channel, offset] => read.acks.push(ack(number, channel, offset, Kind::Value)?),
            ["future", number, channel, offset, key, result] => {
                let kind = Kind::Future { key: key.parse()?, result: result.parse()? };
                read.acks.push(ack(number, channel, offset, kind)?);
            }
            _ => anyhow::bail!("`{line}` says nothing"),
        }
    }
    Ok(read)
}

fn ack(number: &str, channel: &str, offset: &str, kind: Kind) -> anyhow::Result<Ack> {
    Ok(Ack { number: number.parse()?, channel: channel.to_owned(), offset: offset.parse()?, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_back_and_a_torn_line_was_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = LifeFile::begin(dir.path(), 3).unwrap();
        let value = Ack { number: 0, channel: "a/b".to_owned(), offset: 12, kind: Kind::Value };
        let kind = Kind::Future { key: TaskKey::unique("sum", [7; 16]), result: 9 };
        let future = Ack { number: 1, channel: "c".to_owned(), offset: 0, kind };
        first.opened(SessionId([1; 16])).unwrap();
        first.acked(&value).unwrap();
        first.acked(&future).unwrap();
        first.file.write_all(b"value 2 a/b 1").unwrap();
        let second = LifeFile::begin(dir.path(), 3).unwrap();
        let [one, two] = &read_all(dir.path()).unwrap()[..] else { panic!() };
        assert_eq!((one.id, &one.acks[..]), (first.id, &[value, future][..]));
        assert_eq!(one.session, Some(SessionId([1; 16]).to_string()));
        assert_eq!((two.id, two.acks.len()), (second.id, 0));
        assert_eq!(two.id, LifeId { client: 3, life: 1 });
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        assert!(parse("client-1-00000", "hello\n").is_err());
        assert!(parse("notes", "").is_err());
    }
}

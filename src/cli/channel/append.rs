//! `headwater channel append`.

use serde::Serialize;
use serde_json::Value;

use super::durability::Acknowledged;
use super::lines::{self, Lines};
use crate::cli::connect::Connect;
use crate::cli::output::{Output, note};
use crate::client::{Ack, AppendBatch, Channel, Client, Error, Produced};
use crate::protocol::command::Rejection;
use crate::protocol::limits::{APPEND_BYTES_MAX, ELEMENTS_PER_APPEND_MAX};
use crate::protocol::producer::ProducerName;
use crate::protocol::{ChannelName, Headers};
use crate::rows::record::durability_word;

/// The word for the lines of stdin, in the place of the values.
const STDIN: &str = "-";

/// Most bytes of lines that are appended together: JSON is at most a good two times as large as a value, where it is
/// numbers like `1e9`, which take nine bytes each.
const BYTES_TOGETHER: usize = APPEND_BYTES_MAX / 4;

/// Append values to a channel.
///
/// The channel is made when it is not there. All values are appended or none, in the order given, and
/// they are durable when their offsets are printed, one per line; in a channel that is buffered, or with --buffered, they
/// are written then, and flushed to the disk within the time that was named. A value is read as JSON when it is JSON,
/// and is a text otherwise.
///
/// With - in the place of the values, each line of stdin is one. Those that are there are appended together, as
/// many as fit an append; when it breaks off, what was appended before stays, and the error says how much that is.
///
/// With --producer NAME and --number N, nothing is appended that this producer has appended before: N must be above the
/// newest number under that name, which the channel remembers. With the newest itself the first offsets are printed again,
/// with a lower one none. With --producer and - the lines of stdin are numbered from 1, and those that are in already are
/// skipped: so the same import, run again after it was killed at any moment, appends each line once. Each name stands for
/// one input.
///
/// With --expect, nothing is appended if somebody has appended to the channel at that offset or behind it, or has
/// stopped it. What became of futures is recorded by nobody, and does not count. The error names the offset to go on
/// with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel append numbers 1 2.5 -3
  headwater channel append builds '{\"commit\": \"1f3a\", \"green\": true}'
  headwater channel append notes 'a text' '\"12\"'    (the quoted 12 is a text, too)
  headwater channel append notes --header by=me --header lang=en 'a text'
  headwater channel append leader --expect 41 '\"me\"'    (only if nobody was faster)
  headwater channel append gauge 7.5 --buffered 100ms    (waits for no disk)
  tail -f access.log | headwater channel append access - --json
  headwater channel append orders --producer shop --number 17 '{\"id\": 17}'    (once, however often it is run)
  headwater channel append lines --producer import - < lines.txt    (the same, of each line)")]
pub struct Append {
    /// The channel
    name: ChannelName,

    /// The values, or - alone for the lines of stdin
    #[arg(required = true, value_name = "VALUE", allow_negative_numbers = true)]
    values: Vec<String>,

    /// Only if nobody has written at this offset or behind it
    #[arg(long, value_name = "OFFSET")]
    expect: Option<u64>,

    /// Append as this named producer: what it has appended before is not appended again
    #[arg(long, value_name = "NAME")]
    producer: Option<ProducerName>,

    /// The append's number, above those that the producer has used before
    #[arg(long, value_name = "N", requires = "producer")]
    number: Option<u64>,

    /// A header of each value: a few words under a key
    #[arg(long = "header", value_name = "KEY=WORDS", value_parser = header)]
    headers: Vec<(String, String)>,

    #[command(flatten)]
    acknowledged: Acknowledged,

    /// One JSON object a line for each value: its offset, commit and epoch, and whether it is on the disk (`fsynced`) or
    /// will be (`buffered 100ms`)
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connect: Connect,
}

/// An element that was appended, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    offset: u64,
    seq: u64,
    epoch: u64,
    durability: String,
}

impl Append {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        let reads_stdin = self.values.iter().any(|value| value == STDIN);
        anyhow::ensure!(
            !reads_stdin || self.values.len() == 1,
            "- stands for the lines of stdin, and alone: give the other values on stdin, or write '\"-\"' for a text"
        );
        anyhow::ensure!(
            !reads_stdin || self.number.is_none(),
            "the lines of stdin are numbered from 1: leave --number out, or give the values in the place of -"
        );
        anyhow::ensure!(
            reads_stdin || self.producer.is_none() || self.number.is_some(),
            "an append of a producer has a number: add --number, above those that it has used before"
        );
        self.connect
            .with(async |client| match reads_stdin {
                true => self.append_lines(client, &mut output).await,
                false => self.append_values(client, &mut output).await,
            })
            .await?;
        output.flush()
    }

    async fn append_values(&self, client: &Client, output: &mut Output) -> anyhow::Result<()> {
        let channel = client.channel::<Value>(self.name.as_str()).await?;
        let values: Vec<Value> = self.values.iter().map(|text| value(text)).collect();
        let batch = self.batch(&channel, &values, self.expect);
        let (Some(name), Some(number)) = (&self.producer, self.number) else {
            return self.print(batch.append().await?, output);
        };
        let producer = channel.producer(name.as_str())?;
        match batch.produced_by(&producer, number).append().await? {
            Produced::Appended(ack) => self.print(ack, output),
            Produced::Before { newest } => {
                note(format!("nothing is appended: producer `{name}` is at number {newest} already"));
                Ok(())
            }
        }
    }

    /// Appends the lines of stdin, those that are there together; as a producer, those that are not in yet. Each append but
    /// the first expects that nobody has written since the one before, if that expects anything.
    async fn append_lines(&self, client: &Client, output: &mut Output) -> anyhow::Result<()> {
        let channel = client.channel::<Value>(self.name.as_str()).await?;
        let (mut lines, mut expect) = (Lines::of_stdin(), self.expect);
        let headers: Headers = self.headers.iter().cloned().collect();
        let each = headers.bytes() + lines::AROUND_BYTES;
        let producer = self.producer.as_ref().map(|name| channel.producer(name.as_str())).transpose()?;
        let mut known = match &producer {
            Some(producer) => producer.last().await?.unwrap_or(0),
            None => 0,
        };
        let mut appended = lines::Appended::of(producer.is_some());
        while let Some(some) = lines.next(ELEMENTS_PER_APPEND_MAX, BYTES_TOGETHER, each).await {
            let some = some.map_err(|error| appended.broke_off_before(error.into()))?;
            let mut values: Vec<Value> = some.iter().map(|line| value(line)).collect();
            loop {
                let skipped = known.saturating_sub(appended.lines()).min(values.len() as u64);
                appended.skip(skipped);
                values.drain(..skipped as usize);
                if values.is_empty() {
                    break;
                }
                let batch = self.batch(&channel, &values, expect);
                let brought = match &producer {
                    Some(producer) => {
                        let last = appended.lines() + values.len() as u64;
                        batch.produced_by(producer, last).append().await
                    }
                    None => batch.append().await.map(Produced::Appended),
                };
                match (brought, &producer) {
                    (Ok(Produced::Appended(ack)), _) => {
                        appended.add(values.len(), ack);
                        expect = expect.map(|_| ack.offsets().end);
                        self.print(ack, output)?;
                        output.flush()?;
                        break;
                    }
                    // Another run is ahead of this one.
                    (Ok(Produced::Before { newest }), _) => known = newest,
                    (Err(Error::Rejected(Rejection::ProducerMoved { at, .. })), Some(producer))
                        if at > appended.lines() =>
                    {
                        known = producer.last().await?.unwrap_or(0);
                    }
                    (Err(error), _) => return Err(appended.broke_off_in(values.len(), error)),
                }
            }
        }
        appended.skipped().into_iter().for_each(note);
        Ok(())
    }

    fn batch(&self, channel: &Channel<Value>, values: &[Value], expect: Option<u64>) -> AppendBatch<Value> {
        let mut batch = channel.batch();
        for value in values {
            batch = batch.value(value);
            for (key, words) in &self.headers {
                batch = batch.header(key.as_str(), words.as_str());
            }
        }
        if let Some(offset) = expect {
            batch = batch.expect(offset);
        }
        match self.acknowledged.named() {
            Some(durability) => batch.acknowledged(durability),
            None => batch,
        }
    }

    fn print(&self, ack: Ack, output: &mut Output) -> anyhow::Result<()> {
        let durability = || durability_word(ack.durability);
        ack.offsets().try_for_each(|offset| match self.json {
            true => {
                output.json(&Row { offset, seq: ack.seq.0, epoch: ack.epoch.0, durability: durability() })
            }
            false => output.line(offset),
        })
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, words)) if !key.is_empty() => Ok((key.to_owned(), words.to_owned())),
        _ => Err("a header is KEY=WORDS, as in --header by=me".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Payload;

    fn payload(text: &str) -> Payload {
        Payload::encode(&value(text)).unwrap()
    }

    #[test]
    fn what_is_json_is_a_value_and_all_else_a_text() {
        assert_eq!(payload("2.5").decode(), Ok(2.5));
        assert_eq!(payload("-3").decode(), Ok(-3));
        assert_eq!(payload("3").decode(), Ok(3.0));
        // To the last digit: the nearest double is not found without some care.
        assert_eq!(payload("1.6948674738744653").decode(), Ok(1.6948674738744653));
        assert_eq!(payload("[1, null]").decode(), Ok((1, Option::<u8>::None)));
        assert_eq!(payload("a text").decode(), Ok("a text".to_owned()));
        assert_eq!(payload("\"12\"").decode(), Ok("12".to_owned()));
        assert_eq!(payload("{broken").decode(), Ok("{broken".to_owned()));
    }

    #[test]
    fn a_header_is_a_key_and_words() {
        assert_eq!(header("by=me"), Ok(("by".to_owned(), "me".to_owned())));
        assert_eq!(header("note=a=b "), Ok(("note".to_owned(), "a=b ".to_owned())));
        assert_eq!(header("empty="), Ok(("empty".to_owned(), String::new())));
        for bad in ["by", "=me", ""] {
            assert!(header(bad).unwrap_err().contains("KEY=WORDS"));
        }
    }
}

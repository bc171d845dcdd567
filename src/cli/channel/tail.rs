//! `headwater channel tail`.

use super::look::Look;
use super::reader::Reader;
use crate::cli::connect::{Connect, is_session_over};
use crate::cli::signals::Signals;
use crate::client::{Offset, Until};
use crate::protocol::ChannelName;
use crate::protocol::message::Reads;
use crate::rows::range;

/// Read a channel, from anywhere and up to anywhere, and follow it.
///
/// Prints one line per record: its offset, its time, and what it says. A record is an element that was
/// appended (a future, shown by its task's key, or a value), or what became of a future (started, finished
/// with its result, failed with its error, cancelled), or the end of the channel (stopped).
///
/// It ends with what is there. With `--follow`, it goes on with what comes, through restarts of the scheduler, until the
/// channel is stopped and the futures that were read have their outcome, or until it is interrupted. With `--until` it
/// ends before that record in any case.
///
/// A time is that of the scheduler's clock, and is given as 2026-11-23T08:21:16Z, as it is printed here (then it is of
/// this machine's time zone), or as how long ago it was: -10m.
///
/// The channel `$tasks` is the scheduler's own log: all that happened to tasks, sessions and channels.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel tail adds                      all records that there are
  headwater channel tail adds --from 100 --follow  from offset 100, and what comes
  headwater channel tail adds --from end --follow  only what comes
  headwater channel tail adds --from last:20       the last 20 elements, and what became of them
  headwater channel tail adds --from time:-10m     what came in the last ten minutes
  headwater channel tail adds --from 100 --until 200
  headwater channel tail adds --from time:2026-11-23T08:00Z --until time:2026-11-23T09:00Z
  headwater channel tail gauge --follow --undurable   what is appended as buffered, at once
  headwater channel tail '$tasks' --json           for a program
  headwater channel tail adds --time relative --color always | less -R
  headwater channel tail log --template '{time}\t{header.level}\t{text}' --time iso

In a template:
  {offset} {time} {key} {worker} {error}   what a record has of it; else nothing
  {word}                                   what happened; {kind} and {state}, as --json has them
  {value} {value.NAME} {value.NAME.0}      a value as JSON, and what is inside it
  {text}                                   a value without the quotes of a text
  {headers} {header.NAME} {detail.NAME}    headers, and what else --json says of it
  {rest}                                   all that stands behind the word and the key in a line without a template
  \t \n \\ {{ }}                           a tab, a line's end, a backslash, braces
  Marks are not printed then; what is trimmed or lost is said on stderr.

With --json, each line is one object:
  {\"offset\",\"time\",\"kind\",\"key\"?,\"value\"?,\"headers\"?,\"stored\"?,\"state\"?,\"error\"?,\"worker\"?}
                                               for a record, and what else it says: \"session\", who changed
                                               the channel; \"producer\" and \"number\" of an append; ...
  {\"marker\":\"caught_up\",\"offset\"}               here history ends, once
  {\"marker\":\"trimmed\",\"from\",\"first\"}           the records in between are gone
  {\"marker\":\"damaged\",\"from\",\"to\",\"why\"}       they were lost with a damaged store")]
pub struct Tail {
    /// The channel
    name: ChannelName,

    /// Where to begin: `start`, `end`, an offset, `last:N` for the last N elements, or `time:T` for the first record of
    /// that time or later
    #[arg(long, value_name = "POSITION", default_value = "start", value_parser = range::from)]
    from: Offset,

    /// Where to end: `now`, before an offset, or `time:T` before the first record of that time or later
    #[arg(long, value_name = "POSITION", value_parser = range::until)]
    until: Option<Until>,

    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,

    /// Print also what is written and not on the disk yet: a power failure may take it away, and then this ends with an
    /// error that says so
    #[arg(long)]
    undurable: bool,

    #[command(flatten)]
    look: Look,

    #[command(flatten)]
    connect: Connect,
}

impl Tail {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        let reads = if self.undurable { Reads::Appended { seen: None } } else { Reads::Durable };
        let mut reader =
            Reader::new(self.from.position(), self.until, self.follow, self.look.clone()).of(reads);
        loop {
            let read = self.connect.with(async |client| {
                tokio::select! {
                    result = reader.read(client, &self.name) => result,
                    () = signals.next() => Ok(()),
                }
            });
            match read.await {
                // This process was not heard of for so long (it was suspended, say) that its session is
                // over. Reading holds nothing, so a new session goes on at the next offset. It would not know whether what
                // was not durable is still there.
                Err(error) if self.follow && !self.undurable && is_session_over(&error) => {}
                result => return result,
            }
        }
    }
}

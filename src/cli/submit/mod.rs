//! `headwater submit`: any program as a task.

mod array;
mod conditions;
mod follow;
mod members;
mod progress;
mod send;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};

use self::array::Array;
use self::conditions::Conditions;
use self::follow::Follow;
use self::members::{Member, STDIN};
use self::progress::Shows;
use self::send::{Calls, Target};
use super::connect::{Connect, is_session_over};
use super::output::{Output, note};
use super::signals::Signals;
use crate::client::Client;
use crate::client::millis::millis;
use crate::protocol::ChannelName;
use crate::rows::counted;
use crate::rows::time::{duration, limit};
use crate::worker::exec::command::{Command, own_channel};

/// Run any program on a worker: once, for each of many numbers, or for each line of a file.
///
/// Its output goes to a channel, line by line while it runs, and with it what becomes of the task: `headwater channel tail`
/// shows all of it from the first line, from anywhere, today and later. The channel has a name of its own, submit-…,
/// unless one is given. A line is an element, and a text, with the headers stream=stdout|stderr, task=KEY, and index=N
/// in an array; a line of more than 16 KiB comes in pieces, all but the last with goes_on=true. Bytes that are not UTF-8
/// are replaced.
///
/// A program that ends with code 0 has finished. With another code, by a signal, or over --time-limit, it has failed, and
/// the error has the end of its stderr. --retries lets it be tried again. `headwater task cancel` ends it: SIGTERM to it and
/// all that it has started, and SIGKILL to what is left after --grace. So it ends when its worker does, in whatever way,
/// and begins anew on another: a program may run more than once.
///
/// In the command, in the values of --env, in --cwd and in the file of --stdin, {index} stands for the number, {line} for the
/// line, and {key} for the task's key (not in --stdin). Where there is no number or no line, these words stay as they are, and so
/// does all else in braces. {{index}}, {{line}} and {{key}} are always the words {index}, {line} and {key} themselves.
///
/// The program's environment is the worker's, with HEADWATER_TASK, HEADWATER_ATTEMPT, HEADWATER_INDEX, HEADWATER_LINE and
/// HEADWATER_CONNECT, by which `headwater` finds the scheduler, and with what --env says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater submit -- make -j8
  headwater submit --wait -- sh -c 'make && make test'    its output here, and its exit code
  headwater submit --array 1-1000 --progress -- render --frame {index}
  headwater submit --each-line urls.txt --retries 3 --backoff 1s --time-limit 1m -- curl -sSfO {line}
  headwater submit --name nightly-2026-11-30 -- ./nightly    once, however often it is submitted
  headwater submit --needs cpus=4 --needs memory=8GiB --on label=zone:eu -- ./simulate
  headwater submit --stdin data.json --env RUST_LOG=info --cwd /srv -- ./import

Each task's key is a line on stdout; with --json, an object: {\"key\",\"channel\"?,\"index\"?,\"line\"?}. Not where they are waited
for: then --json prints the lines of output with --wait, {\"key\",\"index\"?,\"attempt\"?,\"stream\",\"line\"}, with the attempt from
the second on, and with --wait or --progress the ends, {\"key\",\"index\"?,\"status\",\"code\"?,\"error\"?}, whose status is
finished, error or cancelled.

Exit codes:
  0  submitted; with --wait or --progress: all have finished
  1  it could not be done; or a task has failed or was cancelled
  2  the command line makes no sense
  N  with --wait or --progress, of a single task: the program ended with this code")]
pub struct Submit {
    /// The program, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,

    /// The task's name, which it is found by; in an array, NAME-INDEX
    ///
    /// A name is given once: when a task of this name is there, it stays what it is, and is not run again.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: Option<String>,

    /// One task for each number: 1-1000, 1,5,9, 0-100:10, or several of these with commas
    #[arg(long, value_name = "INDEXES", conflicts_with = "each_line")]
    array: Option<Array>,

    /// One task for each line of a file that is not empty, - for stdin; its index is the line's number, from 1
    #[arg(long, value_name = "FILE")]
    each_line: Option<String>,

    /// What the program reads from stdin: a file here, - for this command's own; nothing unless given
    #[arg(long, value_name = "FILE")]
    stdin: Option<String>,

    /// A variable of its environment
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,

    /// Its working directory on the worker; this one unless given
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,

    /// How many more times it is run when it fails
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = retries, allow_negative_numbers = true)]
    retries: u32,

    #[command(flatten)]
    conditions: Conditions,

    /// Tasks of higher priority start first: a whole number, below 0 for those that can wait
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = priority, allow_negative_numbers = true)]
    priority: i32,

    /// How long it may run, each time
    #[arg(long, value_name = "DURATION", value_parser = limit, allow_hyphen_values = true)]
    time_limit: Option<Duration>,

    /// How long it has between SIGTERM and SIGKILL; its slot is another's meanwhile, and where it is tried again, so is it
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, allow_hyphen_values = true)]
    grace: Duration,

    /// The channel that the output and the tasks' futures go to; made when it is not there
    ///
    /// The tasks are kept by it. Where it is bounded when they are submitted, so that their futures may be trimmed while they
    /// run, they are detached, and stay known for good.
    #[arg(long, value_name = "CHANNEL")]
    output_channel: Option<ChannelName>,

    /// Keep no output; the tasks stay known for good, as nothing keeps them that may go
    #[arg(long, conflicts_with = "output_channel")]
    no_output: bool,

    /// Wait until all have ended, and print what they write: to stdout and stderr, in an array with [INDEX] before each line;
    /// with --no-output, say how many have ended, as with --progress
    #[arg(long)]
    wait: bool,

    /// Wait until all have ended, and say on stderr how many have: a bar on a terminal, elsewhere a line now and then
    #[arg(long)]
    progress: bool,

    /// Print JSON, an object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connect: Connect,
}

impl Submit {
    pub async fn run(mut self) -> anyhow::Result<()> {
        ensure!(
            self.stdin.as_deref() != Some(STDIN) || self.each_line.as_deref() != Some(STDIN),
            "stdin can be read once: give a file for --stdin or for --each-line"
        );
        if !self.no_output && self.output_channel.is_none() {
            self.output_channel = Some(own_channel());
        }
        // Before signals are listened to: reading stdin takes as long as whoever writes it wants. And before anything is asked
        // of the scheduler: what cannot be submitted leaves nothing there.
        let mut calls = Calls::of(&self)?;
        let mut output = Output::new();
        let mut signals = Signals::listen()?;
        let submitted = self.connect.with(async |client| self.submit(client, &mut calls, &mut output).await);
        let mut follow = tokio::select! {
            submitted = submitted => submitted?,
            () = signals.next() => return Err(anyhow!("interrupted: what was submitted before goes on")),
        };
        if !self.is_waited_for() {
            return output.flush();
        }
        loop {
            let followed = self.connect.with(async |client| follow.follow(client, &mut output).await);
            let followed = tokio::select! {
                followed = followed => followed,
                () = signals.next() => Err(anyhow!("interrupted: the tasks go on; {}", self.next_step())),
            };
            match followed {
                // This process was not heard of for long, suspended, say. The tasks are not its session's.
                Err(error) if is_session_over(&error) => {}
                Err(error) => return Err(error),
                Ok(()) => return follow.result(),
            }
        }
    }

    async fn submit(
        &self,
        client: &Client,
        calls: &mut Calls<'_>,
        output: &mut Output,
    ) -> anyhow::Result<Follow> {
        let target = Target::open(client, self.output_channel.as_ref()).await?;
        let submitted = send::send(calls, client, &target, output).await?;
        if !self.json {
            let tasks = counted(submitted.len() as u64, "task");
            note(format_args!("{tasks} submitted: {}", self.next_step()));
        }
        // Where there is no output to see, and no ends as JSON, how many have ended is all that a wait has to say.
        let has_nothing_else = self.wait && self.no_output && !self.json;
        let progress = self.progress || has_nothing_else;
        let shows = Shows { output: self.wait, progress, json: self.json };
        Ok(Follow::new(self.output_channel.clone(), target.head, submitted, shows))
    }

    /// How to see what becomes of it.
    fn next_step(&self) -> String {
        match &self.output_channel {
            Some(channel) => format!("`headwater channel tail {channel} --follow` shows all of it"),
            None => "`headwater task list` shows them".to_owned(),
        }
    }

    fn is_waited_for(&self) -> bool {
        self.wait || self.progress
    }

    fn members(&self) -> anyhow::Result<Vec<Member>> {
        match (&self.array, &self.each_line) {
            (Some(array), _) => Ok(members::of_array(array)),
            (None, Some(file)) => members::of_lines(file),
            (None, None) => Ok(vec![Member::default()]),
        }
    }

    /// The command, without what a member has of its own.
    fn command(&self) -> anyhow::Result<Command> {
        let (program, arguments) = self.command.split_first().context("there is no command")?;
        Ok(Command {
            program: program.clone(),
            arguments: arguments.to_vec(),
            environment: self.environment.iter().cloned().collect::<BTreeMap<_, _>>(),
            directory: Some(match &self.cwd {
                Some(directory) => directory.clone(),
                None => this_directory()?,
            }),
            time_limit_ms: self.time_limit.map(millis),
            grace_ms: millis(self.grace),
            output: self.output_channel.as_ref().map(ToString::to_string),
            ..Command::default()
        })
    }
}

fn this_directory() -> anyhow::Result<String> {
    let directory =
        std::env::current_dir().context("this directory is not to be found: give one with --cwd")?;
    let directory = directory.into_os_string().into_string();
    directory.map_err(|_| anyhow!("the path of this directory is not UTF-8: give another with --cwd"))
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a variable is NAME=VALUE, as in --env LANG=C".to_owned()),
    }
}

fn priority(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("give a whole number from {} to {}, like 10 or -5", i32::MIN, i32::MAX))
}

fn retries(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("give a whole number from 0 to {}, like 3", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_name_and_a_value() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(variable("A="), Ok(("A".to_owned(), String::new())));
        for bad in ["A", "=b", ""] {
            assert!(variable(bad).unwrap_err().contains("NAME=VALUE"), "{bad}");
        }
    }
}

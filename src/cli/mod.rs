//! The command line: one file per subcommand. `src/bin/headwater.rs` calls [`main`] and nothing else; so
//! does a user's own binary, which then has every subcommand with its own tasks linked in.
//!
//! What holds for all of them:
//! - Data go to stdout, logs to stderr. Where a program may read, `--json` prints one object per line.
//! - Exit code 0: done; 1: it could not be done, and the one line `error: …` on stderr says why and what
//!   to do next; 2: the command line, or what is set beside it, makes no sense. `submit --wait` of a single program ends with the program's own code.
//! - A reader of stdout that goes away (`| head`) ends the command quietly, with 0.
//!
//! Nothing else of the crate imports this module.

mod ask;
mod bench;
mod channel;
mod color;
mod completions;
mod config;
mod connect;
mod demo;
mod log;
mod logs;
mod man;
mod near;
mod output;
mod programs;
mod progress;
mod report;
mod scheduler;
mod serve;
mod signals;
mod submit;
mod supervise;
mod task;
mod task_logs;
mod top;
mod torture;
mod trace;
mod up;
mod worker;

pub use task_logs::TaskLogs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use self::config::Layers;
use self::logs::LogFormat;

/// Headwater runs tasks on a cluster and keeps everything that happens in a log.
///
/// Programs submit tasks and get futures. Futures and small values are appended to named channels, which
/// many programs share. Every channel is a durable log: anyone can read it from any offset, today, later,
/// or after a crash.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, after_help = AFTER_HELP)]
struct Cli {
    /// A file that says what commands are set to: see `headwater config show --help`
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG", global = true)]
    config: Option<PathBuf>,

    /// Neither a file nor variables beyond those of `Connect`: who has started this process says all on its command line
    #[arg(long, hide = true, global = true)]
    as_told: bool,

    /// How lines on stderr are written
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        env = "HEADWATER_LOG_FORMAT",
        global = true
    )]
    log_format: LogFormat,

    /// Say nothing on stderr of how far something is, nor of variables that are not known
    #[arg(long, short, global = true)]
    quiet: bool,

    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Begin with:
  headwater demo                                  a scheduler, two workers, and channels that fill
  headwater channel tail adds --from 0 --follow   in another terminal: read along, from the start
Before you rely on it:
  headwater torture                               kill its processes again and again, on this disk, and check

Environment:
  HEADWATER_CONNECT     where the scheduler is, for --connect
  HEADWATER_TOKEN_FILE  the file with the cluster's token, for --token-file
  HEADWATER_CONFIG      a file that says what commands are set to, for --config
  HEADWATER_LOG         which log lines go to stderr: error, warn, info, debug, trace, or a filter
                        like `headwater::server=debug`
  HEADWATER_LOG_FORMAT  how they are written, for --log-format: text, or json, an object a line
  HEADWATER_…           each option of `scheduler`, `up` and `worker`, by its name: HEADWATER_WORKER_LEASE; one that is
                        not known has no effect: where it is like one that is, a line on stderr says so
  `headwater config show` says of each setting who has set it: a flag, a variable, or the file.

Exit codes:
  0  done; also when interrupted while following a channel or running in the foreground
  1  it could not be done: stderr says why
  2  the command line, the environment or the file of --config makes no sense
  N  of `submit --wait` with a single program: the program ended with this code";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Demo(demo::Demo),
    Up(up::Up),
    Scheduler(scheduler::Scheduler),
    Worker(worker::Worker),
    Submit(submit::Submit),
    #[command(hide = true)]
    ProgramGuard(programs::ProgramGuard),
    Torture(torture::Torture),
    #[command(hide = true)]
    TortureClient(torture::TortureClient),
    Top(top::Top),
    #[command(subcommand)]
    Channel(channel::Command),
    #[command(subcommand)]
    Task(task::Command),
    #[command(subcommand)]
    Log(log::Command),
    #[command(subcommand)]
    Trace(trace::Command),
    Bench(bench::Bench),
    #[command(subcommand)]
    Config(config::Command),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    async fn run(self, layers: Layers) -> anyhow::Result<()> {
        match self {
            Command::Demo(demo) => demo.run().await,
            Command::Up(up) => up.run().await,
            Command::Scheduler(scheduler) => scheduler.run().await,
            Command::Worker(worker) => worker.run().await,
            Command::Submit(submit) => submit.run().await,
            Command::ProgramGuard(guard) => guard.run().await,
            Command::Torture(torture) => torture.run().await,
            Command::TortureClient(client) => client.run().await,
            Command::Top(top) => top.run().await,
            Command::Channel(command) => command.run().await,
            Command::Task(command) => command.run().await,
            Command::Log(command) => command.run().await,
            Command::Trace(command) => command.run().await,
            Command::Bench(bench) => bench.run().await,
            Command::Config(command) => command.run(&layers),
            Command::Completions(completions) => completions.run(layers.root),
            Command::Man(man) => man.run(layers.root),
        }
    }

    fn log_level(&self) -> LevelFilter {
        match self {
            Command::Up(_) | Command::Scheduler(_) => LevelFilter::INFO,
            Command::Worker(worker) if worker.is_run() => LevelFilter::INFO,
            _ => LevelFilter::WARN,
        }
    }
}

/// Runs the command that this process was started with, and gives its exit code.
///
/// A binary that calls it is a scheduler, a worker and a client, with all `#[task]` functions that are
/// linked into it:
///
/// ```no_run
/// #[headwater::task]
/// fn add(a: f64, b: f64) -> f64 {
///     a + b
/// }
///
/// fn main() -> std::process::ExitCode {
///     headwater::cli::main()
/// }
/// ```
///
/// A command line that makes no sense ends the process here, with exit code 2.
pub fn main() -> ExitCode {
    let read = config::read(std::env::args_os().collect()).map_err(report::makes_no_sense);
    report::exit_code(read.and_then(|(cli, layers)| start(cli, layers)))
}

/// Most threads for functions that are not async: 10,000. One that waits as a client keeps its thread, though it takes no slot,
/// and those for which it waits need one, too: tokio's 512 are soon gone where tasks call each other. Each is there only while it
/// is used, and for ten seconds.
const BLOCKING_THREADS_MAX: usize = 10_000;

fn start(cli: Cli, layers: Layers) -> anyhow::Result<()> {
    let command = cli.command;
    logs::start(cli.log_format, command.log_level())?;
    if cli.quiet {
        progress::be_quiet();
    }
    // Who has started this process as it is told has heard of them.
    if !cli.quiet
        && !cli.as_told
        && let Some(warning) = config::warning(&layers.root, matches!(command, Command::Config(_)))
    {
        logs::say(tracing::Level::WARN, &warning);
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build()?;
    // On one of the runtime's threads, not on this one: what it waits for happens there, and to hear of it takes no
    // switch between threads.
    let result = runtime.block_on(runtime.spawn(command.run(layers)));
    let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    // Everything that must be done in order has been awaited. A task function that still computes shall
    // not keep the process.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn programs_can_read_all_that_is_listed_and_shown() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if ["list", "show", "info", "explain", "tail", "dump"].contains(&command.get_name()) {
                let has_json = command.get_arguments().any(|arg| arg.get_long() == Some("json"));
                assert!(has_json, "{path} has no --json");
            }
            command.get_subcommands().for_each(|inner| visit(inner, &path));
        }
        // What a command has for all below it, those have.
        let mut root = Cli::command().disable_help_subcommand(true);
        root.build();
        visit(&root, "");
    }

    #[test]
    fn every_command_has_a_longer_text_and_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no text");
            command.get_subcommands().for_each(|inner| visit(inner, &path));
            // `worker` is a command as well as a group of them.
            if !command.has_subcommands() || command.get_arguments().next().is_some() {
                assert!(command.get_long_about().is_some(), "{path} has no longer text");
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains(path.trim_start()), "{path} has no example");
            }
        }
        visit(&Cli::command(), "");
    }
}

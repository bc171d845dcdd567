//! Log lines, and what else is said on stderr: as text, or as an object a line for who collects them.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use serde::Serialize;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

use super::progress;
use super::task_logs::TaskLogs;
use crate::client::millis::now_ms;
use crate::rows::time;

/// How lines on stderr are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object per line: {"timestamp","level","message","target"?, and what else the line says}.
    Json,
}

/// What this process was told.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Has log lines written to stderr from now on, those of this level and above unless `HEADWATER_LOG` says which.
///
/// # Errors
/// When `HEADWATER_LOG` is no filter, or log lines have another reader already.
pub fn start(format: LogFormat, level: LevelFilter) -> anyhow::Result<()> {
    let format = *FORMAT.get_or_init(|| format);
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var("HEADWATER_LOG")
        .from_env()
        .context("HEADWATER_LOG is no filter: give it a level, like `debug`")?
        // It tells of each frame of a trunk, which nobody means by `debug`.
        .add_directive("h2=info".parse().expect("it is a directive"));
    let lines = fmt::layer()
        .with_writer(|| Stderr)
        .with_ansi(format == LogFormat::Text && io::stderr().is_terminal())
        // A line that cannot be written is left out: to say so on stderr, too, would panic.
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    // What tasks say is noted for their errors, whatever of it is written here.
    let noted = TaskLogs.with_filter(LevelFilter::INFO);
    let started = tracing_subscriber::registry().with(lines.with_filter(filter)).with(noted).try_init();
    started.map_err(|error| anyhow::anyhow!(error).context("the log lines have another reader already"))
}

/// What another process of this program is told, so that its lines are like those of this one.
pub fn arguments() -> Vec<OsString> {
    let words: &[&str] = if is_json() { &["--log-format", "json"] } else { &[] };
    words.iter().map(Into::into).collect()
}

/// Writes a line that is no log line to stderr. Nobody has to read it: that stderr is closed stops nothing, where `eprintln!`
/// would panic.
pub fn say(level: tracing::Level, line: &str) {
    let line = if is_json() { as_json(level, line) } else { line.to_owned() };
    let _ = Stderr.write_all(format!("{line}\n").as_bytes());
}

/// Says why a command has failed: for people, with `error: ` before it.
pub fn error(why: &str) {
    let prefix = if is_json() { "" } else { "error: " };
    say(tracing::Level::ERROR, &format!("{prefix}{why}"));
}

/// While it is held, nothing is written to stderr where that is a terminal, as something else has it.
#[must_use]
pub struct Muted(());

/// Whether stderr is a terminal that something else has.
static MUTED: AtomicBool = AtomicBool::new(false);

/// Takes the terminal from log lines, if they go to one.
pub fn mute_on_terminal() -> Muted {
    MUTED.store(io::stderr().is_terminal(), Ordering::Relaxed);
    Muted(())
}

/// Whether something else has the terminal that stderr is.
pub fn is_muted() -> bool {
    MUTED.load(Ordering::Relaxed)
}

impl Drop for Muted {
    fn drop(&mut self) {
        MUTED.store(false, Ordering::Relaxed);
    }
}

fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: &'a str,
}

fn as_json(level: tracing::Level, message: &str) -> String {
    let line = Line { timestamp: time::rfc3339(now_ms()), level: level.as_str(), message };
    serde_json::to_string(&line).unwrap_or_default()
}

/// Stderr, beside whose lines a bar may stand.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if MUTED.load(Ordering::Relaxed) {
            return Ok(());
        }
        progress::beside(|| io::stderr().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_with_its_level() {
        let line: serde_json::Value =
            serde_json::from_str(&as_json(tracing::Level::ERROR, "disk \"full\"")).unwrap();
        assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"disk \"full\"".into()));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}

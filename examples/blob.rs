//! Results that are larger than a worker's memory: bytes that are written, passed on and read in pieces.
//!
//! ```text
//! cargo run --example blob -- up                            a scheduler and a worker with these tasks
//! cargo run --example blob -- start 27000000                in another terminal: so many lines of text, 2 GiB
//! ```
//!
//! With the name of a worker behind the number, that one searches them, wherever they were written.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use headwater::{Blob, Context, Result, blocking, task};

/// Writes numbered lines. No more of them is in memory than a piece.
#[task]
fn write(lines: u64) -> io::Result<Blob> {
    let mut log = Context::current().expect("it runs as a task").blob_writer();
    for line in 0..lines {
        let level = if line % 1000 == 999 { "error" } else { "info " };
        writeln!(log, "{line:>12} {level} a request from the outside was answered as it had been asked")?;
    }
    log.finish()
}

/// Keeps some of the lines. The worker that runs it has all of them in a file by then.
#[task]
fn grep(log: Blob, word: String) -> io::Result<Blob> {
    let mut found = Context::current().expect("it runs as a task").blob_writer();
    for line in log.reader().lines() {
        let line = line?;
        if line.contains(&word) {
            writeln!(found, "{line}")?;
        }
    }
    found.finish()
}

/// `start` is this program's own word; all others are Headwater's.
fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some("start") {
        return headwater::cli::main();
    }
    match start(words.next(), words.next()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Has lines written and searched, and says what came of it.
fn start(lines: Option<String>, searcher: Option<String>) -> Result<()> {
    let lines: u64 = lines.unwrap_or_else(|| "1000000".to_owned()).parse()?;
    let address = std::env::var("HEADWATER_CONNECT").unwrap_or_else(|_| "127.0.0.1:8786".to_owned());
    let client = blocking::Client::connect(address)?;
    let log = client.submit(write, (lines,)).send()?;
    let mut search = client.submit(grep, (&log, "error"));
    if let Some(searcher) = searcher {
        search = search.on(&format!("worker={searcher}"));
    }
    let errors = search.send()?.wait()?;
    println!("{} errors in {} bytes", errors.reader().lines().count(), log.wait()?.len());
    Ok(())
}

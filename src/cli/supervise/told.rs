//! What a supervised worker and its supervisor tell each other: the token on stdin, and how it ended by the exit code.

use std::io::{self, BufRead};
use std::process::ExitStatus;

use anyhow::Context;

use super::End;
use crate::cli::logs;
use crate::cli::report::{Silently, one_line};
use crate::worker::exec::ended;

/// The exit code of a worker that has left in order. Not 0: a task that ends its process takes that, too.
const IN_ORDER: u8 = 240;

/// The exit code of a worker that was refused or had to give up, and has said why.
const REFUSED: u8 = 241;

/// The longest first line of stdin that is read: a token is a long random text, and not longer.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// The first line for a worker's stdin: its token, if there is one.
pub fn line(token: Option<&str>) -> String {
    // A string and null are always written; and as JSON, a token is one line whatever is in it.
    let json = serde_json::to_string(&token).expect("a text is JSON");
    format!("{json}\n")
}

/// Reads the token of this worker, whose supervisor has written it to its stdin.
pub async fn token() -> anyhow::Result<Option<String>> {
    let read = || token_of(io::stdin().lock());
    let token = tokio::task::spawn_blocking(read).await?;
    token.context("--supervised is for workers that `headwater worker --supervise` starts")
}

fn token_of(input: impl BufRead) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    input.take(LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// What a supervised worker ends its process with: a code for its supervisor; why it was refused, if it was, is said here.
pub fn end_with(ended: &anyhow::Result<()>) -> Silently {
    match ended {
        Ok(()) => Silently(IN_ORDER),
        Err(error) => {
            logs::error(&one_line(error));
            Silently(REFUSED)
        }
    }
}

/// How a worker's process has ended.
pub fn end_of(status: ExitStatus) -> End {
    match status.code() {
        Some(code) if code == i32::from(IN_ORDER) => End::InOrder,
        Some(code) if code == i32::from(REFUSED) => End::Refused,
        Some(code) => End::Died(ended::exit_code_message(code)),
        None => End::Died(by_signal(status)),
    }
}

#[cfg(unix)]
fn by_signal(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map_or_else(|| status.to_string(), ended::signal_message)
}

#[cfg(not(unix))]
fn by_signal(status: ExitStatus) -> String {
    status.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_through_whatever_is_in_it() {
        for token in [None, Some("secret"), Some("two\nlines \"quoted\"")] {
            let mut stdin = line(token).into_bytes();
            assert_eq!(stdin.iter().filter(|byte| **byte == b'\n').count(), 1);
            // What comes behind it is an order, and stays.
            stdin.extend(b"..");
            assert_eq!(token_of(&stdin[..]).unwrap().as_deref(), token);
        }
        assert!(token_of(&b""[..]).is_err(), "whoever wrote nothing is no supervisor");
    }

    #[cfg(unix)]
    #[test]
    fn an_end_is_in_order_only_if_the_worker_says_so() {
        use std::os::unix::process::ExitStatusExt;
        let code = |code: u8| end_of(ExitStatus::from_raw(i32::from(code) << 8));
        assert_eq!(code(end_with(&Ok(())).0), End::InOrder);
        assert_eq!(code(end_with(&Err(anyhow::anyhow!("no"))).0), End::Refused);
        for (number, words) in [(0, "exit code 0"), (1, "exit code 1"), (101, "exit code 101")] {
            assert_eq!(code(number), End::Died(words.to_owned()), "a task may end its process so");
        }
        assert_eq!(end_of(ExitStatus::from_raw(6)), End::Died("killed by SIGABRT (6)".to_owned()));
    }
}

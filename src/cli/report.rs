//! How a command ends: its error in one line, and its exit code.

use std::process::ExitCode;

use super::logs;
use super::output::ReaderGone;

/// A program has ended with a code that this command is to end with, too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct EndedWith {
    pub code: u8,
    pub why: String,
}

/// A command ends with this code, and what there is to say was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("exit code {0}")]
pub struct Silently(pub u8);

/// The error of a command that is not begun, as what it is set to makes no sense: with the exit code for that.
pub fn makes_no_sense(error: anyhow::Error) -> anyhow::Error {
    EndedWith { code: 2, why: one_line(&error) }.into()
}

/// Prints why a command failed, if it did, and gives its exit code.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(Silently(code)) = error.downcast_ref() {
                return (*code).into();
            }
            logs::error(&one_line(&error));
            error.downcast_ref::<EndedWith>().map_or(ExitCode::FAILURE, |ended| ended.code.into())
        }
    }
}

/// An error and its causes in one line. A cause that the error already cites is not said again.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_each_cause_once() {
        let error =
            anyhow::anyhow!("no such file").context("cannot read x: no such file").context("no\n  token");
        assert_eq!(one_line(&error), "no token: cannot read x: no such file");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let code = |error| format!("{:?}", exit_code(Err(error)));
        assert_eq!(code(ReaderGone.into()), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(anyhow::anyhow!("x")), format!("{:?}", ExitCode::FAILURE));
        let ended = EndedWith { code: 3, why: "exit code 3".to_owned() };
        assert_eq!(code(ended.into()), format!("{:?}", ExitCode::from(3)));
        assert_eq!(code(Silently(4).into()), format!("{:?}", ExitCode::from(4)));
    }
}

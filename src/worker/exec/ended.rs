//! How a program ended, as its task tells it.

use serde::{Deserialize, Serialize};

/// What a program's task brings when the exit code was 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The exit code: 0.
    pub code: i32,
    /// How long it took, in ms.
    pub took_ms: u64,
}

const EXIT_CODE: &str = "exit code ";

/// The message of a task whose program ended with a code that is not 0.
pub fn exit_code_message(code: i32) -> String {
    format!("{EXIT_CODE}{code}")
}

/// The exit code that such a message tells of.
pub fn exit_code_of(message: &str) -> Option<i32> {
    message.strip_prefix(EXIT_CODE)?.parse().ok()
}

/// The message of a task whose program was ended by a signal: `killed by SIGSEGV (11)`.
#[cfg(unix)]
pub fn signal_message(signal: i32) -> String {
    use rustix::process::Signal;
    let names = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::ILL, "ILL"),
        (Signal::TRAP, "TRAP"),
        (Signal::ABORT, "ABRT"),
        (Signal::BUS, "BUS"),
        (Signal::FPE, "FPE"),
        (Signal::KILL, "KILL"),
        (Signal::USR1, "USR1"),
        (Signal::SEGV, "SEGV"),
        (Signal::USR2, "USR2"),
        (Signal::PIPE, "PIPE"),
        (Signal::ALARM, "ALRM"),
        (Signal::TERM, "TERM"),
        (Signal::XCPU, "XCPU"),
        (Signal::XFSZ, "XFSZ"),
        (Signal::SYS, "SYS"),
    ];
    match names.iter().find(|(known, _)| known.as_raw() == signal) {
        Some((_, name)) => format!("killed by SIG{name} ({signal})"),
        None => format!("killed by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_back_from_its_message() {
        for code in [1, 3, 255] {
            assert_eq!(exit_code_of(&exit_code_message(code)), Some(code));
        }
        for other in ["exit code x", "over its time limit of 5s", "killed by SIGKILL (9)"] {
            assert_eq!(exit_code_of(other), None);
        }
    }

    #[cfg(unix)]
    #[test]
    fn signals_are_named() {
        assert_eq!(signal_message(9), "killed by SIGKILL (9)");
        assert_eq!(signal_message(64), "killed by signal 64");
    }
}

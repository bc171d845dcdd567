//! What is asked of the function `exec`: one argument, MessagePack with field names.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::client::blob::Content;
use crate::protocol::limits::{PAYLOAD_BYTES_MAX, TooLarge};
use crate::protocol::{ChannelName, Payload};

/// The function's name.
pub const FUNCTION: &str = "exec";

/// Its version.
pub const VERSION: u32 = 1;

/// How long a program has between SIGTERM and SIGKILL, unless told: 5 s.
pub const GRACE_MS: u64 = 5_000;

/// A program to be run, and how. Only `program` must be there for a worker that reads it.
///
/// In the program, its arguments, its environment's values and its directory, the words `{index}`, `{line}` and `{key}`
/// stand for what this has, and for the task's key: see [`Placeholders`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program: a name that is looked for on the worker's `PATH`, or a path.
    pub program: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What its environment has beside, and in the place of, that of the worker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Its working directory; the worker's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// What it reads from stdin; nothing unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Bytes>,
    /// How long it may run, in ms; as long as it wants unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_ms: Option<u64>,
    /// How long it has between SIGTERM and SIGKILL, in ms.
    #[serde(default = "grace_ms")]
    pub grace_ms: u64,
    /// The channel that its output goes to, line by line; nowhere unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Its number, if it is one of an array, or of the line below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The line that it is for, if it is one of several for the lines of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
}

fn grace_ms() -> u64 {
    GRACE_MS
}

impl Command {
    /// It as the argument of a call.
    ///
    /// # Errors
    /// [`TooLarge`] when it is no argument for its size.
    pub fn encode(&self) -> Result<Payload, TooLarge> {
        let payload = Payload::encode(self).expect("it has nothing that MessagePack cannot carry");
        let hint = "put what is large into a file that the workers reach, and give its path";
        let what = format!("the command `{}` with its environment and stdin", shortened(&self.program));
        TooLarge::check(what, payload.bytes.len(), PAYLOAD_BYTES_MAX, hint)?;
        Ok(payload)
    }

    /// The command with its placeholders replaced, for the task with this key.
    #[must_use]
    pub fn filled(self, key: &str) -> Command {
        let placeholders = Placeholders { index: self.index, line: self.line.as_deref(), key: Some(key) };
        let fill = |text: &String| placeholders.fill(text);
        Command {
            program: fill(&self.program),
            arguments: self.arguments.iter().map(fill).collect(),
            environment: self.environment.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            directory: self.directory.as_ref().map(fill),
            ..self
        }
    }
}

/// A name for the channel of a submission's output that no other one's has.
pub fn own_channel() -> ChannelName {
    let name = format!("submit-{:010x}", fastrand::u64(..1 << 40));
    ChannelName::new(&name).expect("it has letters and digits")
}

/// The beginning of a text, for a message.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

/// What the words in braces stand for. Those that stand for nothing here stay as they are, and so do all other braces:
/// `awk '{print $1}'` is what it was. `{{index}}` stands for `{index}` itself, whether there is an index or not: so a command
/// that was tried alone says the same in an array. The other words likewise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Placeholders<'a> {
    /// `{index}`.
    pub index: Option<u64>,
    /// `{line}`.
    pub line: Option<&'a str>,
    /// `{key}`.
    pub key: Option<&'a str>,
}

impl Placeholders<'_> {
    /// The text with its placeholders replaced.
    pub fn fill(&self, text: &str) -> String {
        let index = self.index.map(|index| index.to_string());
        let known = [("{index}", index.as_deref()), ("{line}", self.line), ("{key}", self.key)];
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let word = |rest: &str| {
                let inner = rest.strip_prefix('{')?;
                let (word, _) = known.iter().find(|(word, _)| inner.starts_with(word))?;
                inner[word.len()..].starts_with('}').then_some(*word)
            };
            if let Some(word) = word(rest) {
                filled.push_str(word);
                rest = &rest[word.len() + 2..];
            } else if let Some((word, Some(value))) =
                known.iter().find(|(word, value)| value.is_some() && rest.starts_with(word))
            {
                filled.push_str(value);
                rest = &rest[word.len()..];
            } else {
                filled.push('{');
                rest = &rest[1..];
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// The one argument of a call of `exec`.
///
/// # Errors
/// What is wrong with it.
#[cfg(unix)]
pub(super) fn decode(arguments: Vec<Content>) -> Result<Command, crate::protocol::TaskError> {
    let mut decoder = crate::worker::call::Decoder::new(FUNCTION, arguments, 1)?;
    decoder.argument()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_that_stand_for_something_are_replaced() {
        let all = Placeholders { index: Some(7), line: Some("a {key}"), key: Some("exec-1") };
        for (text, filled) in [
            ("{index}", "7"),
            ("in-{index}.txt {line} {key}{index}", "in-7.txt a {key} exec-17"),
            ("awk '{print $1}' {x} {} { } {{}}", "awk '{print $1}' {x} {} { } {{}}"),
            ("{{index}} {{{index}}} {{ index }}", "{index} {{index}} {{ index }}"),
            ("{indexes} {index", "{indexes} {index"),
            ("größe {", "größe {"),
            ("", ""),
        ] {
            assert_eq!(all.fill(text), filled, "{text}");
        }
        let none = Placeholders { key: Some("exec-1"), ..Placeholders::default() };
        let (text, filled) =
            ("{index} {{index}} {line} {{line}} {key}", "{index} {index} {line} {line} exec-1");
        assert_eq!(none.fill(text), filled);
    }

    #[test]
    fn all_that_may_differ_is_filled() {
        let text = || "{index}{key}".to_owned();
        let command = Command {
            program: text(),
            arguments: vec![text()],
            environment: [("{index}".to_owned(), text())].into(),
            directory: Some(text()),
            index: Some(1),
            ..Command::default()
        };
        let filled = command.filled("k");
        assert_eq!((&*filled.program, &filled.arguments[..]), ("1k", &["1k".to_owned()][..]));
        assert_eq!(filled.environment, [("{index}".to_owned(), "1k".to_owned())].into());
        assert_eq!(filled.directory.as_deref(), Some("1k"));
    }

    #[test]
    fn another_program_may_leave_out_all_but_the_program() {
        let payload = Payload::encode(&serde_json::json!({ "program": "ls", "new": 1 })).unwrap();
        let command: Command = payload.decode().unwrap();
        assert_eq!(command, Command { program: "ls".to_owned(), grace_ms: GRACE_MS, ..Command::default() });
    }

    #[test]
    fn a_command_has_the_size_of_an_argument_at_most() {
        let with = |bytes| Command {
            program: "cat".to_owned(),
            stdin: Some(vec![0; bytes].into()),
            ..Command::default()
        };
        let around = with(PAYLOAD_BYTES_MAX / 2).encode().unwrap().bytes.len() - PAYLOAD_BYTES_MAX / 2;
        let most = PAYLOAD_BYTES_MAX - around;
        assert_eq!(with(most).encode().unwrap().decode(), Ok(with(most)));
        let error = with(most + 1).encode().unwrap_err().to_string();
        let told =
            "the command `cat` with its environment and stdin is 61441, over the limit of 61440: put what";
        assert!(error.starts_with(told), "{error}");
    }

    #[test]
    fn channels_of_their_own_have_names_of_their_own() {
        let name = own_channel();
        assert!(name.as_str().starts_with("submit-") && name.as_str().len() == 17, "{name}");
        assert_ne!(name, own_channel());
    }
}

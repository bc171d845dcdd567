//! The tasks of one submission: a single one, one for each index, or one for each line.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

use super::array::{Array, TASKS_MAX};
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::worker::exec::command::Placeholders;

/// The word for stdin, in the place of a file.
pub const STDIN: &str = "-";

/// Most bytes of the file whose lines are submitted: 256 MiB. They are read before the first is.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What one of the tasks has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    pub index: Option<u64>,
    pub line: Option<String>,
}

/// One for each index.
pub fn of_array(array: &Array) -> Vec<Member> {
    array.indexes().iter().map(|index| Member { index: Some(*index), line: None }).collect()
}

/// One for each line of a file, but for those that are empty. Its index is the line's number, from 1.
pub fn of_lines(file: &str) -> anyhow::Result<Vec<Member>> {
    let bytes = read(file, FILE_BYTES_MAX).with_context(|| format!("cannot read the lines of {file}"))?;
    ensure!(
        bytes.len() as u64 <= FILE_BYTES_MAX,
        "{file} has more than {FILE_BYTES_MAX} bytes: submit it in several parts, or lines that name the data"
    );
    members(&bytes).with_context(|| format!("the lines of {file} cannot be submitted"))
}

fn members(bytes: &[u8]) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let Ok(line) = str::from_utf8(line) else { bail!("line {number} is not UTF-8: encode it") };
        ensure!(!line.contains('\0'), "line {number} has a NUL, which no program can be given: remove it");
        ensure!(
            members.len() < TASKS_MAX,
            "there are more than {TASKS_MAX} lines: submit them in several parts"
        );
        members.push(Member { index: Some(number), line: Some(line.to_owned()) });
    }
    ensure!(!members.is_empty(), "no line has anything in it: give at least one");
    Ok(members)
}

/// The file that a task reads as its stdin: its name may have placeholders.
pub fn stdin_file(file: &str, member: &Member) -> String {
    Placeholders { index: member.index, line: member.line.as_deref(), key: None }.fill(file)
}

/// What a task reads as its stdin.
pub fn stdin(file: &str) -> anyhow::Result<Bytes> {
    let max = PAYLOAD_BYTES_MAX as u64;
    let bytes = read(file, max).with_context(|| format!("cannot read {file} for --stdin"))?;
    ensure!(
        bytes.len() as u64 <= max,
        "{file} has more than {max} bytes, as much as travels with a task: let the command read a file that the workers \
         reach"
    );
    Ok(bytes.into())
}

/// The bytes of a file or of stdin: those that may be, and one more if there are more.
fn read(file: &str, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match file {
        STDIN => io::stdin().lock().take(max + 1).read_to_end(&mut bytes)?,
        file => File::open(file)?.take(max + 1).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(index: u64, line: &str) -> Member {
        Member { index: Some(index), line: Some(line.to_owned()) }
    }

    #[test]
    fn lines_have_their_numbers_and_empty_ones_are_left_out() {
        let all = members(b"one\ntwo\r\n\n \r\nfive").unwrap();
        assert_eq!(all, [member(1, "one"), member(2, "two"), member(4, " "), member(5, "five")]);
    }

    #[test]
    fn what_cannot_be_a_line_is_named() {
        for (bytes, told) in [
            (&b"a\n\xff\n"[..], "line 2 is not UTF-8: encode it"),
            (b"a\nb\0", "line 2 has a NUL, which no program can be given: remove it"),
            (b"\n\r\n", "no line has anything in it: give at least one"),
            (b"", "no line has anything in it: give at least one"),
        ] {
            assert_eq!(members(bytes).unwrap_err().to_string(), told);
        }
        assert_eq!(members("x\n".repeat(TASKS_MAX).as_bytes()).unwrap().len(), TASKS_MAX);
        let told = members("x\n".repeat(TASKS_MAX + 1).as_bytes()).unwrap_err().to_string();
        assert_eq!(told, "there are more than 1000000 lines: submit them in several parts");
    }

    #[test]
    fn each_task_may_have_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("in-7"), vec![1; PAYLOAD_BYTES_MAX]).unwrap();
        std::fs::write(path("in-8"), vec![1; PAYLOAD_BYTES_MAX + 1]).unwrap();
        let member = |index| Member { index: Some(index), line: None };
        let of = |index| stdin(&stdin_file(&path("in-{index}"), &member(index)));
        assert_eq!(of(7).unwrap().len(), PAYLOAD_BYTES_MAX);
        assert!(of(8).unwrap_err().to_string().contains("in-8 has more than 61440 bytes"));
        let error = of(9).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("in-9 for --stdin"), "{error}");
    }
}

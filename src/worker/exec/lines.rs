//! Bytes of a pipe as lines, and the newest of them that an error cites.

use std::collections::VecDeque;

use crate::protocol::limits::OUTPUT_LINE_BYTES_MAX;

/// A line of output, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its text, without its end. Bytes that are not UTF-8 are replaced by `U+FFFD`.
    pub text: String,
    /// Whether the line goes on in the next piece.
    pub goes_on: bool,
}

/// The line that is not over yet.
#[derive(Debug, Default)]
pub struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// Takes some bytes, and gives the lines that are over with them, and the pieces of one that is too long.
    pub fn push(&mut self, bytes: &[u8], mut give: impl FnMut(Line)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(part);
            let is_over = self.open.pop_if(|last| *last == b'\n').is_some();
            while self.open.len() > OUTPUT_LINE_BYTES_MAX {
                let rest = self.open.split_off(piece(&self.open));
                give(Line { text: lossy(&self.open), goes_on: true });
                self.open = rest;
            }
            if is_over {
                self.open.pop_if(|last| *last == b'\r');
                self.give_open(&mut give);
            }
        }
    }

    /// There are no more bytes: gives the last line if it has no end.
    pub fn end(&mut self, mut give: impl FnMut(Line)) {
        if !self.open.is_empty() {
            self.give_open(&mut give);
        }
    }

    fn give_open(&mut self, give: &mut impl FnMut(Line)) {
        give(Line { text: lossy(&self.open), goes_on: false });
        self.open.clear();
    }
}

/// How long the first piece of a line is that is too long: no character is cut.
fn piece(open: &[u8]) -> usize {
    let is_inside = |at: &usize| open[*at] & 0b1100_0000 == 0b1000_0000;
    // What is inside of more than four bytes is no character.
    (OUTPUT_LINE_BYTES_MAX - 3..=OUTPUT_LINE_BYTES_MAX)
        .rev()
        .find(|at| !is_inside(at))
        .unwrap_or(OUTPUT_LINE_BYTES_MAX)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The newest lines of a stream, as many as an error cites.
#[derive(Debug, Default)]
pub struct Newest {
    lines: VecDeque<String>,
    bytes: usize,
}

/// Most lines that an error cites of stderr: 20.
pub const CITED_LINES_MAX: usize = 20;

/// Most bytes of them, with their ends: 1,900, so that a cause of an error has room for them and what is said before them.
pub const CITED_BYTES_MAX: usize = 1_900;

impl Newest {
    /// One more line.
    pub fn push(&mut self, line: &str) {
        let line = &line[line.ceil_char_boundary(line.len().saturating_sub(CITED_BYTES_MAX - 1))..];
        self.lines.push_back(line.to_owned());
        self.bytes += line.len() + 1;
        while self.lines.len() > CITED_LINES_MAX || self.bytes > CITED_BYTES_MAX {
            let gone = self.lines.pop_front().expect("the newest alone is within the bounds");
            self.bytes -= gone.len() + 1;
        }
    }

    /// What an error cites, if there is anything.
    pub fn cited(&self) -> Option<String> {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        (!lines.is_empty()).then(|| format!("its stderr ends with:\n{}", lines.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::limits::ERROR_BYTES_MAX;

    fn whole(text: impl Into<String>) -> Line {
        Line { text: text.into(), goes_on: false }
    }

    fn piece_of(text: impl Into<String>) -> Line {
        Line { text: text.into(), goes_on: true }
    }

    /// The lines of some bytes, whatever the pieces in which these come.
    fn lines(bytes: &[u8]) -> Vec<Line> {
        let read = |at_once: usize| {
            let (mut lines, mut all) = (Lines::default(), Vec::new());
            bytes.chunks(at_once).for_each(|some| lines.push(some, |line| all.push(line)));
            lines.end(|line| all.push(line));
            all
        };
        let all = read(usize::MAX);
        for at_once in [1, 7, 8192] {
            assert_eq!(read(at_once), all, "{at_once} at once");
        }
        all
    }

    #[test]
    fn lines_come_without_their_ends() {
        assert_eq!(lines(b"one\ntwo\r\n\nfour"), ["one", "two", "", "four"].map(whole));
        assert_eq!(lines(b"one\n"), [whole("one")]);
        assert_eq!(lines(b"10%\r20%\r\r\n"), [whole("10%\r20%\r")]);
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\xffa\n"), [whole("\u{fffd}a")]);
    }

    #[test]
    fn a_long_line_comes_in_pieces_and_no_character_is_cut() {
        let most = "x".repeat(OUTPUT_LINE_BYTES_MAX);
        assert_eq!(lines(format!("{most}\ny\n").as_bytes()), [whole(&most), whole("y")]);
        assert_eq!(lines(most.as_bytes()), [whole(&most)]);
        assert_eq!(lines(format!("{most}y\n").as_bytes()), [piece_of(&most), whole("y")]);
        for before in 0..4 {
            let text = "x".repeat(before) + &"𝄞".repeat(OUTPUT_LINE_BYTES_MAX / 2);
            let all = lines(text.as_bytes());
            assert!(all.iter().all(|line| !line.text.contains('\u{fffd}')));
            assert_eq!(all.iter().map(|line| &*line.text).collect::<String>(), text);
        }
        let bytes = lines(&vec![0x80; OUTPUT_LINE_BYTES_MAX + 1]);
        assert_eq!(bytes.len(), 2, "bytes that are no text");
    }

    #[test]
    fn an_error_cites_the_newest_lines_within_its_bounds() {
        let cited = |lines: &[String]| {
            let mut newest = Newest::default();
            lines.iter().for_each(|line| newest.push(line));
            newest.cited()
        };
        assert_eq!(cited(&[]), None);
        assert_eq!(cited(&["a".into(), "b".into()]).unwrap(), "its stderr ends with:\na\nb");
        let many: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(cited(&many).unwrap(), format!("its stderr ends with:\n{}", many[30..].join("\n")));
        let long = cited(&["a".into(), "ü".repeat(5_000)]).unwrap();
        assert!(long.ends_with("üü") && !long.contains('a'));
        assert!(long.len() <= ERROR_BYTES_MAX, "{}", long.len());
        let both = cited(&["a".repeat(1_000), "b".repeat(898)]).unwrap();
        assert!(both.contains('a') && both.contains('b'), "1,900 bytes with their ends");
        assert!(!cited(&["a".repeat(1_000), "b".repeat(899)]).unwrap().contains("aa"));
    }
}

//! Bytes of a pipe as lines.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}

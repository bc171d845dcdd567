//! The newest lines of a stream or of a log: those that an error cites.

use std::collections::VecDeque;

/// The newest lines, as many as an error cites.
#[derive(Debug, Default)]
pub(super) struct Newest {
    lines: VecDeque<String>,
    bytes: usize,
}

/// Most lines that an error cites: 20.
const CITED_LINES_MAX: usize = 20;

/// Most bytes of them, with their ends: 1,900, so that a cause of an error has room for them and what is said before them.
const CITED_BYTES_MAX: usize = 1_900;

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

    /// What an error cites of this, `its stderr` say, if there is anything.
    pub fn cited(&self, of: &str) -> Option<String> {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        (!lines.is_empty()).then(|| format!("{of} ends with:\n{}", lines.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::limits::ERROR_BYTES_MAX;

    #[test]
    fn an_error_cites_the_newest_lines_within_its_bounds() {
        let cited = |lines: &[String]| {
            let mut newest = Newest::default();
            lines.iter().for_each(|line| newest.push(line));
            newest.cited("its stderr")
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

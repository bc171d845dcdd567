//! Colour on stdout: where it is wanted, and which words have one.

use std::io::{self, IsTerminal};

/// Where colour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set to something, or TERM to dumb.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Color {
    /// Whether stdout gets colour.
    pub fn is_on(self) -> bool {
        let variable = |name: &str| std::env::var_os(name);
        self.is_on_for(io::stdout().is_terminal(), |name| variable(name).is_some_and(|text| !text.is_empty()))
            && (self == Color::Always || variable("TERM").is_none_or(|term| term != "dumb"))
    }

    /// The rule of <https://no-color.org>: a variable that is there and not empty, and a flag counts for more.
    fn is_on_for(self, is_terminal: bool, is_set: impl Fn(&str) -> bool) -> bool {
        match self {
            Color::Auto => is_terminal && !is_set("NO_COLOR"),
            Color::Always => true,
            Color::Never => false,
        }
    }
}

/// How a text is written: the numbers of its SGR sequence (ECMA-48, 8.3.117).
pub type Style = &'static str;

pub const DIM: Style = "2";
pub const BOLD: Style = "1";
pub const RED: Style = "31";
const GREEN: Style = "32";
const YELLOW: Style = "33";
const BLUE: Style = "34";
const MAGENTA: Style = "35";
const CYAN: Style = "36";

/// A text in a style.
pub fn painted(text: &str, style: Style) -> String {
    if text.is_empty() { String::new() } else { format!("\x1b[{style}m{text}\x1b[0m") }
}

/// The style of a word that says what a record is.
pub fn of_word(word: &str) -> Style {
    match word {
        "appended" | "submitted" => CYAN,
        "started" | "renewed" | "advanced" | "retried" | "resumed" => BLUE,
        "finished" => GREEN,
        "failed" | "lost" | "damaged" => RED,
        "cancelled" | "stopped" | "trimmed" | "deleted" | "forgotten" => YELLOW,
        _ => MAGENTA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_counts_for_more_than_no_color_and_that_for_more_than_the_terminal() {
        let (set, unset) = (|name: &str| name == "NO_COLOR", |_: &str| false);
        let is_on = |color: Color| {
            [true, false]
                .map(|is_terminal| (color.is_on_for(is_terminal, unset), color.is_on_for(is_terminal, set)))
        };
        assert_eq!(is_on(Color::Auto), [(true, false), (false, false)]);
        assert_eq!(is_on(Color::Always), [(true, true); 2]);
        assert_eq!(is_on(Color::Never), [(false, false); 2]);
    }

    #[test]
    fn nothing_has_no_style() {
        assert_eq!((painted("x", RED), painted("", RED)), ("\x1b[31mx\x1b[0m".to_owned(), String::new()));
    }
}

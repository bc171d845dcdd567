//! How records look on stdout: as lines in columns, with colour; in a template of one's own; or as JSON.

use super::template::Template;
use crate::cli::color::{self, Color, DIM, RED, painted};
use crate::client::millis::now_ms;
use crate::protocol::TimeMs;
use crate::rows::record::{Part, Row};
use crate::rows::time;

#[derive(Debug, Clone, clap::Args)]
pub struct Look {
    /// Print one JSON object per record and line
    #[arg(long)]
    pub json: bool,

    /// Print each record in these words, with what stands in braces in its place: see below
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub template: Option<Template>,

    /// How times are printed, but for JSON
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "local")]
    pub time: TimeFormat,

    /// Where to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// How a moment is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TimeFormat {
    /// Not at all.
    None,
    /// In this machine's time zone: 2026-11-23 08:21:16.865.
    Local,
    /// As in RFC 3339, in UTC: 2026-11-23T07:21:16.865Z.
    Iso,
    /// How long ago it was when it is printed: -3m12s.
    Relative,
    /// Milliseconds since 1970.
    UnixMs,
}

impl TimeFormat {
    /// A moment, as it is printed `now`; nothing where none is.
    fn text(self, time_ms: TimeMs, now: TimeMs) -> Option<String> {
        match self {
            TimeFormat::None => None,
            TimeFormat::Local => Some(time::local(time_ms)),
            TimeFormat::Iso => Some(time::rfc3339(time_ms)),
            TimeFormat::Relative => Some(format!("{:>8}", time::ago(now.saturating_sub(time_ms)))),
            TimeFormat::UnixMs => Some(time_ms.to_string()),
        }
    }
}

impl Look {
    /// A record in a line, its word in a column of this width.
    pub fn line(&self, row: &Row, word_width: usize, is_colored: bool) -> String {
        let time = self.time.text(row.time_ms, now_ms());
        if let Some(template) = &self.template {
            return template.filled(row, time.as_deref().map_or("", str::trim_start));
        }
        row.line(word_width, time.as_deref(), |part, text| match part {
            _ if !is_colored => text.to_owned(),
            Part::Offset | Part::Time => painted(text, DIM),
            Part::Word => painted(text, color::of_word(row.word())),
            Part::Key => painted(text, color::BOLD),
            Part::Rest if row.error.is_some() => painted(text, RED),
            Part::Rest => text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: TimeMs = 1_795_418_696_007;

    #[test]
    fn a_moment_is_printed_as_it_is_wanted() {
        let text = |format: TimeFormat| format.text(TIME, TIME + 192_000).unwrap_or_default();
        assert_eq!(text(TimeFormat::None), "");
        assert_eq!(text(TimeFormat::Iso), "2026-11-23T07:24:56.007Z");
        assert_eq!(text(TimeFormat::UnixMs), "1795418696007");
        assert_eq!(text(TimeFormat::Relative), "  -3m12s");
        assert_eq!(text(TimeFormat::Local), time::local(TIME));
    }

    #[test]
    fn colour_changes_no_column() {
        let mut row = Row { offset: 7, kind: "appended", time_ms: TIME, ..Row::default() };
        row.error = Some("it broke".to_owned());
        let look = Look { json: false, template: None, time: TimeFormat::Iso, color: Color::Always };
        let plain = look.line(&row, 9, false);
        assert_eq!(plain, "       7  2026-11-23T07:24:56.007Z  appended   it broke");
        let colored = look.line(&row, 9, true);
        assert!(
            colored.contains("\x1b[36mappended \x1b[0m") && colored.contains("\x1b[31mit broke\x1b[0m"),
            "{colored:?}"
        );
        let pieces: Vec<&str> = colored
            .split('\x1b')
            .map(|piece| piece.split_once('m').map_or(piece, |(_, text)| text))
            .collect();
        assert_eq!(pieces.concat(), plain);
    }
}

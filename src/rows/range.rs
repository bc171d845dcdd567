//! From where to where a channel is read, as one types it.

use super::time;
use crate::client::{Offset, Until};

/// Reads where to begin: `start`, `end`, an offset, `last:N` or `time:T`.
///
/// # Errors
/// What is wrong, for the one who typed it.
pub fn from(text: &str) -> Result<Offset, String> {
    match text.split_once(':') {
        None if text == "start" => Ok(Offset::Start),
        None if text == "end" => Ok(Offset::End),
        Some(("last", count)) => {
            count.parse().map(Offset::Last).map_err(|_| "give a number of elements, like last:20".to_owned())
        }
        Some(("time", moment)) => time::moment(moment).map(Offset::Time),
        _ => text
            .parse()
            .map(Offset::At)
            .map_err(|_| "give an offset (a number from 0), `start`, `end`, `last:N` or `time:T`".to_owned()),
    }
}

/// Reads where to end: `now`, an offset, or `time:T`.
///
/// # Errors
/// What is wrong, for the one who typed it.
pub fn until(text: &str) -> Result<Until, String> {
    match text.split_once(':') {
        None if text == "now" => Ok(Until::Now),
        Some(("time", moment)) => time::moment(moment).map(Until::Time),
        _ => text
            .parse()
            .map(Until::Offset)
            .map_err(|_| "give an offset (a number from 0), `now` or `time:T`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TimeMs;

    const TIME: TimeMs = 1_795_418_696_007;

    #[test]
    fn positions_are_numbers_and_words() {
        assert_eq!(from("start"), Ok(Offset::Start));
        assert_eq!(from("0"), Ok(Offset::At(0)));
        assert_eq!(from("100"), Ok(Offset::At(100)));
        assert_eq!(from("end"), Ok(Offset::End));
        assert_eq!(from("last:20"), Ok(Offset::Last(20)));
        assert_eq!(from("time:2026-11-23T07:24:56.007Z"), Ok(Offset::Time(TIME)));
        assert_eq!(until("now"), Ok(Until::Now));
        assert_eq!(until("7"), Ok(Until::Offset(7)));
        assert_eq!(until("time:2026-11-23T09:24:56.007+02:00"), Ok(Until::Time(TIME)));
    }

    #[test]
    fn what_is_no_position_is_told_what_would_be() {
        for (text, words) in [
            ("-1", "an offset (a number from 0), `start`, `end`, `last:N` or `time:T`"),
            ("now", "an offset (a number from 0), `start`, `end`, `last:N` or `time:T`"),
            ("first:3", "an offset (a number from 0), `start`, `end`, `last:N` or `time:T`"),
            ("last:", "give a number of elements, like last:20"),
            ("last:-3", "give a number of elements, like last:20"),
            ("time:", "like 2026-11-23T08:21:16Z"),
            ("time:10m", "or how long ago it was, like -10m"),
        ] {
            let said = from(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
        for text in ["start", "end", "last:3", "soon"] {
            assert_eq!(until(text).unwrap_err(), "give an offset (a number from 0), `now` or `time:T`");
        }
        assert!(until("time:tomorrow").unwrap_err().contains("like -10m"));
    }
}

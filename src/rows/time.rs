//! Moments and durations, as people and programs write them.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

use crate::protocol::TimeMs;

/// A moment for programs: RFC 3339 in UTC, with milliseconds.
pub fn rfc3339(time_ms: TimeMs) -> String {
    format!("{:.3}", timestamp(time_ms))
}

/// A moment for people, in their time zone.
pub fn local(time_ms: TimeMs) -> String {
    in_zone(time_ms, TimeZone::system())
}

fn in_zone(time_ms: TimeMs, zone: TimeZone) -> String {
    timestamp(time_ms).to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

fn timestamp(time_ms: TimeMs) -> Timestamp {
    i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// A duration in the largest unit of which it is a whole number: `7d`, `90m`, `1500ms`.
pub fn in_units(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.into_iter().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

/// How long ago something was, in its two largest units: `-0.5s`, `-3m12s`, `-2h05m`, `-3d04h`.
pub fn ago(ms: u64) -> String {
    let seconds = ms / 1_000;
    let two = |large: u64, name: &str, small: u64, unit: &str| format!("-{large}{name}{small:02}{unit}");
    match seconds {
        0..60 => format!("-{}.{}s", seconds, ms % 1_000 / 100),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "m"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// Reads a duration from the command line: `0`, `200ms`, `1.5s`, `2m`, `3d04h`. A day is 24 hours.
///
/// # Errors
/// What is wrong, for the one who typed it.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed: Option<Span> = text.parse().ok();
    parsed
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| {
            let is_negative = text.strip_prefix('-').is_some_and(|rest| duration(rest).is_ok());
            let why = if is_negative { "that is less than no time: " } else { "" };
            format!("{why}give a number with its unit, like 200ms, 1s or 2m")
        })
}

/// As [`duration`], of at least a millisecond: how long something may take at most.
///
/// # Errors
/// As there.
pub fn limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text)?;
    if limit < Duration::from_millis(1) {
        return Err("nothing is done in no time: give at least 1ms".to_owned());
    }
    Ok(limit)
}

/// Reads a moment from the command line: as in RFC 3339, as [`local`] prints it, or how long ago it was, `-10m`.
///
/// # Errors
/// What is wrong, for the one who typed it.
pub fn moment(text: &str) -> Result<TimeMs, String> {
    moment_in(text, Timestamp::now(), &TimeZone::system())
}

fn moment_in(text: &str, now: Timestamp, zone: &TimeZone) -> Result<TimeMs, String> {
    let moment = match text.strip_prefix('-') {
        Some(ago) => duration(ago).ok().and_then(|ago| now.checked_sub(ago).ok()),
        None => text.parse::<Timestamp>().ok().or_else(|| in_this_zone(text, zone)),
    };
    moment.and_then(|moment| TimeMs::try_from(moment.as_millisecond()).ok()).ok_or_else(|| {
        "give a time like 2026-11-23T08:21:16Z, as it is printed (2026-11-23 08:21:16.865), or how long ago it was, \
         like -10m"
            .to_owned()
    })
}

/// A moment that says nothing of its zone.
fn in_this_zone(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let moment: DateTime = text.parse().ok()?;
    Some(moment.to_zoned(zone.clone()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_418_696_007), "2026-11-23T07:24:56.007Z");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(in_zone(1_795_418_696_007, zone), "2026-11-23 09:24:56.007");
    }

    #[test]
    fn durations_are_shown_in_whole_units() {
        let shown = [0, 999, 1_000, 1_500, 5_400_000, 3_600_000, 604_800_000];
        let shown = shown.map(|ms| in_units(Duration::from_millis(ms)));
        assert_eq!(shown, ["0ms", "999ms", "1s", "1500ms", "90m", "1h", "7d"]);
    }

    #[test]
    fn how_long_ago_it_was_has_two_units() {
        let shown = [0, 599, 192_000, 7_500_000, 273_600_000].map(ago);
        assert_eq!(shown, ["-0.0s", "-0.5s", "-3m12s", "-2h05m", "-3d04h"]);
        // As it can be typed, too.
        for shown in shown {
            assert!(moment(&shown).is_ok(), "{shown}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("10d"), Ok(Duration::from_hours(240)));
        assert_eq!(duration("3d04h"), Ok(Duration::from_hours(76)));
        for bad in ["", "1", "-1s", "soon", "1mo", "1y", "99999999999d"] {
            assert!(duration(bad).unwrap_err().contains("200ms"), "{bad}");
        }
        let told = "that is less than no time: give a number with its unit, like 200ms, 1s or 2m";
        assert_eq!(duration("-1s").unwrap_err(), told);
        for other in ["--wait", "--1s", "-"] {
            assert_eq!(duration(other).unwrap_err(), "give a number with its unit, like 200ms, 1s or 2m");
        }
    }

    #[test]
    fn limits_are_some_time() {
        assert_eq!(limit("1ms"), Ok(Duration::from_millis(1)));
        for none in ["0", "0s", "0.5ms"] {
            assert!(limit(none).unwrap_err().contains("at least 1ms"), "{none}");
        }
        assert_eq!(limit("soon"), duration("soon"));
    }

    #[test]
    fn moments_are_read_as_they_are_printed_and_back_from_now() {
        const TIME: TimeMs = 1_795_418_696_007;
        let (zone, now) = (TimeZone::fixed(jiff::tz::offset(2)), timestamp(TIME));
        let read = |text: &str| moment_in(text, now, &zone);
        for text in [&rfc3339(TIME), "2026-11-23T09:24:56.007+02:00", &in_zone(TIME, zone.clone()), "-0"] {
            assert_eq!(read(text), Ok(TIME), "{text}");
        }
        assert_eq!(read("2026-11-23T07:24Z"), Ok(TIME - 56_007));
        assert_eq!(read("2026-11-23 09:24:56"), Ok(TIME - 7));
        assert_eq!(read("2026-11-23"), Ok(TIME - 7 - (9 * 3600 + 24 * 60 + 56) * 1000), "midnight");
        assert_eq!(read("-10m"), Ok(TIME - 600_000));
        assert_eq!(read("-1.5s"), Ok(TIME - 1500));
        for bad in ["", "-", "-10", "10m", "soon", "2026-13-01", "1969-12-31T00:00Z", "--1s"] {
            assert!(read(bad).unwrap_err().contains("like -10m"), "{bad}");
        }
    }
}

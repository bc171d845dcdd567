//! The options that say what a channel keeps.

use std::time::Duration;

use crate::client::millis::millis;
use crate::protocol::channel::{ChannelInfo, Durability, Retention};
use crate::protocol::size::Bytes;
use crate::rows::counted;
use crate::rows::record::durability_word;
use crate::rows::time;

/// What a channel keeps.
#[derive(Debug, Clone, clap::Args)]
pub struct Bounds {
    /// Keep this many elements; `none`: no such bound
    #[arg(long, value_name = "N", value_parser = bound(elements))]
    max_elements: Option<Bound>,

    /// Keep elements of this age, like 90s, 12h or 7d; `none`: no such bound
    #[arg(long, value_name = "D", value_parser = bound(age))]
    max_age: Option<Bound>,

    /// Keep values of so many bytes, like 64MiB; `none`: no such bound
    #[arg(long, value_name = "B", value_parser = bound(bytes))]
    max_bytes: Option<Bound>,
}

/// A bound, or that there is none.
type Bound = std::result::Result<u64, Nothing>;

/// No bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nothing;

fn bound(
    read: fn(&str) -> Result<u64, String>,
) -> impl Fn(&str) -> Result<Bound, String> + Clone + Send + Sync + 'static {
    move |text| match text {
        "none" => Ok(Err(Nothing)),
        text => {
            match read(text)? {
                0 => Err("a channel that keeps nothing cannot be read: give more, or `none` for no bound"
                    .to_owned()),
                bound => Ok(Ok(bound)),
            }
        }
    }
}

fn elements(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "give a number of elements, like 1000, or `none`".to_owned())
}

fn age(text: &str) -> Result<u64, String> {
    time::duration(text).map(millis)
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<Bytes>().map(|bytes| bytes.0).map_err(|error| error.to_string())
}

impl Bounds {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.max_elements.is_none() && self.max_age.is_none() && self.max_bytes.is_none()
    }

    /// What is kept with these, where it was that before: what is not named stays as it was.
    pub fn over(&self, before: Retention) -> Retention {
        let bound = |named: Option<Bound>, before| named.map_or(before, Result::ok);
        Retention {
            max_elements: bound(self.max_elements, before.max_elements),
            max_age_ms: bound(self.max_age, before.max_age_ms),
            max_bytes: bound(self.max_bytes, before.max_bytes),
        }
    }
}

/// What a channel keeps, in words.
pub fn in_words(retention: Retention) -> String {
    let elements = retention.max_elements.map(|max| counted(max, "element"));
    let age = retention.max_age_ms.map(|ms| format!("{} of age", time::in_units(Duration::from_millis(ms))));
    let bytes = retention.max_bytes.map(|max| format!("{} of values", Bytes(max)));
    let bounds: Vec<String> = [elements, age, bytes].into_iter().flatten().collect();
    if bounds.is_empty() { "everything".to_owned() } else { format!("at most {}", bounds.join(", ")) }
}

/// A channel in a line, for people.
pub fn line(info: &ChannelInfo) -> String {
    let ChannelInfo { name, first, head, elements, trimmed, bytes, retention, stopped, durability, .. } =
        info;
    let (kept, bytes, is_stopped) =
        (elements - trimmed, Bytes(*bytes), if *stopped { ", stopped" } else { "" });
    let (keeps, elements) = (in_words(*retention), counted(*elements, "element"));
    let acknowledged = match durability {
        Durability::Fsynced => String::new(),
        buffered => format!(", {}", durability_word(*buffered)),
    };
    format!(
        "{name}: offsets {first}..{head}, {kept} of {elements}, {bytes}, keeps {keeps}{acknowledged}{is_stopped}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_and_bad_ones_say_what_to_do() {
        let read = bound(age);
        assert_eq!(read("7d"), Ok(Ok(604_800_000)));
        assert_eq!(read("1.5s"), Ok(Ok(1500)));
        assert_eq!(read("none"), Ok(Err(Nothing)));
        assert_eq!(bound(bytes)("64MiB"), Ok(Ok(64 << 20)));
        assert_eq!(bound(elements)("5"), Ok(Ok(5)));
        for bad in ["0", "0s"] {
            assert!(read(bad).unwrap_err().contains("`none` for no bound"), "{bad}");
        }
        assert!(read("soon").unwrap_err().contains("200ms"));
        assert!(bound(elements)("-1").unwrap_err().contains("1000"));
    }

    #[test]
    fn what_is_not_named_stays() {
        let before = Retention::ALL.with_elements(5).with_bytes(1000);
        let bounds = Bounds { max_elements: Some(Err(Nothing)), max_age: Some(Ok(60_000)), max_bytes: None };
        let after = bounds.over(before);
        assert_eq!(after, Retention { max_elements: None, max_age_ms: Some(60_000), max_bytes: Some(1000) });
        assert_eq!(in_words(after), "at most 1m of age, 1000 bytes of values");
        assert_eq!(in_words(Retention::ALL), "everything");
    }
}

//! Headers: a few words beside an element, for those who read it. The scheduler does not look into them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{
    HEADER_KEY_BYTES_MAX, HEADER_VALUE_BYTES_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, RECORD_BYTES_MAX, TooLarge,
};
use super::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// Words beside an element, by key, in the order of the keys; each key once. At most [`HEADERS_MAX`], of the sizes that
/// [`Headers::check`] checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers(BTreeMap<Box<str>, Box<str>>);

/// What may stand around a payload and its headers in a record: numbers, lengths and kinds.
const AROUND_BYTES_MAX: usize = 256;

// An element that keeps to all bounds is a record that does: with a future's label, and the name of its producer.
const _: () = assert!(
    PAYLOAD_BYTES_MAX + HEADERS_BYTES_MAX + 2 * NAME_BYTES_MAX + AROUND_BYTES_MAX <= RECORD_BYTES_MAX
);

const HINT: &str = "keep it elsewhere, or in the value";

impl Headers {
    /// None.
    pub const fn new() -> Self {
        Headers(BTreeMap::new())
    }

    /// Adds one, in the place of that with the same key if there is one.
    pub fn insert(&mut self, key: impl Into<Box<str>>, value: impl Into<Box<str>>) {
        self.0.insert(key.into(), value.into());
    }

    /// What stands under this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| &**value)
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes the keys and values have together.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Refuses what is over a bound.
    ///
    /// # Errors
    /// [`TooLarge`] names the bound, and the key where there is one.
    pub fn check(&self) -> Result<(), TooLarge> {
        TooLarge::check("the number of headers of an element", self.len(), HEADERS_MAX, HINT)?;
        for (key, value) in self.iter() {
            let (shown, bytes) = (&key[..key.floor_char_boundary(HEADER_KEY_BYTES_MAX)], value.len());
            TooLarge::check(
                format_args!("the key of header `{shown}`"),
                key.len(),
                HEADER_KEY_BYTES_MAX,
                HINT,
            )?;
            TooLarge::check(
                format_args!("the value of header `{shown}`"),
                bytes,
                HEADER_VALUE_BYTES_MAX,
                HINT,
            )?;
        }
        TooLarge::check("all headers of an element together", self.bytes(), HEADERS_BYTES_MAX, HINT)
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(headers: I) -> Self {
        Headers(headers.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: usize, key_bytes: usize, value_bytes: usize) -> Headers {
        (0..count).map(|n| (format!("{n:0key_bytes$}"), "v".repeat(value_bytes))).collect()
    }

    #[test]
    fn each_bound_is_the_last_that_is_taken() {
        let bytes_each = HEADERS_BYTES_MAX / HEADERS_MAX;
        for (good, bad, told) in [
            (of(HEADERS_MAX, 2, 1), of(HEADERS_MAX + 1, 2, 1), "the number of headers of an element is 17"),
            (of(1, HEADER_KEY_BYTES_MAX, 0), of(1, HEADER_KEY_BYTES_MAX + 1, 0), "the key of header `000"),
            (
                of(1, 1, HEADER_VALUE_BYTES_MAX),
                of(1, 1, HEADER_VALUE_BYTES_MAX + 1),
                "the value of header `0` is 1025, over the limit of 1024: keep it elsewhere, or in the value",
            ),
            (
                of(HEADERS_MAX, 2, bytes_each - 2),
                of(HEADERS_MAX, 2, bytes_each - 1),
                "all headers of an element together is 2064, over the limit of 2048",
            ),
        ] {
            assert_eq!(good.check(), Ok(()));
            let error = bad.check().unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn a_key_stands_once_and_all_come_in_order() {
        let mut headers: Headers = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        headers.insert("a", "4");
        assert_eq!(
            (headers.get("a"), headers.get("c"), headers.len(), headers.bytes()),
            (Some("4"), None, 2, 4)
        );
    }
}

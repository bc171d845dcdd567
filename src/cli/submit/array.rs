//! `--array`: many tasks of one command, by their numbers.

use std::collections::HashSet;
use std::str::FromStr;

/// Most tasks of one submission: 1,000,000.
pub const TASKS_MAX: usize = 1_000_000;

/// Indexes in the order in which they were given, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array(Vec<u64>);

impl Array {
    pub fn indexes(&self) -> &[u64] {
        &self.0
    }
}

/// Why a text names no indexes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArray {
    /// A part is no number, and no range.
    #[error("`{0}` is no index: give numbers and ranges, like 1-1000, 1,5,9 or 0-100:10")]
    NotAnIndex(String),
    /// A range that has nothing in it.
    #[error("`{0}` has nothing in it: give the lower number first, and a step of at least 1")]
    Empty(String),
    /// An index that comes twice.
    #[error("index {0} is named twice: give each once")]
    Twice(u64),
    /// Too many.
    #[error("`{text}` names more than {TASKS_MAX} indexes: submit them in several arrays")]
    TooMany {
        /// The part with which it is too many.
        text: String,
    },
}

impl FromStr for Array {
    type Err = BadArray;

    fn from_str(text: &str) -> Result<Self, BadArray> {
        let (mut indexes, mut known) = (Vec::new(), HashSet::new());
        for part in text.split(',') {
            let (first, last, step) = range(part)?;
            let count = (last - first) / step + 1;
            if count > (TASKS_MAX - indexes.len()) as u64 {
                return Err(BadArray::TooMany { text: part.to_owned() });
            }
            for index in (0..count).map(|n| first + n * step) {
                if !known.insert(index) {
                    return Err(BadArray::Twice(index));
                }
                indexes.push(index);
            }
        }
        Ok(Array(indexes))
    }
}

/// The first and the last of a part, and the step between them.
fn range(part: &str) -> Result<(u64, u64, u64), BadArray> {
    let number = |text: &str| text.trim().parse().map_err(|_| BadArray::NotAnIndex(part.to_owned()));
    let Some((first, rest)) = part.split_once('-') else {
        let index = number(part)?;
        return Ok((index, index, 1));
    };
    let (last, step) = rest.split_once(':').unwrap_or((rest, "1"));
    let (first, last, step) = (number(first)?, number(last)?, number(step)?);
    if step == 0 || last < first {
        return Err(BadArray::Empty(part.to_owned()));
    }
    Ok((first, last, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<u64>, String> {
        text.parse::<Array>().map(|array| array.0).map_err(|bad| bad.to_string())
    }

    #[test]
    fn numbers_and_ranges_with_steps() {
        assert_eq!(of("1-4"), Ok(vec![1, 2, 3, 4]));
        assert_eq!(of("1-3,20,30-40:5"), Ok(vec![1, 2, 3, 20, 30, 35, 40]));
        assert_eq!(of("7, 3 ,0"), Ok(vec![7, 3, 0]), "in the order given");
        assert_eq!(of("5-5"), Ok(vec![5]));
        assert_eq!(of("1-6:10"), Ok(vec![1]));
        assert_eq!(of("18446744073709551614-18446744073709551615"), Ok(vec![u64::MAX - 1, u64::MAX]));
        assert_eq!(of("0-18446744073709551615:18446744073709551615"), Ok(vec![0, u64::MAX]));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for bad in ["", "x", "1,", "1-", "-3", "1-x", "1-2:x", "1.5", "1:2"] {
            assert!(of(bad).unwrap_err().contains("is no index: give numbers and ranges"), "{bad}");
        }
        for bad in ["3-1", "1-3:0"] {
            assert!(of(bad).unwrap_err().contains("has nothing in it"), "{bad}");
        }
        assert_eq!(of("1-3,2").unwrap_err(), "index 2 is named twice: give each once");
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        assert_eq!(of("1-1000000").unwrap().len(), TASKS_MAX);
        for (bad, part) in [
            ("1-1000001", "1-1000001"),
            ("1-1000000,1000001", "1000001"),
            ("0-18446744073709551615:2", "0-18446744073709551615:2"),
        ] {
            let told = format!("`{part}` names more than 1000000 indexes: submit them in several arrays");
            assert_eq!(of(bad).unwrap_err(), told);
        }
    }
}

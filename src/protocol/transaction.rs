//! Transactions: appends to several channels and moves of cursors, in one commit.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::cursor::CursorMove;
use super::elements::Elements;
use super::group::OfGroup;
use super::ids::LogId;
use super::limits::{APPEND_BYTES_MAX, ELEMENTS_PER_APPEND_MAX, TRANSACTION_CHANNELS_MAX, TooLarge};
use super::rejection::Rejection;

/// What is to be done in one commit, all or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What is appended, once to each channel.
    pub appends: Vec<Part>,
    /// How cursors are moved, one of each channel.
    pub cursors: Vec<CursorMove>,
    /// Elements that are leased to this session and done with, of each group once.
    pub acknowledges: Vec<OfGroup>,
}

/// What a transaction appends to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The channel's log.
    pub log: LogId,
    /// At least one element.
    pub elements: Elements,
    /// As of [`AppendOptions::expect`](super::command::AppendOptions::expect).
    pub expect: Option<u64>,
}

/// Where the elements are that a transaction appended to one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendedPart {
    /// The channel's log.
    pub log: LogId,
    /// The offset of the first; the others follow without a gap.
    pub first: u64,
    /// How many there are.
    pub count: u32,
}

impl Transaction {
    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.cursors.is_empty() && self.acknowledges.is_empty()
    }

    /// Checks its bounds: how many channels, and how much for all of them together, which is no more than for one append.
    /// Each append has its own bounds beside that.
    ///
    /// # Errors
    /// [`Rejection::TooLarge`] for what is over a bound, [`Rejection::Invalid`] for one that does nothing or something
    /// twice.
    pub fn check(&self) -> Result<(), Rejection> {
        if self.is_empty() {
            let why = "a transaction needs something to do: append an element, or move a cursor";
            return Err(Rejection::Invalid(why.to_owned()));
        }
        let hint = "do it in several transactions";
        let channels = self.appends.len().max(self.cursors.len()).max(self.acknowledges.len());
        TooLarge::check("the number of channels", channels, TRANSACTION_CHANNELS_MAX, hint)?;
        let elements = self.appends.iter().map(|part| part.elements.len()).sum();
        TooLarge::check("the number of elements", elements, ELEMENTS_PER_APPEND_MAX, hint)?;
        let bytes = self.appends.iter().map(|part| part.elements.content_bytes()).sum();
        TooLarge::check("all values together", bytes, APPEND_BYTES_MAX, hint)?;
        check_once("appends to a channel once", self.appends.iter().map(|part| part.log))?;
        check_once("moves one cursor of a channel", self.cursors.iter().map(|to| to.log))?;
        check_once("acknowledges of a group once", self.acknowledges.iter().map(|of| of.group))
    }
}

fn check_once<T: Ord + Copy + fmt::Display>(
    what: &str,
    mut all: impl Iterator<Item = T>,
) -> Result<(), Rejection> {
    let mut seen = BTreeSet::new();
    match all.find(|one| !seen.insert(*one)) {
        Some(one) => Err(Rejection::Invalid(format!("a transaction {what}: not so of {one}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::cursor::CursorName;
    use crate::protocol::{Element, Payload};

    fn part(log: u32, elements: usize, bytes: usize) -> Part {
        let element = Element::Value(Payload::raw(vec![0; bytes]));
        Part { log: LogId(log), elements: vec![element; elements].into(), expect: None }
    }

    fn to(log: u32, name: &str) -> CursorMove {
        let name = CursorName::new(name).unwrap();
        CursorMove { log: LogId(log), name, offset: 0, from: None, pin_ms: 0 }
    }

    fn told(appends: Vec<Part>, cursors: Vec<CursorMove>) -> String {
        Transaction { appends, cursors, acknowledges: vec![] }
            .check()
            .map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn a_transaction_has_bounds_and_each_says_what_to_do() {
        assert!(told(vec![], vec![]).contains("needs something to do"));
        let most = TRANSACTION_CHANNELS_MAX as u32;
        let parts = |count: u32| (1..=count).map(|log| part(log, 1, 1)).collect();
        let cursors = |count: u32| (1..=count).map(|log| to(log, "a")).collect();
        assert_eq!(told(parts(most), cursors(most)), "fine");
        for over in [told(parts(most + 1), vec![]), told(vec![], cursors(most + 1))] {
            assert_eq!(
                over,
                "the number of channels is 65, over the limit of 64: do it in several transactions"
            );
        }
        let half = ELEMENTS_PER_APPEND_MAX / 2;
        assert_eq!(told(vec![part(1, half, 1), part(2, half, 1)], vec![]), "fine");
        assert!(
            told(vec![part(1, half, 1), part(2, half + 1, 1)], vec![])
                .starts_with("the number of elements is 4097")
        );
        let large = || part(1, 16, 32 * 1024);
        assert!(
            told(vec![large(), Part { log: LogId(2), ..large() }, part(3, 1, 1)], vec![])
                .starts_with("all values together")
        );
    }

    #[test]
    fn nothing_is_done_twice() {
        assert!(told(vec![part(1, 1, 1), part(1, 1, 1)], vec![]).contains("appends to a channel once"));
        assert!(
            told(vec![], vec![to(2, "a"), to(2, "b")]).contains("moves one cursor of a channel: not so of 2")
        );
    }
}

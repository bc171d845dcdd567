//! The functions that a worker offers, by name.

use std::collections::BTreeMap;

use crate::client::function::Registered;
use crate::protocol::TaskError;
use crate::protocol::limits::{FUNCTIONS_PER_WORKER_MAX, NAME_BYTES_MAX, TooLarge};
use crate::protocol::session::FunctionOffer;
use crate::protocol::task::ErrorKind;

/// Most names that the error for an unknown function lists.
const NAMES_SHOWN_MAX: usize = 20;

/// The functions that a worker offers, by full name.
#[derive(Debug)]
pub struct Registry {
    functions: BTreeMap<&'static str, &'static Registered>,
}

/// Why the functions of a program cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Two functions have one name.
    #[error("two tasks are named `{name}`, at {first} and at {second}: rename one of them")]
    NamedTwice {
        /// The name.
        name: &'static str,
        /// Where the one is written.
        first: &'static str,
        /// Where the other is written.
        second: &'static str,
    },
    /// A name is too long, or there are too many functions.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl Registry {
    /// All functions with `#[task]` that are linked into this program.
    ///
    /// # Errors
    /// When two have one name, or a bound is broken.
    pub fn linked() -> Result<Self, RegistryError> {
        Registry::of(Registered::all())
    }

    /// These functions.
    ///
    /// # Errors
    /// When two have one name, or a bound is broken.
    pub fn of(all: impl IntoIterator<Item = &'static Registered>) -> Result<Self, RegistryError> {
        let mut functions: BTreeMap<&'static str, &'static Registered> = BTreeMap::new();
        for added in all {
            let what = format!("the name of the task at {}, in bytes,", added.place);
            TooLarge::check(what, added.name.len(), NAME_BYTES_MAX, "shorten it, or its module's path")?;
            if let Some(known) = functions.insert(added.name, added) {
                let (first, second) = (known.place.min(added.place), known.place.max(added.place));
                return Err(RegistryError::NamedTwice { name: added.name, first, second });
            }
        }
        let what = "the number of tasks in this program";
        TooLarge::check(
            what,
            functions.len(),
            FUNCTIONS_PER_WORKER_MAX,
            "spread them over several programs",
        )?;
        Ok(Registry { functions })
    }

    /// What the worker tells the scheduler that it has, by name.
    pub fn offers(&self) -> Vec<FunctionOffer> {
        let offer = |known: &&Registered| FunctionOffer { name: known.name.into(), version: known.version };
        self.functions.values().map(offer).collect()
    }

    /// The function of this name and version.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFunction`] names those there are.
    pub fn find(&self, name: &str, version: u32) -> Result<&'static Registered, TaskError> {
        let message = match self.functions.get(name) {
            Some(known) if known.version == version => return Ok(known),
            Some(known) => format!(
                "this worker has version {} of `{name}`, not {version}: build client and worker from the same code",
                known.version
            ),
            None => format!(
                "this worker has no function `{name}`: link the crate that has it, with `#[task]`, into the \
                 worker's program; registered are {}",
                self.names()
            ),
        };
        Err(TaskError::new(ErrorKind::UnknownFunction, &message, Vec::new()))
    }

    fn names(&self) -> String {
        if self.functions.is_empty() {
            return "none".to_owned();
        }
        let shown: Vec<_> =
            self.functions.keys().take(NAMES_SHOWN_MAX).map(|name| format!("`{name}`")).collect();
        match self.functions.len() - shown.len() {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::function::{Run, registered_of};

    #[crate::task(version = 3)]
    fn counted() {}

    const NAME: &str = "rust:headwater::worker::registry::tests::counted";

    fn named(name: &str, place: &'static str) -> &'static Registered {
        Box::leak(Box::new(Registered {
            name: name.to_owned().leak(),
            version: 1,
            pure: false,
            place,
            type_id: std::any::TypeId::of::<()>,
            run: Run::Blocking(|_| unreachable!("nobody runs it")),
        }))
    }

    #[test]
    fn what_is_linked_is_offered_and_found() {
        let registry = Registry::linked().unwrap();
        assert!(registry.offers().contains(&FunctionOffer { name: NAME.into(), version: 3 }));
        let found = registry.find(NAME, 3).unwrap();
        assert!(std::ptr::eq(found, registered_of(&counted).unwrap()));
    }

    #[test]
    fn an_unknown_function_names_the_known_ones() {
        let registry = Registry::of((0..23).map(|n| named(&format!("rust:m::f{n:02}"), ""))).unwrap();
        let error = registry.find("rust:m::g", 1).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnknownFunction);
        assert!(error.message.starts_with("this worker has no function `rust:m::g`: link "), "{error}");
        assert!(error.message.contains("registered are `rust:m::f00`, `rust:m::f01`, "), "{error}");
        assert!(error.message.ends_with("`rust:m::f19` and 3 more"), "{error}");
        let error = Registry::of([]).unwrap().find("rust:m::g", 1).unwrap_err();
        assert!(error.message.ends_with("registered are none"), "{error}");
    }

    #[test]
    fn another_version_is_not_the_function() {
        let error = Registry::linked().unwrap().find(NAME, 2).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnknownFunction);
        assert!(error.message.contains("has version 3 of `rust:headwater::"), "{error}");
        assert!(error.message.contains("`, not 2: build"), "{error}");
    }

    #[test]
    fn two_functions_of_one_name_are_both_told() {
        let error = Registry::of([named("rust:m::f", "b.rs:2"), named("rust:m::f", "a.rs:1")]).unwrap_err();
        let told = "two tasks are named `rust:m::f`, at a.rs:1 and at b.rs:2: rename one of them";
        assert_eq!(error.to_string(), told);
    }

    #[test]
    fn a_name_that_no_submission_can_carry_is_refused() {
        let error = Registry::of([named(&"x".repeat(NAME_BYTES_MAX + 1), "a.rs:1")]).unwrap_err();
        assert!(
            error.to_string().starts_with("the name of the task at a.rs:1, in bytes, is 201, "),
            "{error}"
        );
    }
}

//! The arguments of an attempt, as the scheduler gives them, made values.
//!
//! What is stored elsewhere is fetched before, by [`Held`](super::results::Held).

use std::io;

use crate::client::blob::Content;
use crate::protocol::message::{Filling, Given};
use crate::protocol::result::Located;
use crate::protocol::task::ErrorKind;
use crate::protocol::template::Template;
use crate::protocol::{TaskError, TaskKey};

/// Whether all of an argument is here.
pub(super) fn is_here(given: &Given) -> bool {
    match given {
        Given::Value(_) => true,
        Given::Stored(_) => false,
        Given::Nested { results, .. } => results.iter().all(|result| matches!(result, Filling::Value(_))),
    }
}

/// An argument, all of which is here.
#[derive(Debug)]
pub(super) enum Here {
    /// All of it.
    Value(Content),
    /// Results that are parts of it.
    Nested {
        /// What it is but for them.
        template: Template,
        /// They, in the order of their holes.
        results: Vec<Content>,
    },
}

impl Here {
    /// # Errors
    /// A result of it that is not here.
    fn of(given: Given) -> Result<Here, Located> {
        match given {
            Given::Value(payload) => Ok(Here::Value(payload.into())),
            Given::Stored(located) => Err(located),
            Given::Nested { template, results } => {
                let results = results.into_iter().map(|result| match result {
                    Filling::Value(payload) => Ok(payload.into()),
                    Filling::Stored(located) => Err(located),
                });
                Ok(Here::Nested { template, results: results.collect::<Result<_, _>>()? })
            }
        }
    }
}

/// The values of the arguments of `function`, as they were given.
///
/// # Errors
/// As [`values`], and when one is not here.
pub(super) fn values_given(function: &str, given: Vec<Given>) -> Result<Vec<Content>, TaskError> {
    let value = |(position, given)| match Here::of(given) {
        Ok(here) => value(function, position, here),
        Err(located) => Err(bad(function, position, &format!("the result of {} is not here", located.key))),
    };
    (1..).zip(given).map(value).collect()
}

/// The values of the arguments of `function`. Waits for the disk where a result in a file is a part of one.
///
/// # Errors
/// [`ErrorKind::BadArguments`] when a result cannot be a part of the value that it belongs into.
pub(super) fn values(function: &str, arguments: Vec<Here>) -> Result<Vec<Content>, TaskError> {
    (1..).zip(arguments).map(|(position, here)| value(function, position, here)).collect()
}

fn value(function: &str, position: usize, here: Here) -> Result<Content, TaskError> {
    match here {
        Here::Value(content) => Ok(content),
        Here::Nested { template, results } => {
            let results = results.into_iter().map(Content::into_payload).collect::<io::Result<Vec<_>>>();
            let filled = results
                .map_err(|error| format!("a result cannot be read back from the disk: {error}"))
                .and_then(|results| template.fill(&results).map_err(|why| why.to_string()));
            filled.map(Content::Memory).map_err(|why| bad(function, position, &why))
        }
    }
}

fn bad(function: &str, position: usize, why: &str) -> TaskError {
    let message = format!("argument {position} of {}: {why}", TaskKey::label_of(function));
    TaskError::new(ErrorKind::BadArguments, &message, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::template;
    use crate::protocol::{Codec, Payload, TaskId};

    fn nested(results: Vec<Filling>) -> Given {
        let mut bytes = Vec::new();
        template::begin_array(&mut bytes, 2);
        [1, 2].iter().for_each(|id| template::add_hole(&mut bytes, TaskId([*id; 16])));
        Given::Nested { template: Template::new(bytes), results }
    }

    fn filling(number: u64) -> Filling {
        Filling::Value(Payload::encode(&number).unwrap())
    }

    #[test]
    fn results_are_parts_of_values() {
        let given = vec![Given::Value(Payload::encode("x").unwrap()), nested(vec![filling(7), filling(8)])];
        assert!(given.iter().all(is_here));
        let values = values_given("rust:m::sum", given).unwrap();
        assert_eq!((values[0].decode(), values[1].decode()), (Ok("x".to_owned()), Ok([7, 8])));
    }

    #[test]
    fn what_cannot_be_a_part_fails_the_attempt_by_its_argument() {
        let told = |given| values_given("rust:m::sum", vec![given]).unwrap_err();
        let error = told(nested(vec![filling(7)]));
        assert_eq!(error.kind, ErrorKind::BadArguments);
        let missing = TaskId([2; 16]);
        assert_eq!(error.message, format!("argument 1 of sum: the result of task {missing} is not there"));
        let broken = Payload { codec: Codec::MessagePack, bytes: vec![0x92, 1].into() };
        let error = told(nested(vec![filling(7), Filling::Value(broken)]));
        let why = "is no MessagePack: it ends too early, after 2 bytes";
        assert_eq!(error.message, format!("argument 1 of sum: the result of task {missing} {why}"));
    }
}

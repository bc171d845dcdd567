//! The arguments of an attempt, as the scheduler gives them, made values.
//!
//! What is stored elsewhere is fetched before, by [`Held`](super::results::Held).

use crate::protocol::message::{Filling, Given};
use crate::protocol::task::ErrorKind;
use crate::protocol::{Payload, TaskError, TaskKey};

/// Whether all of an argument is here.
pub(super) fn is_here(given: &Given) -> bool {
    match given {
        Given::Value(_) => true,
        Given::Stored(_) => false,
        Given::Nested { results, .. } => results.iter().all(|result| matches!(result, Filling::Value(_))),
    }
}

/// The values of the arguments of `function`, all of which are here.
///
/// # Errors
/// [`ErrorKind::BadArguments`] when a result cannot be a part of the value that it belongs into.
pub(super) fn values(function: &str, given: Vec<Given>) -> Result<Vec<Payload>, TaskError> {
    (1..).zip(given).map(|(position, given)| value(function, position, given)).collect()
}

fn value(function: &str, position: usize, given: Given) -> Result<Payload, TaskError> {
    let bad = |why: String| {
        let message = format!("argument {position} of {}: {why}", TaskKey::label_of(function));
        TaskError::new(ErrorKind::BadArguments, &message, Vec::new())
    };
    match given {
        Given::Value(payload) => Ok(payload),
        Given::Stored(located) => Err(bad(format!("the result of {} is not here", located.key))),
        Given::Nested { template, results } => {
            let here = results.into_iter().filter_map(|result| match result {
                Filling::Value(payload) => Some(payload),
                Filling::Stored(_) => None,
            });
            template.fill(&here.collect::<Vec<_>>()).map_err(|why| bad(why.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::template::{self, Template};
    use crate::protocol::{Codec, TaskId};

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
        let values = values("rust:m::sum", given).unwrap();
        assert_eq!((values[0].decode(), values[1].decode()), (Ok("x".to_owned()), Ok([7, 8])));
    }

    #[test]
    fn what_cannot_be_a_part_fails_the_attempt_by_its_argument() {
        let told = |given| values("rust:m::sum", vec![given]).unwrap_err();
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

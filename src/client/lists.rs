//! Long lists of futures: a task takes no more than [`ARGUMENTS_MAX`] of them, so longer ones are put together by tasks of
//! the function [`LIST`], which all workers have.
//!
//! ```text
//!   sum([f0, f1, … f9999])
//!
//!   list([f0 … f63])  list([f64 … f127])  …  list([… f9999])     157 tasks, each a list of 64 results
//!          └──────── list(…) of 64 of them ───┘      │           3 tasks, each a list of 4096 results
//!                       └───────── list(…) ──────────┘           one task, the list
//!                                     └─▶ sum(list)
//! ```
//!
//! Where the call is pure, so are they: the same lists are the same tasks, and the call has the same key. Else they are
//! its own, and nobody else's failure is theirs.

use uuid::Uuid;

use super::submit::pure_key;
use crate::protocol::limits::{ARGUMENTS_BYTES_MAX, ARGUMENTS_MAX};
use crate::protocol::task::{Argument, LIST, LIST_VERSION, TaskOptions};
use crate::protocol::template::{self, Kind, Part, Parts, Template};
use crate::protocol::{Codec, Payload, Submission, TaskId, TaskKey};

/// The tasks that put lists together for one call.
#[derive(Debug)]
pub(super) struct Lists {
    is_pure: bool,
    priority: i32,
    made: Vec<Submission>,
}

/// A value: its bytes, and how many holes it has.
struct Piece {
    bytes: Vec<u8>,
    holes: usize,
}

/// Puts the lists of a call's arguments together by tasks, if there are more futures than a call takes. Answers these
/// tasks, in the order in which they are to be submitted before it.
pub(super) fn put_together(arguments: &mut [Argument], is_pure: bool, priority: i32) -> Vec<Submission> {
    let mut lists = Lists { is_pure, priority, made: Vec::new() };
    // First the lists that are too long alone, then all, if that is not enough.
    for outermost_max in [ARGUMENTS_MAX, 1] {
        if Submission::futures_of(arguments) <= ARGUMENTS_MAX {
            break;
        }
        for argument in arguments.iter_mut() {
            if let Argument::Nested(template) = argument {
                *argument = lists.shortened(template, outermost_max);
            }
        }
    }
    lists.made
}

/// What an encoded value is as an argument.
fn argument(piece: Piece) -> Argument {
    let alone = template::hole(&piece.bytes);
    match (alone, piece.holes) {
        (Some(task), _) => Argument::Future(task),
        (None, 0) => Argument::Value(Payload { codec: Codec::MessagePack, bytes: piece.bytes.into() }),
        (None, _) => Argument::Nested(Template::new(piece.bytes)),
    }
}

impl Lists {
    /// A value in which no array has more holes than it may: the outermost so many, the others [`ARGUMENTS_MAX`].
    fn shortened(&mut self, template: &Template, outermost_max: usize) -> Argument {
        let mut parts = template.parts();
        match self.piece(template, &mut parts, outermost_max) {
            Some(piece) => argument(piece),
            // It makes no sense, and whoever checks the call says so.
            None => Argument::Nested(template.clone()),
        }
    }

    /// The next value. It is no deeper than the parts say, which end where it is too deep.
    fn piece(&mut self, template: &Template, parts: &mut Parts<'_>, max: usize) -> Option<Piece> {
        let Part { at, kind } = parts.next()?.ok()?;
        let mut piece = Piece { bytes: template.bytes()[at].to_vec(), holes: 0 };
        match kind {
            Kind::Plain => {}
            Kind::Hole(_) => piece.holes = 1,
            Kind::Map(count) => {
                for _ in 0..2 * u64::from(count) {
                    let inner = self.piece(template, parts, max)?;
                    piece.bytes.extend(inner.bytes);
                    piece.holes += inner.holes;
                }
            }
            Kind::Array(count) => {
                let elements = (0..count).map(|_| self.piece(template, parts, ARGUMENTS_MAX));
                let elements = elements.collect::<Option<Vec<_>>>()?;
                piece.holes = elements.iter().map(|element| element.holes).sum();
                if piece.holes > max {
                    return Some(self.list(elements));
                }
                elements.into_iter().for_each(|element| piece.bytes.extend(element.bytes));
            }
        }
        Some(piece)
    }

    /// A hole for a task that puts these elements together.
    fn list(&mut self, elements: Vec<Piece>) -> Piece {
        let mut level = Vec::new();
        let (mut some, mut count) = (Piece { bytes: Vec::new(), holes: 0 }, 0);
        for element in elements {
            let is_full = some.holes + element.holes > ARGUMENTS_MAX
                || some.bytes.len() + element.bytes.len() + ARRAY_BYTES > ARGUMENTS_BYTES_MAX;
            if is_full && count > 0 {
                let full = std::mem::replace(&mut some, Piece { bytes: Vec::new(), holes: 0 });
                level.push(self.submit(vec![argument(array(count, full))]));
                count = 0;
            }
            some.bytes.extend(element.bytes);
            some.holes += element.holes;
            count += 1;
        }
        level.push(self.submit(vec![argument(array(count, some))]));
        while level.len() > 1 {
            let lists =
                level.chunks(ARGUMENTS_MAX).map(|some| some.iter().copied().map(Argument::Future).collect());
            level = lists.collect::<Vec<_>>().into_iter().map(|arguments| self.submit(arguments)).collect();
        }
        let mut bytes = Vec::new();
        template::add_hole(&mut bytes, level[0]);
        Piece { bytes, holes: 1 }
    }

    fn submit(&mut self, arguments: Vec<Argument>) -> TaskId {
        let key = match self.is_pure {
            true => pure_key(LIST, LIST, LIST_VERSION, &arguments),
            false => TaskKey::unique(LIST, Uuid::now_v7().into_bytes()),
        };
        let (id, options) = (key.id, TaskOptions { priority: self.priority, ..TaskOptions::default() });
        let (function, version) = (LIST.into(), LIST_VERSION);
        // The same list in two places.
        if self.made.iter().all(|made| made.key != key) {
            self.made.push(Submission { key, function, version, arguments, options });
        }
        id
    }
}

/// Most bytes that an array has before its elements.
const ARRAY_BYTES: usize = 5;

fn array(count: u32, elements: Piece) -> Piece {
    let mut bytes = Vec::with_capacity(elements.bytes.len() + ARRAY_BYTES);
    template::begin_array(&mut bytes, count);
    bytes.extend(elements.bytes);
    Piece { bytes, holes: elements.holes }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn id(n: u32) -> TaskId {
        TaskId(u128::from(n).to_be_bytes())
    }

    /// `[[future, n]; count]`
    fn pairs(range: std::ops::Range<u32>) -> Argument {
        let mut bytes = Vec::new();
        template::begin_array(&mut bytes, range.len() as u32);
        for n in range {
            template::begin_array(&mut bytes, 2);
            template::add_hole(&mut bytes, id(n));
            bytes.extend(rmp_serde::to_vec(&n).unwrap());
        }
        Argument::Nested(Template::new(bytes))
    }

    fn futures(range: std::ops::Range<u32>) -> Argument {
        let mut bytes = Vec::new();
        template::begin_array(&mut bytes, range.len() as u32);
        range.for_each(|n| template::add_hole(&mut bytes, id(n)));
        Argument::Nested(Template::new(bytes))
    }

    /// What an argument is when all futures have brought their number, and all lists have been put together.
    fn value(argument: &Argument, results: &HashMap<TaskId, Payload>) -> Payload {
        match argument {
            Argument::Value(payload) => payload.clone(),
            Argument::Future(task) => results[task].clone(),
            Argument::Nested(template) => {
                let filled: Vec<_> = template.tasks().iter().map(|task| results[task].clone()).collect();
                template.fill(&filled).unwrap()
            }
        }
    }

    fn run(made: &[Submission]) -> HashMap<TaskId, Payload> {
        let mut results: HashMap<_, _> = (0..20_000).map(|n| (id(n), Payload::encode(&n).unwrap())).collect();
        for list in made {
            assert_eq!((list.check(), list.check_nested(), &*list.function), (Ok(()), Ok(()), LIST));
            let mut elements = (0, Vec::new());
            for argument in &list.arguments {
                let (count, bytes) = template::array(&value(argument, &results)).unwrap();
                elements.0 += count;
                elements.1.extend_from_slice(&bytes);
            }
            let mut bytes = Vec::new();
            template::begin_array(&mut bytes, elements.0);
            bytes.extend(elements.1);
            let result = Payload { codec: Codec::MessagePack, bytes: bytes.into() };
            assert!(results.insert(list.key.id, result).is_none(), "it is made once");
        }
        results
    }

    #[test]
    fn a_list_is_whole_and_in_order_however_long_it_is() {
        for (count, tasks) in [(64, 0), (65, 3), (4096, 65), (4097, 68), (10_000, 161)] {
            let mut arguments = [futures(0..count)];
            let made = put_together(&mut arguments, true, 5);
            assert_eq!(made.len(), tasks, "{count}");
            assert!(made.iter().all(|list| list.options.priority == 5 && !list.options.detach));
            let all: Vec<u32> = value(&arguments[0], &run(&made)).decode().unwrap();
            assert!(all.into_iter().eq(0..count), "{count}");
        }
    }

    #[test]
    fn lists_of_what_has_futures_in_it_and_of_much_else_are_put_together() {
        let mut arguments = [pairs(0..200)];
        let made = put_together(&mut arguments, true, 0);
        let all: Vec<(u32, u32)> = value(&arguments[0], &run(&made)).decode().unwrap();
        assert!(all.into_iter().eq((0..200).map(|n| (n, n))));
        // Elements that are large are in smaller pieces; those without futures are values.
        let text = "x".repeat(10_000);
        let mut bytes = Vec::new();
        template::begin_array(&mut bytes, 90);
        (0..70).for_each(|n| template::add_hole(&mut bytes, id(n)));
        (0..20).for_each(|_| bytes.extend(rmp_serde::to_vec(&text).unwrap()));
        let mut arguments = [Argument::Nested(Template::new(bytes))];
        let made = put_together(&mut arguments, true, 0);
        let all: Vec<rmpv::Value> = value(&arguments[0], &run(&made)).decode().unwrap();
        assert!(
            all.len() == 90
                && all[69] == 69.into()
                && all[70..].iter().all(|value| *value == text.as_str().into())
        );
        assert!(made.iter().any(|list| matches!(list.arguments[..], [Argument::Value(_)])));
    }

    #[test]
    fn many_arguments_together_are_no_more_than_one() {
        let mut arguments = [futures(0..40), pairs(40..80), Argument::Future(id(80)), futures(100..200)];
        let made = put_together(&mut arguments, true, 0);
        assert!(Submission::futures_of(&arguments) <= ARGUMENTS_MAX);
        let results = run(&made);
        let all: Vec<u32> = value(&arguments[0], &results).decode().unwrap();
        assert!(all.into_iter().eq(0..40));
        let all: Vec<(u32, u32)> = value(&arguments[1], &results).decode().unwrap();
        assert!(all.into_iter().eq((40..80).map(|n| (n, n))));
        assert_eq!(arguments[2], Argument::Future(id(80)));
    }

    #[test]
    fn lists_of_pure_calls_are_the_same_tasks_and_others_are_their_calls_own() {
        let made = |range, is_pure| {
            let mut arguments = [futures(range)];
            let made = put_together(&mut arguments, is_pure, 0);
            (arguments, made.into_iter().map(|list| list.key).collect::<Vec<_>>())
        };
        assert_eq!(made(0..100, true), made(0..100, true));
        assert_ne!(made(0..100, true).0, made(1..101, true).0);
        let (one, other) = (made(0..100, false), made(0..100, false));
        assert!(one.1.iter().all(|key| !other.1.contains(key)));
        // The same list in two places of a pure call is put together once.
        let mut twice = [futures(0..100), futures(0..100)];
        assert_eq!(put_together(&mut twice, true, 0).len(), 3);
        assert_eq!(twice[0], twice[1]);
    }
}

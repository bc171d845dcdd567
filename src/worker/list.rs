//! Lists put together, as tasks: the function `list`, which every worker has built in.
//!
//! A task takes no more than [64 futures](crate::protocol::limits::ARGUMENTS_MAX), so that an attempt fits its frame. A
//! client that passes more in a list has pieces of it made by tasks of this function, and pieces of these:
//! see `client/lists.rs`.

use std::any::TypeId;

use super::call::{check_size, in_memory};
use crate::client::blob::Content;
use crate::client::function::{Registered, Run};
use crate::protocol::task::{ErrorKind, LIST, LIST_VERSION};
use crate::protocol::{Codec, Payload, TaskError, template};

struct List;

/// The function, for all workers.
pub(super) static REGISTERED: Registered = Registered {
    name: LIST,
    version: LIST_VERSION,
    pure: true,
    place: "the worker itself",
    type_id: TypeId::of::<List>,
    run: Run::Blocking(list),
};

/// The elements of all arguments, which are arrays, in one.
fn list(arguments: Vec<Content>) -> Result<Content, TaskError> {
    let arguments = in_memory(LIST, arguments)?;
    let bad = |kind, message: &str| TaskError::new(kind, message, Vec::new());
    let pieces = (1..).zip(&arguments).map(|(position, argument)| {
        template::array(argument).ok_or_else(|| {
            let message = format!("argument {position} of {LIST} is no array: it is {argument:?}");
            bad(ErrorKind::BadArguments, &message)
        })
    });
    let pieces = pieces.collect::<Result<Vec<_>, _>>()?;
    let size: usize = pieces.iter().map(|(_, elements)| elements.len()).sum();
    let too_large = |why: String| bad(ErrorKind::BadResult, &why);
    check_size(format!("the result of `{LIST}`"), size as u64 + 5)
        .map_err(|why| too_large(why.to_string()))?;
    let count = pieces.iter().map(|(count, _)| u64::from(*count)).sum::<u64>();
    let count = u32::try_from(count).expect("each element has a byte, and there are fewer than 4 GiB");
    let mut bytes = Vec::with_capacity(size + 5);
    template::begin_array(&mut bytes, count);
    pieces.iter().for_each(|(_, elements)| bytes.extend_from_slice(elements));
    Ok(Payload { codec: Codec::MessagePack, bytes: bytes.into() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(arguments: Vec<Payload>) -> Result<Payload, TaskError> {
        let content = super::list(arguments.into_iter().map(Content::from).collect())?;
        Ok(content.into_payload().unwrap())
    }

    #[test]
    fn elements_come_in_the_order_of_the_pieces() {
        let piece = |range: std::ops::Range<u64>| Payload::encode(&range.collect::<Vec<_>>()).unwrap();
        let all = list(vec![piece(0..3), piece(3..3), piece(3..70_000)]).unwrap();
        assert_eq!(all, piece(0..70_000));
        assert_eq!(list(vec![]).unwrap(), piece(0..0));
    }

    #[test]
    fn what_is_no_array_is_told() {
        for other in [Payload::encode("x").unwrap(), Payload::raw(vec![0x90])] {
            let error = list(vec![Payload::encode(&[1]).unwrap(), other]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadArguments);
            assert!(error.message.starts_with("argument 2 of list is no array: "), "{error}");
        }
    }
}

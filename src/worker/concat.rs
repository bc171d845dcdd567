//! One value made of the bytes of several, as a task: the function `concat`, which every worker has built in.
//!
//! A client that scatters a value which no record has room for scatters pieces of it, and submits tasks of this function,
//! which put them together: see `client/scatter.rs`.

use std::any::TypeId;

use bytes::Bytes;

use super::call::{check_size, in_memory};
use crate::client::blob::Content;
use crate::client::function::{Registered, Run};
use crate::protocol::task::{CONCAT, CONCAT_VERSION, ErrorKind};
use crate::protocol::{Codec, Payload, TaskError};

struct Concat;

/// The function, for all workers.
pub(super) static REGISTERED: Registered = Registered {
    name: CONCAT,
    version: CONCAT_VERSION,
    pure: true,
    place: "the worker itself",
    type_id: TypeId::of::<Concat>,
    run: Run::Blocking(concat),
};

/// The bytes of all arguments but the first, with the codec that the first names.
fn concat(arguments: Vec<Content>) -> Result<Content, TaskError> {
    let arguments = in_memory(CONCAT, arguments)?;
    let bad = |kind, message: String| TaskError::new(kind, &message, Vec::new());
    let Some((codec, pieces)) = arguments.split_first() else {
        return Err(bad(
            ErrorKind::BadArguments,
            format!("{CONCAT} takes a codec first, and has no arguments"),
        ));
    };
    let codec: Codec = codec
        .decode()
        .map_err(|why| bad(ErrorKind::BadArguments, format!("argument 1 of {CONCAT} is no codec: {why}")))?;
    if let Some((position, piece)) = (2..).zip(pieces).find(|(_, piece)| piece.codec != Codec::Raw) {
        let message = format!("argument {position} of {CONCAT} is not raw: it is {piece:?}");
        return Err(bad(ErrorKind::BadArguments, message));
    }
    let size: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    check_size(format!("the result of `{CONCAT}`"), size as u64)
        .map_err(|why| bad(ErrorKind::BadResult, why.to_string()))?;
    let mut bytes = Vec::with_capacity(size);
    pieces.iter().for_each(|piece| bytes.extend_from_slice(&piece.bytes));
    Ok(Payload { codec, bytes: Bytes::from(bytes) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concat(arguments: Vec<Payload>) -> Result<Payload, TaskError> {
        let content = super::concat(arguments.into_iter().map(Content::from).collect())?;
        Ok(content.into_payload().unwrap())
    }

    fn codec(codec: Codec) -> Payload {
        Payload::encode(&codec).unwrap()
    }

    #[test]
    fn the_bytes_of_all_pieces_in_their_order() {
        let value = Payload::encode(&(0..1000_u32).collect::<Vec<_>>()).unwrap();
        let pieces = value.bytes.chunks(100).map(|piece| Payload::raw(piece.to_vec()));
        let arguments = [codec(Codec::MessagePack)].into_iter().chain(pieces).collect();
        assert_eq!(concat(arguments).unwrap(), value);
        assert_eq!(concat(vec![codec(Codec::Raw)]).unwrap(), Payload::raw(""));
    }

    #[test]
    fn what_is_no_piece_is_told() {
        let told = |arguments| {
            let error = concat(arguments).unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadArguments);
            error.message
        };
        assert_eq!(told(vec![]), "concat takes a codec first, and has no arguments");
        assert!(told(vec![Payload::encode(&5).unwrap()]).starts_with("argument 1 of concat is no codec: "));
        let encoded = vec![codec(Codec::Raw), Payload::raw("x"), Payload::encode("x").unwrap()];
        assert!(told(encoded).starts_with("argument 3 of concat is not raw: it is "));
    }
}

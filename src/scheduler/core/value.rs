//! A small value as the state keeps it.

use crate::protocol::Payload;
use crate::protocol::payload::Codec;

/// A payload's content in 24 bytes and what is in it; a [`Payload`] takes 40, and an allocation more once it is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    codec: Codec,
    bytes: Box<[u8]>,
}

impl Value {
    /// The value as a payload: a copy.
    pub fn to_payload(&self) -> Payload {
        Payload { codec: self.codec, bytes: self.bytes.to_vec().into() }
    }
}

impl From<&Payload> for Value {
    fn from(payload: &Payload) -> Self {
        Value { codec: payload.codec, bytes: payload.bytes.as_ref().into() }
    }
}

//! The records of a channel's log.

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::protocol::channel::{Durability, Element, Progress, Retention, TrimCause};
use crate::protocol::digest::Digest;
use crate::protocol::headers::Headers;
use crate::protocol::ids::TaskKey;
use crate::protocol::payload::Payload;
use crate::protocol::producer::ProducerName;

/// A record of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelEvent {
    /// An element. Its index is the number of elements before it.
    Appended {
        /// Who appended it. All elements of one command have the same origin and follow each other.
        origin: Origin,
        /// The element.
        element: Element,
    },
    /// What became of a future that is on the channel.
    Progress {
        /// The future.
        key: TaskKey,
        /// What became of it.
        progress: Progress,
    },
    /// The channel takes no more elements.
    Stopped {
        /// Who asked for it.
        origin: Origin,
        /// How many elements there are.
        count: u64,
        /// The digest of them all.
        digest: Digest,
    },
    /// The channel takes elements again: after a stop, or since its name was asked for after it was deleted.
    Resumed {
        /// Who asked for it.
        origin: Origin,
    },
    /// What is before this offset is kept no longer.
    Trimmed {
        /// Why.
        cause: TrimCause,
        /// The offset of the first record that is kept.
        before: u64,
        /// The index of the first element that is kept.
        index: u64,
    },
    /// From here on the channel keeps so much.
    Changed {
        /// Who asked for it.
        origin: Origin,
        /// What it keeps.
        retention: Retention,
    },
    /// The channel is no more: what is before this is kept no longer. Its name may be given again; what is appended then
    /// comes behind this.
    Deleted {
        /// Who asked for it.
        origin: Origin,
        /// How many elements there were ever.
        count: u64,
        /// The digest of them all.
        digest: Digest,
    },
    /// An element with headers. As [`ChannelEvent::Appended`] otherwise.
    AppendedWith {
        /// Who appended it.
        origin: Origin,
        /// Its headers; at least one.
        headers: Headers,
        /// The element.
        element: Element,
    },
    /// The first element of an append of a named producer. The others follow it as those of any append do; they have the
    /// same origin. As [`ChannelEvent::Appended`] otherwise.
    Produced {
        /// Who appended it.
        origin: Origin,
        /// The producer.
        producer: ProducerName,
        /// The append's number.
        number: u64,
        /// How many elements it has, with this one.
        count: u32,
        /// Its headers; it may have none.
        headers: Headers,
        /// The element.
        element: Element,
    },
    /// A named producer is known no longer: its numbers may begin anew.
    ProducerForgotten {
        /// Who asked for it.
        origin: Origin,
        /// The producer.
        producer: ProducerName,
    },
    /// From here on appends to the channel that do not say it themselves are acknowledged so.
    DurabilityChanged {
        /// Who asked for it.
        origin: Origin,
        /// When they are.
        durability: Durability,
    },
}

/// An element as its record has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended<'a> {
    /// Who appended it.
    pub origin: Origin,
    /// Its headers; most elements have none.
    pub headers: &'a Headers,
    /// The element.
    pub element: &'a Element,
}

impl ChannelEvent {
    /// Whether the record is an element and so has an index.
    pub fn is_element(&self) -> bool {
        self.appended().is_some()
    }

    /// The element, if the record is one.
    pub fn appended(&self) -> Option<Appended<'_>> {
        static NONE: Headers = Headers::new();
        match self {
            ChannelEvent::Appended { origin, element } => {
                Some(Appended { origin: *origin, headers: &NONE, element })
            }
            ChannelEvent::AppendedWith { origin, headers, element }
            | ChannelEvent::Produced { origin, headers, element, .. } => {
                Some(Appended { origin: *origin, headers, element })
            }
            ChannelEvent::Progress { .. }
            | ChannelEvent::Stopped { .. }
            | ChannelEvent::Resumed { .. }
            | ChannelEvent::Trimmed { .. }
            | ChannelEvent::Changed { .. }
            | ChannelEvent::Deleted { .. }
            | ChannelEvent::ProducerForgotten { .. }
            | ChannelEvent::DurabilityChanged { .. } => None,
        }
    }

    /// The record of an element, with headers or without.
    pub fn of_element(origin: Origin, headers: Headers, element: Element) -> Self {
        match headers.is_empty() {
            true => ChannelEvent::Appended { origin, element },
            false => ChannelEvent::AppendedWith { origin, headers, element },
        }
    }

    /// What stands before the element in the record of each that a command appended.
    pub fn before_element(origin: Origin) -> Vec<u8> {
        let element = Element::Value(Payload::raw(&b""[..]));
        let encode = "an event holds nothing that postcard cannot carry";
        let behind = postcard::to_stdvec(&element).expect(encode).len();
        let mut record = postcard::to_stdvec(&ChannelEvent::Appended { origin, element }).expect(encode);
        record.truncate(record.len() - behind);
        record
    }
}

impl Digest {
    /// The digest with one more element as its record has it: its headers, then itself.
    #[must_use]
    pub fn with_appended(self, appended: &Appended<'_>) -> Digest {
        let words = |digest: Digest, (key, value): (&str, &str)| {
            digest.with(b"header").with(key.as_bytes()).with(value.as_bytes())
        };
        appended.headers.iter().fold(self, words).with_element(appended.element)
    }

    /// The digest with one more element: its kind, and its task's id or its payload's bytes.
    #[must_use]
    pub fn with_element(self, element: &Element) -> Digest {
        match element {
            Element::Future(key) => self.with(b"future").with(&key.id.0),
            Element::Value(payload) => self.with_value(&payload.bytes),
        }
    }

    /// The digest with one more value, of these bytes.
    #[must_use]
    pub fn with_value(self, payload: &[u8]) -> Digest {
        self.with(b"value").with(payload)
    }
}

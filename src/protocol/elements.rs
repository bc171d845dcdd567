//! The elements of an append, each encoded once: as it travels, and as it is stored.
//!
//! | bytes | |
//! |---|---|
//! | varint | how many elements |
//! | varint | how many bytes |
//! | … | the elements in postcard, one after the other: each as it ends its record in the log |
//!
//! So the client puts each into the command it waits in, the scheduler copies each into its batch, and neither makes
//! an [`Element`] of it. What arrives is looked through once, when it is decoded: whatever is in here is whole.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::channel::{Element, LentElement};

/// What stands before the bytes of a payload, with some to spare.
const AROUND_PAYLOAD_BYTES: usize = 8;

/// Elements, encoded. See the [module](self).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Elements {
    count: u32,
    futures: u32,
    /// Of the payloads alone.
    payload_bytes: usize,
    bytes: Vec<u8>,
}

impl Elements {
    /// How many.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all of them are values.
    pub fn are_values(&self) -> bool {
        self.futures == 0
    }

    /// How many bytes the payloads of its values have together.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Adds one behind the others.
    pub fn push(&mut self, element: &Element) {
        self.count += 1;
        match element {
            Element::Future(_) => self.futures += 1,
            Element::Value(payload) => {
                self.payload_bytes += payload.bytes.len();
                self.bytes.reserve(payload.bytes.len() + AROUND_PAYLOAD_BYTES);
            }
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes =
            postcard::to_extend(element, bytes).expect("elements hold nothing that postcard cannot carry");
    }

    /// Adds others behind these.
    pub fn append(&mut self, others: &Elements) {
        self.count += others.count;
        self.futures += others.futures;
        self.payload_bytes += others.payload_bytes;
        self.bytes.extend_from_slice(&others.bytes);
    }

    /// The bytes of each, and those of its payload if it is a value.
    pub fn encoded(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (element, behind) = take(rest)?;
            let bytes = &rest[..rest.len() - behind.len()];
            rest = behind;
            Some(match element {
                LentElement::Future(_) => (bytes, None),
                LentElement::Value(payload) => (bytes, Some(payload.bytes)),
            })
        })
    }

    /// Each as what it is.
    pub fn iter(&self) -> impl Iterator<Item = Element> {
        self.encoded().map(|(bytes, _)| postcard::from_bytes(bytes).expect("it was looked through"))
    }
}

/// The element that these bytes begin with, and what is behind it; nothing when there is none.
fn take(bytes: &[u8]) -> Option<(LentElement<'_>, &[u8])> {
    postcard::take_from_bytes(bytes).ok()
}

impl From<&[Element]> for Elements {
    fn from(elements: &[Element]) -> Self {
        let mut all = Elements::default();
        elements.iter().for_each(|element| all.push(element));
        all
    }
}

impl From<Vec<Element>> for Elements {
    fn from(elements: Vec<Element>) -> Self {
        Elements::from(&elements[..])
    }
}

impl std::fmt::Debug for Elements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Elements {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.count, Run(&self.bytes)).serialize(serializer)
    }
}

/// Written in one go, not byte by byte.
struct Run<'a>(&'a [u8]);

impl Serialize for Run<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (count, bytes) = <(u32, &[u8])>::deserialize(deserializer)?;
        let mut found = Elements { bytes: bytes.to_vec(), ..Elements::default() };
        let mut rest = bytes;
        while let Some((element, behind)) = take(rest) {
            found.count += 1;
            match element {
                LentElement::Future(_) => found.futures += 1,
                LentElement::Value(payload) => found.payload_bytes += payload.bytes.len(),
            }
            rest = behind;
        }
        if found.count == count && rest.is_empty() {
            Ok(found)
        } else {
            Err(D::Error::custom("these are not as many elements as they are said to be"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Payload, TaskKey};

    fn all() -> Vec<Element> {
        let value = |bytes: &[u8]| Element::Value(Payload::raw(bytes.to_vec()));
        let text = Element::Value(Payload::encode("text").unwrap());
        vec![value(b""), Element::Future(TaskKey::named("x")), text, value(&[7; 300])]
    }

    #[test]
    fn elements_come_back_as_they_were_and_each_as_postcard_has_it() {
        let elements = Elements::from(all());
        let bytes = postcard::to_stdvec(&elements).unwrap();
        let read: Elements = postcard::from_bytes(&bytes).unwrap();
        assert_eq!((&read, read.iter().collect::<Vec<_>>()), (&elements, all()));
        assert_eq!((read.len(), read.are_values(), read.payload_bytes()), (4, false, 305));
        for ((encoded, payload), element) in read.encoded().zip(all()) {
            assert_eq!(encoded, postcard::to_stdvec(&element).unwrap());
            let expected = if let Element::Value(payload) = element { Some(payload.bytes) } else { None };
            assert_eq!(payload.map(<[u8]>::to_vec), expected.map(|bytes| bytes.to_vec()));
        }
        let (mut halves, behind) = (Elements::from(&all()[..2]), Elements::from(&all()[2..]));
        halves.append(&behind);
        assert_eq!(halves, elements);
    }

    #[test]
    fn what_is_cut_or_counted_wrong_is_not_taken() {
        let elements = Elements::from(all());
        for cut in 1..elements.bytes.len() {
            let whole = elements.encoded().scan(0, |end, (bytes, _)| {
                *end += bytes.len();
                Some(*end)
            });
            let fewer = whole.filter(|end| *end <= cut).count() as u32;
            for count in [fewer, 4] {
                let bytes = postcard::to_stdvec(&(count, Run(&elements.bytes[..cut]))).unwrap();
                let is_whole = elements.encoded().map(|(bytes, _)| bytes.len()).scan(0, |end, length| {
                    *end += length;
                    Some(*end)
                });
                let expected = count == fewer && is_whole.into_iter().any(|end| end == cut);
                assert_eq!(postcard::from_bytes::<Elements>(&bytes).is_ok(), expected, "{count} in {cut}");
            }
        }
    }
}

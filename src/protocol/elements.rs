//! The elements of an append, each encoded once: as it travels, and as it is stored.
//!
//! | bytes | |
//! |---|---|
//! | varint | how many elements |
//! | varint | how many bytes |
//! | … | the elements in postcard, one after the other: each as it ends its record in the log |
//!
//! Before an element that has [`Headers`] stand a byte that no element begins with, 2, and the headers in postcard.
//!
//! So the client puts each into the command it waits in, the scheduler copies each into its batch, and neither makes
//! an [`Element`] of it. What arrives is looked through once, when it is decoded: whatever is in here is whole.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::channel::{Element, LentElement};
use super::headers::Headers;
use super::payload::{Codec, Lent, as_bytes, message_pack};

/// What stands before the headers of an element: no element begins so.
const HEADERS: u8 = 2;

/// What stands before the bytes of a payload, with some to spare.
const AROUND_PAYLOAD_BYTES: usize = 8;

/// Elements, encoded. See the [module](self).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Elements {
    count: u32,
    futures: u32,
    /// How many of them have headers.
    headed: u32,
    /// Of the payloads alone.
    payload_bytes: usize,
    /// Of the keys and values of all headers.
    header_bytes: usize,
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

    /// Whether all of them are values without headers.
    pub fn are_bare_values(&self) -> bool {
        self.futures == 0 && self.headed == 0
    }

    /// Whether any of them has headers.
    pub fn have_headers(&self) -> bool {
        self.headed > 0
    }

    /// How many bytes all of it has, encoded.
    pub fn encoded_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes the payloads of its values have together.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// How many bytes the payloads and all headers have together.
    pub fn content_bytes(&self) -> usize {
        self.payload_bytes + self.header_bytes
    }

    /// Adds one with headers behind the others.
    pub fn push_with(&mut self, headers: &Headers, element: &Element) {
        if !headers.is_empty() {
            self.headed += 1;
            self.header_bytes += headers.bytes();
            self.bytes.push(HEADERS);
            self.bytes = postcard::to_extend(headers, std::mem::take(&mut self.bytes))
                .expect("headers hold nothing that postcard cannot carry");
        }
        self.push(element);
    }

    /// Adds one behind the others.
    pub fn push(&mut self, element: &Element) {
        match element {
            Element::Future(_) => {
                self.futures += 1;
                self.put(element);
            }
            Element::Value(payload) => self.push_lent(payload.lend()),
        }
    }

    /// Encodes a value, as [`Payload::encode`](super::Payload::encode) does, and adds it behind the others.
    ///
    /// # Errors
    /// As there; these elements are as they were then.
    pub fn push_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), String> {
        let bytes = message_pack(value)?;
        self.push_lent(Lent { codec: Codec::MessagePack, bytes: &bytes });
        Ok(())
    }

    fn push_lent(&mut self, payload: Lent<'_>) {
        self.payload_bytes += payload.bytes.len();
        self.bytes.reserve(payload.bytes.len() + AROUND_PAYLOAD_BYTES);
        self.put(&LentElement::Value(payload));
    }

    fn put(&mut self, element: &impl Serialize) {
        self.count += 1;
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes =
            postcard::to_extend(element, bytes).expect("elements hold nothing that postcard cannot carry");
    }

    /// Takes the first of them away.
    pub fn take_first(&mut self) -> Option<(Headers, Element)> {
        let (headers, element) = self.iter().next()?;
        let (_, begin) = take_headers(&self.bytes)?;
        let (_, behind) = take(begin)?;
        let bytes = self.bytes.len() - behind.len();
        self.bytes.drain(..bytes);
        self.count -= 1;
        if !headers.is_empty() {
            self.headed -= 1;
            self.header_bytes -= headers.bytes();
        }
        match &element {
            Element::Future(_) => self.futures -= 1,
            Element::Value(payload) => self.payload_bytes -= payload.bytes.len(),
        }
        Some((headers, element))
    }

    /// Adds others behind these.
    pub fn append(&mut self, others: &Elements) {
        self.count += others.count;
        self.futures += others.futures;
        self.headed += others.headed;
        self.payload_bytes += others.payload_bytes;
        self.header_bytes += others.header_bytes;
        self.bytes.extend_from_slice(&others.bytes);
    }

    /// The bytes of each without its headers, and those of its payload if it is a value.
    pub fn encoded(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (_, begin) = take_headers(rest)?;
            let (element, behind) = take(begin)?;
            let bytes = &begin[..begin.len() - behind.len()];
            rest = behind;
            Some(match element {
                LentElement::Future(_) => (bytes, None),
                LentElement::Value(payload) => (bytes, Some(payload.bytes)),
            })
        })
    }

    /// Each as what it is, with its headers.
    pub fn iter(&self) -> impl Iterator<Item = (Headers, Element)> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (headers, begin) = take_headers(rest)?;
            let (element, behind) = postcard::take_from_bytes(begin).ok()?;
            rest = behind;
            Some((headers.unwrap_or_default(), element))
        })
    }
}

/// The element that these bytes begin with, and what is behind it; nothing when there is none.
fn take(bytes: &[u8]) -> Option<(LentElement<'_>, &[u8])> {
    postcard::take_from_bytes(bytes).ok()
}

/// The headers that these bytes begin with, if they do, and what is behind them; nothing when they are cut off.
fn take_headers(bytes: &[u8]) -> Option<(Option<Headers>, &[u8])> {
    let [HEADERS, headers @ ..] = bytes else { return Some((None, bytes)) };
    let (headers, behind) = postcard::take_from_bytes(headers).ok()?;
    Some((Some(headers), behind))
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

impl From<Vec<(Headers, Element)>> for Elements {
    fn from(elements: Vec<(Headers, Element)>) -> Self {
        let mut all = Elements::default();
        elements.iter().for_each(|(headers, element)| all.push_with(headers, element));
        all
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

#[derive(Serialize)]
struct Run<'a>(#[serde(serialize_with = "as_bytes")] &'a [u8]);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (count, bytes) = <(u32, &[u8])>::deserialize(deserializer)?;
        let mut found = Elements { bytes: bytes.to_vec(), ..Elements::default() };
        let mut rest = bytes;
        while let Some((headers, begin)) = take_headers(rest)
            && let Some((element, behind)) = take(begin)
        {
            found.count += 1;
            if let Some(headers) = headers.filter(|headers| !headers.is_empty()) {
                found.headed += 1;
                found.header_bytes += headers.bytes();
            }
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
    use std::collections::BTreeMap;

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
        let bare = all().into_iter().map(|element| (Headers::new(), element));
        assert_eq!((&read, read.iter().collect::<Vec<_>>()), (&elements, bare.collect()));
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
    fn a_value_is_encoded_as_its_payload_is_however_long_it_is() {
        for length in [0, 1, 200, 255, 256, 257, 70_000] {
            let text = "x".repeat(length);
            let mut pushed = Elements::default();
            pushed.push_value(&text).unwrap();
            assert_eq!(pushed, Elements::from(vec![Element::Value(Payload::encode(&text).unwrap())]));
            let (_, element) = pushed.iter().next().unwrap();
            let Element::Value(payload) = element else { panic!("{element:?}") };
            assert_eq!(payload.decode::<String>().unwrap(), text);
        }
        let mut elements = Elements::from(all());
        elements.push_value(&BTreeMap::from([([1], 1)])).unwrap();
        assert_eq!((elements.len(), elements.are_values()), (5, false));
    }

    /// All of them, the second and the third with headers.
    fn headed() -> Vec<(Headers, Element)> {
        let headers = [[].as_slice(), &[("k", "v")], &[("a", "1"), ("b", "")], &[]];
        headers.into_iter().map(|headers| headers.iter().copied().collect()).zip(all()).collect()
    }

    #[test]
    fn headers_stay_with_their_elements_and_cost_the_others_nothing() {
        let elements = Elements::from(headed());
        let read: Elements = postcard::from_bytes(&postcard::to_stdvec(&elements).unwrap()).unwrap();
        assert_eq!((&read, read.iter().collect::<Vec<_>>()), (&elements, headed()));
        let bare = Elements::from(all());
        assert_eq!(read.encoded().collect::<Vec<_>>(), bare.encoded().collect::<Vec<_>>());
        assert_eq!((read.payload_bytes(), read.content_bytes(), bare.content_bytes()), (305, 310, 305));
        // A byte, how many, and for each two lengths.
        assert_eq!(read.bytes.len(), bare.bytes.len() + 5 + (1 + 1 + 2) + (1 + 1 + 4));
        let value = |headers: &[(&str, &str)]| vec![(headers.iter().copied().collect(), all().remove(0))];
        let are = |headers| Elements::from(value(headers)).are_bare_values();
        assert!(are(&[]) && !are(&[("k", "v")]) && !bare.are_bare_values() && read.have_headers());
        let mut behind = elements.clone();
        for (n, first) in (1..).zip(headed()) {
            assert_eq!(behind.take_first(), Some(first));
            assert_eq!(behind, Elements::from(headed()[n..].to_vec()));
        }
        assert_eq!(behind.take_first(), None);
        let mut halves = Elements::from(headed()[..2].to_vec());
        halves.append(&Elements::from(headed()[2..].to_vec()));
        assert_eq!(halves, elements);
    }

    #[test]
    fn what_is_cut_or_counted_wrong_is_not_taken() {
        for elements in [Elements::from(all()), Elements::from(headed())] {
            let mut ends = vec![0];
            for element in elements.iter() {
                let alone = Elements::from(vec![element]);
                ends.push(ends[ends.len() - 1] + alone.bytes.len());
            }
            assert_eq!(ends[4], elements.bytes.len());
            for cut in 1..elements.bytes.len() {
                let fewer = ends[1..].iter().filter(|end| **end <= cut).count() as u32;
                for count in [fewer, 4] {
                    let bytes = postcard::to_stdvec(&(count, Run(&elements.bytes[..cut]))).unwrap();
                    let expected = count == fewer && ends.contains(&cut);
                    let read = postcard::from_bytes::<Elements>(&bytes);
                    assert_eq!(read.is_ok(), expected, "{count} in {cut}");
                }
            }
        }
    }
}

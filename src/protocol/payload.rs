//! A user's value: a codec tag and bytes. The scheduler never looks inside.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use super::limits::PAYLOAD_BYTES_MAX;
use super::size::Bytes as Size;

/// Bytes that are put together on the stack, if they are few, so that only what there is of them is allocated.
pub(crate) type Encoded = SmallVec<[u8; 256]>;

/// Such bytes in just the room that they take. (`SmallVec::into_boxed_slice` copies what is on the stack byte by byte.)
pub(crate) fn boxed(encoded: Encoded) -> Box<[u8]> {
    if encoded.spilled() { encoded.into_boxed_slice() } else { Box::from(&encoded[..]) }
}

/// A value as MessagePack with field names.
pub(super) fn message_pack<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, String> {
    let mut bytes = Encoded::new();
    rmp_serde::encode::write_named(&mut bytes, value).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// How a payload's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// MessagePack with field names: readable by the shell and by other languages without the type.
    MessagePack,
    /// Bytes as they are.
    Raw,
}

/// A user's value as it travels and is stored. At most [`PAYLOAD_BYTES_MAX`] bytes in messages and in the log; a
/// result that workers keep may have more.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// How to read the bytes.
    pub codec: Codec,
    /// The bytes.
    pub bytes: Bytes,
}

impl Payload {
    /// Encodes a value as MessagePack with field names.
    ///
    /// # Errors
    /// What serde says of a type that cannot be encoded (a sequence of unknown length, say).
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        Ok(Payload { codec: Codec::MessagePack, bytes: boxed(message_pack(value)?).into() })
    }

    /// The same, where its bytes lie.
    pub fn lend(&self) -> Lent<'_> {
        Lent { codec: self.codec, bytes: &self.bytes }
    }

    /// Wraps raw bytes.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Payload { codec: Codec::Raw, bytes: bytes.into() }
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// What does not fit the type, in words.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        self.lend().decode()
    }

    /// The value as JSON, for people and programs that do not know its type. Raw bytes, and bytes
    /// inside a value, become a string when they are UTF-8 and an array of numbers otherwise; numbers
    /// that JSON cannot carry (NaN, infinities) become strings.
    pub fn to_json(&self) -> serde_json::Value {
        match self.codec {
            Codec::Raw => json_of_bytes(&self.bytes),
            Codec::MessagePack => json_with(&self.bytes, &|_, _| None),
        }
    }
}

/// A payload whose bytes lie elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent<'a> {
    /// How to read the bytes.
    pub codec: Codec,
    /// The bytes.
    #[serde(serialize_with = "as_bytes")]
    pub bytes: &'a [u8],
}

/// Written in one go, not byte by byte.
pub(super) fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

impl Lent<'_> {
    /// As [`Payload::decode`].
    ///
    /// # Errors
    /// As [`Payload::decode`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        match self.codec {
            Codec::MessagePack => rmp_serde::from_slice(self.bytes).map_err(|error| {
                let shown: String = format!("{:?}", self.to_owned()).chars().take(100).collect();
                format!("{shown} is not a {}: {error}", std::any::type_name::<T>())
            }),
            Codec::Raw => Err("the payload is raw bytes: read it as bytes".to_owned()),
        }
    }

    /// The same with bytes of its own.
    pub fn to_owned(&self) -> Payload {
        Payload { codec: self.codec, bytes: Bytes::copy_from_slice(self.bytes) }
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Of a large one its size: as text it would take its bytes many times over.
        match self.bytes.len() {
            size if size > PAYLOAD_BYTES_MAX => write!(f, "a value of {}", Size(size as u64)),
            _ => write!(f, "{}", self.to_json()),
        }
    }
}

fn json_of_bytes(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.to_vec().into(),
    }
}

/// What an extension of MessagePack is in JSON, by its type and bytes, where it is not just bytes.
type OfExtension<'a> = &'a dyn Fn(i8, &[u8]) -> Option<serde_json::Value>;

/// MessagePack as JSON: see [`Payload::to_json`].
pub(super) fn json_with(mut bytes: &[u8], of_extension: OfExtension<'_>) -> serde_json::Value {
    let all = bytes;
    match rmpv::decode::read_value(&mut bytes) {
        Ok(value) => json_of(value, of_extension),
        Err(_) => json_of_bytes(all),
    }
}

fn json_of(value: rmpv::Value, of_extension: OfExtension<'_>) -> serde_json::Value {
    use rmpv::Value;
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Boolean(b) => b.into(),
        Value::Integer(n) => n.as_u64().map(Into::into).or(n.as_i64().map(Into::into)).unwrap_or_default(),
        Value::F32(x) => json_of_float(f64::from(x)),
        Value::F64(x) => json_of_float(x),
        Value::String(text) => json_of_bytes(text.as_bytes()),
        Value::Binary(bytes) => json_of_bytes(&bytes),
        Value::Ext(kind, bytes) => of_extension(kind, &bytes).unwrap_or_else(|| json_of_bytes(&bytes)),
        Value::Array(items) => items.into_iter().map(|item| json_of(item, of_extension)).collect(),
        Value::Map(entries) => entries
            .into_iter()
            .map(|(key, value)| (json_key(key, of_extension), json_of(value, of_extension)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn json_of_float(x: f64) -> serde_json::Value {
    serde_json::Number::from_f64(x).map_or_else(|| x.to_string().into(), Into::into)
}

fn json_key(key: rmpv::Value, of_extension: OfExtension<'_>) -> String {
    match json_of(key, of_extension) {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_equal() {
        let value = (1u8, "two".to_owned(), vec![3.0f64], Some([4i64, -5]));
        assert_eq!(Payload::encode(&value).unwrap().decode(), Ok(value));
    }

    #[test]
    fn any_value_has_a_json_form() {
        let value = serde_json::json!({ "a": [1, -2, 2.5, null, true], "b": { "c": "text" } });
        assert_eq!(Payload::encode(&value).unwrap().to_json(), value);
        assert_eq!(Payload::encode(&f64::NAN).unwrap().to_json(), serde_json::json!("NaN"));
        assert_eq!(Payload::raw(&b"text"[..]).to_json(), serde_json::json!("text"));
        assert_eq!(Payload::raw(&[0xff, 0][..]).to_json(), serde_json::json!([255, 0]));
    }

    #[test]
    fn a_wrong_type_is_an_error_in_words() {
        let error = Payload::encode("text").unwrap().decode::<f64>().unwrap_err();
        assert!(error.starts_with("\"text\" is not a f64: "), "{error}");
        let error = Payload::encode(&"x".repeat(1 << 20)).unwrap().decode::<f64>().unwrap_err();
        assert!(error.starts_with("a value of 1 MiB is not a f64: "), "{error}");
    }
}

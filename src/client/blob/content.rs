//! Values as they are encoded, be they in memory or in a file.

use std::any::Any;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::file::TempFile;
use super::reader::BlobReader;
use super::spool::{Room, Spool};
use super::{Blob, SMALL_BYTES};
use crate::protocol::result::StoredResult;
use crate::protocol::size::Bytes as Size;
use crate::protocol::{Codec, Digest, Payload};

/// A value as it is encoded. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Memory(Payload),
    /// In a file.
    File {
        /// How to read the bytes.
        codec: Codec,
        /// The bytes: all that the file has.
        file: Arc<TempFile>,
    },
}

impl From<Payload> for Content {
    fn from(payload: Payload) -> Content {
        Content::Memory(payload)
    }
}

impl Content {
    /// Encodes a value, as [`Payload::encode`], where there is room. What no disk takes is in memory. A [`Blob`] that is
    /// in a file is not copied.
    ///
    /// # Errors
    /// As [`Payload::encode`].
    pub(crate) fn encode<T: Serialize + Any>(value: &T, room: &Room) -> Result<Content, String> {
        if let Some(content) = (value as &dyn Any).downcast_ref::<Blob>().and_then(Blob::content) {
            return Ok(content);
        }
        if room.memory_bytes == u64::MAX {
            return Payload::encode(value).map(Content::Memory);
        }
        let mut spool = Spool::new(room.clone());
        let encoded = rmp_serde::encode::write_named(&mut spool, value).map_err(|error| error.to_string());
        match encoded.and_then(|()| spool.finish(Codec::MessagePack).map_err(|error| error.to_string())) {
            Ok(content) => Ok(content),
            // Where it was not the disk, it is the same once more.
            Err(why) => Payload::encode(value).map(|payload| {
                tracing::warn!(%why, "a large result could not be written to the disk, and is in memory");
                Content::Memory(payload)
            }),
        }
    }

    /// Decodes the value. A [`Blob`] stays where its bytes are.
    ///
    /// # Errors
    /// What does not fit the type, in words; that the disk does not give it back.
    pub(crate) fn decode<T: DeserializeOwned + Any>(&self) -> Result<T, String> {
        let mut none: Option<T> = None;
        if let Some(slot) = (&mut none as &mut dyn Any).downcast_mut::<Option<Blob>>() {
            *slot = Blob::of(self).map_err(|error| error.to_string())?;
        }
        match (none, self) {
            (Some(value), _) => Ok(value),
            (None, Content::Memory(payload)) => payload.decode(),
            (None, Content::File { codec: Codec::Raw, .. }) => Payload::raw("").decode(),
            (None, Content::File { codec: Codec::MessagePack, file }) => {
                rmp_serde::from_read(BlobReader::of_file(file.clone(), 0)).map_err(|error| {
                    let (size, expected) = (Size(file.bytes()), std::any::type_name::<T>());
                    format!("a value of {size} is not a {expected}: {error}")
                })
            }
        }
    }

    /// How many bytes it is encoded.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Content::Memory(payload) => payload.bytes.len() as u64,
            Content::File { file, .. } => file.bytes(),
        }
    }

    /// How its bytes are to be read.
    pub(crate) fn codec(&self) -> Codec {
        match self {
            Content::Memory(payload) => payload.codec,
            Content::File { codec, .. } => *codec,
        }
    }

    /// All of it in memory. Waits for the disk where it is in a file.
    ///
    /// # Errors
    /// When the disk does not give it back.
    pub(crate) fn into_payload(self) -> io::Result<Payload> {
        match self {
            Content::Memory(payload) => Ok(payload),
            Content::File { codec, file } => {
                let bytes = usize::try_from(file.bytes()).map_err(io::Error::other)?;
                Ok(Payload { codec, bytes: file.read(0, bytes)? })
            }
        }
    }

    /// What it is as a stored result. Reads all of it, and waits for the disk where it is in a file.
    ///
    /// # Errors
    /// When the disk does not give it back.
    pub(crate) fn describe(&self) -> io::Result<StoredResult> {
        let digest = match self {
            Content::Memory(payload) => Digest::of_result(&payload.bytes),
            Content::File { file, .. } => file.digest()?,
        };
        Ok(StoredResult { codec: self.codec(), bytes: self.bytes(), digest })
    }
}

impl Blob {
    /// The blob that a value is, where its bytes are; nothing for other values.
    fn of(content: &Content) -> io::Result<Option<Blob>> {
        let mut head = [0; 5];
        let (head, all) = match content {
            Content::Memory(payload) => {
                (&payload.bytes[..payload.bytes.len().min(head.len())], payload.bytes.len() as u64)
            }
            Content::File { file, .. } => {
                let read = file.read(0, file.bytes().min(head.len() as u64) as usize)?;
                head[..read.len()].copy_from_slice(&read);
                (&head[..read.len()], file.bytes())
            }
        };
        let at = match content.codec() {
            Codec::Raw => 0,
            Codec::MessagePack => {
                let mut behind = head;
                let Ok(bytes) = rmp::decode::read_bin_len(&mut behind) else { return Ok(None) };
                let at = (head.len() - behind.len()) as u64;
                if at + u64::from(bytes) != all {
                    return Ok(None);
                }
                at
            }
        };
        Ok(Some(match content {
            Content::Memory(payload) => Blob::from(payload.bytes.slice(at as usize..)),
            Content::File { file, codec } => Blob::in_file(file.clone(), *codec, at),
        }))
    }

    /// The file that it is, if it is in one that has room in no record.
    fn content(&self) -> Option<Content> {
        let (codec, file) = self.file()?;
        (file.bytes() > SMALL_BYTES).then(|| Content::File { codec, file: file.clone() })
    }
}

//! Bytes that need no room in memory: [`Blob`], a value that is written and read in pieces. And how values are encoded
//! that need none: [`Content`].
//!
//! ```text
//!   BlobWriter ──▶ Blob ──▶ BlobReader          in a task, or beside it
//!                   ▲ │
//!             decode│ │encode: a file is passed on as it is
//!                   │ ▼
//!   a peer ──▶ Spool ──▶ Content ──▶ the results that a worker keeps ──▶ peers, in pieces
//! ```

mod content;
mod file;
mod reader;
mod spool;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::content::Content;
pub use self::file::TempFile;
pub use self::reader::BlobReader;
pub use self::spool::Room;
pub(crate) use self::spool::Spool;
pub use self::writer::{BLOB_BYTES_MAX, BlobWriter};
use crate::protocol::Codec;
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::protocol::size::Bytes as Size;

/// What has no more bytes than this goes into a record.
const SMALL_BYTES: u64 = PAYLOAD_BYTES_MAX as u64;

/// Bytes that need no room in memory: a value that is written and read in pieces. Up to 60 KiB it is in memory, beyond that in a
/// file without a name. Cheap to clone; the file is gone with the last clone, or with the process.
///
/// As what a task returns, as an argument of one, and as the result that a client waits for, no more of it is ever in memory than a
/// piece: workers keep the file, pass it from one to the other, and check it. Inside another value, a struct or a list, it is read
/// into memory, and so is one that a client passes: let a task write it.
///
/// ```
/// use std::io::{self, BufRead, Write};
///
/// use headwater::{Blob, Client, Context, task};
///
/// /// Each number on a line of its own.
/// #[task]
/// fn numbers(to: u64) -> io::Result<Blob> {
///     // Where the worker keeps what has no room in memory.
///     let mut lines = Context::current().expect("it runs as a task").blob_writer();
///     for number in 0..to {
///         writeln!(lines, "{number}")?;
///     }
///     lines.finish()
/// }
///
/// #[task]
/// fn count(lines: Blob) -> u64 {
///     lines.reader().lines().count() as u64
/// }
///
/// # #[tokio::main]
/// # async fn main() -> headwater::Result<()> {
/// let client = Client::local().await?;
/// let lines = client.submit(numbers, (100_000,)).await?;
/// assert_eq!(client.submit(count, (&lines,)).await?.await?, 100_000);
/// // Here it comes in a file, too.
/// assert_eq!(lines.await?.len(), 588_890);
/// # Ok(()) }
/// ```
///
/// It is encoded as bytes are: `bytes::Bytes` and it are the same to who reads it.
#[derive(Clone)]
pub struct Blob(Place);

#[derive(Clone)]
enum Place {
    Memory(Bytes),
    /// The bytes of a file from some place on, and how the whole file is to be read.
    File {
        file: Arc<TempFile>,
        codec: Codec,
        at: u64,
    },
}

impl Blob {
    /// Begins one, whose file is in the system's directory for what is temporary. In a task
    /// [`Context::blob_writer`](crate::Context::blob_writer) knows a better place.
    pub fn writer() -> BlobWriter {
        BlobWriter::new(None)
    }

    /// Begins one, whose file is in this directory.
    pub fn writer_in(dir: impl AsRef<Path>) -> BlobWriter {
        BlobWriter::new(Some(dir.as_ref()))
    }

    /// Copies all that is read from somewhere, a file, say: it is in the system's directory for what is temporary then.
    ///
    /// # Errors
    /// When it cannot be read, or has more than [`BLOB_BYTES_MAX`] bytes; when the disk is full.
    pub fn copy_of(mut source: impl Read) -> io::Result<Blob> {
        let mut writer = Blob::writer();
        io::copy(&mut source, &mut writer)?;
        writer.finish()
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Place::Memory(bytes) => bytes.len() as u64,
            Place::File { file, at, .. } => file.bytes() - at,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads it, from the first byte on.
    pub fn reader(&self) -> BlobReader {
        match &self.0 {
            Place::Memory(bytes) => BlobReader::of_memory(bytes.clone()),
            Place::File { file, at, .. } => BlobReader::of_file(file.clone(), *at),
        }
    }

    /// All of it in memory.
    ///
    /// # Errors
    /// When the disk does not give it back.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        match &self.0 {
            Place::Memory(bytes) => Ok(bytes.clone()),
            Place::File { file, at, .. } => {
                file.read(*at, usize::try_from(self.len()).map_err(io::Error::other)?)
            }
        }
    }

    fn in_file(file: Arc<TempFile>, codec: Codec, at: u64) -> Blob {
        Blob(Place::File { file, codec, at })
    }

    /// The file that it is in, and how that is to be read.
    fn file(&self) -> Option<(Codec, &Arc<TempFile>)> {
        match &self.0 {
            Place::Memory(_) => None,
            Place::File { file, codec, .. } => Some((*codec, file)),
        }
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Blob {
        Blob(Place::Memory(bytes))
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob::from(Bytes::from(bytes))
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.file().is_some() { "a file" } else { "memory" };
        write!(f, "Blob({} in {place})", Size(self.len()))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        Bytes::deserialize(deserializer).map(Blob::from)
    }
}

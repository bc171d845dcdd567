//! Writing a blob in pieces.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;

use super::Blob;
use super::file::TempFile;
use super::spool::{Room, Spool};
use crate::protocol::Codec;
use crate::protocol::limits::RESULT_BYTES_MAX;

/// How MessagePack begins bytes whose number has 32 bits, which follow, the highest first: "bin 32".
const BIN_32: u8 = 0xc6;

/// What the file has before the bytes, so that it is what the blob is encoded as, and need not be copied.
const HEAD_BYTES: usize = 5;

/// Most bytes of a blob: what is encoded as a result may have 4 GiB - 1.
pub const BLOB_BYTES_MAX: u64 = RESULT_BYTES_MAX - HEAD_BYTES as u64;

/// Writes a [`Blob`]. What has more than 60 KiB goes to a file without a name, which is gone with the blob, however the
/// process ends. Waits for the disk.
#[derive(Debug)]
pub struct BlobWriter {
    spool: Spool,
    bytes: u64,
}

impl BlobWriter {
    pub(super) fn new(dir: Option<&Path>) -> BlobWriter {
        let mut spool = Spool::new(Room::in_files(dir));
        spool.write_all(&[0; HEAD_BYTES]).expect("it is in memory");
        BlobWriter { spool, bytes: 0 }
    }

    /// What was written, as a blob.
    ///
    /// # Errors
    /// When the disk does not take the last of it.
    pub fn finish(self) -> io::Result<Blob> {
        match self.spool.into_parts()? {
            Ok(mut file) => {
                let mut head = [BIN_32; HEAD_BYTES];
                let bytes = u32::try_from(self.bytes).expect("fewer were taken");
                head[1..].copy_from_slice(&bytes.to_be_bytes());
                file.seek(SeekFrom::Start(0))?;
                file.write_all(&head)?;
                Ok(Blob::in_file(TempFile::of(file)?.into(), Codec::MessagePack, HEAD_BYTES as u64))
            }
            Err(bytes) => Ok(Blob::from(Bytes::from(bytes).slice(HEAD_BYTES..))),
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > BLOB_BYTES_MAX - self.bytes {
            let why = format!(
                "a blob has at most {BLOB_BYTES_MAX} bytes: cut it into several, or pass the name of a file"
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        self.spool.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spool.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_result_may_have_is_refused_with_what_to_do() {
        let mut writer = BlobWriter::new(None);
        writer.bytes = BLOB_BYTES_MAX - 2;
        writer.write_all(b"ab").unwrap();
        let error = writer.write_all(b"c").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let told = "a blob has at most 4294967290 bytes: cut it into several, or pass the name of a file";
        assert_eq!(error.to_string(), told);
    }
}

//! Reading a blob in pieces.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;

use super::file::TempFile;

/// How much is read from a file at once: 64 KiB.
const READ_BYTES: usize = 64 * 1024;

/// Reads a [`Blob`](super::Blob), from its first byte; each reader is at a place of its own. Waits for the disk.
#[derive(Debug)]
pub struct BlobReader(Source);

#[derive(Debug)]
enum Source {
    Memory(Cursor<Bytes>),
    File(BufReader<FileReader>),
}

impl BlobReader {
    pub(super) fn of_memory(bytes: Bytes) -> BlobReader {
        BlobReader(Source::Memory(Cursor::new(bytes)))
    }

    pub(super) fn of_file(file: Arc<TempFile>, begin: u64) -> BlobReader {
        let end = file.bytes();
        let reader = FileReader { file, begin, end, at: 0 };
        BlobReader(Source::File(BufReader::with_capacity(READ_BYTES, reader)))
    }
}

impl Read for BlobReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Source::Memory(source) => source.read(into),
            Source::File(source) => source.read(into),
        }
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.0 {
            Source::Memory(source) => source.fill_buf(),
            Source::File(source) => source.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match &mut self.0 {
            Source::Memory(source) => source.consume(bytes),
            Source::File(source) => source.consume(bytes),
        }
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.0 {
            Source::Memory(source) => source.seek(to),
            Source::File(source) => source.seek(to),
        }
    }
}

/// Reads a part of a file, with a position of its own.
#[derive(Debug)]
struct FileReader {
    file: Arc<TempFile>,
    begin: u64,
    end: u64,
    /// From the beginning of the part on.
    at: u64,
}

impl Read for FileReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let at = self.begin.saturating_add(self.at);
        let most = into.len().min(usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX));
        let read = self.file.read_some(at, &mut into[..most])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => (self.end - self.begin).checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let before_all = || io::Error::new(io::ErrorKind::InvalidInput, "a place before the first byte");
        self.at = at.ok_or_else(before_all)?;
        Ok(self.at)
    }
}

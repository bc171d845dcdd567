//! Files for what has no room in memory. They have no name: the system frees them with the last handle, however
//! the process ends. Everything here waits for the disk: never call it where others would wait, too.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::protocol::Digest;
use crate::protocol::limits::RESULT_PIECE_BYTES;

/// How much is written at once: 1 MiB.
pub(super) const WRITE_BYTES: usize = 1024 * 1024;

/// Bytes in a file without a name. Nothing of it is fsynced: they need not outlive the process.
#[derive(Debug)]
pub struct TempFile {
    /// Under a lock, since it has one position.
    file: Mutex<File>,
    bytes: u64,
}

impl TempFile {
    /// A file to be written, in this directory, or in the system's for what is temporary.
    ///
    /// # Errors
    /// When the directory takes none.
    pub(super) fn create(dir: Option<&Path>) -> io::Result<File> {
        match dir {
            Some(dir) => tempfile::tempfile_in(dir),
            None => tempfile::tempfile(),
        }
    }

    /// What was written into a file: all that it has.
    ///
    /// # Errors
    /// When the system does not say how much that is.
    pub(super) fn of(file: File) -> io::Result<TempFile> {
        let bytes = file.metadata()?.len();
        Ok(TempFile { file: Mutex::new(file), bytes })
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// When the directory takes no files, or the disk is full.
    pub(crate) fn write(dir: Option<&Path>, bytes: &Bytes) -> io::Result<TempFile> {
        let mut file = TempFile::create(dir)?;
        for piece in bytes.chunks(WRITE_BYTES) {
            file.write_all(piece)?;
        }
        TempFile::of(file)
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads some of them.
    ///
    /// # Errors
    /// When the disk does not give them back.
    pub(crate) fn read(&self, at: u64, bytes: usize) -> io::Result<Bytes> {
        let mut read = vec![0; bytes];
        self.at(at)?.read_exact(&mut read)?;
        Ok(read.into())
    }

    /// Reads as many as come at once: none at the end. Says how many.
    ///
    /// # Errors
    /// When the disk does not give them back.
    pub(super) fn read_some(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.at(at)?.read(into)
    }

    /// What they are, by which it is seen whether the disk gives back what it was given: see [`Digest::of_result`].
    ///
    /// # Errors
    /// When the disk does not give them back.
    pub(crate) fn digest(&self) -> io::Result<Digest> {
        let (mut at, mut digest) = (0, Digest::default());
        while at < self.bytes {
            let piece = self.read(at, (self.bytes - at).min(RESULT_PIECE_BYTES as u64) as usize)?;
            at += piece.len() as u64;
            digest = digest.with(&piece);
        }
        Ok(digest)
    }

    fn at(&self, at: u64) -> io::Result<MutexGuard<'_, File>> {
        // Whoever panicked in here left no position that counts.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))?;
        Ok(file)
    }

    /// Changes a byte, as a bad disk would.
    #[cfg(test)]
    pub(crate) fn damage(&self, at: u64) {
        let before = self.read(at, 1).unwrap()[0];
        self.at(at).unwrap().write_all(&[before ^ 1]).unwrap();
    }
}

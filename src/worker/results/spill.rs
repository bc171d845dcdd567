//! Files for what has no room in memory. They have no name: the system frees them with the last handle, however
//! the process ends. Everything here waits for the disk: never call it where others would wait, too.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// How much is written at once: 1 MiB.
const WRITE_BYTES: usize = 1024 * 1024;

/// The bytes of one result on the disk.
#[derive(Debug)]
pub(super) struct Spilled {
    /// Under a lock, since it has one position.
    file: Mutex<File>,
}

impl Spilled {
    /// Writes them. Nothing is fsynced: they need not outlive the process.
    ///
    /// # Errors
    /// When the directory takes no files, or the disk is full.
    pub fn write(dir: Option<&Path>, bytes: &Bytes) -> io::Result<Spilled> {
        let mut file = match dir {
            Some(dir) => tempfile::tempfile_in(dir)?,
            None => tempfile::tempfile()?,
        };
        for piece in bytes.chunks(WRITE_BYTES) {
            file.write_all(piece)?;
        }
        Ok(Spilled { file: Mutex::new(file) })
    }

    /// Reads some of them.
    ///
    /// # Errors
    /// When the disk does not give them back.
    pub fn read(&self, at: u64, bytes: usize) -> io::Result<Bytes> {
        // Whoever panicked in here left no position that counts.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))?;
        let mut read = vec![0; bytes];
        file.read_exact(&mut read)?;
        Ok(read.into())
    }

    /// Changes a byte, as a bad disk would.
    #[cfg(test)]
    pub fn damage(&self, at: u64) {
        let before = self.read(at, 1).unwrap()[0];
        let mut file = self.file.lock().unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[before ^ 1]).unwrap();
    }
}

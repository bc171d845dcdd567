//! Writing what may have no room in memory: it is in memory up to a limit, and in a file beyond it.

use std::any::TypeId;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Blob;
use super::content::Content;
use super::file::{TempFile, WRITE_BYTES};
use crate::protocol::{Codec, Payload};

/// How much may be in memory, and where the rest goes.
#[derive(Debug, Clone)]
pub struct Room {
    /// What has more bytes than this goes to a file.
    pub memory_bytes: u64,
    /// Where that is; unless given, in the system's directory for what is temporary.
    pub dir: Option<PathBuf>,
}

impl Room {
    /// All of it in memory.
    pub const MEMORY: Room = Room { memory_bytes: u64::MAX, dir: None };

    /// Where a value of this type is put that comes from elsewhere: a blob need not be in memory.
    pub(in crate::client) fn of_type<T: 'static>() -> Room {
        if TypeId::of::<T>() == TypeId::of::<Blob>() { Room::in_files(None) } else { Room::MEMORY }
    }

    /// All that is not small enough for a record in a file.
    pub(super) fn in_files(dir: Option<&Path>) -> Room {
        Room { memory_bytes: super::SMALL_BYTES, dir: dir.map(Path::to_owned) }
    }
}

/// What is being written.
#[derive(Debug)]
pub(crate) struct Spool {
    room: Room,
    file: Option<File>,
    /// What is not in the file: all, or what came last.
    waiting: Vec<u8>,
}

impl Spool {
    pub fn new(room: Room) -> Spool {
        Spool { room, file: None, waiting: Vec::new() }
    }

    /// What was written.
    ///
    /// # Errors
    /// When the disk does not take the last of it.
    pub fn finish(self, codec: Codec) -> io::Result<Content> {
        match self.into_parts()? {
            Ok(file) => Ok(Content::File { codec, file: TempFile::of(file)?.into() }),
            Err(bytes) => Ok(Content::Memory(Payload { codec, bytes: bytes.into() })),
        }
    }

    /// The file with all that was written, or all of it where it is in memory.
    pub(super) fn into_parts(mut self) -> io::Result<Result<File, Vec<u8>>> {
        let Some(mut file) = self.file.take() else { return Ok(Err(self.waiting)) };
        file.write_all(&self.waiting)?;
        Ok(Ok(file))
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        let most = if self.file.is_some() { WRITE_BYTES as u64 } else { self.room.memory_bytes };
        if self.waiting.len() as u64 > most {
            if self.file.is_none() {
                self.file = Some(TempFile::create(self.room.dir.as_deref())?);
            }
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.waiting)?;
            self.waiting.clear();
            self.waiting.shrink_to(2 * WRITE_BYTES);
        }
        Ok(())
    }
}

//! Where the bytes are: in memory up to a limit, the oldest beyond it in files. It speaks to nobody.
//!
//! Putting, freeing and counting take a moment under a lock. Whoever puts waits until there is room again, so
//! tasks cannot bring results faster than the disk takes them; what is read back is read on threads that may
//! wait.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::client::blob::{Content, TempFile};
use crate::protocol::limits::RESULT_PIECE_BYTES;
use crate::protocol::result::StoredResult;
use crate::protocol::session::HeldAttempt;
use crate::protocol::size::Bytes as Size;
use crate::protocol::{Digest, Payload};

/// The results of one session.
#[derive(Debug)]
pub(in crate::worker) struct Store {
    kept: Mutex<Kept>,
    memory_bytes_max: u64,
    spill_dir: Option<PathBuf>,
    /// One at a time spills.
    spilling: tokio::sync::Mutex<()>,
    has_warned: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    results: HashMap<HeldAttempt, Entry>,
    /// Those in memory, by age.
    in_memory: BTreeMap<u64, HeldAttempt>,
    memory_bytes: u64,
    last_age: u64,
}

#[derive(Debug)]
struct Entry {
    result: StoredResult,
    place: Place,
    age: u64,
    /// Whether the scheduler has taken note of it.
    is_acknowledged: bool,
}

#[derive(Debug, Clone)]
enum Place {
    Memory(Bytes),
    Disk(Arc<TempFile>),
}

/// Why a result that is in the store cannot be had.
#[derive(Debug, thiserror::Error)]
pub(in crate::worker) enum Unreadable {
    /// The disk does not give it back.
    #[error("it cannot be read back from the disk: {0}")]
    Io(#[from] io::Error),
    /// The disk gave something else back.
    #[error("what the disk gave back has digest {found}, not {expected}")]
    Digest {
        /// As it was.
        expected: Digest,
        /// As it came.
        found: Digest,
    },
}

impl Store {
    pub fn new(memory_bytes_max: u64, spill_dir: Option<PathBuf>) -> Self {
        let (kept, spilling, has_warned) = Default::default();
        Store { kept, memory_bytes_max, spill_dir, spilling, has_warned }
    }

    /// What something is as a stored result. Reads all of it.
    ///
    /// # Errors
    /// When it is in a file that cannot be read.
    pub async fn describe(content: &Content) -> io::Result<StoredResult> {
        let content = content.clone();
        // Gigabytes take as many tenths of a second.
        spawn_blocking(move || content.describe()).await.map_err(io::Error::other)?
    }

    /// Keeps a result from now on.
    pub fn put(&self, held: HeldAttempt, result: StoredResult, content: Content) {
        let mut kept = self.kept();
        kept.remove(&held);
        kept.last_age += 1;
        let age = kept.last_age;
        let place = match content {
            Content::Memory(payload) => {
                kept.in_memory.insert(age, held);
                kept.memory_bytes += result.bytes;
                Place::Memory(payload.bytes)
            }
            Content::File { file, .. } => Place::Disk(file),
        };
        kept.results.insert(held, Entry { result, place, age, is_acknowledged: false });
    }

    /// Waits until no more is in memory than may be, or the disk takes no more: then it stays in memory. May be
    /// dropped at any time.
    pub async fn make_room(&self) {
        while self.is_over() {
            let _turn = self.spilling.lock().await;
            let Some((held, age, bytes)) = self.kept().oldest_over(self.memory_bytes_max) else { return };
            let dir = self.spill_dir.clone();
            let written = spawn_blocking(move || TempFile::write(dir.as_deref(), &bytes)).await;
            match written.map_err(io::Error::other).flatten() {
                Ok(spilled) => self.kept().moved(held, age, spilled),
                Err(error) => return self.warn(&error),
            }
        }
    }

    fn is_over(&self) -> bool {
        self.kept().memory_bytes > self.memory_bytes_max
    }

    fn warn(&self, error: &io::Error) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let dir = self
                .spill_dir
                .as_ref()
                .map_or("the temporary directory".into(), |dir| dir.display().to_string());
            let (limit, size) = (Size(self.memory_bytes_max), Size(self.kept().memory_bytes));
            tracing::warn!(
                %error,
                "results cannot be spilled to {dir}: {size} of them are in memory, over the limit of {limit}; make \
                 room there, or give another --spill-dir"
            );
        }
    }

    /// Keeps a result no longer. Says whether it did.
    pub fn free(&self, held: &HeldAttempt) -> bool {
        self.kept().remove(held)
    }

    /// Keeps a result no longer, if it is the one that was put at this age.
    pub fn free_aged(&self, held: &HeldAttempt, age: u64) {
        let mut kept = self.kept();
        if kept.results.get(held).is_some_and(|entry| entry.age == age) {
            kept.remove(held);
        }
    }

    /// The scheduler has taken note of a result. Gives its age, if it is kept.
    pub fn acknowledge(&self, held: &HeldAttempt) -> Option<u64> {
        let mut kept = self.kept();
        let entry = kept.results.get_mut(held)?;
        entry.is_acknowledged = true;
        Some(entry.age)
    }

    /// All that the scheduler has taken note of, with their ages.
    pub fn acknowledged(&self) -> Vec<(HeldAttempt, u64)> {
        let kept = self.kept();
        let acknowledged = kept.results.iter().filter(|(_, entry)| entry.is_acknowledged);
        acknowledged.map(|(held, entry)| (*held, entry.age)).collect()
    }

    /// What a result is, if it is kept.
    pub fn result(&self, held: &HeldAttempt) -> Option<StoredResult> {
        Some(self.kept().results.get(held)?.result)
    }

    /// All of a result, where it is, checked, if it is kept.
    ///
    /// # Errors
    /// When its file is damaged. It is kept on.
    pub async fn content(&self, held: &HeldAttempt) -> Result<Option<Content>, Unreadable> {
        let Some((result, place)) = self.place(held) else { return Ok(None) };
        let codec = result.codec;
        let file = match place {
            Place::Memory(bytes) => return Ok(Some(Content::Memory(Payload { codec, bytes }))),
            Place::Disk(file) => file,
        };
        let read = move || {
            check(result.digest, file.digest()?)?;
            Ok::<_, Unreadable>(Content::File { codec, file })
        };
        Ok(Some(spawn_blocking(read).await.map_err(io::Error::other)??))
    }

    /// Up to [`RESULT_PIECE_BYTES`] of a result, if it is kept. Not checked: that takes all of it.
    ///
    /// # Errors
    /// When its file cannot be read. It is kept on.
    pub async fn piece(&self, held: &HeldAttempt, at: u64) -> Result<Option<Bytes>, Unreadable> {
        let Some((result, place)) = self.place(held) else { return Ok(None) };
        let bytes = result.bytes.saturating_sub(at).min(RESULT_PIECE_BYTES as u64) as usize;
        Ok(Some(match place {
            Place::Memory(all) => {
                let at = result.bytes.min(at) as usize;
                all.slice(at..at + bytes)
            }
            Place::Disk(file) => {
                spawn_blocking(move || file.read(at, bytes)).await.map_err(io::Error::other)??
            }
        }))
    }

    /// How many results are kept.
    pub fn len(&self) -> usize {
        self.kept().results.len()
    }

    /// How many bytes of them are in memory.
    #[cfg(test)]
    pub fn memory_bytes(&self) -> u64 {
        self.kept().memory_bytes
    }

    /// As long as this lives, nothing is spilled, as if the disk took long.
    #[cfg(test)]
    pub async fn slow_disk(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.spilling.lock().await
    }

    /// The file of a result that was spilled.
    #[cfg(test)]
    pub fn spilled(&self, held: &HeldAttempt) -> Option<Arc<TempFile>> {
        match self.place(held)?.1 {
            Place::Disk(file) => Some(file),
            Place::Memory(_) => None,
        }
    }

    fn place(&self, held: &HeldAttempt) -> Option<(StoredResult, Place)> {
        let kept = self.kept();
        let entry = kept.results.get(held)?;
        Some((entry.result, entry.place.clone()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here panics half-way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether bytes are what they were.
pub(super) fn check(expected: Digest, found: Digest) -> Result<(), Unreadable> {
    if found == expected { Ok(()) } else { Err(Unreadable::Digest { expected, found }) }
}

impl Kept {
    fn remove(&mut self, held: &HeldAttempt) -> bool {
        let Some(entry) = self.results.remove(held) else { return false };
        if self.in_memory.remove(&entry.age).is_some() {
            self.memory_bytes -= entry.result.bytes;
        }
        true
    }

    /// The oldest result in memory, when there is more than may be.
    fn oldest_over(&self, memory_bytes_max: u64) -> Option<(HeldAttempt, u64, Bytes)> {
        let (age, held) =
            self.in_memory.first_key_value().filter(|_| self.memory_bytes > memory_bytes_max)?;
        match &self.results[held].place {
            Place::Memory(bytes) => Some((*held, *age, bytes.clone())),
            Place::Disk(_) => None,
        }
    }

    /// A result is on the disk now, unless it was freed or put anew meanwhile.
    fn moved(&mut self, held: HeldAttempt, age: u64, spilled: TempFile) {
        if let Some(entry) = self.results.get_mut(&held).filter(|entry| entry.age == age) {
            entry.place = Place::Disk(Arc::new(spilled));
            self.in_memory.remove(&age);
            self.memory_bytes -= entry.result.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{AttemptNumber, Codec, TaskId};

    fn held(n: u8) -> HeldAttempt {
        HeldAttempt { task: TaskId([n; 16]), attempt: AttemptNumber(1) }
    }

    fn payload(n: u8, bytes: usize) -> Payload {
        let bytes: Vec<u8> = (0..bytes).map(|at| (at / 3) as u8 ^ n).collect();
        Payload { codec: Codec::MessagePack, bytes: bytes.into() }
    }

    async fn put(store: &Store, n: u8, bytes: usize) {
        let content = Content::from(payload(n, bytes));
        store.put(held(n), Store::describe(&content).await.unwrap(), content);
        store.make_room().await;
    }

    /// All of a result in memory, if it is kept.
    async fn kept(store: &Store, n: u8) -> Option<Payload> {
        store.content(&held(n)).await.unwrap().map(|content| content.into_payload().unwrap())
    }

    #[tokio::test]
    async fn beyond_the_limit_the_oldest_are_spilled_and_all_come_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(1000, Some(dir.path().to_owned()));
        for n in 0..5 {
            put(&store, n, 400).await;
        }
        assert_eq!((store.len(), store.memory_bytes()), (5, 800));
        let on_disk: Vec<bool> = (0..5).map(|n| store.spilled(&held(n)).is_some()).collect();
        assert_eq!(on_disk, [true, true, true, false, false]);
        for n in 0..5 {
            assert_eq!(kept(&store, n).await, Some(payload(n, 400)));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the files have no names");
        // One that is larger than all memory is on the disk at once.
        put(&store, 9, 5000).await;
        assert!(store.spilled(&held(9)).is_some());
        assert_eq!(kept(&store, 9).await, Some(payload(9, 5000)));
    }

    #[tokio::test]
    async fn what_is_free_takes_no_room() {
        let store = Store::new(1000, None);
        for n in 0..4 {
            put(&store, n, 400).await;
        }
        assert!(store.free(&held(0)) && store.free(&held(3)) && !store.free(&held(3)));
        assert_eq!((store.len(), store.memory_bytes()), (2, 400));
        assert_eq!(kept(&store, 0).await, None);
        assert_eq!(store.piece(&held(3), 0).await.unwrap(), None);
        // Put anew, it counts once.
        put(&store, 2, 400).await;
        put(&store, 2, 400).await;
        assert_eq!((store.len(), store.memory_bytes()), (2, 400));
    }

    #[tokio::test]
    async fn pieces_are_those_of_the_whole_in_memory_and_on_the_disk() {
        for limit in [u64::MAX, 0] {
            let store = Store::new(limit, None);
            put(&store, 1, 2 * RESULT_PIECE_BYTES + 7).await;
            assert_eq!(store.spilled(&held(1)).is_some(), limit == 0);
            let mut whole = Vec::new();
            while let Some(piece) = store.piece(&held(1), whole.len() as u64).await.unwrap()
                && !piece.is_empty()
            {
                assert!(piece.len() <= RESULT_PIECE_BYTES);
                whole.extend_from_slice(&piece);
            }
            assert_eq!(whole, payload(1, 2 * RESULT_PIECE_BYTES + 7).bytes);
        }
    }

    #[tokio::test]
    async fn a_damaged_file_is_noticed() {
        let store = Store::new(0, None);
        put(&store, 1, 400).await;
        store.spilled(&held(1)).unwrap().damage(399);
        let error = store.content(&held(1)).await.unwrap_err();
        assert!(matches!(error, Unreadable::Digest { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_no_disk_takes_stays_in_memory() {
        let gone = tempfile::tempdir().unwrap().path().join("gone");
        let store = Store::new(500, Some(gone.clone()));
        put(&store, 1, 400).await;
        put(&store, 2, 400).await;
        assert_eq!((store.len(), store.memory_bytes()), (2, 800));
        assert_eq!(kept(&store, 1).await, Some(payload(1, 400)));
        // There is room again: the next one makes use of it.
        std::fs::create_dir_all(&gone).unwrap();
        put(&store, 3, 400).await;
        assert_eq!(store.memory_bytes(), 400);
        std::fs::remove_dir(&gone).unwrap();
    }

    #[tokio::test]
    async fn one_that_is_freed_while_it_is_spilled_is_gone() {
        let mut kept = Kept::default();
        let spilled = || TempFile::write(None, &Bytes::from_static(b"x")).unwrap();
        kept.moved(held(1), 1, spilled());
        assert!(kept.results.is_empty() && kept.memory_bytes == 0);
        let store = Store::new(u64::MAX, None);
        put(&store, 1, 400).await;
        // Put anew since: of another age.
        store.kept().moved(held(1), 0, spilled());
        assert_eq!((store.spilled(&held(1)).is_some(), store.memory_bytes()), (false, 400));
    }
}

//! Ways to damage a store.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The length of sled's segments.
pub const SEGMENT: u64 = 8 * 1024 * 1024;

/// Changes bytes of sled's file, as far as it goes.
pub fn overwrite(dir: &Path, at: u64, length: u64, change: impl Fn(&mut u8)) {
    let mut file = File::options().read(true).write(true).open(dir.join("store/db")).unwrap();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at)).unwrap();
    Read::by_ref(&mut file).take(length).read_to_end(&mut bytes).unwrap();
    bytes.iter_mut().for_each(change);
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&bytes).unwrap();
}

/// Cuts sled's file.
pub fn cut(dir: &Path, length: u64) {
    File::options().write(true).open(dir.join("store/db")).unwrap().set_len(length).unwrap();
}

/// Inverts a byte.
pub fn flip(dir: &Path, at: u64) {
    overwrite(dir, at, 1, |byte| *byte = !*byte);
}

/// Zeros a range.
pub fn zero(dir: &Path, at: u64, length: u64) {
    overwrite(dir, at, length, |byte| *byte = 0);
}

/// How long sled's file is, and up to where it is used: it is filled up with zeros.
pub fn length_and_used(dir: &Path) -> (u64, u64) {
    let bytes = fs::read(dir.join("store/db")).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
    (bytes.len() as u64, used)
}

/// Removes sled's indexes of its file.
pub fn remove_index(dir: &Path) {
    for entry in fs::read_dir(dir.join("store")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

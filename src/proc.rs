//! What the system says of a process, where it has `/proc`: its folder there is `/proc/self` or `/proc/PID`.

use std::path::Path;

/// A field of its `status` in bytes: `VmRSS`, say.
pub fn memory_bytes(process: &Path, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// How many files and sockets it has open.
pub fn open_files(process: &Path) -> Option<u64> {
    Some(process.join("fd").read_dir().ok()?.count() as u64)
}

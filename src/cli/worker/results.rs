//! Where a worker keeps large results: for `worker` and `up`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::protocol::size::Bytes;
use crate::worker::results::{At, MEMORY_BYTES, Options};

#[derive(Debug, Clone, clap::Args)]
pub struct Results {
    /// How much of the large results each worker keeps in memory; what is beyond goes to temporary files
    ///
    /// A result of more than 60 KiB is not in the log: the worker that computed it keeps it, and clients and other
    /// workers fetch it there. When a worker dies, those of its results that are needed are computed again.
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(MEMORY_BYTES))]
    results_memory: Bytes,

    /// Where these temporary files are; the system's temporary directory unless given
    ///
    /// They have no name, and vanish with the process however it ends.
    #[arg(long, value_name = "DIR")]
    spill_dir: Option<PathBuf>,
}

impl Results {
    /// As options, with results to be had at this place.
    pub fn options(&self, at: At) -> Options {
        Options { at, memory_bytes: self.results_memory.0, spill_dir: self.spill_dir.clone() }
    }

    /// As options for another worker. The smallest unit is a KiB, so nothing is rounded.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments =
            vec!["--results-memory".into(), format!("{}KiB", self.results_memory.0 >> 10).into()];
        if let Some(dir) = &self.spill_dir {
            arguments.extend(["--spill-dir".into(), dir.into()]);
        }
        arguments
    }
}

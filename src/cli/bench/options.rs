//! What can be said to every scenario.

use std::path::PathBuf;

use crate::cli::connect;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Runs to measure of each variant, at least 1
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,

    /// A directory that is made for the store, and removed afterwards
    #[arg(long, value_name = "DIR", default_value = "./headwater-bench")]
    pub data: PathBuf,
}

/// Where a scenario runs that does not need a scheduler of its own.
///
/// Not from the environment, as other commands are told: who has `HEADWATER_CONNECT` set for the cluster in
/// use shall not load it by accident.
#[derive(Debug, clap::Args)]
pub struct Target {
    #[command(flatten)]
    pub options: Options,

    /// Measure the scheduler that listens there, and start none; then limits are of the disk of --data
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Option<String>,

    /// A file that holds the token of that scheduler's cluster
    #[arg(long, value_name = "FILE", requires = "connect")]
    pub token_file: Option<PathBuf>,
}

impl Target {
    /// The cluster's token, where there is one.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        connect::token(self.token_file.as_deref())
    }
}

//! What can be said to every scenario.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Runs to measure of each variant, at least 1
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,

    /// A directory that is made for the store, and removed afterwards
    #[arg(long, value_name = "DIR", default_value = "./headwater-bench")]
    pub data: PathBuf,

    /// Print an object per line
    #[arg(long)]
    pub json: bool,
}

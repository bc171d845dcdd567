//! What commands are set to, beside their flags: by variables, and by a file.
//!
//! ```text
//!   definitions of the command line ──▶ settings ──▶ file: checked against them
//!                                           │          │
//!   default < file < variable < flag        └▶ layers ◀┘──▶ the command line, parsed once more
//! ```
//!
//! Nothing here knows a setting by name: what the command line has, the file and `headwater config show` have.

mod file;
mod layers;
mod settings;
mod show;
mod variables;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use self::file::File;
pub use self::layers::Layers;
pub use self::variables::warning;
use super::Cli;

/// See what commands are set to
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Show(show::Show),
}

impl Command {
    pub fn run(self, layers: &Layers) -> anyhow::Result<()> {
        match self {
            Command::Show(show) => show.run(layers),
        }
    }
}

/// Reads the command line, the environment and the file. A command line that makes no sense ends the process, and so does
/// one that asks for help.
///
/// # Errors
/// When the file or the environment make no sense.
pub fn read(arguments: Vec<OsString>) -> anyhow::Result<(Cli, Layers)> {
    let root = settings::with_variables(Cli::command());
    // What is wrong with it is said below. Whoever asks for help gets it, whatever the file says.
    let glance = root.clone().ignore_errors(true).try_get_matches_from(&arguments);
    let glance = glance.unwrap_or_else(|help| help.exit());
    let layers = match glance.get_flag("as_told") {
        true => Layers::new(Cli::command(), None),
        false => {
            let file = File::find(glance.get_one::<PathBuf>("config").map(PathBuf::as_path), &root)?;
            Layers::new(root, file)
        }
    };
    let applied = layers.applied(&glance)?;
    let matches: ArgMatches = applied.try_get_matches_from(arguments).unwrap_or_else(|error| error.exit());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    Ok((cli, layers))
}

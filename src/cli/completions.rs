//! `headwater completions`.

use std::path::Path;

use clap_complete::{Shell, generate};

use super::output::Output;

/// Print what makes a shell complete this command's words.
///
/// It is made of the same definitions as the command line itself, for the name by which this program was started: a program
/// of one's own that has these commands gets its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater completions bash > ~/.local/share/bash-completion/completions/headwater
  headwater completions zsh > ~/.zfunc/_headwater        # a directory of $fpath
  headwater completions fish > ~/.config/fish/completions/headwater.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut root: clap::Command) -> anyhow::Result<()> {
        let (mut script, mut output) = (Vec::new(), Output::new());
        generate(self.shell, &mut root, own_name(), &mut script);
        output.text(&String::from_utf8_lossy(&script))?;
        output.flush()
    }
}

/// What this program is called.
fn own_name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if name.is_empty() { "headwater".to_owned() } else { name }
}

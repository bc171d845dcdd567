//! `headwater man`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::near::did_you_mean;
use super::output::Output;

/// Print the manual page of a command, or write all of them to a directory.
///
/// They are made of the same definitions as the command line itself, and say what `--help` does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater man | man -l -
  headwater man channel tail | man -l -
  headwater man --dir /usr/local/share/man/man1    # then: man headwater-channel-tail")]
pub struct Man {
    /// The command: `channel tail`; all of `headwater` unless given
    command: Vec<String>,

    /// Write the page of every command into this directory, which is made when it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

impl Man {
    pub fn run(self, root: clap::Command) -> anyhow::Result<()> {
        let mut root = root.disable_help_subcommand(true);
        root.build();
        let mut output = Output::new();
        match &self.dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
                let written = write(&root, dir)?;
                output.line(format!("{written} pages in {}", dir.display()))?;
            }
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(find(&root, &self.command)?.clone()).render(&mut page)?;
                output.text(&String::from_utf8_lossy(&page))?;
            }
        }
        output.flush()
    }
}

/// Writes the pages of a command and of all below it; how many.
fn write(command: &clap::Command, dir: &Path) -> anyhow::Result<u32> {
    let page = clap_mangen::Man::new(command.clone());
    let path = dir.join(page.get_filename());
    page.generate_to(dir).with_context(|| format!("cannot write {}", path.display()))?;
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    inner.map(|inner| write(inner, dir)).try_fold(1, |all, inner| Ok(all + inner?))
}

/// The command of these words.
///
/// # Errors
/// When there is none, with the names like it.
pub fn find<'a>(root: &'a clap::Command, words: &[String]) -> anyhow::Result<&'a clap::Command> {
    words.iter().try_fold(root, |command, word| {
        let known = || command.get_subcommands().filter(|inner| !inner.is_hide_set());
        match known().find(|inner| inner.get_name() == word) {
            Some(inner) => Ok(inner),
            None => bail!(
                "there is no command `{word}`: {}`headwater --help` shows those there are",
                did_you_mean(word, known().map(clap::Command::get_name))
            ),
        }
    })
}

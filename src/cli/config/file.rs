//! The file: where it is, and what it says, line by line.
//!
//! Tables are named as commands, keys as their flags; what stands above all tables holds for every command:
//!
//! ```toml
//! connect = "scheduler.example:8786"
//!
//! [worker]
//! slots = 8
//! resource = ["gpus=[0,1]"]
//!
//! [channel.tail]
//! follow = true
//! ```

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::settings;
use crate::cli::near::did_you_mean;

/// What a file says.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub entries: Vec<Entry>,
}

/// One setting, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The command, word by word; none for what is shared.
    pub table: Vec<String>,
    pub key: String,
    pub values: Vec<String>,
    /// From 1.
    pub line: usize,
}

/// Where a file is looked for when none is named.
///
/// `None`: nobody knows where home is.
pub fn usual_place(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let directory = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_user = match cfg!(windows) {
        true => directory("APPDATA"),
        false => directory("XDG_CONFIG_HOME").or_else(|| directory("HOME").map(|home| home.join(".config"))),
    };
    Some(of_user?.join("headwater").join("config.toml"))
}

impl File {
    /// Reads the file that is named, or the one in the usual place, if there is one.
    ///
    /// # Errors
    /// When the file that was named is not there, or what is there is not right: with its line, and what is wanted.
    pub fn find(named: Option<&Path>, root: &Command) -> anyhow::Result<Option<File>> {
        let usual = usual_place(|name| std::env::var_os(name));
        let Some(path) = named.or(usual.as_deref()) else { return Ok(None) };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(File { path: path.to_owned(), entries: entries(path, &text, root)? })),
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Where an entry stands.
    pub fn place(&self, entry: &Entry) -> String {
        format!("{}:{}", self.path.display(), entry.line)
    }
}

/// All that a file says, checked.
fn entries(path: &Path, text: &str, root: &Command) -> anyhow::Result<Vec<Entry>> {
    let reading = Reading { path, text };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        anyhow!("{}: {}", reading.place(at), error.message())
    })?;
    let mut entries = Vec::new();
    reading.table(table.get_ref(), &[], root, root, &mut entries)?;
    Ok(entries)
}

struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reading<'_> {
    /// `FILE:LINE` of a byte.
    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.line(at))
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count()
    }

    fn table(
        &self,
        table: &DeTable<'_>,
        words: &[String],
        command: &Command,
        root: &Command,
        entries: &mut Vec<Entry>,
    ) -> anyhow::Result<()> {
        let args = match words {
            [] => settings::shared(root),
            _ => settings::of(command).cloned().collect(),
        };
        for (name, value) in table.iter() {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let inner =
                command.get_subcommands().find(|inner| inner.get_name() == name && !inner.is_hide_set());
            let arg = args.iter().find(|arg| settings::key(arg) == name);
            match (value.get_ref(), inner, arg) {
                (DeValue::Table(table), Some(inner), _) => {
                    let words = [words, &[name.to_owned()]].concat();
                    self.table(table, &words, inner, root, entries)?;
                }
                (_, _, Some(arg)) => {
                    let values = self
                        .values(arg, value)
                        .with_context(|| format!("{}: `{name}`{}", self.place(at), in_table(words)))?;
                    let (table, key, line) = (words.to_vec(), name.to_owned(), self.line(at));
                    entries.push(Entry { table, key, values, line });
                }
                _ => bail!("{}: {}", self.place(at), unknown(name, words, command, &args)),
            }
        }
        Ok(())
    }

    /// The values of a setting, as texts that the command line would take.
    fn values(&self, arg: &Arg, value: &Spanned<DeValue<'_>>) -> anyhow::Result<Vec<String>> {
        let values = match value.get_ref() {
            DeValue::Array(array) if settings::is_repeated(arg) => array.iter().map(scalar).collect(),
            DeValue::Array(_) => bail!("give one value, not several"),
            _ if settings::is_flag(arg) && !value.get_ref().is_bool() => bail!("give true or false"),
            _ => [scalar(value)].into_iter().collect::<Option<Vec<String>>>(),
        };
        let Some(values) = values else { bail!("give a text, a number, true or false") };
        for value in &values {
            settings::check(arg, value.as_ref())
                .map_err(|wanted| anyhow!("{value:?} is no value for it: {wanted}"))?;
        }
        Ok(values)
    }
}

/// A value as the command line has it; `None`: it has no such.
fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    Some(match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(is) => is.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Integer(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    })
}

fn in_table(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { format!(" of [{}]", words.join(".")) }
}

fn unknown(name: &str, words: &[String], command: &Command, args: &[Arg]) -> String {
    let commands = command.get_subcommands().filter(|inner| !inner.is_hide_set()).map(Command::get_name);
    let meant = did_you_mean(name, args.iter().map(settings::key).chain(commands));
    let show = ["headwater config show", &words.join(" ")].join(" ");
    format!(
        "there is no setting `{name}`{}: {meant}`{}` shows those there are",
        in_table(words),
        show.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn read(text: &str) -> Result<Vec<Entry>, String> {
        let entries = entries(Path::new("c.toml"), text, &Cli::command());
        entries.map_err(|error| format!("{error:#}"))
    }

    fn entry(table: &[&str], key: &str, values: &[&str], line: usize) -> Entry {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
        Entry { table: texts(table), key: key.to_owned(), values: texts(values), line }
    }

    #[test]
    fn a_file_is_tables_of_commands_with_their_flags_as_keys() {
        let text = "connect = \"a:1\"\n\n[worker]\nslots = 8\nlabel = [\"a\", \"b\"]\nresource = \"cpus=4\"\n\
                    supervise = true\n[channel.tail]\nfollow = false\nfrom = 7\n[up]\ndisk-reserve = \"1GiB\"\n";
        let mut read = read(text).unwrap();
        read.sort_by_key(|entry| entry.line);
        let expected = [
            entry(&[], "connect", &["a:1"], 1),
            entry(&["worker"], "slots", &["8"], 4),
            entry(&["worker"], "label", &["a", "b"], 5),
            entry(&["worker"], "resource", &["cpus=4"], 6),
            entry(&["worker"], "supervise", &["true"], 7),
            entry(&["channel", "tail"], "follow", &["false"], 9),
            entry(&["channel", "tail"], "from", &["7"], 10),
            entry(&["up"], "disk-reserve", &["1GiB"], 12),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line_and_what_was_meant() {
        for (text, words) in [
            ("\nconect = \"a:1\"", "c.toml:2: there is no setting `conect`: did you mean `connect`"),
            (
                "[worker]\n\nslot = 1",
                "c.toml:3: there is no setting `slot` of [worker]: did you mean `slots`? `headwater config show worker`",
            ),
            ("[shceduler]\n", "c.toml:1: there is no setting `shceduler`: did you mean `scheduler`?"),
            ("[channel.tial]\n", "c.toml:1: there is no setting `tial` of [channel]: did you mean `tail`?"),
            // Nobody shall set what only processes tell each other, or which file this is.
            ("[worker]\nsupervised = true", "c.toml:2: there is no setting `supervised`"),
            ("config = \"x\"", "c.toml:1: there is no setting `config`"),
            ("worker = 1", "c.toml:1: there is no setting `worker`"),
            ("a = \n", "c.toml:1: "),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.starts_with(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line_and_what_is_wanted() {
        for (text, words) in [
            (
                "[scheduler]\nworker-lease = \"soon\"",
                "c.toml:2: `worker-lease` of [scheduler]: \"soon\" is no value for it: give a number with its unit, like 200ms",
            ),
            ("[scheduler]\nworker-lease = 10", "\"10\" is no value for it: give a number with its unit"),
            ("[scheduler]\ndisk-reserve = \"2\"", "like 0, 64MiB or 1GiB"),
            (
                "[worker]\nslots = 0",
                "c.toml:2: `slots` of [worker]: \"0\" is no value for it: 0 is not in 1..",
            ),
            ("[worker]\nslots = [1, 2]", "give one value, not several"),
            ("[worker]\nsupervise = \"yes\"", "c.toml:2: `supervise` of [worker]: give true or false"),
            ("[worker]\nlabel = [\"a\", {}]", "give a text, a number, true or false"),
            ("[worker]\nresource = [\"cpus=4\", \"cpus\"]", "\"cpus\" is no value for it: "),
            ("[task.list]\nstatus = [\"ran\"]", "\"ran\" is no value for it: give one of pending, running"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn the_usual_place_is_where_programs_have_their_files() {
        let place = |known: &[(&str, &str)]| {
            let known: Vec<(String, OsString)> =
                known.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
            usual_place(|name| Some(known.iter().find(|(known, _)| known == name)?.1.clone()))
        };
        let home = ("HOME", "/home/a");
        assert_eq!(place(&[home]), Some("/home/a/.config/headwater/config.toml".into()));
        assert_eq!(
            place(&[home, ("XDG_CONFIG_HOME", "/etc/a")]),
            Some("/etc/a/headwater/config.toml".into())
        );
        assert_eq!(place(&[home, ("XDG_CONFIG_HOME", "")]), place(&[home]));
        assert_eq!(place(&[]), None);
    }
}

//! What a setting is in the end: the default, what the file says for every command, what it says for this one, the variable,
//! the flag; each counts for more than the one before.
//!
//! What the file says becomes the default of a flag, in the command line's own definition: so it is parsed, and checked, as
//! that is. Where two settings exclude each other, the one that counts for less is not there.

use std::ffi::OsString;

use anyhow::{anyhow, bail};
use clap::builder::{OsStr, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::file::{Entry, File};
use super::settings::{self, SEPARATOR};

/// What says what a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// Nobody, or who counts for less than one that it excludes.
    Default,
    /// The file: for every command.
    Shared(&'a Entry),
    /// The file: for this command.
    Table(&'a Entry),
    /// The environment.
    Variable,
    Flag,
}

impl Source<'_> {
    fn strength(self) -> u8 {
        match self {
            Source::Default => 0,
            Source::Shared(_) => 1,
            Source::Table(_) => 2,
            Source::Variable => 3,
            Source::Flag => 4,
        }
    }
}

/// What there is beside the command line.
#[derive(Debug)]
pub struct Layers {
    /// The command line's definition, with variables and without the file.
    pub root: Command,
    pub file: Option<File>,
    shared: Vec<Arg>,
}

/// A setting of a command, and what says what it is.
type Sourced<'a> = (Arg, Source<'a>);

impl Layers {
    pub fn new(root: Command, file: Option<File>) -> Layers {
        let shared = settings::shared(&root);
        Layers { root, file, shared }
    }

    /// The command line's definition, with all that the file says as defaults. `given`: what is on the command line.
    ///
    /// # Errors
    /// When the file says what excludes each other, or a variable of this command has no value that it takes.
    pub fn applied(&self, given: &ArgMatches) -> anyhow::Result<Command> {
        let mut leaf = (Vec::new(), given);
        while let Some((name, inner)) = leaf.1.subcommand() {
            leaf.0.push(name.to_owned());
            leaf.1 = inner;
        }
        self.command(self.root.clone(), &[], &leaf)
    }

    fn command(
        &self,
        command: Command,
        table: &[String],
        leaf: &(Vec<String>, &ArgMatches),
    ) -> anyhow::Result<Command> {
        let is_leaf = table == leaf.0;
        let sources = self.sources(&command, table, is_leaf.then_some(leaf.1))?;
        if is_leaf || table.is_empty() {
            check_variables(&sources)?;
        }
        let mut applied = with_defaults(command, &sources);
        let names: Vec<String> = applied.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
        for name in names {
            let inner = applied.find_subcommand(&name).expect("it was listed").clone();
            let inner = self.command(inner, &[table, std::slice::from_ref(&name)].concat(), leaf)?;
            applied = applied.mut_subcommand(name, |_| inner);
        }
        Ok(applied)
    }

    /// What says what each setting of a command is.
    ///
    /// # Errors
    /// When the file says what excludes each other.
    pub fn sources(
        &self,
        command: &Command,
        table: &[String],
        given: Option<&ArgMatches>,
    ) -> anyhow::Result<Vec<Sourced<'_>>> {
        let mut sources: Vec<Sourced<'_>> =
            settings::of(command).map(|arg| (arg.clone(), self.source(arg, table, given))).collect();
        let mut overruled = Vec::new();
        for (at, (a, source_a)) in sources.iter().enumerate() {
            for (b, source_b) in &sources[at + 1..] {
                let are_there = is_on(a, *source_a) && is_on(b, *source_b);
                if !are_there || !exclude_each_other(command, a, b) {
                    continue;
                }
                match (source_a, source_b) {
                    (Source::Table(a), Source::Table(b)) => bail!(self.contradiction(a, b)),
                    _ if source_a.strength() < source_b.strength() => overruled.push(a.get_id().clone()),
                    _ if source_a.strength() > source_b.strength() => overruled.push(b.get_id().clone()),
                    // The command line says so itself.
                    _ => {}
                }
            }
        }
        let overruled = sources.iter_mut().filter(|(arg, _)| overruled.contains(arg.get_id()));
        overruled.for_each(|(_, source)| *source = Source::Default);
        Ok(sources)
    }

    fn source(&self, arg: &Arg, table: &[String], given: Option<&ArgMatches>) -> Source<'_> {
        let of_file = |table: &[String]| {
            let entries = self.file.iter().flat_map(|file| &file.entries);
            entries.into_iter().find(|entry| entry.table == table && entry.key == settings::key(arg))
        };
        let is_flag_given = |given: &ArgMatches| {
            given.try_contains_id(arg.get_id().as_str()).is_ok()
                && given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
        };
        if given.is_some_and(is_flag_given) {
            Source::Flag
        } else if value_of_variable(arg).is_some() {
            Source::Variable
        } else if let Some(entry) = of_file(table) {
            Source::Table(entry)
        } else if let Some(entry) = of_file(&[])
            && self.shared.iter().any(|shared| settings::is_shared(shared, arg))
        {
            Source::Shared(entry)
        } else {
            Source::Default
        }
    }

    fn contradiction(&self, a: &Entry, b: &Entry) -> String {
        let place = self.file.as_ref().map_or_else(String::new, |file| file.place(b));
        format!("{place}: `{}` and `{}` (line {}) exclude each other: give one", b.key, a.key, a.line)
    }
}

/// The value of an option's variable.
pub fn value_of_variable(arg: &Arg) -> Option<OsString> {
    std::env::var_os(arg.get_env()?)
}

/// Checks what the environment says, as a variable is named in no error of the command line's.
///
/// # Errors
/// With the variable's name, and what would be a value.
pub fn check_variables(sources: &[Sourced<'_>]) -> anyhow::Result<()> {
    for (arg, _) in sources.iter().filter(|(_, source)| *source == Source::Variable) {
        let Some(value) = value_of_variable(arg) else { continue };
        let text = value.to_string_lossy();
        let values: Vec<OsString> = match settings::is_repeated(arg) && value.to_str().is_some() {
            true => text.split(SEPARATOR).map(OsString::from).collect(),
            false => vec![value.clone()],
        };
        for value in values {
            settings::check(arg, &value).map_err(|wanted| {
                let name = arg.get_env().unwrap_or_default().display();
                anyhow!("{name}: {:?} is no value for it: {wanted}", value.to_string_lossy())
            })?;
        }
    }
    Ok(())
}

/// A command whose defaults are what the file says, and which asks no variable that does not count.
pub fn with_defaults(command: Command, sources: &[Sourced<'_>]) -> Command {
    sources.iter().fold(command, |command, (arg, source)| {
        command.mut_arg(arg.get_id().as_str(), |arg| match source {
            Source::Shared(entry) | Source::Table(entry) => {
                arg.required(false).default_values(entry.values.iter().map(OsStr::from))
            }
            Source::Default if value_of_variable(&arg).is_some() => arg.env(Resettable::<OsStr>::Reset),
            Source::Default | Source::Variable | Source::Flag => arg,
        })
    })
}

/// Whether it is said of a setting that it is to be so: of a flag, that it is not there says nothing.
fn is_on(arg: &Arg, source: Source<'_>) -> bool {
    let is_off = |value: &str| matches!(value, "" | "false" | "no" | "off" | "0" | "n" | "f");
    match source {
        Source::Default => false,
        Source::Flag => true,
        _ if !settings::is_flag(arg) => true,
        Source::Shared(entry) | Source::Table(entry) => entry.values != ["false"],
        Source::Variable => {
            value_of_variable(arg).is_some_and(|value| !is_off(&value.to_string_lossy().to_lowercase()))
        }
    }
}

fn exclude_each_other(command: &Command, a: &Arg, b: &Arg) -> bool {
    let excludes = |one: &Arg, other: &Arg| {
        !one.is_global_set()
            && command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
    };
    excludes(a, b) || excludes(b, a)
}

//! `headwater config show`.

use std::collections::VecDeque;

use clap::{Arg, ArgMatches};
use serde::Serialize;
use serde_json::Value;

use super::layers::{Layers, Source, check_variables, with_defaults};
use super::settings;
use crate::cli::man;
use crate::cli::output::{Output, note};

/// Say of every setting what it is, and who says so.
///
/// A setting is an option of a command. A flag counts for more than its variable, that for more than the file, and that for
/// more than the default. In the file, a table is a command, and its keys are the command's long flags; what
/// stands above all tables holds for every command. An option that may be given several times takes an array; a flag without
/// a value is true or false.
///
/// The file is the one of --config or HEADWATER_CONFIG, else config.toml in the directory headwater of
/// $XDG_CONFIG_HOME or ~/.config, if it is there. What it says that is no setting, or no value for one, is refused,
/// whatever the command.
///
/// Each option of `scheduler`, `up` and `worker` has a variable of its name: HEADWATER_WORKER_LEASE is --worker-lease. Where an
/// option may be given several times, `;` stands between its values. A variable of this prefix that is not known has no effect;
/// this command names all of them on stderr, the others those that are like one that is known.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater config show                     all settings that somebody has set, and what holds for every command
  headwater config show worker              all settings of a command
  headwater config show --config new.toml   whether a file is right, before it is used
  headwater config show --all --json

A file:
  connect = \"scheduler.example:8786\"
  token-file = \"/etc/headwater/token\"
  [worker]
  slots = 8
  resource = [\"memory=48GiB\", \"gpus=[0,1]\"]
  supervise = true

With --json, each line is one object; null: it is not set:
  {\"setting\",\"value\":TEXT|BOOLEAN|[TEXT]|null,\"from\":\"default\"|\"file\"|\"variable\",\"file\"?,\"line\"?,\"variable\"?}")]
pub struct Show {
    /// The command whose settings are shown, all of them: `worker`, or `channel tail`
    command: Vec<String>,

    /// Show the settings of all commands, those that nobody has set, too
    #[arg(long, conflicts_with = "command")]
    all: bool,

    /// Print one JSON object per setting and line
    #[arg(long)]
    json: bool,
}

/// A setting, as it is shown.
#[derive(Debug, PartialEq, Serialize)]
struct Line {
    setting: String,
    value: Value,
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
}

impl Show {
    pub fn run(self, layers: &Layers) -> anyhow::Result<()> {
        let lines = lines(layers, &self.command, self.all)?;
        let mut output = Output::new();
        if self.json {
            lines.iter().try_for_each(|line| output.json(line))?;
        } else {
            output.table(["SETTING", "VALUE", "FROM"], lines.iter().map(Line::cells))?;
        }
        output.flush()?;
        if !self.json && layers.file.is_none() {
            note("no file was read: `headwater config show --help` says where one is looked for");
        }
        Ok(())
    }
}

/// The settings that are shown: those of a command, or those of all.
fn lines(layers: &Layers, words: &[String], all: bool) -> anyhow::Result<Vec<Line>> {
    let command = man::find(&layers.root, words)?;
    if !words.is_empty() {
        return of_command(layers, command, words);
    }
    let mut lines = of_shared(layers)?;
    let mut commands: VecDeque<_> = [(Vec::new(), command)].into();
    while let Some((table, command)) = commands.pop_front() {
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            let table = [&table[..], &[inner.get_name().to_owned()]].concat();
            lines.extend(of_command(layers, inner, &table)?.into_iter().filter(|line| all || line.is_set()));
            commands.push_back((table, inner));
        }
    }
    Ok(lines)
}

/// What holds for every command.
fn of_shared(layers: &Layers) -> anyhow::Result<Vec<Line>> {
    let shared = settings::shared(&layers.root);
    of_command(layers, &clap::Command::new("shared").args(shared), &[])
}

/// The settings of a command. Of those that hold for every command only those that are said of this one.
fn of_command(layers: &Layers, command: &clap::Command, table: &[String]) -> anyhow::Result<Vec<Line>> {
    let sources = layers.sources(command, table, None)?;
    check_variables(&sources)?;
    // By the command line, of which nothing is there.
    let alone = with_defaults(command.clone(), &sources).mut_args(|arg| arg.required(false));
    let alone = alone.subcommand_required(false).arg_required_else_help(false).ignore_errors(true);
    let matches = alone.try_get_matches_from([command.get_name()])?;
    let shared = settings::shared(&layers.root);
    let is_shown = |(arg, source): &&(Arg, Source<'_>)| {
        let is_shared = shared.iter().any(|shared| settings::is_shared(shared, arg));
        table.is_empty() || !is_shared || matches!(source, Source::Table(_))
    };
    Ok(sources
        .iter()
        .filter(is_shown)
        .map(|(arg, source)| line(layers, table, arg, *source, &matches))
        .collect())
}

fn line(layers: &Layers, table: &[String], arg: &Arg, source: Source<'_>, matches: &ArgMatches) -> Line {
    let setting = [table, &[settings::key(arg).to_owned()]].concat().join(".");
    let mut line =
        Line { setting, value: value(arg, matches), from: "default", file: None, line: None, variable: None };
    match source {
        Source::Default | Source::Flag => {}
        Source::Variable => {
            line.from = "variable";
            line.variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        }
        Source::Shared(entry) | Source::Table(entry) => {
            line.from = "file";
            line.file = layers.file.as_ref().map(|file| file.path.display().to_string());
            line.line = Some(entry.line);
        }
    }
    line
}

fn value(arg: &Arg, matches: &ArgMatches) -> Value {
    let id = arg.get_id().as_str();
    let texts = matches.get_raw(id).map(|values| values.map(|value| value.to_string_lossy().into_owned()));
    match texts {
        _ if settings::is_flag(arg) => matches.get_flag(id).into(),
        Some(texts) if settings::is_repeated(arg) => texts.collect(),
        None if settings::is_repeated(arg) => Vec::<String>::new().into(),
        Some(mut texts) => texts.next().into(),
        None => Value::Null,
    }
}

impl Line {
    fn is_set(&self) -> bool {
        self.from != "default"
    }

    fn cells(&self) -> [String; 3] {
        let from = match (&self.file, self.line, &self.variable) {
            (Some(file), Some(line), _) => format!("{file}:{line}"),
            (_, _, Some(variable)) => variable.clone(),
            _ => self.from.to_owned(),
        };
        let value = match &self.value {
            Value::String(text) => text.clone(),
            Value::Array(values) if values.is_empty() => "-".to_owned(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("  "),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        [self.setting.clone(), value, from]
    }
}

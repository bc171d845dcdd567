//! Which settings there are: the options of all commands, read off their definitions, so that a flag, its variable and its
//! key in the file are one thing and are checked by one rule.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args, Command};

use crate::cli::connect::Connect;

/// The commands whose options have variables: those that operators start.
const NAMED_BY_RULE: [&str; 3] = ["scheduler", "up", "worker"];

/// What stands between the values of an option in its variable, where it may be given several times.
pub const SEPARATOR: char = ';';

/// The variable of an option: `HEADWATER_WORKER_LEASE` of `--worker-lease`.
fn variable(long: &str) -> String {
    format!("HEADWATER_{}", long.to_uppercase().replace('-', "_"))
}

/// Gives variables to the options of [`NAMED_BY_RULE`] that have none.
pub fn with_variables(command: Command) -> Command {
    let named = |arg: Arg| match arg.get_long().filter(|_| is_setting(&arg) && arg.get_env().is_none()) {
        None => arg,
        Some(long) => {
            let name = variable(long);
            match arg.get_action() {
                ArgAction::SetTrue => arg.env(name).value_parser(clap::builder::BoolishValueParser::new()),
                ArgAction::Append => arg.env(name).value_delimiter(SEPARATOR),
                _ => arg.env(name),
            }
        }
    };
    let one = |command: Command, name: &&str| command.mut_subcommand(name, |inner| inner.mut_args(named));
    NAMED_BY_RULE.iter().fold(command, one)
}

/// Whether an option may be set elsewhere than on the command line.
pub fn is_setting(arg: &Arg) -> bool {
    // To say in a file which file to read makes no sense.
    let is_about_itself = matches!(arg.get_id().as_str(), "config" | "help" | "version");
    arg.get_long().is_some() && !arg.is_hide_set() && !is_about_itself
}

/// The settings of a command.
pub fn of(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| is_setting(arg))
}

/// The settings that stand above all tables: where the scheduler is, and what holds for every command.
pub fn shared(root: &Command) -> Vec<Arg> {
    let connect = Connect::augment_args(Command::new("connect"));
    of(&connect).chain(of(root)).cloned().collect()
}

/// Whether an option of a command is this shared one: it says the same thing, where it has the same variable, too.
pub fn is_shared(shared: &Arg, arg: &Arg) -> bool {
    shared.get_id() == arg.get_id() && shared.get_env() == arg.get_env()
}

/// The name of a setting in its table: the long flag.
pub fn key(arg: &Arg) -> &str {
    arg.get_long().expect("what has none is no setting")
}

/// Whether it is there or not, without a value.
pub fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Whether it may be given several times.
pub fn is_repeated(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Checks a value, by what the command line takes.
///
/// # Errors
/// What would be a value.
pub fn check(arg: &Arg, value: &OsStr) -> Result<(), String> {
    // Alone, as what it conflicts with is not there.
    let alone = Arg::new("value").long("value").action(ArgAction::Set);
    let alone = alone.value_parser(arg.get_value_parser().clone()).allow_hyphen_values(true);
    let command = Command::new("x").no_binary_name(true).arg(alone);
    let mut given = OsString::from("--value=");
    given.push(value);
    match command.try_get_matches_from([given]) {
        Ok(_) => Ok(()),
        Err(error) => Err(wanted(&error)),
    }
}

/// What an error of the command line's says would be a value.
fn wanted(error: &clap::Error) -> String {
    if let Some(why) = std::error::Error::source(error) {
        return why.to_string();
    }
    match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(words))) if !words.is_empty() => {
            format!("give one of {}", words.join(", "))
        }
        _ => "give it a value".to_owned(),
    }
}

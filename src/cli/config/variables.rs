//! Variables that have this program's name and that it does not know: misspelt, as a rule.

use std::collections::BTreeSet;

use clap::Command;

use crate::cli::near::nearest;

/// How all variables of this program begin.
const PREFIX: &str = "HEADWATER_";

/// What no option has: the filter of log lines (`cli/logs.rs`), and what programs that run as tasks have in their environment
/// (`worker/exec/call.rs`), of which some begin `headwater`.
const WITHOUT_OPTION: [&str; 5] = ["LOG", "TASK", "ATTEMPT", "INDEX", "LINE"];

/// How like a known one (Jaro-Winkler, 0 to 1) a variable must be for every command to warn of it: a letter more or less in
/// a short name. Others may have variables of this prefix for what is theirs.
const LIKENESS_MIN: f64 = 0.85;

/// Most variables that are named in the warning.
const NAMED_MAX: usize = 8;

/// The warning of what is not known in this process' environment; `None`: there is nothing to say. `of_all`: also of what is
/// like nothing that is known.
///
/// `root`: the command line's definition, with the variables of its options.
pub fn warning(root: &Command, of_all: bool) -> Option<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    warning_of(&known(root), names.collect(), of_all)
}

/// All that is known, without the prefix.
fn known(command: &Command) -> BTreeSet<String> {
    let of_options = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str()?.strip_prefix(PREFIX));
    let mut known: BTreeSet<String> = of_options.chain(WITHOUT_OPTION).map(str::to_owned).collect();
    command.get_subcommands().for_each(|inner| known.append(&mut self::known(inner)));
    known
}

fn warning_of(known: &BTreeSet<String>, names: BTreeSet<String>, of_all: bool) -> Option<String> {
    let ours = names.iter().filter_map(|name| name.strip_prefix(PREFIX));
    let unknown =
        ours.filter(|name| !known.contains(*name) && !is_of_resource(name) && !is_of_kubernetes(name));
    let told = unknown.filter_map(|name| {
        let meant = nearest(name, known.iter().map(String::as_str), LIKENESS_MIN);
        // It may have anything in it.
        let name = name.escape_debug();
        match meant {
            Some(meant) => Some(format!("{PREFIX}{name} (did you mean {PREFIX}{meant}?)")),
            None => of_all.then(|| format!("{PREFIX}{name}")),
        }
    });
    let told: Vec<String> = told.collect();
    let (named, more) = told.split_at(told.len().min(NAMED_MAX));
    let more = if more.is_empty() { String::new() } else { format!(", and {} more", more.len()) };
    (!named.is_empty()).then(|| format!("variables that are not known: {}{more}", named.join(", ")))
}

/// Whether it says what a task has of a resource.
fn is_of_resource(name: &str) -> bool {
    name.starts_with("RESOURCE_")
}

/// Whether it is what Kubernetes gives to each container for a service whose name begins `headwater`:
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn is_of_kubernetes(name: &str) -> bool {
    let is_numbered_port = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    ["SERVICE_HOST", "PORT"].iter().any(|end| name.ends_with(end))
        || name.contains("SERVICE_PORT_")
        || name.split("PORT_").skip(1).any(is_numbered_port)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;
    use crate::cli::config::settings::with_variables;

    fn warning_of(names: &[&str], of_all: bool) -> Option<String> {
        let known = known(&with_variables(Cli::command()));
        super::warning_of(&known, names.iter().map(|name| name.to_string()).collect(), of_all)
    }

    #[test]
    fn what_is_misspelt_is_told_in_one_line_with_what_was_meant() {
        let told = |names: &[&str]| warning_of(names, false).unwrap();
        assert_eq!(
            told(&["HEADWATER_TOKENFILE", "HEADWATER_CONECT", "HEADWATER_URL", "HOME", "HEADWATER"]),
            "variables that are not known: HEADWATER_CONECT (did you mean HEADWATER_CONNECT?), \
             HEADWATER_TOKENFILE (did you mean HEADWATER_TOKEN_FILE?)"
        );
        for (name, meant) in [("SLOT", "SLOTS"), ("LOGFORMAT", "LOG_FORMAT"), ("DATADIR", "DATA")] {
            let words = format!("HEADWATER_{name} (did you mean HEADWATER_{meant}?)");
            assert!(told(&[&format!("HEADWATER_{name}")]).ends_with(&words), "{name}");
        }
        assert!(told(&["HEADWATER_SLOTS\n"]).contains("HEADWATER_SLOTS\\n (did"));
        let many: Vec<String> = (0..20).map(|n| format!("HEADWATER_SLOTS{n}")).collect();
        let many = told(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(
            (many.matches("did you mean").count(), many.ends_with(", and 12 more")),
            (NAMED_MAX, true)
        );
    }

    #[test]
    fn what_is_known_and_what_is_like_nothing_known_is_not_warned_of() {
        let known = [
            "HEADWATER_CONNECT",
            "HEADWATER_TOKEN_FILE",
            "HEADWATER_CONFIG",
            "HEADWATER_LOG",
            "HEADWATER_LOG_FORMAT",
            "HEADWATER_WORKER_LEASE",
            "HEADWATER_TASK",
            "HEADWATER_ATTEMPT",
            "HEADWATER_INDEX",
            "HEADWATER_LINE",
            "HEADWATER_RESOURCE",
            "HEADWATER_RESOURCE_CPUS",
            "HEADWATER_SERVICE_HOST",
            "HEADWATER_SERVICE_PORT_HTTP",
            "HEADWATER_WORKER_PORT",
            "HEADWATER_WORKER_PORT_8786_TCP_ADDR",
        ];
        assert_eq!(warning_of(&known, true), None);
        // What our own tests set, and what others may.
        let names =
            ["SIM_SEEDS", "SIM_SEED", "SEED", "ROUNDS", "KILLS", "FIXTURE", "COMMIT", "HOME", "VERSION"];
        let names = names.map(|name| format!("{PREFIX}{name}"));
        let names = names.each_ref().map(String::as_str);
        assert_eq!(warning_of(&names, false), None);
        assert_eq!(
            warning_of(&["HEADWATER_URL"], true).unwrap(),
            "variables that are not known: HEADWATER_URL"
        );
    }
}

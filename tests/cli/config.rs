//! What commands are set to: by a file, by variables, by flags, each over the one before.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Dir};
use crate::process::{Ended, HEADWATER, Process, children, command};

/// Runs the binary with variables.
async fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = command(HEADWATER.as_ref(), arguments);
    command.envs(variables.iter().copied());
    Process::of(command).end().await
}

/// A file of settings.
fn file(dir: &Dir, text: &str) -> String {
    std::fs::write(dir.path("config.toml"), text).unwrap();
    dir.text("config.toml")
}

/// What is shown of settings, by name.
async fn shown(variables: &[(&str, &str)], arguments: &[&str]) -> Box<dyn Fn(&str) -> Value> {
    let lines = run_with(variables, &[&["config", "show", "--json"], arguments].concat()).await.json();
    Box::new(move |setting| {
        let is = |line: &&Value| line["setting"] == setting;
        let mut line = lines.iter().find(is).unwrap_or_else(|| panic!("{setting} in {lines:?}")).clone();
        let fields = line.as_object_mut().unwrap();
        fields.remove("setting");
        fields.remove("file");
        line
    })
}

/// The one line with which a command is refused that is not begun.
fn nonsense(ended: Ended) -> String {
    assert_eq!((ended.code, &ended.stdout[..]), (Some(2), &[][..]), "{:?}", ended.stderr);
    let [line] = &ended.stderr[..] else { panic!("more or less than a line: {:?}", ended.stderr) };
    line.strip_prefix("error: ").expect(line).to_owned()
}

const FILE: &str = r#"connect = "of-all.example:1"
[scheduler]
worker-lease = "20s"
disk-reserve = "1GiB"
[worker]
slots = 8
resource = ["memory=48GiB", "gpus=[0,1]"]
no-exec = true
[channel.tail]
from = "last:5"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_setting_is_shown_with_who_has_set_it() {
    let dir = Dir::new();
    let path = file(&dir, FILE);
    let set = shown(&[("HEADWATER_CONFIG", &path)], &[]).await;
    let in_file = |value: Value, line: u32| json!({"value": value, "from": "file", "line": line});
    assert_eq!(set("connect"), in_file(json!("of-all.example:1"), 1));
    assert_eq!(set("token-file"), json!({"value": null, "from": "default"}));
    assert_eq!(set("scheduler.worker-lease"), in_file(json!("20s"), 3));
    assert_eq!(set("scheduler.disk-reserve"), in_file(json!("1GiB"), 4));
    assert_eq!(set("worker.slots"), in_file(json!("8"), 6));
    assert_eq!(set("worker.resource"), in_file(json!(["memory=48GiB", "gpus=[0,1]"]), 7));
    assert_eq!(set("worker.no-exec"), in_file(json!(true), 8));
    assert_eq!(set("channel.tail.from"), in_file(json!("last:5"), 10));

    let variables = [("HEADWATER_RESOURCE", "cpus=2;gpus=0"), ("HEADWATER_SUPERVISE", "yes")];
    let set = shown(&variables, &["worker", "--config", &path]).await;
    let of = |value: Value, variable: &str| json!({"value": value, "from": "variable", "variable": variable});
    assert_eq!(set("worker.resource"), of(json!(["cpus=2", "gpus=0"]), "HEADWATER_RESOURCE"));
    assert_eq!(set("worker.supervise"), of(json!(true), "HEADWATER_SUPERVISE"));
    assert_eq!(set("worker.slots"), in_file(json!("8"), 6));
    assert_eq!(set("worker.grace"), json!({"value": "0s", "from": "default"}));
    assert_eq!(set("worker.label"), json!({"value": [], "from": "default"}));

    let people = run_with(&[("HEADWATER_CONFIG", &path)], &["config", "show"]).await.lines();
    let words: Vec<&str> = people[1].split_whitespace().collect();
    assert_eq!(words, ["connect", "of-all.example:1", &format!("{path}:1")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_counts_for_more_than_a_variable_and_that_for_more_than_the_file() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let text = |data: &str| format!("[scheduler]\nlisten = \"127.0.0.1:0\"\ndata = '{}'\n", dir.text(data));
    let path = file(&dir, &text("of-file"));
    let variable = dir.text("of-variable");
    let flag = elsewhere.text("of-flag");
    for (variables, flags, expected) in [
        (&[][..], &[][..], dir.text("of-file")),
        (&[("HEADWATER_DATA", &*variable)], &[], variable.clone()),
        (&[("HEADWATER_DATA", &*variable)], &["--data", &flag], flag.clone()),
    ] {
        let mut command = command(HEADWATER.as_ref(), &[&["scheduler", "--config", &path], flags].concat());
        command.envs(variables.iter().copied());
        let mut scheduler = Process::of(command);
        let said = scheduler.said("fresh store in ").await;
        assert!(said.starts_with(&format!("{expected},")), "{said} is not {expected}");
        scheduler.said("listening on ").await;
        assert_eq!(scheduler.interrupt().await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_setting_excludes_is_not_there_where_that_counts_for_less() {
    let dir = Dir::new();
    let path = file(&dir, "[scheduler]\nkeep-task-log = true\n");
    let variables = [("HEADWATER_TASK_LOG_AGE", "1h")];
    let set = shown(&variables, &["scheduler", "--config", &path]).await;
    assert_eq!(set("scheduler.keep-task-log"), json!({"value": false, "from": "default"}));
    assert_eq!(set("scheduler.task-log-age")["value"], "1h");
    // On one level they are a contradiction.
    let path = file(&dir, "[scheduler]\nkeep-task-log = true\ntask-log-age = \"1h\"\n");
    let refused = nonsense(run_with(&[], &["config", "show", "--config", &path]).await);
    assert!(refused.starts_with(&format!("{path}:")), "{refused}");
    assert!(refused.contains("exclude each other"), "{refused}");
    // Where the scheduler is, is for those who ask one.
    let cluster = Cluster::start().await;
    let path = file(&dir, &format!("connect = \"{}\"\n", cluster.address));
    let list = ["channel", "list", "--config", &path];
    assert_eq!(run_with(&[], &list).await.lines(), ["CHANNEL  FIRST  HEAD  ELEMENTS  BYTES  STATE"]);
    let (data, copy) = (dir.text("none"), dir.text("copy"));
    for variables in [&[][..], &[("HEADWATER_CONNECT", &*cluster.address)]] {
        let backup = ["log", "backup", "--data", &data, &copy, "--config", &path];
        let refused = run_with(variables, &backup).await.refusal();
        assert!(refused.contains(&data), "it is the store that is asked for: {refused}");
    }
    let backup = ["log", "backup", &copy, "--config", &path];
    assert_eq!(run_with(&[], &backup).await.code, Some(0), "and here the scheduler is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_or_a_variable_that_makes_no_sense_is_refused_by_every_command() {
    let dir = Dir::new();
    let path = file(&dir, "[worker]\nslots = 8\nlease = 3\n");
    let list = ["channel", "list", "--config", &path];
    let refused = nonsense(run_with(&[], &list).await);
    let expected = format!("{path}:3: there is no setting `lease` of [worker]: did you mean `label`? ");
    assert!(refused.starts_with(&expected), "{refused}");
    let path = file(&dir, "[worker]\nslots = \"many\"\n");
    let refused = nonsense(run_with(&[], &list).await);
    let expected = format!("{path}:2: `slots` of [worker]: \"many\" is no value for it: invalid digit");
    assert!(refused.starts_with(&expected), "{refused}");
    let refused = nonsense(run_with(&[], &["channel", "list", "--config", &dir.text("none.toml")]).await);
    assert!(refused.starts_with(&format!("cannot read {}", dir.text("none.toml"))), "{refused}");
    let refused = nonsense(run_with(&[("HEADWATER_WORKER_LEASE", "soon")], &["scheduler"]).await);
    let expected = "HEADWATER_WORKER_LEASE: \"soon\" is no value for it: give a number with its unit";
    assert!(refused.starts_with(expected), "{refused}");
    // Help is there all the same.
    assert_eq!(run_with(&[], &["worker", "--help", "--config", &path]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_in_the_usual_place_is_read_and_who_is_told_everything_reads_none() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("headwater")).unwrap();
    std::fs::write(dir.path("headwater/config.toml"), "[channel.list]\njson = 3\n").unwrap();
    let usual = [("XDG_CONFIG_HOME", &*dir.text(""))];
    let refused = nonsense(run_with(&usual, &["config", "show"]).await);
    assert!(refused.ends_with("`json` of [channel.list]: give true or false"), "{refused}");
    let told = run_with(&usual, &["channel", "list", "--as-told", "--connect-timeout", "0"]).await;
    assert_eq!(told.code, Some(1), "nobody is there, which it had to ask for to know: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_os = "linux")]
async fn a_supervised_worker_has_its_settings_from_its_supervisor_alone() {
    let (cluster, dir) = (Cluster::start().await, Dir::new());
    let text = format!("connect = \"{}\"\n[worker]\nsupervise = true\n", cluster.address);
    let path = file(&dir, &text);
    // Its own processes have the variable, too.
    let mut command = command(HEADWATER.as_ref(), &["worker", "--name", "one"]);
    command.env("HEADWATER_CONFIG", &path).env("HEADWATER_SLOTS", "3");
    let mut worker = Process::of(command);
    worker.said("joined").await;
    let [child] = children(worker.id())[..] else { panic!("one worker") };
    assert_eq!(children(child), [0; 0], "it is no supervisor itself");
    let listed = cluster.run(&["worker", "list", "--json"]).await.json();
    assert_eq!((listed.len(), &listed[0]["slots"]), (1, &json!(3)));
    assert_eq!(worker.interrupt().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_is_misspelt_is_told_in_one_line() {
    let cluster = Cluster::start().await;
    let list = ["channel", "list", "--connect", &cluster.address];
    let run = async |name: &str, more: &[&str]| run_with(&[(name, "x")], &[&list[..], more].concat()).await;
    let told = "variables that are not known: HEADWATER_TOKENFILE (did you mean HEADWATER_TOKEN_FILE?)";
    let ended = run("HEADWATER_TOKENFILE", &[]).await;
    assert_eq!((ended.code, &ended.stderr[..]), (Some(0), &[told.to_owned()][..]));
    for silent in ["-q", "--quiet", "--as-told"] {
        assert_eq!(run("HEADWATER_TOKENFILE", &[silent]).await.stderr, [""; 0], "{silent}");
    }
    let json = run("HEADWATER_TOKENFILE", &["--log-format", "json"]).await;
    let line = crate::process::json(&json.stderr[0]);
    assert_eq!((&line["level"], &line["message"]), (&json!("WARN"), &json!(told)));
    // What is like nothing that is known may be somebody else's. Who asks what is set sees it.
    assert_eq!(run("HEADWATER_URL", &[]).await.stderr, [""; 0]);
    let shown = run_with(&[("HEADWATER_URL", "x")], &["config", "show", "--json"]).await;
    assert_eq!(shown.stderr, ["variables that are not known: HEADWATER_URL"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_has_in_its_environment_is_known_to_the_commands_in_it() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker_with("w", &["--resource", "disk/io=1"]).await;
    let lines = cluster.dir.text("lines");
    std::fs::write(&lines, "a\n").unwrap();
    let submit = ["submit", "--connect", &cluster.address, "--wait", "--each-line", &lines];
    let needs = ["--needs", "cpus=0.5", "--needs", "disk/io=1", "--"];
    let script = format!("env | grep -c ^HEADWATER_; {HEADWATER} config show --json 2>&1 >/dev/null");
    let ended = run_with(&[], &[&submit[..], &needs, &["sh", "-c", &script]].concat()).await;
    // Task, attempt, scheduler, index, line, and two resources; and not a word.
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &["[1] 7".to_owned()][..]), "{ended:?}");
}

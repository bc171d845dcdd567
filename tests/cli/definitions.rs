//! What is made of the command line's definitions: completions, and manual pages.

use std::path::Path;

use crate::cluster::Dir;
use crate::process::{HEADWATER, Process, command, example, run};

/// Completes the last of these words in a bash that has the script.
async fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    let text = format!(
        ". '{}'; COMP_WORDS=({}); COMP_CWORD={}; COMPREPLY=(); \
         _headwater headwater '{}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1],
    );
    Process::of(command("bash".as_ref(), &["-c", &text])).end().await.lines()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_completes_commands_and_options() {
    let dir = Dir::new();
    let script = dir.path("headwater.bash");
    std::fs::write(&script, run(&["completions", "bash"]).await.lines().join("\n")).unwrap();
    assert_eq!(completed(&script, &["headwater", "sched"]).await, ["scheduler"]);
    assert_eq!(completed(&script, &["headwater", "channel", "ta"]).await, ["tail"]);
    assert_eq!(completed(&script, &["headwater", "worker", "--results-m"]).await, ["--results-memory"]);
    for (shell, words) in
        [("zsh", "#compdef headwater"), ("fish", "complete -c headwater"), ("elvish", "headwater")]
    {
        let lines = run(&["completions", shell]).await.lines();
        assert!(lines.iter().any(|line| line.contains(words)), "{shell}");
    }
    let own = Process::of(command(&example("pipeline"), &["completions", "zsh"])).end().await.lines();
    assert_eq!(own[0], "#compdef pipeline", "a program of one's own has its own name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_has_a_manual_page() {
    let dir = Dir::new();
    let written = run(&["man", "--dir", &dir.text("man1")]).await.only_line();
    let pages = std::fs::read_dir(dir.path("man1")).unwrap().count();
    assert_eq!(written, format!("{pages} pages in {}", dir.text("man1")));
    let page = std::fs::read_to_string(dir.path("man1/headwater-channel-tail.1")).unwrap();
    // Its options with their defaults, those of all commands, and the examples.
    for words in ["POSITION", "[default: start]", "HEADWATER_CONNECT", "headwater channel tail adds"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!dir.path("man1/headwater-torture-client.1").exists(), "that is for nobody's eyes");
    let printed = run(&["man", "channel", "tail"]).await.lines();
    assert_eq!(printed, page.lines().collect::<Vec<_>>());
    let refused = run(&["man", "chanel"]).await.refusal();
    assert!(refused.starts_with("there is no command `chanel`: did you mean `channel`"), "{refused}");
    let ended = Process::of(command(HEADWATER.as_ref(), &["man", "worker", "list"])).end().await.lines();
    assert!(ended.iter().any(|line| line.contains("List the workers")), "{ended:?}");
}

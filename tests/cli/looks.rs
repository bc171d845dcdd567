//! How `channel tail` shows records: colour, times, templates.

use crate::cluster::Cluster;
use crate::process::{HEADWATER, Process, command};
#[cfg(target_os = "linux")]
use crate::terminal::Terminal;

async fn with_notes() -> Cluster {
    let cluster = Cluster::start().await;
    let append =
        ["channel", "append", "notes", r#"{"a":{"b":[1,"two"]}}"#, "a text", "--header", "level=warn"];
    assert_eq!(cluster.run(&append).await.lines(), ["0", "1"]);
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_prints_records_in_words_of_ones_own() {
    let cluster = with_notes().await;
    let tail = async |options: &[&str]| cluster.run(&[&["channel", "tail", "notes"], options].concat()).await;
    let lines =
        tail(&["--template", r"{offset}\t{word} {value.a.b.1} {{{header.level}}} {text}"]).await.lines();
    assert_eq!(lines, ["0\tappended two {warn} {\"a\":{\"b\":[1,\"two\"]}}", "1\tappended  {warn} a text"]);
    let lines = tail(&["--template", "{time}", "--time", "unix-ms"]).await.lines();
    assert!(lines.iter().all(|line| line.len() == 13 && line.parse::<u64>().is_ok()), "{lines:?}");
    let refused = tail(&["--template", "{ofset}"]).await;
    let words = "there is no {ofset}: did you mean `offset`? there are {offset} {time}";
    assert!(refused.code == Some(2) && refused.stderr.join(" ").contains(words), "{refused:?}");
    assert_eq!(tail(&["--template", "{text}", "--json"]).await.code, Some(2), "one or the other");
    // What is not there is not passed by in silence.
    assert_eq!(cluster.run(&["channel", "trim", "notes", "--before", "1"]).await.code, Some(0));
    let trimmed = tail(&["--template", "{text}", "--until", "2"]).await;
    assert_eq!((trimmed.code, &trimmed.stdout[..]), (Some(0), &["a text".to_owned()][..]));
    assert_eq!(trimmed.stderr, ["offsets 0 to 1 are trimmed: their records are gone"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_printed_as_they_are_wanted() {
    let cluster = with_notes().await;
    let first = async |format: &str| {
        let lines = cluster.run(&["channel", "tail", "notes", "--time", format]).await.lines();
        let words: Vec<String> = lines[1].split_whitespace().map(str::to_owned).collect();
        assert_eq!(words[0], "1");
        words
    };
    assert_eq!(first("none").await[1], "appended");
    let iso = first("iso").await;
    assert!(iso[1].ends_with('Z') && iso[1].contains('T') && iso[2] == "appended", "{iso:?}");
    assert_eq!(first("local").await[3], "appended");
    let relative = first("relative").await;
    assert!(
        relative[1].starts_with('-') && relative[1].ends_with('s') && relative[2] == "appended",
        "{relative:?}"
    );
    assert_eq!(first("unix-ms").await[1].len(), 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colour_is_for_terminals_unless_it_is_said_otherwise() {
    let cluster = with_notes().await;
    let tail = ["channel", "tail", "notes", "--connect", &cluster.address];
    let plain = cluster.run(&["channel", "tail", "notes"]).await.lines();
    assert!(plain.iter().all(|line| !line.contains('\u{1b}')), "{plain:?}");
    // Said by a flag, it counts for more than the variable.
    let mut always = command(HEADWATER.as_ref(), &[&tail[..], &["--color", "always"]].concat());
    always.env("NO_COLOR", "1");
    let colored = Process::of(always).end().await.lines();
    assert!(colored[0].contains("\u{1b}[36mappended"), "{colored:?}");
    #[cfg(target_os = "linux")]
    for (variables, options, is_colored) in [
        (&[][..], &[][..], true),
        (&[("NO_COLOR", "1")], &[], false),
        (&[("NO_COLOR", "")], &[], true),
        (&[("TERM", "dumb")], &[], false),
        (&[], &["--color", "never"], false),
    ] {
        let (code, shown) = Terminal::start(&[&tail[..], options].concat(), variables).end();
        assert_eq!(
            (code, shown.contains("\u{1b}[36mappended")),
            (Some(0), is_colored),
            "{variables:?} {shown:?}"
        );
    }
}

//! The README's `curl` lines, run as they are printed.

use std::path::Path;

use serde_json::Value;

use super::Site;
use crate::process::{Process, command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_curl_lines_do_what_it_says() {
    let site = Site::start(&[]).await;
    let readme = include_str!("../../../README.md");
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    let answers = readme.split("The answers of the first four:").nth(1).expect("they are there");
    let mut printed = answers.lines().filter(|line| line.starts_with('{')).take(4);
    for line in lines {
        let script =
            line.replace("http://127.0.0.1:8787", &site.url).replacen("curl", "curl --fail --max-time 30", 1);
        let ended = Process::of(command(Path::new("sh"), &["-c", &script])).end().await;
        assert_eq!(ended.code, Some(0), "{line}: {:?} {:?}", ended.stdout, ended.stderr);
        assert!(!ended.stdout.is_empty(), "{line}");
        if let Some(printed) = printed.next() {
            let [printed, told] = [printed, &ended.stdout.concat()].map(|json| {
                let mut value = serde_json::from_str(json).unwrap_or_else(|_| panic!("{line}: {json}"));
                forget_what_differs(&mut value);
                value
            });
            assert_eq!(told, printed, "{line}");
        }
        // What the others do: the program's result, the record as an event, and how all stands.
        for (part, said) in [
            ("/result", "\"code\":0"),
            ("event-stream", "\"text\":\"hello\""),
            ("/overview", "\"finished\":1"),
        ] {
            let all = ended.stdout.concat();
            assert!(!line.contains(part) || all.contains(said), "{line}: {all}");
        }
    }
    assert!(printed.next().is_none());
}

/// When it was, and what is made up anew each time.
fn forget_what_differs(answer: &mut Value) {
    match answer {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), &value) {
                    ("time", _) => *value = Value::Null,
                    ("channel" | "key", Value::String(text)) => {
                        *value = text.split('-').next().unwrap_or_default().into();
                    }
                    _ => forget_what_differs(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(forget_what_differs),
        _ => {}
    }
}

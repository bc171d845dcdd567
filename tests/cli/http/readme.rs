//! The README's `curl` lines, run as they are printed.

use std::path::Path;

use super::Site;
use crate::process::{Process, command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_curl_lines_do_what_it_says() {
    let site = Site::start(&[]).await;
    let readme = include_str!("../../../README.md");
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    for line in lines {
        let script =
            line.replace("http://127.0.0.1:8787", &site.url).replacen("curl", "curl --fail --max-time 30", 1);
        let ended = Process::of(command(Path::new("sh"), &["-c", &script])).end().await;
        assert_eq!(ended.code, Some(0), "{line}: {:?} {:?}", ended.stdout, ended.stderr);
        assert!(!ended.stdout.is_empty(), "{line}");
    }
}

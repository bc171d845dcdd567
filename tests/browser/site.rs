//! A scheduler with its workers, and its page.

use std::path::Path;

use tempfile::TempDir;

use crate::process::{HEADWATER, Process, command};

pub struct Site {
    pub dir: TempDir,
    options: Vec<String>,
    process: Option<Process>,
    /// Where it is: the same after a restart.
    pub url: String,
}

impl Site {
    /// A scheduler with a worker, with more options.
    pub async fn up(options: &[&str]) -> Site {
        Site::start(&[&["up"], options].concat()).await
    }

    /// A running demo, with so much between its numbers.
    pub async fn demo_with(interval: &str) -> Site {
        Site::start(&["demo", "--interval", interval]).await
    }

    /// A running demo, which soon has something to show.
    pub async fn demo() -> Site {
        Site::demo_with("100ms").await
    }

    async fn start(options: &[&str]) -> Site {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut site = Site { dir, options, process: None, url: "http://127.0.0.1:0".to_owned() };
        site.start_again().await;
        site
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let at = self.url.strip_prefix("http://").expect("it is one").to_owned();
        let place = ["--listen", "127.0.0.1:0", "--http", &at, "--data", "headwater-data"];
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let mut process = command(Path::new(HEADWATER), &[&options[..], &place].concat());
        process.current_dir(self.dir.path());
        let mut process = Process::of(process);
        self.url = process.said("HTTP on ").await;
        self.process = Some(process);
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.process.take().expect("it runs").kill().await;
    }
}

//! A repair that takes long, as whoever waits for it sees it: a file of the store takes as long to be read as a test likes.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::cluster::{Cluster, Dir};
use crate::process::{headwater, run};
use crate::terminal::Terminal;

/// A pipe among the files of a store: who reads it waits until it is let through. Somewhere else it has another name.
struct Slow {
    path: PathBuf,
    elsewhere: PathBuf,
}

impl Slow {
    fn in_store(data: &Path) -> Slow {
        let (path, elsewhere) = (data.join("store/slow"), data.with_file_name("slow"));
        let made = std::process::Command::new("mkfifo").arg(&elsewhere).status().unwrap();
        assert!(made.success());
        fs::hard_link(&elsewhere, &path).unwrap();
        Slow { path, elsewhere }
    }

    /// Waits until somebody reads it: who does finds nothing in it, and it is gone.
    fn let_through(self) {
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let until = Instant::now() + Duration::from_secs(30);
        let opened = loop {
            match File::options().write(true).custom_flags(nonblocking).open(&self.elsewhere) {
                Ok(opened) => break opened,
                Err(error) => assert!(Instant::now() < until, "nobody reads it: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        fs::remove_file(self.path).unwrap();
        drop(opened);
    }
}

/// A store with a channel `words`, which the next start repairs, and which takes long.
async fn damaged() -> (Dir, Slow) {
    let mut cluster = Cluster::start().await;
    cluster.run(&["channel", "append", "words", "one"]).await.only_line();
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let data = cluster.dir.path("data");
    fs::write(data.join("suspect"), "somebody says so\n").unwrap();
    fs::write(data.join("store/large"), vec![0; 8 << 20]).unwrap();
    let slow = Slow::in_store(&data);
    (cluster.dir, slow)
}

/// How far the copying is, as it is said.
fn is_copying(words: &str) -> bool {
    words.contains(" of 8 MiB of its files are copied")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_how_far_it_is_in_lines_and_on_a_terminal_and_ends() {
    let (dir, slow) = damaged().await;
    let data = dir.text("data");
    let mut repair = headwater(&["log", "repair", "--data", &data]);
    // At first it may say for how long it is at it.
    let mut said = repair.said("repairing: ").await;
    while said.starts_with("for ") {
        said = repair.said("repairing: ").await;
    }
    assert!(is_copying(&said), "{said}");
    repair.kill().await;
    let mut terminal = Terminal::start(&["log", "repair", "--data", &data], &[]);
    terminal.shows_on_screen("repairing [");
    terminal.shows_on_screen("MiB of its files are copied");
    slow.let_through();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("the store was damaged (somebody says so) and is repaired"), "{shown}");
    let whole = run(&["log", "repair", "--data", &data]).await;
    assert_eq!(whole.only_line(), format!("the store in {data} is whole: nothing was changed"));
}

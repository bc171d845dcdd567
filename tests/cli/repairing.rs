//! A repair that takes long, as whoever waits for it sees it: a file of the store takes as long to be read as a test likes.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::cluster::{Cluster, Dir, free_address};
use crate::process::{Process, command, headwater, json, run};
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
    for _ in 0..10 {
        if said.starts_with("for ") {
            said = repair.said("repairing: ").await;
        }
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

/// What is answered over HTTP: the status, what is to be waited for, and JSON.
async fn ask(address: &str, path: &str) -> (String, String, serde_json::Value) {
    let url = format!("http://{address}{path}");
    let shown = "\n%{http_code}\n%header{retry-after}\n";
    let asked = ["-sS", "--max-time", "30", "-w", shown, &url];
    let ended = Process::of(command(Path::new("curl"), &asked)).end().await;
    let [body, status, after] = &ended.stdout[..] else { panic!("{ended:?}") };
    (status.clone(), after.clone(), json(body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_repairs_is_alive_says_how_far_it_is_and_is_waited_for() {
    let (dir, slow) = damaged().await;
    let (address, http, data) = (free_address(), free_address(), dir.text("data"));
    let mut scheduler = headwater(&["scheduler", "--listen", &address, "--http", &http, "--data", &data]);
    let said = scheduler.said("repairing the store: ").await;
    assert!(is_copying(&said), "{said}");
    assert_eq!(ask(&http, "/healthz").await.0, "200");
    let (status, _, ready) = ask(&http, "/readyz").await;
    let far = ready["recovering"].as_str().unwrap();
    assert!(status == "503" && ready["ready"] == false, "{ready}");
    assert!(far.starts_with("its store is repaired: ") && is_copying(far), "{far}");
    let (status, after, refused) = ask(&http, "/api/v1/channels").await;
    assert_eq!((&*status, &*after, &refused["error"]["code"]), ("503", "5", &"recovering".into()));
    let list = ["channel", "list", "--connect", &address, "--connect-timeout", "2s"];
    let mut waits = headwater(&list);
    // For longer than it would wait for one that does not answer.
    for _ in 0..4 {
        let told = waits.said("waiting for the scheduler, which recovers: ").await;
        assert!(told.ends_with("its store may be under repair"), "{told}");
    }
    slow.let_through();
    let lists = waits.end().await;
    assert!(lists.code == Some(0) && lists.stdout.iter().any(|line| line.contains("words")), "{lists:?}");
    scheduler.said("recovered from ").await;
    let (status, _, ready) = ask(&http, "/readyz").await;
    assert_eq!((&*status, &ready["ready"]), ("200", &true.into()));
    assert_eq!(scheduler.interrupt().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_repairs_shows_a_bar_on_a_terminal() {
    let (dir, slow) = damaged().await;
    let data = dir.text("data");
    let listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let mut terminal = Terminal::start(&[&["scheduler", "--data", &data], &listen[..]].concat(), &[]);
    terminal.shows_on_screen("repairing [");
    terminal.shows_on_screen("MiB of its files are copied");
    slow.let_through();
    terminal.shows_on_screen("listening on ");
    terminal.shows_no_more("repairing [");
}

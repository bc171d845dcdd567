//! A disk that fills up: a small file system of its own, real processes on it.
//!
//! The file system is a tmpfs in a mount namespace, which a holder keeps alive: it goes with the holder,
//! however the test ends. Where that is not permitted, the tests say so and do nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use headwater::protocol::command::Rejection;
use headwater::{Client, Error, Offset};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cluster::{Dir, free_address};
use crate::process::{Ended, HEADWATER, Process, command, headwater};

const MIB: u64 = 1024 * 1024;

/// How large the disk is: room for a store, and for a copy of it beside it.
const DISK_BYTES: u64 = 128 * MIB;

/// Some text, so that few elements take much room.
const PAD: usize = 50_000;

/// Whoever waits longer than this for an answer has none.
const ANSWER: Duration = Duration::from_secs(20);

/// Who has no answer by then was not heard any more.
const SILENCE: Duration = Duration::from_secs(5);

/// A small disk. It is gone when this is dropped.
struct Disk {
    holder: Child,
    /// Where it is mounted, for who is inside.
    dir: Dir,
}

impl Disk {
    /// A disk with so much on it already, or nothing, with the reason on stderr, where it cannot be had.
    async fn with_ballast(bytes: u64) -> Option<Disk> {
        let dir = Dir::new();
        fs::create_dir(dir.path("disk")).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={DISK_BYTES} tmpfs '{}' && echo mounted && exec cat",
            dir.text("disk")
        );
        let holder = Command::new("unshare")
            .args(["-rm", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let Ok(mut holder) = holder else {
            eprintln!("skipped: there is no `unshare` to make a small file system with");
            return None;
        };
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        if lines.next_line().await.unwrap().as_deref() != Some("mounted") {
            let said = holder.wait_with_output().await.unwrap().stderr;
            let said = String::from_utf8_lossy(&said).into_owned();
            eprintln!("skipped: a small file system may not be mounted here: {}", said.trim());
            return None;
        }
        let disk = Disk { holder, dir };
        if !disk.enter("true", &[]).status().await.is_ok_and(|status| status.success()) {
            eprintln!("skipped: `nsenter` may not enter a mount namespace here");
            return None;
        }
        fs::write(disk.path("ballast"), vec![0; bytes as usize]).unwrap();
        Some(disk)
    }

    /// A file on it, for us who are outside.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.dir.text(&format!("disk/{name}"));
        format!("/proc/{}/root{inside}", self.holder.id().expect("it holds on")).into()
    }

    /// A program that is inside.
    fn enter(&self, program: &str, arguments: &[&str]) -> Command {
        let holder = self.holder.id().expect("it holds on").to_string();
        let enter = ["-t", &holder, "-U", "-m", "--preserve-credentials", program];
        command("nsenter".as_ref(), &[&enter[..], arguments].concat())
    }

    fn data(&self) -> String {
        self.dir.text("disk/data")
    }

    /// A scheduler with its store on it.
    fn scheduler(&self, address: &str, reserve: &str) -> Process {
        let data = self.data();
        let arguments = ["scheduler", "--listen", address, "--data", &data, "--disk-reserve", reserve];
        Process::of(self.enter(HEADWATER, &arguments))
    }

    fn make_room(&self) {
        fs::remove_file(self.path("ballast")).unwrap();
    }

    fn free_bytes(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path("")).unwrap();
        found.f_bavail * found.f_frsize
    }
}

fn text(who: u64, number: u64) -> String {
    format!("{who} {number} {:>PAD$}", "")
}

fn parse(text: &str) -> (u64, u64) {
    let mut words = text.split(' ').map(|word| word.parse().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

/// Appends until it is refused; answers how many were acknowledged, and what was said then; nothing when
/// there is nobody any more to say anything.
async fn append_until_refused(client: &Client, who: u64, from: u64) -> (u64, Option<Error>) {
    let channel = client.channel::<String>("notes").await.unwrap();
    let mut next = from;
    loop {
        // Some of them in flight.
        let appends: Vec<_> = (next..next + 8).map(|n| channel.append_value(&text(who, n))).collect();
        let mut refused = None;
        for append in appends {
            match timeout(SILENCE, append).await {
                Ok(Ok(_)) if refused.is_none() => next += 1,
                // Room was seen to be too little in between, and not the other way round.
                Ok(Ok(_)) => panic!("one was taken behind one that was refused"),
                Ok(Err(error)) => refused = refused.or(Some(error)),
                Err(_) => return (next - from, refused),
            }
        }
        if refused.is_some() {
            return (next - from, refused);
        }
    }
}

/// The line that says why a process failed. Before it may come that a client, who still asks, was sent
/// away; behind it, what sled logs while it is dropped.
fn error_of(stderr: &[String]) -> &str {
    let [line] = &stderr.iter().filter(|line| line.starts_with("error: ")).collect::<Vec<_>>()[..] else {
        panic!("more or less than one reason: {stderr:?}")
    };
    line
}

/// Puts other bytes into a file, where there is no room for another.
fn overwrite(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// All that is on the channel: who and which.
async fn all(client: &Client) -> Vec<(u64, u64)> {
    let channel = client.channel::<String>("notes").await.unwrap();
    let mut values = channel.from(Offset::Start).values();
    let expected = channel.len().await.unwrap();
    let mut found = Vec::new();
    while (found.len() as u64) < expected {
        let value = timeout(ANSWER, values.next()).await.expect("it is read").expect("it goes on").unwrap();
        found.push(parse(&value));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_nearly_full_refuses_appends_serves_readers_and_goes_on_when_there_is_room() {
    let Some(disk) = Disk::with_ballast(44 * MIB).await else { return };
    let address = free_address();
    let mut scheduler = disk.scheduler(&address, "48MiB");
    scheduler.said("listening on ").await;
    let client = Client::connect(&address).await.unwrap();
    let other = client.channel::<u64>("other").await.unwrap();
    let mut follower = client.channel::<String>("notes").await.unwrap().from(Offset::Start).values();
    let (acked, error) = append_until_refused(&client, 1, 0).await;
    assert!(acked > 100, "{acked}");
    let Some(Error::Rejected(Rejection::DiskLow { place, free_bytes, wanted_bytes })) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((place, *wanted_bytes), (&format!("sled store in {}", disk.data()), 54 * MIB));
    // sled takes 8 MiB at a time, more than once between two looks; and so does a start below.
    assert!((16 * MIB..48 * MIB).contains(free_bytes), "the reserve is there: {free_bytes}");
    scheduler.said("the disk is nearly full").await;

    // Everyone is told, and reading goes on; so does what adds nothing of its own.
    let at = |arguments: &[&str]| headwater(&[arguments, &["--connect", &address]].concat()).end();
    for refused in [&["channel", "append", "notes", "1"], &["channel", "append", "new", "1"]] {
        let said = at(refused).await.refusal();
        assert!(said.starts_with("the scheduler's disk is nearly full, "), "{said}");
        assert!(
            said.contains(&disk.data()) && said.ends_with("smaller --disk-reserve, and ask again"),
            "{said}"
        );
    }
    for number in 0..acked {
        let value = timeout(ANSWER, follower.next()).await.expect("it is read").unwrap().unwrap();
        assert_eq!(parse(&value), (1, number));
    }
    assert_eq!(at(&["channel", "list"]).await.lines().len(), 3, "with a header");
    other.stop().await.unwrap();

    // A start finds it so, too.
    assert_eq!(scheduler.interrupt().await.code, Some(0));
    let mut scheduler = disk.scheduler(&address, "48MiB");
    scheduler.said("listening on ").await;
    let refused = append_until_refused(&client, 1, acked).await;
    assert!(matches!(refused, (0, Some(Error::Rejected(Rejection::DiskLow { .. })))), "{refused:?}");
    assert_eq!(all(&client).await.len() as u64, acked);
    let left = disk.free_bytes();
    assert!(left > 16 * MIB, "{left}");

    disk.make_room();
    scheduler.said("the disk has room again").await;
    let channel = client.channel::<String>("notes").await.unwrap();
    assert_eq!(channel.append_value(&text(1, acked)).await.unwrap().offset, acked);
    let expected: Vec<_> = (0..=acked).map(|number| (1, number)).collect();
    assert_eq!(all(&client).await, expected);
    let ended = scheduler.interrupt().await;
    assert_eq!(ended.code, Some(0));
    let told = |words: &str| ended.stderr.iter().filter(|line| line.contains(words)).count();
    assert_eq!((told("nearly full"), told("room again")), (1, 1), "{:?}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_ends_the_scheduler_and_what_was_acknowledged_is_there_after_a_start() {
    let Some(disk) = Disk::with_ballast(80 * MIB).await else { return };
    let address = free_address();
    let mut scheduler = disk.scheduler(&address, "0");
    scheduler.said("listening on ").await;
    let mut writers = Vec::new();
    for who in 0..3 {
        let client = Client::connect(&address).await.unwrap();
        writers.push(tokio::spawn(async move { append_until_refused(&client, who, 0).await }));
    }
    let (mut acked, mut heard) = (Vec::new(), 0);
    for writer in writers {
        let (count, error) = writer.await.unwrap();
        acked.push(count);
        // What was not read any more waits for the next scheduler.
        let Some(error) = error else { continue };
        heard += 1;
        let words = error.to_string();
        assert!(words.contains("the log could not be written") && words.contains("is full"), "{words}");
        assert!(words.contains("start again: everything that was acknowledged is there"), "{words}");
    }
    assert!(heard > 0, "whoever waits for a commit that failed is told");
    assert!(acked.iter().sum::<u64>() > 100, "{acked:?}");
    let Ended { code, stderr, .. } = scheduler.end().await;
    assert_eq!(code, Some(1), "{stderr:?}");
    let full = format!("the disk of {} is full", disk.data());
    let said = error_of(&stderr);
    assert!(said.contains(&full), "{stderr:?}");
    assert!(!stderr.iter().any(|line| line.contains("panicked")), "{stderr:?}");

    // A start says what to do, and takes it for no damage.
    for _ in 0..2 {
        let Ended { code, stderr, .. } = disk.scheduler(&address, "0").end().await;
        let said = error_of(&stderr);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("is full: free some space there and start again"), "{said}");
    }
    let files = || fs::read_dir(disk.path("data")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = files().map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["head", "lock", "store"]);
    // Nor does it begin a repair for which there is no room, whatever sled says.
    let conf = fs::read(disk.path("data/store/conf")).unwrap();
    let other: Vec<u8> = conf.iter().map(|byte| byte ^ 1).collect();
    overwrite(&disk.path("data/store/conf"), &other);
    let ended = disk.scheduler(&address, "0").end().await;
    let said = error_of(&ended.stderr);
    assert!(
        ended.code == Some(1) && said.contains("is full: free some space there and start again"),
        "{said}"
    );
    assert_eq!(files().count(), 3);
    overwrite(&disk.path("data/store/conf"), &conf);

    disk.make_room();
    let mut scheduler = disk.scheduler(&address, "0");
    let recovered = scheduler.said("recovered from ").await;
    assert!(!recovered.contains("damage"), "{recovered}");
    scheduler.said("listening on ").await;
    let client = Client::connect(&address).await.unwrap();
    let there = all(&client).await;
    for (who, acked) in (0..).zip(acked) {
        let of_one: Vec<u64> = there.iter().filter(|(by, _)| *by == who).map(|(_, n)| *n).collect();
        let acknowledged: Vec<u64> = of_one.iter().copied().take_while(|number| *number < acked).collect();
        assert_eq!(acknowledged, (0..acked).collect::<Vec<_>>(), "{who}: all that was acknowledged");
        // Of the rest some were refused, and some were not read any more: those were sent again.
        assert!(of_one.is_sorted_by(|one, other| one < other), "{who}: in its order, each once: {of_one:?}");
    }
    client.channel::<String>("notes").await.unwrap().append_value(&text(9, 0)).await.unwrap();
    assert_eq!(scheduler.interrupt().await.code, Some(0));
    let data = disk.data();
    let verified = Process::of(disk.enter(HEADWATER, &["log", "verify", "--data", &data])).end().await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

//! What is refused, with what to do instead; and that nothing is left then, and nothing changed.

use std::fs;
use std::path::Path;

use headwater::protocol::version::STORE_VERSION;

use super::{error, names};
use crate::cluster::Cluster;
use crate::process::{Process, command, run};

/// Makes the store's head file say another version.
fn set_version(data: &Path, version: u8) {
    let head = data.join("head");
    let mut bytes = fs::read(&head).unwrap();
    bytes[4] = version;
    let checksum = crc32c::crc32c(&bytes[..32]);
    bytes[32..36].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&head, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_that_are_taken_or_not_to_be_had() {
    let cluster = Cluster::start().await;
    cluster.run(&["channel", "append", "notes", "1"]).await.only_line();
    let (data, backup) = (cluster.dir.text("data"), cluster.dir.text("backup"));
    fs::create_dir(cluster.dir.path("full")).unwrap();
    fs::write(cluster.dir.path("full/file"), "x").unwrap();
    // An empty directory is as good as none.
    fs::create_dir(&backup).unwrap();
    cluster.run(&["log", "backup", "--quiet", &backup]).await.only_line();
    let not_empty = "exists and is not an empty directory: name one that is empty, or not there yet";
    let holds = "holds a store already: name another directory, or move that one away first";
    for (dest, why) in [("full", not_empty), ("full/file", not_empty), ("backup", holds), ("data", holds)] {
        let dest = cluster.dir.text(dest);
        assert_eq!(
            cluster.run(&["log", "backup", "--quiet", &dest]).await.refusal(),
            format!("{dest} {why}")
        );
        assert_eq!(
            run(&["log", "restore", "--quiet", &backup, "--data", &dest]).await.refusal(),
            format!("{dest} {why}")
        );
    }
    let below_a_file = cluster.dir.text("full/file/backup");
    for dest in [below_a_file.as_str(), "/proc/backup"] {
        let said = cluster.run(&["log", "backup", "--quiet", dest]).await.refusal();
        assert!(said.starts_with(&format!("{dest} cannot be written: ")), "{said}");
    }
    assert_eq!(fs::read(cluster.dir.path("full/file")).unwrap(), b"x");
    assert_eq!(names(&cluster.dir.path("")), ["backup", "data", "full"]);

    let new = cluster.dir.text("new");
    let said = run(&["log", "backup", "--quiet", &new, "--data", &data]).await.refusal();
    let expected = "is in use: for a backup while its scheduler runs, say where that listens, with --connect, \
                    instead of --data";
    assert_eq!(said, format!("the store {data} {expected}"));
    let both = run(&["log", "backup", "--quiet", &new, "--data", &data, "--connect", &cluster.address]).await;
    assert!(both.code == Some(2) && both.stderr[0].contains("cannot be used with"), "{both:?}");
    // What the environment says of a scheduler is no order.
    let mut offline =
        command(Path::new(crate::process::HEADWATER), &["log", "backup", "--quiet", &new, "--data", &backup]);
    offline.env("HEADWATER_CONNECT", "127.0.0.1:1");
    Process::of(offline).end().await.only_line();
    let mut live = command(
        Path::new(crate::process::HEADWATER),
        &["log", "backup", "--quiet", &cluster.dir.text("other")],
    );
    live.env("HEADWATER_CONNECT", &cluster.address);
    Process::of(live).end().await.only_line();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_are_not_there_or_not_to_be_read() {
    let mut cluster = Cluster::start().await;
    cluster.run(&["channel", "append", "notes", "1"]).await.only_line();
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let (data, new, empty) = (cluster.dir.text("data"), cluster.dir.text("new"), cluster.dir.text("empty"));
    fs::create_dir(&empty).unwrap();
    for (from, why) in [
        (
            &empty,
            format!("there is no store in {empty}: name the directory that the scheduler keeps its log in"),
        ),
        (&new, format!("there is no store in {new}: name the directory that the scheduler keeps its log in")),
    ] {
        assert_eq!(run(&["log", "backup", "--quiet", &new, "--data", from]).await.refusal(), why);
        assert_eq!(run(&["log", "restore", "--quiet", from, "--data", &new]).await.refusal(), why);
    }
    assert_eq!(names(&cluster.dir.path("empty")), Vec::<String>::new());
    set_version(&cluster.dir.path("data"), 9);
    let newer = format!(
        "store version 9 is newer than {STORE_VERSION}: run a newer headwater, or restore a backup of version {STORE_VERSION}"
    );
    assert_eq!(run(&["log", "backup", "--quiet", &new, "--data", &data]).await.refusal(), newer);
    assert_eq!(run(&["log", "restore", "--quiet", &data, "--data", &new]).await.refusal(), newer);
    set_version(&cluster.dir.path("data"), 2);
    // A byte of the newest batches, wherever sled has them.
    let file = cluster.dir.path("data/store/db");
    let mut bytes = fs::read(&file).unwrap();
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, b"HWBT").collect();
    places.into_iter().for_each(|place| bytes[place + 70] ^= 1);
    fs::write(&file, bytes).unwrap();
    for command in [
        ["log", "restore", "--quiet", &data, "--data", &new],
        ["log", "backup", "--quiet", &new, "--data", &data],
    ] {
        let said = error(run(&command).await);
        assert!(said.starts_with(&format!("the store {data} is damaged")), "{said}");
        assert!(said.contains("log repair"), "{said}");
    }
    assert_eq!(names(&cluster.dir.path("")), ["data", "empty"]);
}

/// A file may not get longer than this, for who is started by it: as on a disk that is full.
#[cfg(unix)]
async fn with_little_room(arguments: &[&str]) -> crate::process::Ended {
    let script = "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\"";
    let mut shell = vec!["-c", script, crate::process::HEADWATER];
    shell.extend(arguments);
    Process::of(command(Path::new("sh"), &shell)).end().await
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_leaves_nothing() {
    let mut cluster = Cluster::start().await;
    for _ in 0..20 {
        cluster.run(&["channel", "append", "words", &"x".repeat(50_000)]).await.only_line();
    }
    let dest = cluster.dir.text("backup");
    let full = format!(
        "the disk of {dest} is full: free some space, or name a directory on a larger disk, and begin again"
    );
    let said =
        error(with_little_room(&["log", "backup", "--quiet", &dest, "--connect", &cluster.address]).await);
    assert_eq!(said, full);
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let data = cluster.dir.text("data");
    assert_eq!(error(with_little_room(&["log", "backup", "--quiet", &dest, "--data", &data]).await), full);
    assert_eq!(names(&cluster.dir.path("")), ["data"]);
}

//! `ops/Containerfile`, as far as that can be tried without an engine: what the image runs is run here, and what it asks whether
//! that is healthy, as they stand there. Only places and ports are others. docs/operations.md says which engines have built it.

use std::path::{Path, PathBuf};

use crate::cluster::Dir;
use crate::process::{Process, command, headwater};

const FILE: &str = include_str!("../../ops/Containerfile");

/// The words of each instruction that begins so; that of the health's is further to the right.
fn words(instruction: &str) -> Vec<Vec<String>> {
    let lines = FILE.lines().filter_map(|line| line.trim_start().strip_prefix(instruction));
    let read =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{instruction}{line}: {error}"));
    lines.map(read).collect()
}

/// The sources below `folder`, and what they include that is elsewhere.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let included = text.split("include_").skip(1).filter_map(|rest| {
                let rest = rest.strip_prefix("str!(\"").or_else(|| rest.strip_prefix("bytes!(\""))?;
                Some(folder.join(rest.split_once('"')?.0).canonicalize().unwrap())
            });
            found.extend(included);
            found.push(path);
        }
    }
}

async fn is_healthy(port: &str) -> bool {
    let asks: Vec<String> = words("CMD ")[0].iter().map(|word| word.replace("8787", port)).collect();
    let asks: Vec<&str> = asks.iter().map(String::as_str).collect();
    let ended = Process::of(command(Path::new(asks[0]), &asks[1..])).end().await;
    ended.code == Some(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_image_runs_is_healthy_while_it_lives_and_stops_in_order() {
    let dir = Dir::new();
    std::fs::write(dir.path("token"), "a token of some length, for all\n").unwrap();
    assert_eq!(words("ENTRYPOINT "), [["headwater"]]);
    let elsewhere = |word: &String| match word.as_str() {
        "0.0.0.0:8786" | "0.0.0.0:8787" => word.replace("8786", "0").replace("8787", "0"),
        "/var/lib/headwater" => dir.text("data"),
        "/run/secrets/headwater-token" => dir.text("token"),
        same => same.to_owned(),
    };
    let runs: Vec<String> = words("CMD ")[1].iter().map(elsewhere).collect();
    let mut scheduler = headwater(&runs.iter().map(String::as_str).collect::<Vec<_>>());
    let url = scheduler.said("HTTP on ").await;
    let port = url.rsplit(':').next().unwrap();
    assert!(is_healthy(port).await, "{url}");
    scheduler.signal("TERM").await;
    assert_eq!(scheduler.end().await.code, Some(0));
    assert!(!is_healthy(port).await);
}

#[test]
fn it_is_built_with_the_toolchain_that_the_package_asks_for() {
    let manifest = include_str!("../../Cargo.toml");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap();
    let wanted = wanted.trim_end_matches('"');
    assert!(FILE.contains(&format!("library/rust:{wanted}-")), "{wanted}");
    // One Debian for both, whose libc it needs.
    let images = FILE.lines().filter(|line| line.starts_with("FROM "));
    assert!(images.clone().count() == 2 && images.clone().all(|line| line.contains("bookworm")), "{FILE}");
}

#[test]
fn what_it_is_built_from_is_what_dockerignore_lets_through() {
    let ignore = include_str!("../../.dockerignore");
    let root = &Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap();
    // Nothing but what is named: neither `target` nor what else a clone has.
    assert!(ignore.lines().any(|line| line == "*"), "{ignore}");
    let through = ignore.lines().filter_map(|line| line.strip_prefix('!'));
    let through: Vec<PathBuf> = through.map(|path| root.join(path)).collect();
    for path in &through {
        assert!(path.exists(), "{path:?}");
    }
    // Cargo wants what the manifest names to be there, also what is not built.
    let named = ["Cargo.toml", "Cargo.lock", "macros/Cargo.toml", "benches/loops.rs", "examples/first.rs"];
    let mut needed: Vec<PathBuf> = named.iter().map(|path| root.join(path)).collect();
    let manifest = include_str!("../../Cargo.toml").lines();
    let paths = manifest.filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'));
    needed.extend(paths.map(|path| root.join(path)));
    // And the compiler what the sources include.
    for folder in ["src", "macros/src"] {
        sources(&root.join(folder), &mut needed);
    }
    assert!(needed.contains(&root.join("docs/openapi.json")), "routes.rs includes it");
    for path in needed {
        assert!(through.iter().any(|let_through| path.starts_with(let_through)), "{path:?}: {ignore}");
    }
}

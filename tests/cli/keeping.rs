//! What channels keep, from the shell.

use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_bounded_trimmed_pinned_and_shown() {
    let cluster = Cluster::start().await;
    let run = async |line: &str| cluster.run(&line.split(' ').collect::<Vec<_>>()).await;
    let created = run("channel create readings --max-elements 3 --max-age 7d").await.only_line();
    assert_eq!(
        created,
        "readings: offsets 0..1, 0 of 0 elements, 0 bytes, keeps at most 3 elements, 7d of age"
    );
    let again = run("channel create readings").await.refusal();
    assert!(again.starts_with("there is a channel `readings` already"), "{again}");
    run("channel append readings 1 2 3 4 5").await.lines();
    let read = run("channel tail readings --json").await.json();
    assert_eq!(read[0], json!({"marker": "trimmed", "from": 0, "first": 3}));
    assert_eq!(read.iter().filter_map(|row| row["value"].as_u64()).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!((&read[4]["kind"], &read[4]["cause"]), (&json!("trimmed"), &json!("max_elements")));

    let set = run("channel cursor commit readings billing 4 --pin 1h").await.only_line();
    assert_eq!(set, "billing is at 4 of readings");
    let moved = run("channel cursor commit readings billing 5 --from 1").await.refusal();
    assert!(moved.starts_with("cursor `billing` is at offset 4, not at 1"), "{moved}");
    let line = run("channel set readings --max-elements 1 --max-age none").await.only_line();
    assert!(line.contains("2 of 5 elements") && line.ends_with("keeps at most 1 element"), "{line}");
    let shown = run("channel show readings --json").await.json().remove(0);
    let digest = shown["digest"].clone();
    let expected = json!({
        "name": "readings", "log": 1, "first": 4, "head": 9, "elements": 5, "trimmed": 3, "bytes": 2,
        "stopped": false, "digest": digest, "subscribers": 0, "durability": "fsynced", "retention": {"max_elements": 1},
        "cursors": [{"name": "billing", "offset": 4, "lag": 2, "pin_ms": 3_600_000, "holds_back": true}],
        "groups": [], "pinned_by": ["billing"],
    });
    assert_eq!(shown, expected);
    let people = run("channel show readings").await.lines();
    assert!(people.contains(&"not trimmed  for the sake of billing".to_owned()), "{people:?}");
    run("channel cursor delete readings billing").await.only_line();
    assert!(run("channel cursor list readings --json").await.lines().is_empty());
    assert_eq!(run("channel show readings --json").await.json()[0]["trimmed"], 4, "nobody holds it back");

    let cleared = run("channel clear readings").await.only_line();
    assert!(cleared.contains("0 of 5 elements"), "{cleared}");
    let past = run("channel trim readings --before 500").await.refusal();
    assert!(past.starts_with("offset 500 is past the head of"), "{past}");
    run("channel stop readings").await.only_line();
    assert!(!run("channel resume readings").await.only_line().contains("stopped"));
    run("channel append readings 6").await.only_line();
    assert_eq!(run("channel delete readings").await.only_line(), "readings is deleted");
    assert!(run("channel show readings").await.refusal().starts_with("there is no channel `readings`"));
    // The same for programs.
    let made = run("channel create kept --max-elements 2 --json").await.json().remove(0);
    let digest = made["digest"].clone();
    let expected = json!({
        "name": "kept", "first": 0, "head": 1, "elements": 0, "trimmed": 0, "bytes": 0, "stopped": false,
        "digest": digest, "durability": "fsynced", "retention": {"max_elements": 2},
    });
    assert_eq!(made, expected);
    assert_eq!(
        run("channel set kept --max-age 1h --json").await.json()[0]["retention"]["max_age_ms"],
        3_600_000
    );
    assert_eq!(run("channel trim kept --before 1 --json").await.json()[0]["first"], 1);
    let stopped = run("channel stop kept --json").await.json().remove(0);
    assert_eq!(stopped, json!({"name": "kept", "stopped": true, "elements": 0, "digest": digest}));
    assert_eq!(run("channel resume kept --json").await.json()[0]["stopped"], false);
    let set = run("channel cursor commit kept c 1 --json").await.json().remove(0);
    assert_eq!(set, json!({"name": "c", "offset": 1}));
    for kind in ["cursor", "group", "producer"] {
        let forgotten = run(&format!("channel {kind} delete kept c --json")).await.json().remove(0);
        assert_eq!(forgotten, json!({"name": "c", "deleted": true}), "{kind}");
    }
    assert_eq!(run("channel clear kept --json").await.json()[0]["elements"], 0);
    let deleted = json!({"name": "kept", "deleted": true});
    assert_eq!(run("channel delete kept --json").await.json(), [deleted]);
    let nothing = run("channel set readings").await.refusal();
    assert!(nothing.starts_with("nothing to set"), "{nothing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_appends_are_acknowledged_is_set_and_shown_and_what_is_not_on_the_disk_is_read_on_request() {
    let cluster = Cluster::start().await;
    let run = async |line: &str| cluster.run(&line.split(' ').collect::<Vec<_>>()).await;
    let created = run("channel create gauge --buffered 1m").await.only_line();
    assert!(created.ends_with("keeps everything, buffered 1m"), "{created}");
    let durability = |rows: Vec<serde_json::Value>| rows[0]["durability"].clone();
    assert_eq!(durability(run("channel append gauge 1 --json").await.json()), json!("buffered 1m"));
    assert_eq!(durability(run("channel append gauge 2 --json --fsynced").await.json()), json!("fsynced"));
    assert_eq!(
        durability(run("channel append gauge 3 --json --buffered 2s").await.json()),
        json!("buffered 2s")
    );
    let read = run("channel tail gauge --undurable --json").await.json();
    assert_eq!(read.iter().filter_map(|row| row["value"].as_u64()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&read[0]["kind"], &read[0]["durability"]), (&json!("changed"), &json!("buffered 1m")));
    let people = run("channel show gauge").await.lines();
    assert!(people.contains(&"appends      buffered 1m".to_owned()), "{people:?}");
    let set = run("channel set gauge --fsynced --max-elements 2").await.only_line();
    assert!(set.ends_with("2 of 3 elements, 2 bytes, keeps at most 2 elements"), "{set}");
    assert_eq!(durability(run("channel show gauge --json").await.json()), json!("fsynced"));
}

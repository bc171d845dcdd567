//! Tasks from the shell: waited for and cancelled.

use headwater::client::Submission;
use headwater::protocol::task::TaskOptions;
use headwater::protocol::terms::{Tag, Term, Terms};
use serde_json::json;

use crate::cluster::Cluster;
use crate::retiring::{connect, submit_count, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_waited_for_and_cancelled() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let client = connect(&cluster.address).await;
    let [c, d, e] = ["c", "d", "e"];
    let first = submit_count(&client, c).await;
    let second = submit_count(&client, d).await;
    let third = submit_count(&client, e).await;
    for channel in [c, d] {
        wait_for(&client, channel, 1).await;
    }
    let open = cluster.run(&["task", "wait", c, d, "--timeout", "100ms"]).await;
    assert_eq!((open.code, &open.stdout[..]), (Some(1), &[][..]));
    let told = "error: 2 of 2 did not end within 100ms: they go on, wait again or for longer";
    assert_eq!(open.stderr, [told]);
    let wait = ["task", "wait", c, d, "--json"];
    let (waited, ()) = tokio::join!(cluster.run(&wait), async {
        client.channel::<u64>(c).await.unwrap().stop().await.unwrap();
        let cancelled = cluster.run(&["task", "cancel", d, "--json"]).await.json();
        assert_eq!(cancelled, [json!({ "key": second.key().to_string(), "status": "cancelled" })]);
    });
    let mut lines: Vec<_> = waited.stdout.iter().map(|line| crate::process::json(line)).collect();
    lines.sort_by_key(|line| line["key"].to_string());
    let expected = [(first.key(), "finished"), (second.key(), "cancelled")];
    let expected = expected.map(|(key, status)| json!({ "key": key.to_string(), "status": status }));
    assert_eq!(lines, expected);
    assert_eq!(
        (waited.code, &waited.stderr[..]),
        (Some(1), &["error: 1 of 2 did not finish: `headwater task show KEY` says why".to_owned()][..])
    );
    // One of them is enough.
    let line = cluster.run(&["task", "wait", e, c, "--first"]).await.only_line();
    assert_eq!(line, format!("{}  finished", first.key()));
    let line = cluster.run(&["task", "cancel", c]).await.only_line();
    assert_eq!(line, format!("{}  finished", first.key()), "it stays as it is");
    assert_eq!(cluster.run(&["task", "cancel", e]).await.only_line(), format!("{}  cancelled", third.key()));
    let refused = cluster.run(&["task", "cancel", "nobody"]).await.refusal();
    assert!(refused.starts_with("there is no task `nobody`: "), "{refused}");
    let refused = cluster.run(&["task", "wait", "nobody"]).await.refusal();
    assert!(refused.starts_with("there is no task `nobody`: "), "{refused}");
    // Tried again, it finds its channel stopped, and has counted as far as before.
    let retried = cluster.run(&["task", "retry", d, "--json"]).await.json();
    assert_eq!(retried[0]["key"], json!(second.key().to_string()));
    assert!(
        ["pending", "running"].map(|status| json!(status)).contains(&retried[0]["status"]),
        "{retried:?}"
    );
    client.channel::<u64>(d).await.unwrap().stop().await.unwrap();
    let line = cluster.run(&["task", "wait", d]).await.only_line();
    assert_eq!(line, format!("{}  finished", second.key()));
    let refused = cluster.run(&["task", "retry", d]).await.refusal();
    assert!(
        refused.ends_with(" is finished: only what has failed or was cancelled can be tried again"),
        "{refused}"
    );
    let refused = cluster.run(&["task", "retry", "nobody"]).await.refusal();
    assert!(refused.starts_with("there is no task `nobody`: "), "{refused}");
    let shown = cluster.run(&["task", "show", d, "--json"]).await.json().remove(0);
    assert_eq!(shown["status"], json!("finished"));
    let kinds: Vec<_> =
        shown["history"].as_array().unwrap().iter().map(|step| step["kind"].clone()).collect();
    let ends: Vec<_> =
        kinds.iter().filter(|kind| **kind != json!("started") && **kind != json!("held")).collect();
    assert_eq!(ends, [&json!("submitted"), &json!("cancelled"), &json!("renewed"), &json!("finished")]);
    let shown = cluster.run(&["task", "show", e, "--json"]).await.json().remove(0);
    let history = shown["history"].as_array().unwrap();
    let last = history.last().unwrap();
    assert_eq!((&shown["status"], &last["kind"]), (&json!("cancelled"), &json!("cancelled")));
    assert!(last["session"].is_u64(), "who cancelled it: {last}");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_found_by_tag_and_status_and_their_terms_are_shown() {
    let cluster = Cluster::start().await;
    let client = connect(&cluster.address).await;
    let submit = async |name: &str, tags: &[&str]| {
        let mut terms = Terms::default();
        terms.set(Term::Deadline { ms: 3_600_000 });
        tags.iter().for_each(|tag| terms.set(Term::Tag(Tag::new(tag).unwrap())));
        let submission = Submission {
            function: "rust:nobody::has".into(),
            version: 1,
            is_pure: false,
            arguments: vec![],
            options: TaskOptions { detach: true, ..TaskOptions::default() },
            terms,
            name: Some(name.into()),
            kept: Vec::new(),
        };
        client.submit_encoded::<()>(submission).await.unwrap()
    };
    let (a, b) = (submit("a", &["nightly", "slow"]).await, submit("b", &["nightly"]).await);
    a.cancel().await.unwrap();
    let listed = async |arguments: &[&str]| {
        let all = cluster.run(&[&["task", "list", "--json"], arguments].concat()).await.json();
        all.iter().map(|task| task["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let keys = [a.key().to_string(), b.key().to_string()];
    let [a, b] = [keys[0].as_str(), keys[1].as_str()];
    assert_eq!(listed(&["--tag", "nightly"]).await, [a, b]);
    assert_eq!(listed(&["--tag", "nightly", "--tag", "slow"]).await, [a]);
    assert_eq!(listed(&["--status", "pending"]).await, [b]);
    assert_eq!(listed(&["--status", "pending", "--status", "cancelled"]).await, [a, b]);
    assert!(listed(&["--status", "pending", "--tag", "slow"]).await.is_empty());
    // People see a header and nothing below it.
    assert_eq!(cluster.run(&["task", "list", "--tag", "nobody"]).await.lines().len(), 1);
    let bad = cluster.run(&["task", "list", "--tag", "two words"]).await;
    assert_eq!(bad.code, Some(2));
    assert!(bad.stderr[0].contains("`two words` cannot name a tag"), "{:?}", bad.stderr);
    let shown = cluster.run(&["task", "show", "b", "--json"]).await.json().remove(0);
    assert_eq!(shown["tags"], json!(["nightly"]));
    assert!(shown["deadline_at"].as_str().unwrap().ends_with('Z'), "{shown}");
    let submitted = &shown["history"][0];
    assert_eq!((&submitted["deadline_ms"], &submitted["tags"]), (&json!(3_600_000), &json!(["nightly"])));
    let people = cluster.run(&["task", "show", "b"]).await.lines();
    assert!(people.contains(&"tags       nightly".to_owned()), "{people:?}");
    assert!(people.iter().any(|line| line.starts_with("deadline   20")), "{people:?}");
    let shown = cluster.run(&["task", "show", "a", "--json"]).await.json().remove(0);
    assert_eq!(shown.get("deadline_at"), None, "it is over");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_the_name_of_one_task_and_the_hash_of_another_is_that_of_none() {
    let cluster = Cluster::start().await;
    let client = connect(&cluster.address).await;
    let (one, two) =
        (client.scatter(&1).key("one").await.unwrap(), client.scatter(&2).key("two").await.unwrap());
    let (mixed, other) = (format!("one-{}", two.key().id), format!("three-{}", two.key().id));
    for command in ["show", "explain", "wait", "cancel", "retry"] {
        let refused = cluster.run(&["task", command, &mixed]).await.refusal();
        let [one, two] = [one.key(), two.key()];
        let told = format!(
            "there is no task `{mixed}`: `{two}` has that hash, and `{one}` that name: give one of these"
        );
        assert_eq!(refused, told, "{command}");
    }
    let refused = cluster.run(&["task", "show", &other]).await.refusal();
    let found = format!("`{}` has that hash; `headwater task list` shows those there are", two.key());
    assert_eq!(refused, format!("there is no task `{other}`: {found}"));
    for key in [&two.key().to_string(), "two"] {
        let shown = cluster.run(&["task", "show", key, "--json"]).await.json().remove(0);
        assert_eq!(shown["key"], json!(two.key().to_string()));
    }
    client.close().await;
}

//! Tasks from the shell: waited for and cancelled.

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
    assert!(refused.starts_with("there is no task nobody-"), "{refused}");
    let refused = cluster.run(&["task", "wait", "nobody"]).await.refusal();
    assert!(refused.starts_with("there is no task nobody-"), "{refused}");
    let shown = cluster.run(&["task", "show", d, "--json"]).await.json().remove(0);
    let history = shown["history"].as_array().unwrap();
    let last = history.last().unwrap();
    assert_eq!((&shown["status"], &last["kind"]), (&json!("cancelled"), &json!("cancelled")));
    assert!(last["session"].is_u64(), "who cancelled it: {last}");
    client.close().await;
}

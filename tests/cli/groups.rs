//! Groups from the shell.

use std::collections::BTreeSet;

use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_share_a_channel_and_a_third_gets_what_nobody_does() {
    let cluster = Cluster::start().await;
    let run = async |line: &str| cluster.run(&line.split(' ').collect::<Vec<_>>()).await;
    run("channel append orders tea milk rice salt").await.lines();
    let some = run("channel group join orders packers --count 1 --json").await.json();
    let expected = json!({
        "offset": 0, "time": some[0]["time"], "kind": "appended", "value": "tea", "index": 0, "attempt": 1
    });
    assert_eq!(some, [expected]);
    let listed = run("channel group list orders --json").await.json();
    let expected = json!({
        "name": "packers", "next": 2, "lag": 3, "leased": 0, "waiting": 1, "members": 0, "lease_ms": 30_000,
        "pin_ms": 0, "holds_back": false
    });
    assert_eq!(listed, [expected]);
    let people = run("channel group list orders").await.lines();
    assert_eq!(people, ["GROUP    LAG  LEASED  WAITING  MEMBERS", "packers    3       0        1        0"]);
    run("channel stop orders").await.only_line();
    let join = "channel group join orders packers --lease 1m --dead-letters dead --attempts 9 --json";
    let (one, other) = tokio::join!(run(join), run(join));
    let mut rest: BTreeSet<String> = BTreeSet::new();
    for row in one.json().iter().chain(&other.json()) {
        // Milk was leased to the first, too, which left before it tried it.
        assert_eq!(row["attempt"], 1, "{row}");
        assert!(rest.insert(row["value"].to_string()), "twice: {row}");
    }
    assert_eq!(rest.len(), 3);
    let shown = run("channel show orders --json").await.json().remove(0);
    let group = &shown["groups"][0];
    assert_eq!(
        (&group["lag"], &group["dead_letters"], &group["attempts_max"]),
        (&json!(0), &json!("dead"), &json!(9))
    );
    let people = run("channel show orders").await.lines();
    let line =
        "group        packers: 0 members, lag 0, of which 0 leased and 0 to be leased again".to_owned();
    assert!(people.contains(&line), "{people:?}");
    let refused = run("channel group join orders packers --lease 1ms").await.refusal();
    assert!(refused.starts_with("a lease of 1 ms: give one from 100 ms"), "{refused}");
    assert_eq!(
        run("channel group delete orders packers").await.only_line(),
        "packers of orders is forgotten"
    );
    assert!(run("channel group list orders --json").await.lines().is_empty());
    assert!(run("channel group list nothing").await.refusal().starts_with("there is no channel `nothing`"));
}

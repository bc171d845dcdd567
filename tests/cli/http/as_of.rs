//! Looking back: what is told of another time is what was told then.

use serde_json::{Value, json};

use super::Site;

/// What is told of everything, now or before an offset.
async fn told(site: &Site, at: Option<u64>) -> Vec<Value> {
    let at = at.map(|at| format!("?at={at}")).unwrap_or_default();
    let mut all = Vec::new();
    for path in ["overview", "channels", "tasks", "channels/a", "channels/b", "tasks/first", "tasks/second"] {
        let (_, mut answer) = site.ask(&[], &format!("/api/v1/{path}{at}")).await;
        let answer_fields = answer.as_object_mut().expect("it is an object");
        // What only the running scheduler knows, and where it differs by itself.
        for now in ["as_of", "seq", "receipt", "subscribers", "kept_by"] {
            answer_fields.remove(now);
        }
        for task in answer.get_mut("tasks").and_then(Value::as_array_mut).into_iter().flatten() {
            task.as_object_mut().expect("it is an object").remove("kept_by");
        }
        all.push(answer);
    }
    all
}

async fn run(site: &Site, name: &str, channel: &str) {
    let program = json!({ "command": ["echo", name], "name": name, "output_channel": channel });
    assert_eq!(site.post(&program.to_string(), "/api/v1/tasks").await.0, 201);
    let (status, _) = site.ask(&[], &format!("/api/v1/tasks/{name}/result?wait_ms=30000")).await;
    assert_eq!(status, 200);
}

async fn head(site: &Site) -> u64 {
    site.ask(&[], "/api/v1/overview").await.1["tasks_head"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_then_is_told_of_then() {
    let mut site = Site::start(&["--worker-lease", "600s"]).await;
    site.joined(1).await;
    let mut moments = vec![(head(&site).await, told(&site, None).await)];
    run(&site, "first", "a").await;
    moments.push((head(&site).await, told(&site, None).await));
    run(&site, "second", "b").await;
    assert_eq!(site.post("1", "/api/v1/channels/a/values").await.0, 201);
    assert_eq!(site.ask(&["-X", "POST"], "/api/v1/channels/a/stop").await.0, 200);
    let at = head(&site).await;
    let (_, dated) = site.ask(&[], &format!("/api/v1/overview?at={at}")).await;
    assert_eq!(dated["as_of"]["offset"], at);
    moments.push((at, told(&site, None).await));
    assert_ne!(moments[1].1, moments[2].1);
    run(&site, "third", "c").await;
    for (at, then) in moments.iter().rev().chain(&moments) {
        assert_eq!(&told(&site, Some(*at)).await, then, "before {at}");
    }
    assert_eq!(moments[0].1[5]["error"]["code"], "unknown_task");
    // Behind a restart it is what it was.
    site.kill().await;
    site.start_again().await;
    for (at, then) in &moments {
        let mut then = then.clone();
        let again = told(&site, Some(*at)).await;
        // The store says where it is, and is where it was.
        assert_eq!(again[0]["store"], then[0]["store"]);
        assert_eq!(again[0]["starts"].as_array().unwrap().len(), 1, "the second start came later");
        then[0]["version"] = again[0]["version"].clone();
        assert_eq!(again, then, "before {at}, behind a restart");
    }
    let (_, now) = site.ask(&[], "/api/v1/overview").await;
    let epochs: Vec<_> = now["starts"].as_array().unwrap().iter().map(|start| &start["epoch"]).collect();
    assert_eq!(epochs, [2, 1]);
    // Each is where it says.
    for start in now["starts"].as_array().unwrap() {
        let place = format!("/api/v1/channels/$tasks/records?from={}&limit=1", start["offset"]);
        let (_, page) = site.ask(&[], &place).await;
        let record = &page["records"][0];
        assert_eq!(
            (&record["kind"], &record["epoch"], &record["time"]),
            (&json!("recovered"), &start["epoch"], &start["time"]),
            "{record}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_told_to_be_gone() {
    let bounds = ["--snapshot-records", "10", "--task-log-records", "10", "--task-log-age", "0"];
    let site = Site::start(&bounds).await;
    for n in 0.. {
        run(&site, &format!("task-{n}"), "a").await;
        let (status, answer) = site.ask(&[], "/api/v1/overview?at=0").await;
        if status == 410 {
            assert_eq!(answer["error"]["code"], "trimmed");
            break;
        }
        assert!(n < 500, "nothing is trimmed");
    }
    let at = head(&site).await;
    assert_eq!(site.ask(&[], &format!("/api/v1/overview?at={at}")).await.1["as_of"]["offset"], at);
}

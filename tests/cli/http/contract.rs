//! All that `docs/openapi.json` says can be asked, asked; and what comes back held against what it says comes back.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Site;

/// The file, and what of it was seen.
struct Contract {
    site: Site,
    api: Value,
    seen: BTreeSet<(String, String, String)>,
}

impl Contract {
    /// Asks, with values for what is in braces in the path, and checks what comes. Answers it.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        with: &[(&str, &str)],
        body: Option<&str>,
    ) -> (u16, Value) {
        let mut asked = path.to_owned();
        for (name, value) in with {
            match asked.contains(&format!("{{{name}}}")) {
                true => asked = asked.replace(&format!("{{{name}}}"), value),
                false => {
                    asked.push_str(&format!("{}{name}={value}", if asked.contains('?') { '&' } else { '?' }))
                }
            }
        }
        let mut options = vec!["-X", method];
        if let Some(body) = body {
            options.extend(["-H", "Content-Type: application/json", "-d", body]);
        }
        let (status, answer) = self.site.ask(&options, &asked).await;
        let place = (path.to_owned(), method.to_lowercase(), status.to_string());
        let mut response = &self.api["paths"][path][&place.1]["responses"][&place.2];
        if let Some(named) = response["$ref"].as_str() {
            response =
                self.api.pointer(named.strip_prefix('#').unwrap()).expect("what is referred to is there");
        }
        let mut schema = response["content"]["application/json"]["schema"].clone();
        assert!(schema.is_object(), "{method} {asked} answered {status}, which is not documented: {answer}");
        schema["components"] = self.api["components"].clone();
        let schema = jsonschema::validator_for(&schema).expect("it is a schema");
        if let Err(wrong) = schema.validate(&answer) {
            panic!("{method} {asked} answered {status} with what is not documented: {wrong}, in {answer}");
        }
        self.seen.insert(place);
        (status, answer)
    }
}

const CHANNEL: &str = "/api/v1/channels/{name}";
const TASK: &str = "/api/v1/tasks/{key}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_documented_is_what_comes() {
    let api = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let site = Site::start(&["--workers", "1", "--slots", "2", "--label", "here"]).await;
    let mut contract = Contract { site, api, seen: BTreeSet::new() };
    let c = &mut contract;
    for path in ["/healthz", "/readyz", "/openapi.json", "/api/v1/overview", "/api/v1/workers"] {
        assert_eq!(c.ask("GET", path, &[], None).await.0, 200);
    }
    let (_, workers) = c.ask("GET", "/api/v1/workers", &[], None).await;
    assert_eq!(
        (&workers["workers"][0]["slots"], &workers["workers"][0]["labels"]),
        (&json!(2), &json!(["here"]))
    );
    let (status, _) = c.site.ask_text(&[], "/metrics").await;
    assert_eq!(status, 200);
    c.seen.insert(("/metrics".to_owned(), "get".to_owned(), "200".to_owned()));
    // Where there is no token, any will do.
    assert_eq!(c.ask("POST", "/login", &[], Some(r#"{"token": "x"}"#)).await.0, 200);
    assert_eq!(c.ask("POST", "/login", &[], Some(r#"{"tokn": "x"}"#)).await.0, 400);
    assert_eq!(c.ask("POST", "/logout", &[], None).await.0, 200);
    channels(c).await;
    tasks(c).await;
    let head = c.ask("GET", "/api/v1/overview", &[], None).await.1["tasks_head"].as_u64().unwrap();
    let dated = ["/api/v1/overview", "/api/v1/workers", "/api/v1/channels", CHANNEL, "/api/v1/tasks", TASK];
    for (at, status) in [(head, 200), (head + 1_000, 416)] {
        let at = at.to_string();
        for path in dated {
            let with = [("at", at.as_str()), ("name", "notes"), ("key", "hello")];
            let with: Vec<_> =
                with.into_iter().filter(|(name, _)| *name == "at" || path.contains(name)).collect();
            let (got, answer) = c.ask("GET", path, &with, None).await;
            assert_eq!(
                (got, answer["as_of"]["offset"].as_u64()),
                (status, (status == 200).then_some(head)),
                "{answer}"
            );
        }
    }
    assert_eq!(c.ask("GET", "/api/v1/overview", &[("at", "now")], None).await.0, 400);
    let all = c.api["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys().filter(|method| *method != "parameters");
        methods.map(move |method| (path.clone(), method.clone()))
    });
    let seen: BTreeSet<_> = c.seen.iter().map(|(path, method, _)| (path.clone(), method.clone())).collect();
    let missed: Vec<_> = all.filter(|place| !seen.contains(place)).collect();
    assert!(missed.is_empty(), "nobody has asked {missed:?}");
}

async fn channels(c: &mut Contract) {
    let name = ("name", "notes");
    assert_eq!(c.ask("GET", CHANNEL, &[name], None).await.1["error"]["code"], "unknown_channel");
    assert_eq!(c.ask("PUT", CHANNEL, &[name], Some(r#"{"max_elements": 3}"#)).await.0, 201);
    assert_eq!(
        c.ask("PUT", CHANNEL, &[name], Some(r#"{"max_elements": 3}"#)).await.1["error"]["code"],
        "channel_exists"
    );
    assert_eq!(c.ask("PUT", CHANNEL, &[name], None).await.1["retention"], json!({ "max_elements": 3 }));
    assert_eq!(
        c.ask("PUT", CHANNEL, &[name], Some(r#"{"most": 3}"#)).await.1["error"]["code"],
        "bad_request"
    );
    let values = format!("{CHANNEL}/values");
    for n in 0..5_u64 {
        let (status, told) = c.ask("POST", &values, &[name], Some(&json!({ "n": n }).to_string())).await;
        assert_eq!((status, &told), (201, &json!({ "offset": told["offset"], "count": 1 })));
    }
    assert_eq!(c.ask("POST", &values, &[("name", "$tasks")], Some("1")).await.0, 403);
    assert_eq!(c.ask("POST", &values, &[name], Some("{")).await.0, 400);
    let large = format!("\"{}\"", "x".repeat(61_441));
    let file = c.site.dir.path("large");
    std::fs::write(&file, large).unwrap();
    let large = format!("@{}", file.display());
    assert_eq!(c.ask("POST", &values, &[name], Some(&large)).await.1["error"]["code"], "too_large");
    let records = format!("{CHANNEL}/records");
    let (_, page) = c.ask("GET", &records, &[name], None).await;
    let kept: Vec<_> =
        page["records"].as_array().unwrap().iter().filter_map(|row| row["value"]["n"].as_u64()).collect();
    assert_eq!((kept, &page["is_end"]), (vec![2, 3, 4], &json!(true)));
    for (from, status) in [("start", 200), ("last:1", 200), ("time:-1h", 200), ("soon", 400), ("99999", 416)]
    {
        assert_eq!(c.ask("GET", &records, &[name, ("from", from)], None).await.0, status, "{from}");
    }
    for wrong in [("limit", "0"), ("limit", "10001"), ("until", "x"), ("form", "0")] {
        assert_eq!(c.ask("GET", &records, &[name, wrong], None).await.0, 400, "{wrong:?}");
    }
    assert_eq!(c.ask("GET", &records, &[("name", "$tasks")], None).await.0, 200);
    assert_eq!(c.ask("POST", &format!("{CHANNEL}/stop"), &[name], None).await.1["elements"], 5);
    assert_eq!(c.ask("POST", &values, &[name], Some("1")).await.1["error"]["code"], "channel_stopped");
    assert_eq!(c.ask("POST", &format!("{CHANNEL}/resume"), &[name], None).await.1["stopped"], false);
    let head = c.ask("GET", CHANNEL, &[name], None).await.1["head"].as_u64().unwrap();
    let trim = json!({ "before": head }).to_string();
    assert_eq!(c.ask("POST", &format!("{CHANNEL}/trim"), &[name], Some(&trim)).await.1["trimmed"], 5);
    assert_eq!(c.ask("POST", &format!("{CHANNEL}/trim"), &[name], Some(r#"{"before": -1}"#)).await.0, 400);
    assert_eq!(c.ask("POST", &format!("{CHANNEL}/trim"), &[name], Some(r#"{"before": 999}"#)).await.0, 416);
    for what in ["stop", "resume"] {
        assert_eq!(c.ask("POST", &format!("{CHANNEL}/{what}"), &[("name", "%20")], None).await.0, 400);
        assert_eq!(c.ask("POST", &format!("{CHANNEL}/{what}"), &[("name", "a%2Fb")], None).await.0, 404);
    }
    std::fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
    for (method, path) in [
        ("PUT", CHANNEL.to_owned()),
        ("POST", format!("{CHANNEL}/trim")),
        ("POST", "/api/v1/tasks".to_owned()),
    ] {
        let name = if path.contains("{name}") { &[name][..] } else { &[] };
        assert_eq!(c.ask(method, &path, name, Some(&large)).await.0, 413, "{path}");
    }
    assert_eq!(c.ask("GET", "/api/v1/channels", &[], None).await.1["channels"][0]["name"], "notes");
    assert_eq!(c.ask("GET", "/api/v1/channels", &[("after", "notes")], None).await.1["channels"], json!([]));
    assert_eq!(c.ask("GET", "/api/v1/channels", &[("after", "%20")], None).await.0, 400);
}

async fn tasks(c: &mut Contract) {
    let submit = |program: Value| program.to_string();
    let script = |script: &str| json!({ "command": ["sh", "-c", script] });
    let (status, told) = c
        .ask("POST", "/api/v1/tasks", &[], Some(&submit(json!({
            "command": ["sh", "-c", "echo $NAME; cat; echo {key}"],
            "name": "hello", "env": { "NAME": "world" }, "stdin": "in", "cwd": "/", "tags": ["greeting"],
            "needs": ["cpus=0.1"], "on": ["label=here"], "prefer": ["worker=local-1"], "retries": 1, "backoff_ms": 10,
            "deadline_ms": 60000, "time_limit_ms": 30000, "grace_ms": 100, "priority": 3, "output_channel": "said",
        }))))
        .await;
    assert_eq!((status, &told["channel"]), (201, &json!("said")));
    let key = ("key", "hello");
    let (_, result) = c.ask("GET", &format!("{TASK}/result"), &[key, ("wait_ms", "30000")], None).await;
    assert_eq!(result["code"], 0, "{result}");
    let (_, said) = c.ask("GET", &format!("{CHANNEL}/records"), &[("name", "said")], None).await;
    let lines: Vec<_> =
        said["records"].as_array().unwrap().iter().filter_map(|row| row["value"].as_str()).collect();
    assert!(lines[0] == "world" && lines[1].starts_with("inhello-"), "{said}");
    let (_, shown) = c.ask("GET", TASK, &[key], None).await;
    assert_eq!((&shown["status"], &shown["tags"]), (&json!("finished"), &json!(["greeting"])));
    assert_eq!(shown["history"][0]["kind"], "submitted");
    assert!(c.ask("GET", &format!("{TASK}/explanation"), &[key], None).await.1["because"].is_string());
    assert_eq!(c.ask("POST", &format!("{TASK}/cancel"), &[key], None).await.1["status"], "finished");
    assert_eq!(c.ask("POST", &format!("{TASK}/retry"), &[key], None).await.0, 400);
    for (wrong, told) in [
        (json!({ "command": [] }), "is empty"),
        (json!({ "comand": ["ls"] }), "unknown field `comand`"),
        (json!({ "command": ["ls"], "needs": ["cpus"] }), "cpus"),
        (json!({ "command": ["ls"], "output_channel": "x", "no_output": true }), "exclude each other"),
    ] {
        let (status, answer) = c.ask("POST", "/api/v1/tasks", &[], Some(&submit(wrong))).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(told), "{answer}");
    }
    // One that fails, one that does not end, and one that is cancelled.
    let (_, failed) =
        c.ask("POST", "/api/v1/tasks", &[], Some(&submit(script("echo wrong >&2; exit 3")))).await;
    let failed = failed["key"].as_str().unwrap().to_owned();
    let (status, answer) =
        c.ask("GET", &format!("{TASK}/result"), &[("key", &failed), ("wait_ms", "30000")], None).await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("task_failed")));
    assert!(c.ask("GET", TASK, &[("key", &failed)], None).await.1["error"]["message"].is_string());
    assert_eq!(c.ask("POST", &format!("{TASK}/retry"), &[("key", &failed)], None).await.0, 200);
    let mut endless = script("sleep 1000");
    endless["no_output"] = true.into();
    let (_, told) = c.ask("POST", "/api/v1/tasks", &[], Some(&submit(endless))).await;
    let endless = told["key"].as_str().unwrap().to_owned();
    assert_eq!(told["channel"], json!(null));
    for wait in ["0", "50"] {
        let (status, answer) =
            c.ask("GET", &format!("{TASK}/result"), &[("key", &endless), ("wait_ms", wait)], None).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("not_ended")));
    }
    assert_eq!(
        c.ask("POST", &format!("{TASK}/cancel"), &[("key", &endless)], None).await.1["status"],
        "cancelled"
    );
    assert_eq!(c.ask("GET", &format!("{TASK}/result"), &[("key", &endless)], None).await.0, 410);
    for place in [TASK.to_owned(), format!("{TASK}/result"), format!("{TASK}/explanation")] {
        let error = &c.ask("GET", &place, &[("key", "nobody")], None).await.1["error"];
        assert_eq!(error["code"], "unknown_task");
        assert_eq!(error["message"], "there is no task `nobody`: it never was, or nobody keeps it any more");
    }
    let tasks = "/api/v1/tasks";
    let (_, page) = c.ask("GET", tasks, &[("limit", "1")], None).await;
    assert_eq!(page["tasks"].as_array().unwrap().len(), 1);
    let next = page["next"].as_u64().expect("there are more").to_string();
    assert_eq!(c.ask("GET", tasks, &[("from", &next)], None).await.1["tasks"][0]["key"], failed);
    assert_eq!(c.ask("GET", tasks, &[("status", "cancelled")], None).await.1["tasks"][0]["key"], endless);
    assert_eq!(
        c.ask("GET", tasks, &[("tag", "greeting")], None).await.1["tasks"].as_array().unwrap().len(),
        1
    );
    assert_eq!(c.ask("GET", tasks, &[("status", "asleep")], None).await.0, 400);
    for (words, keys) in [("HELLO", vec!["hello"]), ("nobody", vec![])] {
        let (_, page) = c.ask("GET", tasks, &[("contains", words)], None).await;
        let found = page["tasks"].as_array().unwrap().iter().map(|task| task["key"].as_str().unwrap());
        let found: Vec<_> = found.map(|key| key.split('-').next().unwrap()).collect();
        assert_eq!(found, keys, "{words}");
    }
    let all = c.ask("GET", tasks, &[("contains", "exec")], None).await.1["tasks"].as_array().unwrap().len();
    assert_eq!(
        all,
        c.ask("GET", tasks, &[], None).await.1["tasks"].as_array().unwrap().len(),
        "the function"
    );
}

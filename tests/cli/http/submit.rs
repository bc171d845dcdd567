//! Submitting over HTTP, where what is refused leaves nothing behind, and what comes of it.

use headwater::Client;
use serde_json::json;

use super::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_is_refused_and_whose_it_is_is_not_put_on_the_channel() {
    let site = Site::start(&[]).await;
    let client = Client::connect(&site.address).await.unwrap();
    let _value = client.scatter(&5).key("taken").await.unwrap();
    let program = json!({ "command": ["true"], "name": "taken", "output_channel": "a" });
    let (status, told) = site.post(&program.to_string(), "/api/v1/tasks").await;
    assert_eq!((status, &told["error"]["code"]), (409, &json!("key_taken")), "{told}");
    let (_, channel) = site.ask(&[], "/api/v1/channels/a").await;
    assert_eq!(channel["elements"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_would_take_much_of_the_schedulers_memory_is_refused() {
    let site = Site::start(&[]).await;
    let client = Client::connect(&site.address).await.unwrap();
    for (name, bytes, status) in [("some", 1 << 20, 200), ("much", 17 << 20, 413)] {
        let _value = client.scatter(&"x".repeat(bytes)).key(name).await.unwrap();
        let (got, told) = site.ask(&[], &format!("/api/v1/tasks/{name}/result?wait_ms=30000")).await;
        assert_eq!(got, status, "{name}: {}", told["error"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_needed_twice_or_cannot_be_is_refused_and_leaves_nothing() {
    let site = Site::start(&[]).await;
    for (needs, told) in [
        (&["cpus=1", "gpus=1", "cpus=2"][..], "`cpus` is needed twice: say once how much"),
        (&["cpus=1", "cpus=1"], "`cpus` is needed twice: say once how much"),
        (&["memory=500TiB"], "`500TiB` is too much: give a number like 2, 0.5 or 16GiB; "),
    ] {
        let program = json!({ "command": ["true"], "needs": needs, "output_channel": "a" });
        let (status, said) = site.post(&program.to_string(), "/api/v1/tasks").await;
        assert_eq!((status, &said["error"]["code"]), (400, &json!("bad_request")), "{said}");
        assert!(said["error"]["message"].as_str().unwrap().contains(told), "{said}");
    }
    let (_, tasks) = site.ask(&[], "/api/v1/tasks").await;
    assert_eq!(tasks["tasks"], json!([]));
    let (status, _) = site.ask(&[], "/api/v1/channels/a").await;
    assert_eq!(status, 404, "there is no channel");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_the_name_of_one_task_and_the_hash_of_another_is_that_of_none() {
    let site = Site::start(&[]).await;
    let client = Client::connect(&site.address).await.unwrap();
    let (one, two) =
        (client.scatter(&1).key("one").await.unwrap(), client.scatter(&2).key("two").await.unwrap());
    let mixed = format!("one-{}", two.key().id);
    for path in ["", "/result", "/explanation"] {
        let (status, told) = site.ask(&[], &format!("/api/v1/tasks/{mixed}{path}")).await;
        assert_eq!((status, &told["error"]["code"]), (404, &json!("unknown_task")), "{told}");
        let message = format!("there is no task `{mixed}`: `{}` has that hash", two.key());
        assert_eq!(told["error"]["message"], message);
    }
    for known in [one.key().to_string(), "one".to_owned(), format!("-{}", one.key().id)] {
        let (_, shown) = site.ask(&[], &format!("/api/v1/tasks/{known}")).await;
        assert_eq!(shown["key"], one.key().to_string(), "{known}");
    }
}

//! Submitting over HTTP: what is refused leaves nothing behind.

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

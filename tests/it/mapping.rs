//! Many calls of one function at once.

use std::time::Duration;

use headwater::{Client, blocking, gather, task};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(60);

#[task]
fn twice(text: String) -> String {
    format!("{text}{text}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_are_submitted_together_and_come_in_their_order() {
    let client = Client::local().await.unwrap();
    // More than may be on their way at once.
    let calls = client.map(twice, (0..10_000).map(|n: u32| (n.to_string(),)));
    let futures = timeout(SOON, calls.each(|call| call.tag("many").retries(1))).await.unwrap().unwrap();
    let results = timeout(SOON, gather(&futures)).await.unwrap().unwrap();
    assert!(results.iter().enumerate().all(|(n, result)| *result == format!("{n}{n}")));
    assert_eq!(results.len(), 10_000);
    assert_eq!(futures[9_999].info().await.unwrap().tags[0].as_str(), "many");
    let none = client.map(twice, Vec::<(String,)>::new()).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_be_submitted_is_told_and_none_stays() {
    let client = Client::local().await.unwrap();
    let texts = ["a".to_owned(), "x".repeat(70_000), "b".to_owned()];
    let told = client.map(twice, texts.map(|text| (text,))).await.unwrap_err();
    assert!(told.to_string().starts_with("argument 1 is "), "{told}");
    let all_gone = async {
        while client.overview().await.unwrap().pending + client.overview().await.unwrap().finished > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, all_gone).await.expect("nobody holds them");
}

#[test]
fn the_same_goes_without_async() {
    let client = blocking::Client::local().unwrap();
    let futures =
        client.map(twice, ["a", "b"].map(|text| (text,))).each(|call| call.priority(3)).send().unwrap();
    let results: Vec<String> = futures.iter().map(|future| future.wait().unwrap()).collect();
    assert_eq!(results, ["aa", "bb"]);
}

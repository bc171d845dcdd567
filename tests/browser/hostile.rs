//! What is in logs is shown as what it is: text.

use serde_json::json;

use crate::{Page, Site};

const MARKUP: &str = "<img src=x onerror='window.hacked=1'><b>bold</b>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_values_with_markup_in_them_are_text() {
    let site = Site::up(&["--workers", "1"]).await;
    let mut page = Page::open(&site.url).await;
    let post = |path: &str, body: serde_json::Value| {
        format!(
            "fetch({}, {{ method: 'POST', body: {}, headers: {{ 'Content-Type': 'application/json' }} }})
                 .then((answer) => answer.status)",
            json!(path),
            json!(body.to_string())
        )
    };
    // A channel's name has no markup; but what a path takes for its own.
    let name = "ä/b:c";
    let values = format!("/api/v1/channels/{}/values", encoded(name));
    assert_eq!(page.value(&post(&values, json!({ MARKUP: MARKUP }))).await, 201);
    let program = json!({
        "command": ["sh", "-c", "echo \"$0\" >&2; exit 1", MARKUP], "name": MARKUP, "tags": ["tag"], "output_channel": name,
    });
    assert_eq!(page.value(&post("/api/v1/tasks", program)).await, 201);
    page.until_text("[aria-label='Channels by activity'] td a", name).await;
    page.value("location.hash = '#/channels'").await;
    page.until_text("table[aria-label=Channels] td a", name).await;
    page.click("table[aria-label=Channels] tbody a").await;
    page.until_text("h1 code", name).await;
    page.until_text("table[aria-label=Elements] td", "window.hacked=1").await;
    page.until_text("table[aria-label=Elements] .failed", "exit").await;
    page.value("location.hash = '#/tasks'").await;
    page.until_text("table[aria-label=Tasks] td a", MARKUP).await;
    page.value("document.querySelector('table[aria-label=Tasks] tbody a').click()").await;
    page.until_text("h1 code", MARKUP).await;
    page.until_text("pre", "window.hacked=1").await;
    page.until_text("table[aria-label=Events] td", "window.hacked=1").await;
    page.value("location.hash = '#/stream'").await;
    page.until_text(".function", MARKUP).await;
    page.value("location.hash = '#/channel/%24tasks'").await;
    page.until_text("tbody td", "window.hacked=1").await;
    assert_eq!(
        page.value("[typeof window.hacked, document.querySelectorAll('main img, main b').length].join()")
            .await,
        "undefined,0"
    );
    page.end().await;
}

/// As a part of a path.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

//! What changes a channel is asked for once more.

use serde_json::Value;

use crate::{Page, Site};

/// The channel, as the API has it.
async fn channel(page: &mut Page) -> Value {
    page.value("fetch('/api/v1/channels/notes').then((answer) => answer.json())").await
}

const TURN: &str = "main .controls button:nth-child(1)";
const TRIM: &str = "main .controls button:nth-child(2)";
const NO: &str = "dialog button[type=button]";
const YES: &str = "dialog button[type=submit]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_stop_to_resume_and_to_trim_are_asked_for_once_more() {
    let site = Site::up(&["--workers", "0"]).await;
    let mut page = Page::open(&site.url).await;
    page.value(
        "fetch('/api/v1/channels/notes/values', { method: 'POST', body: '1\\n2\\n3\\n',
               headers: { 'Content-Type': 'application/x-ndjson' } }).then((answer) => answer.status)",
    )
    .await;
    page.value("location.hash = '#/channel/notes'").await;
    page.until("document.querySelectorAll('tr[data-offset]').length === 3").await;
    page.click(TURN).await;
    page.until_text("dialog h2", "Stop notes?").await;
    page.click(NO).await;
    page.until("!document.querySelector('dialog')").await;
    assert_eq!(channel(&mut page).await["stopped"], false);
    page.click(TURN).await;
    page.click(YES).await;
    page.until_text("dl .state", "stopped").await;
    assert_eq!(channel(&mut page).await["stopped"], true);
    page.until_text(TURN, "Resume…").await;
    page.click(TURN).await;
    page.until_text("dialog h2", "Resume notes?").await;
    page.click(YES).await;
    page.until_text("dl .state", "open").await;
    page.click(TRIM).await;
    page.until_text("dialog h2", "Trim notes?").await;
    page.until("document.activeElement.type === 'number'").await;
    page.value("document.activeElement.value = ''").await;
    page.type_text("2").await;
    assert_eq!(channel(&mut page).await["first"], 0, "nothing is done before it is confirmed");
    page.click(YES).await;
    page.until_text("dl dd", "2 to ").await;
    assert_eq!(channel(&mut page).await["first"], 2);
    page.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_told_where_it_was_asked() {
    let site = Site::up(&["--workers", "0"]).await;
    let mut page = Page::open(&format!("{}/#/channel/nobody", site.url)).await;
    // The browser itself notes that something was not found.
    page.requests_may_fail();
    page.until_text("[role=alert]", "nobody").await;
    // Of what is not there nothing else is said: nobody waits for it, and nothing can be done to it.
    let rest = "[...document.querySelectorAll('main :is(section, button, table, .quiet)')]
        .filter((node) => node.checkVisibility()).length";
    page.until(&format!("{rest} === 0")).await;
    page.value("location.hash = '#/task/nobody'").await;
    page.until_text("[role=alert]", "there is no task `nobody`: it never was").await;
    page.until_text("[role=alert]", "(Tasks lists those that are kept)").await;
    page.until("!/GET|POST|api/.test(document.querySelector('[role=alert]').textContent)").await;
    page.until(&format!("{rest} === 0")).await;
    page.value("location.hash = '#/channel/nobody'").await;
    page.until_text("[role=alert]", "nobody").await;
    // It is there when somebody makes it, without being loaded again.
    page.value(
        "fetch('/api/v1/channels/nobody/values', { method: 'POST', body: '7',
               headers: { 'Content-Type': 'application/json' } }).then((answer) => answer.status)",
    )
    .await;
    page.until_text("table[aria-label=Elements] td", "7").await;
    // A place that is not there is told for as long as nobody asks for another, and what was shown stays.
    page.click("#place").await;
    page.type_text("99").await;
    page.press("Enter").await;
    page.until_text("[role=alert]", "offset 99 is past the head").await;
    page.value("new Promise((done) => setTimeout(done, 2500))").await;
    page.until_text("[role=alert]", "offset 99 is past the head").await;
    page.until_text("table[aria-label=Elements] td", "7").await;
    page.until_text("#following", "Following").await;
    page.value("location.hash = '#/somewhere'").await;
    page.until_text("h1", "There is no page at #/somewhere").await;
    page.value("location.hash = '#/constructor'").await;
    page.until_text("h1", "There is no page at #/constructor").await;
    page.end().await;
}

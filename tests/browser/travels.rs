//! Time travel: the pages as of an offset of the task log.

use crate::{Page, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_as_of_then_is_not_to_be_taken_for_now() {
    let site = Site::demo().await;
    let mut page = Page::open(&site.url).await;
    let finished = "Number(document.querySelector('.figure.finished b').textContent.replaceAll(',', ''))";
    page.until(&format!("{finished} > 10")).await;
    page.click("#travel-open").await;
    page.until("document.querySelector('#offset').checkVisibility()").await;
    let told = "fetch('/api/v1/overview?at=20').then((answer) => answer.json())";
    if page.value(told).await["as_of"].is_null() {
        page.until_text("#travel [role=alert]", "does not tell of the past").await;
        page.until("document.querySelector('#offset').disabled").await;
        page.end().await;
        return;
    }
    page.until("!document.querySelector('#offset').disabled").await;
    page.value(
        "(() => { const slider = document.querySelector('#offset'); slider.value = 60; slider.focus();
           slider.dispatchEvent(new Event('input')); })()",
    )
    .await;
    page.until_text("#offset-time", "As of offset 60").await;
    page.until_text("#offset-time", "not live").await;
    page.until("document.body.classList.contains('past')").await;
    let told = page.value("fetch('/api/v1/overview?at=60').then((answer) => answer.json())").await;
    let then = &told["tasks"]["finished"];
    page.until(&format!("{finished} === {then}")).await;
    page.press("ArrowLeft").await;
    page.until_text("#offset-time", "As of offset 59").await;
    page.value("location.hash = '#/tasks'").await;
    let all =
        "fetch('/api/v1/tasks?at=59').then((answer) => answer.json()).then(({ tasks }) => tasks.length)";
    let all = page.value(all).await;
    page.until(&format!("document.querySelectorAll('tbody tr').length === {all}")).await;
    page.value("location.hash = '#/channel/adds'").await;
    page.until_text("#following", "as they were then").await;
    page.value("location.hash = '#/workers'").await;
    page.until_text("h1", "Workers").await;
    page.value("location.hash = '#/stream'").await;
    page.until_text("main .quiet", "Attempts until then").await;
    page.value("location.hash = '#/'").await;
    page.value("[...document.querySelectorAll('#travel button')].find((button) => button.textContent === 'Back to live').click()")
        .await;
    page.until("!document.body.classList.contains('past')").await;
    page.until(&format!("{finished} > {then}")).await;
    page.end().await;
}

//! Time travel: the pages as of an offset of the task log.

use serde_json::Value;

use crate::{Page, Site};

/// What the API says of an offset, once the page says that it is as of then.
async fn seen_as_of(page: &mut Page, offset: u64) -> Value {
    let asked = format!("fetch('/api/v1/overview?at={offset}').then((answer) => answer.json())");
    let then = page.value(&asked).await;
    page.until_text("#offset-time", &format!("As of offset {},", then["as_of"]["offset"])).await;
    page.until_text("#offset-time", "not live").await;
    then
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_as_of_then_is_not_to_be_taken_for_now() {
    let site = Site::demo().await;
    let mut page = Page::open(&site.url).await;
    let finished = "Number(document.querySelector('.figure.finished b').textContent.replaceAll(',', ''))";
    page.until(&format!("{finished} > 10")).await;
    page.click("#travel-open").await;
    page.until("document.querySelector('#offset').checkVisibility()").await;
    page.value(
        "(() => { const slider = document.querySelector('#offset'); slider.value = 60; slider.focus();
           slider.dispatchEvent(new Event('input')); })()",
    )
    .await;
    let then = seen_as_of(&mut page, 60).await;
    page.until("document.body.classList.contains('past')").await;
    page.until(&format!("{finished} === {}", then["tasks"]["finished"])).await;
    page.press("ArrowLeft").await;
    let then = seen_as_of(&mut page, 59).await;
    page.until(&format!("{finished} === {}", then["tasks"]["finished"])).await;
    page.value("location.hash = '#/tasks'").await;
    let all =
        "fetch('/api/v1/tasks?at=59').then((answer) => answer.json()).then(({ tasks }) => tasks.length)";
    let all = page.value(all).await;
    page.until(&format!("document.querySelectorAll('tbody tr').length === {all}")).await;
    page.value("location.hash = '#/channel/adds'").await;
    page.until_text("#following", "as they were then").await;
    page.value("location.hash = '#/workers'").await;
    page.until_text("[aria-label='Workers'] .state", "joined").await;
    // What they had and who had paused is in no log, and is not made up.
    let columns = "[...document.querySelectorAll('table[aria-label=Workers] tbody tr')].map((row) => row.cells[2].textContent)";
    page.until(&format!("{columns}.join() === '–,–'")).await;
    page.until_text("table[aria-label='What demo-1 runs'] td", "–").await;
    page.until("document.title.startsWith('offset ') && document.title.includes('not live')").await;
    page.value("location.hash = '#/stream'").await;
    page.until_text("main .quiet", "Attempts until then").await;
    page.value("location.hash = '#/'").await;
    page.value("[...document.querySelectorAll('#travel button')].find((button) => button.textContent === 'Back to live').click()")
        .await;
    page.until("!document.body.classList.contains('past')").await;
    page.until("document.title === 'Overview · Headwater'").await;
    page.until(&format!("{finished} > {}", then["tasks"]["finished"])).await;
    page.until_text("[aria-label='Workers'] .state", "connected").await;
    page.end().await;
}

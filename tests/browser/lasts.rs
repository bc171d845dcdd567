//! A page that stays open while the scheduler is killed and started again.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::process::soon;
use crate::{Page, Site};

/// Appends numbers, from the page.
async fn append(page: &mut Page, numbers: std::ops::Range<u64>) {
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    let script = format!(
        "(async () => {{
            const headers = {{ 'Content-Type': 'application/x-ndjson' }};
            const sent = await fetch('/api/v1/channels/numbers/values', {{ method: 'POST', headers, body: {} }});
            return sent.status;
        }})()",
        json!(lines)
    );
    assert_eq!(page.value(&script).await, 201);
}

/// Has the page note each record that comes to it, with what it is shown by left as it is.
const NOTE: &str = "(() => {
    window.came = [];
    const listen = EventSource.prototype.addEventListener;
    EventSource.prototype.addEventListener = function (type, take, ...rest) {
        const noted = (event) => { window.came.push(Number(event.lastEventId)); take(event); };
        listen.call(this, type, type === 'record' ? noted : take, ...rest);
    };
})()";

/// Answers like a scheduler that is there and not ready, until it was asked for records.
async fn not_ready_until_records_are_asked(url: &str) {
    let listener = TcpListener::bind(url.strip_prefix("http://").unwrap()).await.unwrap();
    let mut asked = false;
    while !asked {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = socket.read(&mut head).await.unwrap();
        asked = String::from_utf8_lossy(&head[..length]).contains("/records");
        let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\
                      Content-Length: 2\r\n\r\n{}";
        // A browser that has gone away asks again.
        let _ = socket.write_all(answer.as_bytes()).await;
    }
}

/// The values that are shown, the oldest first.
const VALUES: &str = "[...document.querySelectorAll('tr[data-offset]')].map((row) => row.cells[4].textContent).reverse().join()";

fn numbers(count: u64) -> String {
    (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_followed_goes_on_behind_a_restart_without_a_gap_and_without_being_loaded_again() {
    let mut site = Site::up(&["--workers", "0"]).await;
    let mut page = Page::open(&site.url).await;
    page.value("window.loaded = 'once'").await;
    page.value(NOTE).await;
    append(&mut page, 0..3).await;
    page.value("location.hash = '#/channel/numbers'").await;
    page.until(&format!("{VALUES} === '{}'", numbers(3))).await;
    append(&mut page, 3..5).await;
    page.until(&format!("{VALUES} === '{}'", numbers(5))).await;
    page.requests_may_fail();
    let mut count = 5;
    for is_there in [false, true] {
        site.kill().await;
        page.until_text("#lost", "Not connected, trying again").await;
        page.until("Number(getComputedStyle(document.querySelector('main')).opacity) < 0.6").await;
        page.until_text("#following", "Waiting for the scheduler").await;
        assert_eq!(page.value(VALUES).await, numbers(count).as_str(), "what was seen last is still there");
        if is_there {
            // The browser gives up by itself when it is refused: the page has to ask again.
            soon(not_ready_until_records_are_asked(&site.url)).await;
        }
        site.start_again().await;
        page.until("document.getElementById('lost').hidden").await;
        page.until_text("#link", "connected").await;
        append(&mut page, count..count + 4).await;
        count += 4;
        page.until(&format!("{VALUES} === '{}'", numbers(count))).await;
        page.until_text("#following", "Following").await;
    }
    assert_eq!(page.value("window.came.join()").await, numbers(count).as_str(), "each came once, in order");
    assert_eq!(page.value("window.loaded").await, "once");
    page.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_of_a_demo_goes_on_behind_a_restart() {
    let mut site = Site::demo().await;
    let mut page = Page::open(&site.url).await;
    page.value("window.loaded = 'once'").await;
    page.until_text("[aria-label='Workers'] .state", "connected").await;
    page.requests_may_fail();
    site.kill().await;
    page.until_text("#lost", "Not connected").await;
    site.start_again().await;
    page.until_text("[aria-label='What the last start found'] dd", "requeued").await;
    page.until("document.querySelector('[aria-label=\"What the last start found\"] dd').textContent === '2'")
        .await;
    let finished = "Number(document.querySelector('.figure.finished b').textContent.replaceAll(',', ''))";
    let before = page.value(finished).await;
    page.until(&format!("{finished} > {before}")).await;
    assert_eq!(page.value("window.loaded").await, "once");
    page.end().await;
}

/// The epochs of the starts that the overview lists.
const EPOCHS: &str = "[...document.querySelectorAll('table[aria-label=Starts] tbody tr')].map((row) => row.cells[0].textContent).join()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_starts_are_listed_and_of_another_time_those_until_then() {
    let mut site = Site::up(&["--workers", "0"]).await;
    let mut page = Page::open(&site.url).await;
    page.requests_may_fail();
    page.until(&format!("{EPOCHS} === '1'")).await;
    for starts in 2..=12 {
        site.kill().await;
        site.start_again().await;
        let newest_first: Vec<_> = (1..=starts).rev().take(10).map(|epoch| epoch.to_string()).collect();
        page.until(&format!("{EPOCHS} === '{}'", newest_first.join(","))).await;
    }
    page.until_text("table[aria-label=Starts] td:nth-child(4)", "0 kept, 0 requeued, 0 running").await;
    page.until_text("table[aria-label=Starts] td:nth-child(5)", "none").await;
    // Just before the receipt of the fourth, and just behind that of the third.
    let starts = page.value("fetch('/api/v1/overview').then((answer) => answer.json())").await;
    let fourth = starts["starts"][8]["offset"].as_u64().unwrap();
    page.value("document.querySelector('#travel-open').click()").await;
    page.value(&format!(
        "(() => {{ const slider = document.querySelector('#offset'); slider.value = {fourth};
           slider.dispatchEvent(new Event('input')); }})()"
    ))
    .await;
    page.until(&format!("{EPOCHS} === '3,2,1'")).await;
    page.until("document.querySelector('[aria-label=\"What the last start found\"] dd').textContent === '3'")
        .await;
    page.until_text("[aria-label='What the last start found']", "0 kept, 0 requeued, 0 running").await;
    page.end().await;
}

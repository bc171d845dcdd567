//! Light and dark, on a wide screen and on a phone; with a keyboard alone.

use crate::{Page, Site};

const PAGES: [&str; 8] = [
    "#/",
    "#/channels",
    "#/channel/adds",
    "#/tasks",
    "#/task/combine",
    "#/stream",
    "#/workers",
    "#/channel/%24tasks",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_fits_a_phone_and_a_wide_screen_in_light_and_dark() {
    let site = Site::demo().await;
    let mut page = Page::open(&site.url).await;
    page.until_text("#link", "connected").await;
    for place in PAGES {
        page.value(&format!("location.hash = '{place}'")).await;
        page.until("document.querySelectorAll('tbody tr, .attempt').length > 0").await;
        for width in [360, 1280] {
            page.size(width, 800).await;
            // Nothing of a row is off to the side, where nobody looks for it.
            let cut = "[...document.querySelectorAll('.scroll')]
                .filter((node) => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1)";
            page.until(&format!("{cut}.length === 0")).await;
            let mut backs = Vec::new();
            for scheme in ["light", "dark"] {
                page.scheme(scheme).await;
                page.until(&format!("document.documentElement.scrollWidth <= {width}")).await;
                backs.push(page.value("getComputedStyle(document.body).backgroundColor").await);
            }
            assert_ne!(backs[0], backs[1], "{place}");
        }
        // Each page is named, and so is each table, field and picture in it.
        assert_eq!(page.value("document.querySelectorAll('h1').length").await, 1, "{place}");
        let nameless = page
            .value(
                "[...document.querySelectorAll('input, select, table, [role=img], [role=region], section')]
                    .filter((node) => node.checkVisibility())
                    .filter((node) => !node.labels?.length && !node.hasAttribute('aria-label')
                        && !node.hasAttribute('aria-labelledby'))
                    .map((node) => node.outerHTML.slice(0, 80)).join()",
            )
            .await;
        assert_eq!(nameless, "", "{place}");
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyboard_reaches_all_of_it() {
    let site = Site::demo().await;
    let mut page = Page::open(&site.url).await;
    page.until_text("#link", "connected").await;
    page.press("Tab").await;
    assert_eq!(page.value("document.activeElement.id").await, "skip");
    assert_eq!(
        page.value("document.activeElement.getBoundingClientRect().left >= 0").await,
        true,
        "it is seen"
    );
    page.press("Enter").await;
    page.until("document.activeElement.id === 'main'").await;
    page.value("document.getElementById('skip').focus()").await;
    // The brand, the overview, the channels.
    for _ in 0..3 {
        page.press("Tab").await;
    }
    assert_eq!(page.value("document.activeElement.textContent").await, "Channels");
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(page.value(outline).await, "solid", "the focus is seen");
    page.press("Enter").await;
    page.until_text("h1", "Channels").await;
    page.until("document.activeElement.id === 'main'").await;
    // The filter, the task log, the table, and the first channel in it.
    page.until("document.querySelectorAll('tbody tr').length === 4").await;
    for _ in 0..4 {
        page.press("Tab").await;
    }
    assert_eq!(page.value("document.activeElement.textContent").await, "a");
    page.press("Enter").await;
    page.until_text("h1", "Channel a").await;
    page.until_text(".controls button:enabled", "Stop…").await;
    page.press("Tab").await;
    assert_eq!(page.value("document.activeElement.textContent").await, "Stop…");
    page.press("Enter").await;
    page.until("document.querySelector('dialog[open]')").await;
    assert_eq!(
        page.value("document.activeElement.textContent").await,
        "Cancel",
        "the harmless one has the focus"
    );
    page.press("Escape").await;
    page.until("!document.querySelector('dialog')").await;
    assert_eq!(page.value("document.activeElement.textContent").await, "Stop…", "one is where one was");
    page.end().await;
}

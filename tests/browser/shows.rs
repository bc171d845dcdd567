//! Each page shows a running demo.

use crate::{Page, Site};

/// The number that the page says somewhere.
async fn number(page: &mut Page, selector: &str) -> u64 {
    let script = format!("document.querySelector({selector:?}).textContent.replaceAll(',', '')");
    page.value(&script).await.as_str().unwrap().parse().unwrap()
}

const FINISHED: &str = ".figure.finished b";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_shows_a_running_demo_and_what_comes_without_being_loaded_again() {
    let site = Site::demo().await;
    let mut page = Page::open(&site.url).await;
    page.value("window.loaded = 'once'").await;
    overview(&mut page).await;
    channels(&mut page).await;
    one_channel(&mut page).await;
    one_task(&mut page).await;
    tasks(&mut page).await;
    stream(&mut page).await;
    workers(&mut page).await;
    the_task_log(&mut page).await;
    assert_eq!(page.value("window.loaded").await, "once");
    page.end().await;
}

async fn overview(page: &mut Page) {
    page.until_text("h1", "Overview").await;
    page.until_text("#link", "connected").await;
    page.until(&format!("parseInt(document.querySelector('{FINISHED}').textContent) > 0")).await;
    let before = number(page, FINISHED).await;
    page.until(&format!(
        "Number(document.querySelector('{FINISHED}').textContent.replaceAll(',', '')) > {before}"
    ))
    .await;
    page.until("document.querySelectorAll('.plot canvas').length === 3").await;
    let said = "document.querySelector('.plot').getAttribute('aria-label')";
    page.until(&format!("/records\\/s [1-9]/.test({said})")).await;
    for name in ["demo-1", "demo-2"] {
        page.until_text("[aria-label='Workers'] td", name).await;
    }
    page.until_text("[aria-label='Channels by activity'] td", "adds").await;
    page.until_text("[aria-label='What the last start found'] dd", "sled store in ").await;
}

async fn channels(page: &mut Page) {
    page.click("nav a[href='#/channels']").await;
    page.until_text("h1", "Channels").await;
    page.until("document.querySelectorAll('table[aria-label=Channels] tbody tr').length === 4").await;
    // The demo itself reads `adds`; who reads is asked channel by channel.
    page.until(
        "[...document.querySelectorAll('tbody tr')].some((row) => row.cells[0].textContent === 'adds' \
         && Number(row.cells[2].textContent) > 0 && row.cells[7].textContent === '1')",
    )
    .await;
    page.click("#filter").await;
    page.type_text("add").await;
    page.until("document.querySelectorAll('tbody tr').length === 1").await;
    page.click("tbody a").await;
}

async fn one_channel(page: &mut Page) {
    page.until_text("h1", "Channel adds").await;
    page.until_text("#following", "Following").await;
    let newest =
        "Number(document.querySelector('table[aria-label=Elements] tr[data-offset]').dataset.offset)";
    page.until(&format!("{newest} > 0")).await;
    let before = page.value(newest).await.as_u64().unwrap();
    page.until(&format!("{newest} > {before}")).await;
    // What is shown is what is in the log.
    let shown = "(async () => {
        const rows = [...document.querySelectorAll('table[aria-label=Elements] tr[data-offset]')];
        const row = rows.find((row) => row.cells[3].textContent === 'finished');
        const [key, value] = [row.cells[2].textContent, row.cells[4].textContent];
        const { records } = await (await fetch('/api/v1/channels/adds/records')).json();
        const told = records.find((record) => record.key === key && record.state === 'finished');
        return value === JSON.stringify(told.value);
    })()";
    page.until("document.querySelector('table[aria-label=Elements] .state.finished')").await;
    assert_eq!(page.value(shown).await, true);
    // From a place on, and on to what comes again.
    page.click("#place").await;
    page.type_text("0").await;
    page.press("Enter").await;
    page.until_text("#following", "Nothing is followed").await;
    page.until("[...document.querySelectorAll('tr[data-offset]')].at(-1).dataset.offset === '0'").await;
    page.value("document.querySelectorAll('.controls button')[5].click()").await;
    page.until_text("#following", "Following").await;
    page.until("document.querySelector('table[aria-label=Elements] .state.finished')").await;
}

async fn one_task(page: &mut Page) {
    // What is followed moves: the oldest stands still.
    page.value("[...document.querySelectorAll('td a[href^=\"#/task/add-\"]')].at(-1).click()").await;
    page.until_text("h1", "Task add-").await;
    page.until_text("table[aria-label=Attempts] td", "demo-").await;
    page.until_text("table[aria-label=Attempts] .state", "finished").await;
    page.until("document.querySelectorAll('section[aria-label=Needs] a').length === 2").await;
    page.until_text("section[aria-label=Needs] .node", "random").await;
    page.until_text("table[aria-label=Events] td", "submitted").await;
    page.until("!Number.isNaN(parseFloat(document.querySelector('pre').textContent))").await;
    // And the other way: who needs what it needs.
    page.click("section[aria-label=Needs] a").await;
    page.until_text("h1", "Task random-").await;
    page.until_text("section[aria-label='Needed by'] .node", "add").await;
}

async fn tasks(page: &mut Page) {
    page.click("nav a[href='#/tasks']").await;
    page.until("document.querySelectorAll('tbody tr').length > 5").await;
    page.click("#words").await;
    page.type_text("COMBINE").await;
    page.until("document.querySelectorAll('tbody tr').length === 1").await;
    page.until_text("tbody td", "combine-").await;
    page.value(
        "(() => { const words = document.getElementById('words'); words.value = ''; \
                words.dispatchEvent(new Event('input')); })()",
    )
    .await;
    page.value(
        "(() => { const which = document.getElementById('which'); which.value = 'cancelled'; \
                which.dispatchEvent(new Event('change')); })()",
    )
    .await;
    page.until_text(".quiet", "There is no such task").await;
}

async fn stream(page: &mut Page) {
    page.click("nav a[href='#/stream']").await;
    page.until("document.querySelectorAll('.attempt:not([hidden])').length > 5").await;
    page.until_text(".lane .name", "demo-1").await;
    page.until_text(".function", "add").await;
    let bars = page.value("document.querySelectorAll('.attempt').length").await;
    page.until(&format!("document.querySelectorAll('.attempt').length > {bars}")).await;
}

async fn workers(page: &mut Page) {
    page.click("nav a[href='#/workers']").await;
    page.until_text("[aria-label='Workers'] td", "demo-2").await;
    page.until_text("section td a", "combine-").await;
    page.until_text("[aria-label='Workers'] td", "memory").await;
}

async fn the_task_log(page: &mut Page) {
    page.value("location.hash = '#/channel/%24tasks'").await;
    page.until_text("h1", "Channel $tasks").await;
    page.until_text("tbody .state", "submitted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_not_all_channels_are_looked_at_is_said() {
    let site = Site::up(&["--workers", "0"]).await;
    let mut page = Page::open(&site.url).await;
    page.requests_may_fail();
    // Twelve channels, of which a page has one: as if there were as many as no page has.
    page.value(
        "(async () => {
            const ask = window.fetch;
            const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '1' };
            const append = (n) => ask(`/api/v1/channels/c${10 + n}/values`, options).catch(() => append(n));
            for (let n = 0; n < 12; n += 1) await append(n);
            window.fetch = async (path, options) => {
                const answer = await ask(path, options);
                if (!/^\\/api\\/v1\\/channels(\\?|$)/.test(path)) return answer;
                const channels = (await answer.json()).channels.slice(0, 1);
                return new Response(JSON.stringify({ channels, next: channels.at(-1)?.name ?? null }));
            };
        })()",
    )
    .await;
    let said = "Only the first 10 of 12 channels, by name, are looked at.";
    page.until_text("main .quiet:not([hidden])", said).await;
    page.value("location.hash = '#/channels'").await;
    page.until_text("h1", "Channels").await;
    page.until_text("main .quiet:not([hidden])", said).await;
    page.until("document.querySelectorAll('table[aria-label=Channels] tbody tr').length === 10").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_of_many_tasks_are_found_without_reading_all() {
    let site = Site::up(&["--workers", "0"]).await;
    let mut page = Page::open(&site.url).await;
    page.requests_may_fail();
    // A burst, and behind it as many records of other things.
    page.value(
        "(async () => {
            const options = { method: 'POST', headers: { 'Content-Type': 'application/json' } };
            // The browser drops what is under way when the network of its machine changes, and the same may be sent again.
            const send = (path, body) => fetch(path, { ...options, body }).catch(() => send(path, body));
            const submit = (n) => send('/api/v1/tasks', JSON.stringify({ command: ['true'], name: `n${n}`, no_output: true }));
            const cancel = (n) => send(`/api/v1/tasks/n${n}/cancel`);
            for (const [work, most] of [[submit, 1500], [cancel, 600]]) for (let n = 0; n < most; n += 50)
                await Promise.all(Array.from({ length: 50 }, (_, at) => work(n + at)));
        })()",
    )
    .await;
    page.value(
        "(() => {
            const ask = window.fetch;
            window.most = 0;
            window.asked = 0;
            window.fetch = async (path, options) => {
                const answer = await ask(path, options);
                if (String(path).startsWith('/api/v1/tasks')) {
                    window.most = Math.max(window.most, (await answer.clone().json()).tasks.length);
                    window.asked += 1;
                }
                return answer;
            };
        })()",
    )
    .await;
    page.value("location.hash = '#/tasks'").await;
    page.until_text(".quiet", "The newest 100.").await;
    page.until("document.querySelectorAll('tbody tr').length === 100").await;
    let first = page.value("document.querySelector('tbody td').textContent").await;
    // Those of the last fifty are sent at once.
    let number: u32 = first.as_str().unwrap()[1..5].parse().expect("it has a number");
    assert!((1450..1500).contains(&number), "{first}");
    assert!(page.value("window.most").await.as_u64().unwrap() <= 400, "no more than four times as many");
    // Once it knows where they begin it asks once, and for these.
    let asked = page.value("window.asked").await;
    page.value("window.most = 0").await;
    page.until(&format!("window.asked >= {asked} + 2")).await;
    assert_eq!(page.value("window.most").await, 100);
    page.click("main > button").await;
    page.until("document.querySelectorAll('tbody tr').length === 200").await;
    page.end().await;
}

//! Where the cluster has a token.

use crate::{Page, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_token_comes_in_and_goes_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "a secret, with <&> in it\n").unwrap();
    let site = Site::up(&["--workers", "1", "--token-file", file.to_str().unwrap()]).await;
    let mut page = Page::open(&format!("{}/#/channel/notes", site.url)).await;
    // The browser itself notes that it was not let in.
    page.requests_may_fail();
    page.until_text("h1", "This cluster has a token").await;
    page.until("document.activeElement.id === 'token'").await;
    // Whatever page is wanted.
    page.value("location.hash = '#/channels'").await;
    page.until("document.title.startsWith('Channels') && document.activeElement.id === 'token'").await;
    page.value("location.hash = '#/channel/notes'").await;
    page.until("document.title.startsWith('notes') && document.activeElement.id === 'token'").await;
    page.type_text("another").await;
    page.press("Enter").await;
    page.until_text("[role=alert]", "this is not the cluster's token").await;
    // Who tries too many is told so, and the right one, which is long, is let in all the same.
    let guess = "Promise.all([...Array(12).keys()].map((guess) => fetch('/login', { method: 'POST',
        headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token: `${guess}` }) })))
        .then((answers) => answers.filter((answer) => answer.status === 429).length)";
    assert!(page.value(guess).await.as_u64().unwrap() >= 3);
    page.value("document.getElementById('token').select()").await;
    page.type_text("yet another").await;
    page.press("Enter").await;
    page.until_text("[role=alert]", "too many wrong tokens were tried from this address").await;
    page.value("document.getElementById('token').select()").await;
    page.type_text("a secret, with <&> in it").await;
    page.press("Enter").await;
    page.until_text("h1", "Channel notes").await;
    page.until_text("#link", "connected").await;
    assert_eq!(page.value("document.cookie").await, "", "no script has it");
    // What changes something is let in by the cookie as well, and so is what is followed.
    let append = "fetch('/api/v1/channels/notes/values', { method: 'POST', body: '\"hello\"',
        headers: { 'Content-Type': 'application/json' } }).then((answer) => answer.status)";
    assert_eq!(page.value(append).await, 201);
    page.value("document.querySelectorAll('.controls button')[5].click()").await;
    page.until_text("table[aria-label=Elements] td", "hello").await;
    page.value("location.reload()").await;
    page.until_text("table[aria-label=Elements] td", "hello").await;
    page.click("#logout").await;
    page.until_text("h1", "This cluster has a token").await;
    page.until("document.getElementById('logout').hidden").await;
    assert_eq!(page.value("fetch('/api/v1/overview').then((answer) => answer.status)").await, 401);
    page.end().await;
}

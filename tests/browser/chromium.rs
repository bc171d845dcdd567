//! A headless Chromium with one page, driven by its own protocol (<https://chromedevtools.github.io/devtools-protocol/>).

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::process::{Process, command};

/// How long the page may take for anything.
const WAIT_MS: u64 = 30_000;

/// The browser, and its page.
pub struct Page {
    process: Process,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    sent: u64,
    /// What went wrong, in the order in which it was told.
    wrong: Vec<String>,
    /// Whether requests may fail, as those to a scheduler that is killed do.
    may_fail: bool,
    _profile: TempDir,
}

/// Where it is.
///
/// # Panics
/// When it is nowhere: the tests of a page without a browser say nothing.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("HEADWATER_CHROMIUM") {
        return named.into();
    }
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names
        .iter()
        .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file()));
    found.expect(
        "there is no Chromium: install it (`apt-get install -y --no-install-recommends chromium`), or say where it is \
         with HEADWATER_CHROMIUM",
    )
}

impl Page {
    /// Opens a page, with no window.
    pub async fn open(url: &str) -> Page {
        let profile = tempfile::tempdir().expect("a temporary folder can be made");
        let folder = format!("--user-data-dir={}", profile.path().display());
        let options = [
            "--headless",
            // Root needs it, and so do most containers; nothing is loaded but what the test serves.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--remote-debugging-port=0",
            &folder,
            "about:blank",
        ];
        let mut process = Process::of(command(Path::new(&program()), &options));
        let at = process.said("DevTools listening on ").await;
        let (socket, _) = connect_async(at).await.expect("it listens");
        let (session, wrong) = (None, Vec::new());
        let mut page = Page { process, socket, session, sent: 0, wrong, may_fail: false, _profile: profile };
        let target = page.send("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = page.send("Target.attachToTarget", attach).await;
        page.session = Some(attached["sessionId"].as_str().expect("it has one").to_owned());
        for domain in ["Runtime", "Log", "Page"] {
            page.send(&format!("{domain}.enable"), json!({})).await;
        }
        page.size(1280, 900).await;
        page.go(url).await;
        page
    }

    /// Another address; one that differs behind its `#` only does not load anything.
    pub async fn go(&mut self, url: &str) {
        let gone = self.send("Page.navigate", json!({ "url": url })).await;
        assert_eq!(gone["errorText"], Value::Null, "{url}");
    }

    /// Another size.
    pub async fn size(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.send("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// `light` or `dark`.
    pub async fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.send("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// What an expression is in the page, once it is if it is a promise.
    pub async fn value(&mut self, expression: &str) -> Value {
        let wanted = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut told = self.send("Runtime.evaluate", wanted).await;
        assert_eq!(told["exceptionDetails"], Value::Null, "{expression}");
        told["result"]["value"].take()
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&mut self, expression: &str) {
        let script = format!(
            "new Promise((done) => {{
                const end = Date.now() + {WAIT_MS};
                const look = () => {{
                    let is = false;
                    try {{ is = Boolean({expression}); }} catch (error) {{ console.debug(error); }}
                    if (is || Date.now() > end) done(is); else setTimeout(look, 50);
                }};
                look();
            }})"
        );
        if self.value(&script).await != true {
            let seen = self.value("document.body.innerText.slice(0, 2000)").await;
            panic!(
                "{expression} does not become true; {:#?}; the page:\n{}",
                self.wrong,
                seen.as_str().unwrap()
            );
        }
    }

    /// Waits until something that is seen has a text in it.
    pub async fn until_text(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        let of =
            format!("[...document.querySelectorAll({selector})].filter((node) => node.checkVisibility())");
        self.until(&format!("{of}.some((node) => node.textContent.includes({text}))")).await;
    }

    /// Clicks what is there once it is: with the mouse, so that it must be seen and must not be covered.
    pub async fn click(&mut self, selector: &str) {
        let node = format!("document.querySelector({})", json!(selector));
        self.until(&format!("{node}?.checkVisibility() && !{node}.disabled")).await;
        let place = self
            .value(&format!(
                "(() => {{
                    const node = {node};
                    node.scrollIntoView({{ block: 'center' }});
                    const {{ x, y, width, height }} = node.getBoundingClientRect();
                    return [x + width / 2, y + height / 2];
                }})()"
            ))
            .await;
        for (kind, buttons) in [("mousePressed", 1), ("mouseReleased", 0)] {
            let event = json!({
                "type": kind, "x": place[0], "y": place[1], "button": "left", "buttons": buttons, "clickCount": 1,
            });
            self.send("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, `ArrowLeft`.
    pub async fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            other => panic!("{other} has no code here"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
                "text": if kind == "keyDown" { text } else { "" },
            });
            self.send("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types where the focus is.
    pub async fn type_text(&mut self, text: &str) {
        self.send("Input.insertText", json!({ "text": text })).await;
    }

    /// A picture of what is seen, as a PNG.
    pub async fn picture(&mut self) -> Vec<u8> {
        self.send("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await;
        let picture = self.send("Page.captureScreenshot", json!({ "format": "png" })).await;
        base64(picture["data"].as_str().expect("it has data"))
    }

    /// From now on requests may fail.
    pub fn requests_may_fail(&mut self) {
        self.may_fail = true;
    }

    /// Ends the browser. Nothing must have gone wrong: no error in the console, nothing that the policy forbids.
    pub async fn end(mut self) {
        assert_eq!(self.value("1").await, 1);
        assert!(self.wrong.is_empty(), "the console says {:#?}", self.wrong);
        self.session = None;
        self.send("Browser.close", json!({})).await;
        self.process.end().await;
    }

    /// Asks the browser, and takes what it tells until it answers.
    async fn send(&mut self, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(message.to_string())).await.expect("it listens");
        let answer = async {
            loop {
                let message = self.socket.next().await.expect("it answers").expect("it is a message");
                let mut told: Value = serde_json::from_str(message.to_text().unwrap()).expect("it is JSON");
                if told["id"] == self.sent {
                    assert_eq!(told["error"], Value::Null, "{method}");
                    return told["result"].take();
                }
                note(&told, self.may_fail, &mut self.wrong);
            }
        };
        let wait = Duration::from_millis(2 * WAIT_MS);
        timeout(wait, answer).await.unwrap_or_else(|_| panic!("{method} is not answered"))
    }
}

/// Notes what went wrong in the page.
fn note(told: &Value, may_fail: bool, wrong: &mut Vec<String>) {
    let what = &told["params"];
    match told["method"].as_str() {
        Some("Runtime.exceptionThrown") => wrong.push(what["exceptionDetails"].to_string()),
        Some("Runtime.consoleAPICalled") if matches!(what["type"].as_str(), Some("error" | "assert")) => {
            wrong.push(what["args"].to_string());
        }
        Some("Log.entryAdded") if what["entry"]["level"] == "error" => {
            let is_request = what["entry"]["source"] == "network";
            if !(is_request && may_fail) {
                wrong.push(what["entry"].to_string());
            }
        }
        _ => {}
    }
}

/// Bytes from base64, as pictures come in it.
fn base64(text: &str) -> Vec<u8> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> =
        text.trim_end_matches('=').bytes().map(|letter| u32::from(digit(letter))).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().enumerate().fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

//! A start that takes long: what those are told who wait for it, at the command line and over HTTP.

use std::sync::{Arc, Mutex};

use headwater::http::{self, Http};
use headwater::scheduler::Opening;
use headwater::{Client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing_subscriber::fmt::MakeWriter;

use crate::process::headwater;
use crate::recovering::{gated, soon, start, written};

const WAITS: &str = "waiting for the scheduler, which recovers: nothing of its snapshot is read yet; its store may be under repair";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_waits_says_how_far_the_recovery_is_unless_it_is_quiet() {
    let (log, _channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.log(), &address).await;
    let list = ["channel", "list", "--connect", &address];
    let quiet = headwater(&[&list[..], &["--quiet"]].concat());
    let mut loud = headwater(&list);
    // Longer than log lines of the client take to come.
    for _ in 0..4 {
        loud.said(WAITS).await;
    }
    gate.open();
    let (quiet, loud) = (quiet.end().await, loud.end().await);
    assert_eq!((quiet.code, quiet.stderr), (Some(0), vec![]));
    assert_eq!((loud.code, &loud.stdout), (Some(0), &quiet.stdout));
    assert!(loud.stderr.iter().all(|line| line == WAITS), "{:?}", loud.stderr);
    cluster.stop().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_it_is_a_bar_that_is_gone_in_the_end() {
    let (log, _channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.log(), &address).await;
    let mut terminal = crate::terminal::Terminal::start(&["channel", "list", "--connect", &address], &[]);
    terminal
        .shows_on_screen("waiting for the scheduler, which recovers  nothing of its snapshot is read yet");
    gate.open();
    terminal.shows_on_screen("letters");
    terminal.shows_no_more("recovers");
    assert_eq!(terminal.end().0, Some(0));
    cluster.stop().await;
}

/// Asks, and answers what came: all of it.
async fn ask(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_records_are_read_meanwhile_and_what_waits_is_told_so_and_not_done() {
    let (log, _channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.log(), &address).await;
    let at = http::Options::At("127.0.0.1:0".to_owned());
    let door = Http::bind(&at, server::Options::default()).await.unwrap();
    let opening = Opening::done(cluster.scheduler.handle.clone(), cluster.reader.clone());
    let door = door.open(opening, address.parse().unwrap());
    let http = door.local_addr().to_string();
    let values = "/api/v1/channels/numbers/values";
    let (alive, metrics, records, tasks, appended) = tokio::join!(
        ask(&http, "GET", "/healthz", ""),
        ask(&http, "GET", "/metrics", ""),
        ask(&http, "GET", "/api/v1/channels/numbers/records", ""),
        ask(&http, "GET", "/api/v1/tasks", ""),
        ask(&http, "POST", values, "4"),
    );
    assert!(cluster.scheduler.handle.recovering().is_some(), "it still recovers");
    for read in [&alive, &metrics, &records] {
        assert!(read.starts_with("HTTP/1.1 200 "), "{read}");
    }
    assert!(records.contains("\"next\":3"), "{records}");
    for refused in [&tasks, &appended] {
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.to_lowercase().contains("retry-after: 5\r\n"), "{refused}");
        assert!(
            refused.contains("\"code\":\"recovering\"") && refused.contains("nothing was done"),
            "{refused}"
        );
    }
    // One that comes just before the end is answered.
    let last = tokio::spawn({
        let http = http.clone();
        async move { ask(&http, "POST", values, "5").await }
    });
    gate.open();
    let appended = soon(last).await.unwrap();
    assert!(appended.starts_with("HTTP/1.1 201 ") && appended.contains("\"offset\":3"), "{appended}");
    let tasks = ask(&http, "GET", "/api/v1/tasks", "").await;
    assert!(tasks.starts_with("HTTP/1.1 200 "), "{tasks}");
    soon(door.close()).await;
    cluster.stop().await;
}

/// Log lines, for who looks at them.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        self.clone()
    }
}

/// On one thread, which has a log of its own.
#[tokio::test]
async fn what_is_asked_over_http_says_nothing_of_the_recovery_in_the_schedulers_log() {
    let lines = Lines::default();
    // As there is more than one, what another test's thread does not want is not taken for what nobody wants.
    let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let to_lines = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    let _logged = tracing::subscriber::set_default(to_lines);
    // At another address: the client that has written would wait there, too, and say so.
    let (log, _, _) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.log(), "127.0.0.1:0").await;
    let at = http::Options::At("127.0.0.1:0".to_owned());
    let door = Http::bind(&at, server::Options::default()).await.unwrap();
    let opening = Opening::done(cluster.scheduler.handle.clone(), cluster.reader.clone());
    let door = door.open(opening, cluster.address.parse().unwrap());
    // Longer than log lines of a client take to come.
    let refused = ask(&door.local_addr().to_string(), "GET", "/api/v1/tasks", "").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(!lines.text().contains("waiting for the scheduler"), "{}", lines.text());
    // Those of any other client do come.
    let client = Client::connect(&cluster.address).await.unwrap();
    let other = async {
        while !lines.text().contains(WAITS) {
            tokio::task::yield_now().await;
        }
    };
    soon(other).await;
    gate.open();
    soon(client.close()).await;
    soon(door.close()).await;
    cluster.stop().await;
}

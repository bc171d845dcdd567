//! A start that takes long: what those are told who wait for it, at the command line and over HTTP.

use headwater::http::{self, Http};
use headwater::scheduler::Opening;
use headwater::server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

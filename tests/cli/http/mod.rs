//! The HTTP door, as `curl` meets it.

mod as_of;
mod contract;
mod guarded;
mod metrics;
mod readme;
mod records;
mod submit;

use std::path::Path;

use serde_json::Value;

use crate::cluster::Dir;
use crate::process::{Process, command, headwater, soon};

/// A scheduler with a worker, and its door.
pub struct Site {
    pub dir: Dir,
    options: Vec<String>,
    up: Option<Process>,
    pub url: String,
    /// Where the scheduler listens for clients.
    pub address: String,
}

impl Site {
    pub async fn start(options: &[&str]) -> Site {
        Site::start_at("127.0.0.1:0", options).await
    }

    /// With its door at an address of this machine; it is asked at 127.0.0.1.
    pub async fn start_at(http: &str, options: &[&str]) -> Site {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut site = Site {
            dir: Dir::new(),
            options,
            up: None,
            url: format!("http://{http}"),
            address: String::new(),
        };
        site.start_again().await;
        site
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let (data, at) =
            (self.dir.text("data"), self.url.strip_prefix("http://").expect("it is one").to_owned());
        let up = ["up", "--listen", "127.0.0.1:0", "--http", &at, "--data", &data];
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let mut up = headwater(&[&up[..], &options].concat());
        self.address = up.said("listening on ").await;
        self.url = up.said("HTTP on ").await;
        self.up = Some(up);
    }

    /// Waits until so many workers have joined.
    pub async fn joined(&self, workers: usize) {
        let are_there = async || {
            let (_, told) = self.ask(&[], "/api/v1/workers").await;
            let rows = told["workers"].as_array().expect("it is a list").clone();
            rows.iter().filter(|row| row["state"] == "connected").count() >= workers
        };
        soon(async { while !are_there().await {} }).await;
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.up.take().expect("it runs").kill().await;
    }

    /// Starts `curl` for a path.
    pub fn curl(&self, options: &[&str], path: &str) -> Process {
        let url = format!("{}{path}", self.url);
        Process::of(command(
            Path::new("curl"),
            &[&["-sS", "--max-time", "30", "-g"], options, &[&url]].concat(),
        ))
    }

    /// What is answered: the status, and the body, which is JSON.
    pub async fn ask(&self, options: &[&str], path: &str) -> (u16, Value) {
        let (status, body) = self.ask_text(options, path).await;
        let json = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {status} {body}"));
        (status, json)
    }

    /// What is answered: the status, and the body.
    pub async fn ask_text(&self, options: &[&str], path: &str) -> (u16, String) {
        let ended = self.curl(&[&["-w", "\n%{http_code}"], options].concat(), path).end().await;
        assert_eq!(ended.code, Some(0), "{path}: {:?}", ended.stderr);
        let (status, body) = ended.stdout.split_last().expect("the status comes last");
        (status.parse().expect("it is a number"), body.join("\n"))
    }

    /// Sends JSON.
    pub async fn post(&self, body: &str, path: &str) -> (u16, Value) {
        self.ask(&["-H", "Content-Type: application/json", "-d", body], path).await
    }
}

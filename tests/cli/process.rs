//! A process of the binary, as a shell sees it: lines on stdout and stderr, signals, an exit code.
//!
//! Nothing here sleeps: tests wait for lines and for ends, for [`WAIT`] at most. A process is killed when
//! its [`Process`] is dropped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything is waited for before the test fails.
const WAIT: Duration = Duration::from_secs(30);

/// The binary.
pub const HEADWATER: &str = env!("CARGO_BIN_EXE_headwater");

/// What comes of this, which must not take for ever.
pub async fn soon<F: Future>(work: F) -> F::Output {
    timeout(2 * WAIT, work).await.expect("it hangs")
}

/// A process.
pub struct Process {
    command: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The lines that were not taken before.
    pub stdout: Vec<String>,
    /// All that it said on stderr, and all that its children said there.
    pub stderr: Vec<String>,
}

/// The lines of a pipe. They are read at once, so that nobody waits for us to take them.
struct Lines {
    coming: mpsc::UnboundedReceiver<String>,
    reader: tokio::task::JoinHandle<()>,
    taken: Vec<String>,
}

/// Starts the binary.
pub fn headwater(arguments: &[&str]) -> Process {
    Process::of(command(Path::new(HEADWATER), arguments))
}

/// Runs the binary to its end.
pub async fn run(arguments: &[&str]) -> Ended {
    headwater(arguments).end().await
}

/// A program with arguments, in no special environment.
pub fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("TZ", "UTC").kill_on_drop(true);
    let is_ours = |(name, _): &(OsString, OsString)| name.to_string_lossy().starts_with("HEADWATER_");
    for (name, _) in std::env::vars_os().filter(is_ours) {
        command.env_remove(name);
    }
    // Whoever runs the tests may have a file of settings.
    command.env("XDG_CONFIG_HOME", "/nowhere");
    command
}

/// An example's binary: `cargo test` builds them beside the tests.
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("it runs");
    let target = tests.parent().and_then(Path::parent).expect("it is in target/PROFILE/deps");
    let path = target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "example {name} is not built: `cargo test` does, or `cargo build --examples`");
    path
}

impl Process {
    /// Starts a command.
    pub fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let stdout = Lines::of(child.stdout.take().expect("it is piped"));
        let stderr = Lines::of(child.stderr.take().expect("it is piped"));
        Process { command: format!("{:?}", command.as_std()), child, stdout, stderr }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it was not waited for")
    }

    /// The next line on stdout.
    pub async fn line(&mut self) -> String {
        match timeout(WAIT, self.stdout.next()).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("{}", self.describe("has no more lines")),
            Err(_) => panic!("{}", self.describe("gave no line")),
        }
    }

    /// The next line on stdout, which is JSON.
    pub async fn json(&mut self) -> Value {
        json(&self.line().await)
    }

    /// Waits for a line on stderr that has this in it, and gives what stands behind it.
    pub async fn said(&mut self, words: &str) -> String {
        loop {
            match timeout(WAIT, self.stderr.next()).await {
                Ok(Some(line)) => {
                    if let Some((_, rest)) = line.split_once(words) {
                        return rest.to_owned();
                    }
                }
                Ok(None) => panic!("{}", self.describe(&format!("did not say {words:?}"))),
                Err(_) => panic!("{}", self.describe(&format!("does not say {words:?}"))),
            }
        }
    }

    /// Nobody reads its stdout any more.
    pub async fn close_stdout(&mut self) {
        self.stdout.close().await;
    }

    /// Nobody reads its stderr any more.
    pub async fn close_stderr(&mut self) {
        self.stderr.close().await;
    }

    /// Sends a signal: `INT`, `STOP`, `CONT`.
    pub async fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let status = kill.arg(format!("-{name}")).arg(self.id().to_string()).status().await;
        assert!(status.expect("there is a `kill`").success());
    }

    /// SIGKILL. Its children may live on: [`Self::end`] waits for them.
    pub async fn kill(&mut self) {
        let killed = timeout(WAIT, self.child.kill()).await;
        killed.unwrap_or_else(|_| panic!("{}", self.describe("does not die"))).expect("it is our child");
    }

    /// Ctrl-C, to the end.
    pub async fn interrupt(self) -> Ended {
        self.signal("INT").await;
        self.end().await
    }

    /// Waits for its end, and that of its children, as they have its stderr.
    pub async fn end(mut self) -> Ended {
        let all = async {
            let stdout = self.stdout.rest().await;
            self.stderr.rest().await;
            (stdout, self.child.wait().await.expect("it is our child"))
        };
        match timeout(WAIT, all).await {
            Ok((stdout, status)) => Ended { code: status.code(), stdout, stderr: self.stderr.taken },
            Err(_) => panic!("{}", self.describe("does not end")),
        }
    }

    fn describe(&self, what: &str) -> String {
        format!("{} {what}; it said: {:#?}", self.command, self.stderr.taken)
    }
}

impl Ended {
    /// Its only line on stdout; it went well and said nothing on stderr.
    pub fn only_line(self) -> String {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// Its lines on stdout; it went well and said nothing on stderr.
    pub fn lines(self) -> Vec<String> {
        assert_eq!((self.code, &self.stderr[..]), (Some(0), &[][..]));
        self.stdout
    }

    /// Its lines on stdout, which are JSON; it went well and said nothing on stderr.
    pub fn json(self) -> Vec<Value> {
        self.lines().iter().map(|line| json(line)).collect()
    }

    /// Its lines on stdout; it went well. Log lines on stderr are allowed, as of a demo's workers that go.
    pub fn lines_beside_logs(self) -> Vec<String> {
        let is_log = |line: &String| !line.starts_with("error: ") && !line.contains("panicked");
        assert!(self.code == Some(0) && self.stderr.iter().all(is_log), "{self:?}");
        self.stdout
    }

    /// The one line on stderr with which it was refused, without `error: `. Stdout is empty.
    pub fn refusal(self) -> String {
        assert_eq!((self.code, &self.stdout[..]), (Some(1), &[][..]), "{:?}", self.stderr);
        let [line] = &self.stderr[..] else { panic!("more or less than a line: {:?}", self.stderr) };
        line.strip_prefix("error: ").expect(line).to_owned()
    }
}

/// The processes that a process has started; nothing where there is no /proc.
pub fn children(id: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |id: &u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name is in brackets, and may have any character.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    numbers.filter(|child| parent(child) == Some(id)).collect()
}

/// A line as JSON.
pub fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// The names of an object's fields, by the alphabet.
pub fn fields(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

impl Lines {
    fn of(pipe: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, coming) = mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Some(line) = lines.next_line().await.expect("a pipe with text") {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Lines { coming, reader, taken: Vec::new() }
    }

    async fn next(&mut self) -> Option<String> {
        let line = self.coming.recv().await?;
        self.taken.push(line.clone());
        Some(line)
    }

    async fn rest(&mut self) -> Vec<String> {
        let before = self.taken.len();
        while self.next().await.is_some() {}
        self.taken[before..].to_vec()
    }

    async fn close(&mut self) {
        self.reader.abort();
        // It was aborted, or has ended; either way the pipe is closed.
        let _ = (&mut self.reader).await;
        while self.coming.try_recv().is_ok() {}
    }
}

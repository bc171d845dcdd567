//! A process on a terminal of its own, as who sits there sees it: what it writes, in a window of 100 columns and 30 rows.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::process::{HEADWATER, command};

/// How long anything is waited for before the test fails.
const WAIT: Duration = Duration::from_secs(30);

/// A process on a terminal.
pub struct Terminal {
    child: Child,
    /// Held open, so that nothing is lost when the process is gone.
    _theirs: File,
    coming: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts the binary on a terminal, with variables.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = || File::options().read(true).write(true).open(&name).unwrap();
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(theirs(), size).unwrap();
        let mut command = command(HEADWATER.as_ref(), arguments);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(variables.iter().copied());
        let command = command.as_std_mut();
        command.stdin(theirs()).stdout(theirs()).stderr(Stdio::from(theirs()));
        let child = command.spawn().expect("the program can be started");
        let (sender, coming) = mpsc::channel();
        let mut reads = File::from(ours);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reads.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, _theirs: theirs(), coming, seen: String::new() }
    }

    /// Waits until the process has written this.
    pub fn shows(&mut self, words: &str) {
        let until = Instant::now() + WAIT;
        while !self.seen.contains(words) {
            let left = until.saturating_duration_since(Instant::now());
            match self.coming.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("it does not show {words:?}: {:?}", self.seen),
            }
        }
    }

    /// Waits for its end: its exit code, and all that was shown.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let until = Instant::now() + WAIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {:?}", self.seen);
            if let Ok(bytes) = self.coming.recv_timeout(Duration::from_millis(20)) {
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        while let Ok(bytes) = self.coming.recv_timeout(Duration::from_millis(50)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status.code(), self.seen.clone())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

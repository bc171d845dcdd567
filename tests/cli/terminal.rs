//! A process on a terminal of its own, as who sits there sees it: what it writes, in a window of 100 columns and 30 rows.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::process::{HEADWATER, command};

/// How long anything is waited for before the test fails.
const WAIT: Duration = Duration::from_secs(30);

const ROWS: u16 = 30;
const COLUMNS: u16 = 100;

/// A process on a terminal.
pub struct Terminal {
    child: Child,
    ours: File,
    /// The process's side, held open so that it can be looked at when the process is gone.
    theirs: OwnedFd,
    coming: mpsc::Receiver<Vec<u8>>,
    /// All that came.
    seen: String,
    screen: vt100::Parser,
}

impl Terminal {
    /// Starts the binary on a terminal, with variables.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = || File::options().read(true).write(true).open(&name).unwrap();
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(theirs(), size).unwrap();
        let mut command = command(HEADWATER.as_ref(), arguments);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(variables.iter().copied());
        let command = command.as_std_mut();
        command.stdin(theirs()).stdout(theirs()).stderr(Stdio::from(theirs()));
        let child = command.spawn().expect("the program can be started");
        let (sender, coming) = mpsc::channel();
        let ours = File::from(ours);
        let mut reads = ours.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reads.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            child,
            ours,
            theirs: theirs().into(),
            coming,
            seen: String::new(),
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
        }
    }

    /// Waits until this stands on the screen, or was written there.
    pub fn shows(&mut self, words: &str) {
        let until = Instant::now() + WAIT;
        while !self.screen().contains(words) && !self.seen.contains(words) {
            assert!(Instant::now() < until, "it does not show {words:?}: {}", self.screen());
            self.read(Duration::from_millis(20));
        }
    }

    /// Waits until this stands on the screen, whatever was written there before.
    pub fn shows_on_screen(&mut self, words: &str) {
        self.seen.clear();
        self.shows(words);
    }

    /// Waits until this stands on the screen no more.
    pub fn shows_no_more(&mut self, words: &str) {
        let until = Instant::now() + WAIT;
        while self.screen().contains(words) {
            assert!(Instant::now() < until, "it still shows {words:?}: {}", self.screen());
            self.read(Duration::from_millis(20));
        }
    }

    /// What stands on the screen.
    pub fn screen(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads what comes within this time; whether something did.
    fn read(&mut self, within: Duration) -> bool {
        let Ok(bytes) = self.coming.recv_timeout(within) else { return false };
        self.seen.push_str(&String::from_utf8_lossy(&bytes));
        self.screen.process(&bytes);
        true
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether the terminal is as a shell has it: what is typed is seen, and comes line by line.
    pub fn is_sane(&self) -> bool {
        let modes = tcgetattr(&self.theirs).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end: its exit code, and all that was shown.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let until = Instant::now() + WAIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {}", self.screen());
            self.read(Duration::from_millis(20));
        };
        while self.read(Duration::from_millis(50)) {}
        (status.code(), self.seen.clone())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

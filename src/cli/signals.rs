//! The signals that ask a process to end.

use std::io::{self, ErrorKind, Read};

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Takes the signals that ask this process to end, from now on: SIGINT (Ctrl-C) and SIGTERM.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
    stdin: Option<mpsc::UnboundedReceiver<()>>,
    heard: Heard,
}

/// How often this process was asked to end.
#[derive(Debug, Default)]
struct Heard {
    by_signal: u32,
    by_stdin: u32,
    taken: u32,
}

impl Heard {
    /// Whether it was asked more often than was told so far. What is asked both ways counts once: who stops a service may
    /// signal all its processes, and one of them tells another.
    fn take(&mut self) -> bool {
        let is_news = self.by_signal.max(self.by_stdin) > self.taken;
        self.taken += u32::from(is_news);
        is_news
    }
}

impl Signals {
    #[cfg(unix)]
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Signals { interrupt, terminate, stdin: None, heard: Heard::default() })
    }

    #[cfg(not(unix))]
    pub fn listen() -> io::Result<Self> {
        Ok(Signals { stdin: None, heard: Heard::default() })
    }

    /// From now on stdin asks, too, with each byte and with its end: whoever holds its other end may die in any way.
    pub fn or_stdin_asks(&mut self) {
        self.stdin = Some(asked_by_stdin());
    }

    /// Waits for the next one. May be dropped without a loss.
    pub async fn next(&mut self) {
        while !self.heard.take() {
            self.hear().await;
        }
    }

    #[cfg(unix)]
    async fn hear(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => self.heard.by_signal += 1,
            _ = self.terminate.recv() => self.heard.by_signal += 1,
            () = next_of(&mut self.stdin) => self.heard.by_stdin += 1,
        }
    }

    #[cfg(not(unix))]
    async fn hear(&mut self) {
        tokio::select! {
            // Without signals, none will come.
            Ok(()) = tokio::signal::ctrl_c() => self.heard.by_signal += 1,
            () = next_of(&mut self.stdin) => self.heard.by_stdin += 1,
        }
    }

    /// Does what is left to be done before the end, unless another signal comes: then it is given up.
    pub async fn finish(&mut self, last_steps: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            () = last_steps => Ok(()),
            () = self.next() => anyhow::bail!("interrupted while stopping in order: what was acknowledged is safe"),
        }
    }
}

/// Tells of each byte on stdin, and of its end. A thread of its own reads it: one that reads a pipe cannot be ended, and
/// the runtime would wait for it.
fn asked_by_stdin() -> mpsc::UnboundedReceiver<()> {
    let (asks, asked) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for byte in io::stdin().lock().bytes() {
            match byte {
                Ok(_) if asks.send(()).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // An error is an end as well.
                _ => break,
            }
        }
        let _ = asks.send(());
    });
    asked
}

/// Waits for what stdin asks, if it may.
async fn next_of(stdin: &mut Option<mpsc::UnboundedReceiver<()>>) {
    match stdin {
        Some(asked) => {
            // The last was its end.
            if asked.recv().await.is_none() {
                std::future::pending().await
            }
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_by_a_signal_and_by_stdin_counts_once() {
        let mut heard = Heard::default();
        assert!(!heard.take());
        heard.by_signal = 1;
        assert!(heard.take() && !heard.take());
        heard.by_stdin = 1;
        assert!(!heard.take(), "the same was told twice");
        heard.by_stdin = 3;
        assert!(heard.take() && heard.take() && !heard.take());
        heard.by_signal = 3;
        assert!(!heard.take());
    }
}

//! The signals that ask a process to end.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Takes the signals that ask this process to end, from now on: SIGINT (Ctrl-C) and SIGTERM.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
    /// Until it has come.
    stdin_closed: Option<oneshot::Receiver<()>>,
}

impl Signals {
    #[cfg(unix)]
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Signals { interrupt, terminate: signal(SignalKind::terminate())?, stdin_closed: None })
    }

    #[cfg(not(unix))]
    pub fn listen() -> io::Result<Self> {
        Ok(Signals { stdin_closed: None })
    }

    /// From now on the end of stdin is one of them: whoever holds its other end may die in any way.
    pub fn or_stdin_closes(&mut self) {
        self.stdin_closed = Some(stdin_closed());
    }

    /// Waits for the next one. May be dropped without a loss.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = end_of(&mut self.stdin_closed) => {}
        }
    }

    /// Waits for the next one. May be dropped without a loss.
    #[cfg(not(unix))]
    pub async fn next(&mut self) {
        tokio::select! {
            // Without signals, none will come.
            Ok(()) = tokio::signal::ctrl_c() => {}
            () = end_of(&mut self.stdin_closed) => {}
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

/// Resolves when stdin is closed. A thread of its own reads it: one that reads a pipe cannot be ended, and
/// the runtime would wait for it.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (closing, closed) = oneshot::channel();
    std::thread::spawn(move || {
        // An error is an end as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(closing);
    });
    closed
}

/// Waits for the end of stdin, if it is waited for, once.
async fn end_of(stdin: &mut Option<oneshot::Receiver<()>>) {
    match stdin {
        // It brings nothing: its sender is dropped.
        Some(closed) => drop(closed.await),
        None => std::future::pending().await,
    }
    *stdin = None;
}

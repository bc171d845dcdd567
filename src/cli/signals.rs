//! The signals that ask a process to end.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Takes the signals that ask this process to end, from now on: SIGINT (Ctrl-C) and SIGTERM.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
}

impl Signals {
    #[cfg(unix)]
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Signals { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    pub fn listen() -> io::Result<Self> {
        Ok(Signals {})
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for the next one.
    #[cfg(not(unix))]
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without signals, none will come.
            std::future::pending().await
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

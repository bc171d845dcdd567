//! Where the scheduler is, for every command that is a client of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::timeout;

use super::progress::Progress;
use crate::client::{Client, Error};
use crate::protocol::command::Rejection;
use crate::protocol::message::Closing;
use crate::protocol::start::RecoveryProgress;
use crate::rows::time::duration;

/// The address that a scheduler listens on, and clients connect to, when none is given.
pub const ADDRESS: &str = "127.0.0.1:8786";

/// How often it is looked how far a recovery is: 10 times a second, as a bar is drawn.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, clap::Args)]
pub struct Connect {
    /// Where the scheduler listens
    #[arg(long, value_name = "HOST:PORT", env = "HEADWATER_CONNECT", default_value = ADDRESS)]
    pub connect: String,

    /// A file that holds the cluster's token
    #[arg(long, value_name = "FILE", env = "HEADWATER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// How long to try before giving up; a scheduler that recovers is waited for
    #[arg(long, value_name = "DURATION", env = "HEADWATER_CONNECT_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub connect_timeout: Duration,
}

impl Connect {
    /// Connects, does something with the client, and closes it in order, however that went.
    pub async fn with<T>(&self, work: impl AsyncFnOnce(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let token = token(self.token_file.as_deref())?;
        let client = client(&self.connect, token, self.connect_timeout).await?;
        let result = tokio::select! {
            biased;
            result = work(&client) => result,
            never = show(client.connection().recovery()) => never,
        };
        client.close().await;
        result
    }
}

/// Shows how far the recovery is that a session waits for, as often as there is one.
async fn show(mut recovery: watch::Receiver<Option<RecoveryProgress>>) -> ! {
    // When the session is over, so is the work, which says why.
    while recovery.wait_for(Option::is_some).await.is_ok() {
        let mut progress = Progress::begin("waiting for the scheduler, which recovers");
        loop {
            let is_at = *recovery.borrow_and_update();
            let Some(is_at) = is_at else { break };
            progress.update(0, None, is_at);
            // It comes once a second, and a bar turns meanwhile.
            if let Ok(Err(_)) = timeout(SHOWN_EVERY, recovery.changed()).await {
                break;
            }
        }
    }
    std::future::pending().await
}

/// Connects.
pub async fn client(address: &str, token: Option<String>, timeout: Duration) -> anyhow::Result<Client> {
    let mut builder = Client::builder().connect_timeout(timeout);
    if let Some(token) = token {
        builder = builder.token(token);
    }
    Ok(builder.connect(address).await?)
}

/// Reads the cluster's token from its file, if there is one.
pub fn token(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token file {}", file.display()))?;
    let token = text.trim();
    anyhow::ensure!(
        !token.is_empty(),
        "the token file {} is empty: put a long random text into it, the same on all sides",
        file.display()
    );
    Ok(Some(token.to_owned()))
}

/// Whether a command fails only since this process was not heard of for so long, or read so little, that its session is over:
/// with another one it may go on.
pub fn is_session_over(error: &anyhow::Error) -> bool {
    let over = |closing: &Closing| matches!(closing, Closing::Rejected(Rejection::SessionEnded(_)));
    match error.downcast_ref::<Error>() {
        Some(Error::Closed(closing)) => over(closing) || matches!(closing, Closing::TooSlow(_)),
        Some(Error::Rejected(Rejection::SessionEnded(_))) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_files_text_without_the_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        assert!(token(None).unwrap().is_none());
        let error = token(Some(&file)).unwrap_err();
        assert!(error.to_string().contains("cannot read the token file"), "{error}");
        std::fs::write(&file, "secret text\n").unwrap();
        assert_eq!(token(Some(&file)).unwrap().as_deref(), Some("secret text"));
        std::fs::write(&file, "\n").unwrap();
        assert!(token(Some(&file)).unwrap_err().to_string().contains("is empty: put"));
    }
}

//! `headwater channel stop`.

use serde_json::json;

use super::on::On;
use crate::cli::ask;
use crate::protocol::command::{Answer, Command};
use crate::rows::counted;

/// Stop a channel: it takes no more elements.
///
/// Its records stay and can be read as before; those who follow it come to an end. Stopping a channel that is
/// stopped already changes nothing. `channel resume` lets it take elements again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel stop adds")]
pub struct Stop {
    #[command(flatten)]
    on: On,
}

impl Stop {
    pub async fn run(self) -> anyhow::Result<()> {
        self.on
            .tell(async |client, name| {
                let log = ask::log(client, name).await?;
                match client.connection().command(Command::Stop { log }).await? {
                    Answer::Stopped { count, digest } => {
                        let digest = digest.to_string();
                        let words =
                            format!("{name} stopped at {}, digest {digest}", counted(count, "element"));
                        let object =
                            json!({ "name": name, "stopped": true, "elements": count, "digest": digest });
                        Ok((object, words))
                    }
                    other => Err(ask::unexpected(&other)),
                }
            })
            .await
    }
}

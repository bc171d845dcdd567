//! `headwater channel group …`.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::on::On;
use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::cli::signals::Signals;
use crate::client::group::WINDOW;
use crate::client::{Client, Delivery, Element, Error, Group};
use crate::protocol::group::{GroupInfo, GroupName};
use crate::protocol::{self, ChannelName, Payload};
use crate::rows::channel::GroupRow;
use crate::rows::record::{CHANNEL_WORD_WIDTH, Row as RecordRow};
use crate::rows::time;

/// Share the elements of a channel between consumers
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Join(Join),
    List(List),
    Delete(Delete),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Join(join) => join.run().await,
            Command::List(list) => list.run().await,
            Command::Delete(delete) => delete.run().await,
        }
    }
}

/// Take elements of a channel, each of which goes to one member of the group.
///
/// Prints one line per element, and then says that it is done with. Run it in several terminals, and each element is
/// printed by one of them; when one is killed, what it had is leased to another. The group is made when it is not there,
/// and remembers what is done with.
///
/// It ends when the channel is stopped and every element is done with, or when it is interrupted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel group join orders packers
  headwater channel group join orders packers --lease 5m --dead-letters orders-dead --attempts 3
  headwater channel group join orders packers --count 10 --json

With --json, each line is one object:
  {\"offset\",\"time\",\"kind\":\"appended\",\"key\"?,\"value\"?,\"headers\"?,\"index\",\"attempt\"}")]
pub struct Join {
    /// The channel
    channel: ChannelName,

    /// The group
    group: GroupName,

    /// How long a member has an element before it is leased to another: 30s unless somebody has said otherwise
    #[arg(long, value_name = "D", value_parser = time::duration)]
    lease: Option<Duration>,

    /// The channel that gets what was tried so often and never done
    #[arg(long, value_name = "CHANNEL")]
    dead_letters: Option<ChannelName>,

    /// How often an element is tried before it is a dead letter
    #[arg(long, value_name = "N", default_value_t = 5, requires = "dead_letters")]
    attempts: u32,

    /// For how long after something was done the channel keeps what is not, whatever its bounds
    #[arg(long, value_name = "D", value_parser = time::duration)]
    pin: Option<Duration>,

    /// A group that is made begins behind what there is
    #[arg(long)]
    from_end: bool,

    /// How many elements to have at a time
    #[arg(long, value_name = "N", default_value_t = WINDOW)]
    window: u32,

    /// Leave after so many elements
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Print one JSON object per element and line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connect: Connect,
}

impl Join {
    async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        self.connect
            .with(async |client| {
                tokio::select! {
                    result = self.take(client) => result,
                    () = signals.next() => Ok(()),
                }
            })
            .await
    }

    async fn take(&self, client: &Client) -> anyhow::Result<()> {
        let channel = ask::channel(client, &self.channel).await?;
        let mut member = self.options(channel.group(self.group.as_str())?).join().await?;
        let mut output = Output::new();
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let delivery = match member.next_payload().await {
                None => return Ok(()),
                Some(Ok(delivery)) => delivery,
                // It goes on behind what is gone.
                Some(Err(error @ (Error::Trimmed { .. } | Error::Damaged { .. }))) => {
                    tracing::warn!("{error}");
                    continue;
                }
                Some(Err(error)) => return Err(error.into()),
            };
            self.print(&delivery, &mut output)?;
            let index = delivery.index;
            delivery
                .done()
                .await
                .with_context(|| format!("element {index} was printed, and is not done with"))?;
            left -= 1;
        }
        Ok(())
    }

    fn options(&self, mut group: Group<()>) -> Group<()> {
        if let Some(lease) = self.lease {
            group = group.lease(lease);
        }
        if let Some(dead) = &self.dead_letters {
            group = group.dead_letters(dead.as_str(), self.attempts);
        }
        if let Some(pin) = self.pin {
            group = group.pinned_for(pin);
        }
        if self.from_end {
            group = group.from_end();
        }
        // What is not going to be printed is left to others.
        let count = self.count.and_then(|count| u32::try_from(count).ok()).unwrap_or(u32::MAX);
        group.window(self.window.min(count.max(1)))
    }

    fn print(&self, delivery: &Delivery<Payload>, output: &mut Output) -> anyhow::Result<()> {
        let mut row = RecordRow::at(delivery.offset, delivery.time_ms);
        let element = match &delivery.element {
            Element::Future(future) => protocol::Element::Future(future.key().clone()),
            Element::Value(payload) => protocol::Element::Value(payload.clone()),
        };
        row.set_element(&delivery.headers, &element);
        if self.json {
            row.details.insert("index".to_owned(), delivery.index.into());
            row.details.insert("attempt".to_owned(), delivery.attempt.into());
            output.json(&row)?;
        } else {
            row.note = (delivery.attempt > 1).then(|| format!("attempt {}", delivery.attempt));
            output.line(row.for_people(CHANNEL_WORD_WIDTH))?;
        }
        output.flush()
    }
}

/// List the groups of a channel.
///
/// `lag` is how many elements are not done with: those that were never leased, those that are leased now, and those that
/// wait to be leased again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel group list orders --json

With --json, each line is one object:
  {\"name\",\"next\",\"lag\",\"leased\",\"waiting\",\"members\",\"lease_ms\",\"pin_ms\",
   \"dead_letters\"?,\"attempts_max\"?,\"holds_back\"}")]
pub struct List {
    #[command(flatten)]
    on: On,
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let cells = |info: &GroupInfo| {
            let counts = [info.lag, info.leased, info.waiting, info.members.len() as u64];
            let [lag, leased, waiting, members] = counts.map(|count| count.to_string());
            [info.name.to_string(), lag, leased, waiting, members]
        };
        self.on
            .list(
                async |channel| channel.groups().await,
                |info, output| output.json(&GroupRow::of(info)),
                (["GROUP", "LAG", "LEASED", "WAITING", "MEMBERS"], cells),
            )
            .await
    }
}

/// Forget a group, and what it has done.
///
/// Its members are told. One of the same name that is made later begins anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel group delete orders packers")]
pub struct Delete {
    #[command(flatten)]
    on: On,

    /// The group
    group: GroupName,
}

impl Delete {
    async fn run(self) -> anyhow::Result<()> {
        let Delete { on, group } = self;
        on.tell(async |client, channel| {
            ask::channel(client, channel).await?.group(group.as_str())?.delete().await?;
            Ok((json!({ "name": group, "deleted": true }), format!("{group} of {channel} is forgotten")))
        })
        .await
    }
}

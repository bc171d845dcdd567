//! Questions to the scheduler, with the answers taken apart.

use anyhow::anyhow;

use super::near::did_you_mean;
use crate::client::{Channel, Client, Error};
use crate::protocol::channel::ChannelInfo;
use crate::protocol::command::{Answer, Query, Rejection};
use crate::protocol::task::TaskInfo;
use crate::protocol::{ChannelName, LogId, TaskKey};

/// An answer to something else than what was asked.
pub fn unexpected(answer: &Answer) -> anyhow::Error {
    anyhow!(
        "the scheduler answered something else ({answer:?}): use the same version of headwater on both sides"
    )
}

/// The log of a channel, `$tasks` too; at once for one that is there, also while the scheduler recovers. The error
/// for an unknown one names those with a like name.
pub async fn log(client: &Client, name: &ChannelName) -> anyhow::Result<LogId> {
    Ok(channel(client, name).await?.log())
}

/// A channel, as [`log`].
pub async fn channel(client: &Client, name: &ChannelName) -> anyhow::Result<Channel<()>> {
    match client.existing_channel::<()>(name.as_str()).await {
        Ok(channel) => Ok(channel),
        Err(Error::Rejected(Rejection::UnknownChannel(_))) => {
            let known = channels(client).await?;
            Err(anyhow!(unknown_channel(name.as_str(), known.iter().map(|info| info.name.as_str()))))
        }
        Err(error) => Err(error.into()),
    }
}

/// All channels, by name.
pub async fn channels(client: &Client) -> anyhow::Result<Vec<ChannelInfo>> {
    let mut all: Vec<ChannelInfo> = Vec::new();
    loop {
        let after = all.last().map(|info| info.name.clone());
        match client.query(Query::Channels { after }).await? {
            Answer::Channels(page) if page.is_empty() => return Ok(all),
            Answer::Channels(page) => all.extend(page),
            other => return Err(unexpected(&other)),
        }
    }
}

/// The tasks that were submitted at this offset of the task log or later: a page of them, empty when
/// there are none.
pub async fn tasks(client: &Client, from: u64) -> anyhow::Result<Vec<TaskInfo>> {
    match client.query(Query::Tasks { from }).await? {
        Answer::Tasks(page) => Ok(page),
        other => Err(unexpected(&other)),
    }
}

/// One task, with its outcome. A key that has the name of one and the identity of another is that of none.
pub async fn task(client: &Client, key: &TaskKey) -> anyhow::Result<TaskInfo> {
    match client.query(Query::Task { task: key.id }).await {
        Ok(Answer::Task(info)) if key.is_of(&info.key) => Ok(*info),
        Ok(Answer::Task(info)) => {
            let named = client.query(Query::Task { task: TaskKey::named(&key.label).id }).await;
            let named = match &named {
                Ok(Answer::Task(named)) => format!(", and `{}` that name: give one of these", named.key),
                _ => "; `headwater task list` shows those there are".to_owned(),
            };
            Err(anyhow!("there is no task `{key}`: `{}` has that hash{named}", info.key))
        }
        Ok(other) => Err(unexpected(&other)),
        Err(Error::Rejected(Rejection::UnknownTask(_))) => {
            // By its name, where that was asked for.
            let name =
                if *key == TaskKey::named(&key.label) { key.label.to_string() } else { key.to_string() };
            Err(anyhow!(
                "there is no task `{name}`: it never was, or nobody keeps it any more; `headwater task list` shows \
                 those there are"
            ))
        }
        Err(error) => Err(error.into()),
    }
}

fn unknown_channel<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let meant = did_you_mean(name, known);
    format!(
        "there is no channel `{name}`: {meant}`headwater channel list` shows those there are, \
         `headwater channel append {name} VALUE` makes it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_channel_comes_with_the_names_like_it() {
        let text = unknown_channel("add", ["a", "adds", "builds"].into_iter());
        assert!(text.starts_with("there is no channel `add`: did you mean `adds`"), "{text}");
        let text = unknown_channel("add", ["builds"].into_iter());
        assert!(text.starts_with("there is no channel `add`: `headwater channel list` shows"), "{text}");
    }
}

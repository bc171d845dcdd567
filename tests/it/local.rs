//! A scheduler in this process, on a store of its own, and what clients of it do again and again.

use std::path::Path;

use headwater::local::{Local, Options, Store};
use headwater::{Channel, Result};

/// Starts on the store in this directory, and listens there.
pub async fn start(dir: &Path, listen: &str) -> Local {
    let (store, listen) = (Store::Directory(dir.to_owned()), listen.to_owned());
    Local::start(Options { store, listen, ..Options::default() }).await.expect("it starts")
}

/// All values that are on a channel now.
pub async fn values(channel: &Channel<u64>) -> Result<Vec<u64>> {
    let (mut values, mut all) = (channel.scan().values(), Vec::new());
    while let Some(value) = values.next().await {
        all.push(value?);
    }
    Ok(all)
}

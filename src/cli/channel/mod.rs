//! `headwater channel …`: list, read, append to and stop channels.

mod append;
mod lines;
mod list;
mod stop;
mod tail;

/// See, read and write channels
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::List),
    Tail(tail::Tail),
    Append(append::Append),
    Stop(stop::Stop),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(list) => list.run().await,
            Command::Tail(tail) => tail.run().await,
            Command::Append(append) => append.run().await,
            Command::Stop(stop) => stop.run().await,
        }
    }
}

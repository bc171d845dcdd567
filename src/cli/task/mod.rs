//! `headwater task …`: see tasks, wait for them, cancel them.

mod cancel;
mod list;
mod row;
mod show;
mod wait;

/// See tasks, wait for them, cancel them
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::List),
    Show(show::Show),
    Wait(wait::Wait),
    Cancel(cancel::Cancel),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(list) => list.run().await,
            Command::Show(show) => show.run().await,
            Command::Wait(wait) => wait.run().await,
            Command::Cancel(cancel) => cancel.run().await,
        }
    }
}

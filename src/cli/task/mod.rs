//! `headwater task …`: see tasks.

mod list;
mod show;

/// See tasks
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::List),
    Show(show::Show),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(list) => list.run().await,
            Command::Show(show) => show.run().await,
        }
    }
}

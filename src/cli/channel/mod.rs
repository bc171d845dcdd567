//! `headwater channel …`: see, read and write channels, and say what they keep.

mod append;
mod create;
mod cursor;
mod durability;
mod group;
mod lines;
mod list;
mod look;
mod on;
mod producer;
mod reader;
mod retention;
mod show;
mod stop;
mod tail;
mod template;
mod trim;

/// See, read and write channels
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::List),
    Show(show::Show),
    Tail(tail::Tail),
    Append(append::Append),
    Create(create::Create),
    Set(create::Set),
    Trim(trim::Trim),
    Clear(trim::Clear),
    Stop(stop::Stop),
    Resume(trim::Resume),
    Delete(trim::Delete),
    #[command(subcommand)]
    Cursor(cursor::Command),
    #[command(subcommand)]
    Group(group::Command),
    #[command(subcommand)]
    Producer(producer::Command),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(list) => list.run().await,
            Command::Show(show) => show.run().await,
            Command::Tail(tail) => tail.run().await,
            Command::Append(append) => append.run().await,
            Command::Create(create) => create.run().await,
            Command::Set(set) => set.run().await,
            Command::Trim(trim) => trim.run().await,
            Command::Clear(clear) => clear.run().await,
            Command::Stop(stop) => stop.run().await,
            Command::Resume(resume) => resume.run().await,
            Command::Delete(delete) => delete.run().await,
            Command::Cursor(cursor) => cursor.run().await,
            Command::Group(group) => group.run().await,
            Command::Producer(producer) => producer.run().await,
        }
    }
}

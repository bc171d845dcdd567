//! The workers that run a scenario's tasks, and the tasks that they run.

use std::any::TypeId;

use super::ground::Ground;
use super::process::Process;
use crate::client::function::{Registered, Run};
use crate::protocol::task::ErrorKind;
use crate::protocol::{Payload, TaskError};
use crate::task;

/// How many worker processes there are, each with one slot: as many as the smallest machine has cores.
const WORKERS: u32 = 2;

/// What a worker says on stderr when it can be given tasks.
const JOINED: &str = "joined";

/// Does nothing, and answers its argument.
#[task]
pub fn noop(number: u64) -> u64 {
    number
}

/// The name of the task that adds its arguments.
pub const SUM: &str = concat!("rust:", module_path!(), "::sum");

/// Its version.
pub const SUM_VERSION: u32 = 1;

/// Stands for its type: it has no function whose type tells how many arguments it takes.
struct Sum;

// With `#[task]` it would take a certain number of arguments.
inventory::submit! {
    Registered {
        name: SUM,
        version: SUM_VERSION,
        pure: false,
        place: concat!(file!(), ":", line!()),
        type_id: TypeId::of::<Sum>,
        run: Run::Blocking(sum),
    }
}

fn sum(arguments: Vec<Payload>) -> Result<Payload, TaskError> {
    let failed = |kind, why: String| TaskError::new(kind, &why, Vec::new());
    let mut sum = 0_u64;
    for argument in &arguments {
        let number: u64 =
            argument.decode().map_err(|why| failed(ErrorKind::BadArguments, why.to_string()))?;
        sum = sum.wrapping_add(number);
    }
    Payload::encode(&sum).map_err(|why| failed(ErrorKind::BadResult, why.to_string()))
}

/// An argument of eight bytes: smaller numbers are encoded in fewer.
pub fn argument(number: u64) -> u64 {
    u64::MAX - number
}

/// Worker processes.
#[derive(Debug)]
pub struct Workers(Vec<Process>);

impl Workers {
    /// Starts them; they have joined when this returns.
    pub async fn start(ground: &Ground) -> anyhow::Result<Workers> {
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let name = ground.name("worker");
            let mut arguments = vec!["worker", "--slots", "1", "--connect", &ground.address, "--name", &name];
            arguments.extend(ground.token_file().into_iter().flat_map(|file| ["--token-file", file]));
            workers.push(Process::start(&arguments, JOINED).await?.0);
        }
        Ok(Workers(workers))
    }

    /// Lets them leave.
    pub async fn end(self) -> anyhow::Result<()> {
        for worker in self.0 {
            worker.end().await?;
        }
        Ok(())
    }

    /// How much memory they take together, where the system says so.
    pub fn rss_bytes(&self) -> Option<u64> {
        self.0.iter().map(|worker| worker.memory_bytes("VmRSS")).sum()
    }
}

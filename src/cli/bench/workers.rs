//! The workers that run a scenario's tasks, and the tasks that they run.

use super::ground::Ground;
use super::process::Process;
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

/// Adds numbers.
#[task]
pub fn sum(numbers: Vec<u64>) -> u64 {
    numbers.into_iter().fold(0, u64::wrapping_add)
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

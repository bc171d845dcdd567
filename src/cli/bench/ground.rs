//! What a scenario runs on: a scheduler of its own on a fresh store, or one that is there.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::limits::Limits;
use super::options::Target;
use super::scheduler::Scheduler;
use super::store::Store;
use crate::cli::connect;
use crate::client::Client;

/// How long the scheduler is tried to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A scheduler, and a directory on the disk whose limits are measured.
#[derive(Debug)]
pub struct Ground {
    /// `None`: it is somebody else's.
    scheduler: Option<Scheduler>,
    // Behind the scheduler: it goes first.
    store: Store,
    pub address: String,
    token: Option<String>,
    token_file: Option<String>,
}

impl Ground {
    pub async fn prepare(target: &Target) -> anyhow::Result<Ground> {
        Ground::prepare_with(target, &[]).await
    }

    /// One whose scheduler, if it is this one's own, has more arguments.
    pub async fn prepare_with(target: &Target, arguments: &[String]) -> anyhow::Result<Ground> {
        let store = Store::make(target.options.data.clone())?;
        let scheduler = match &target.connect {
            Some(_) => None,
            None => Some(Scheduler::start_with(store.dir(), arguments).await?),
        };
        let own = scheduler.as_ref().map(|scheduler| scheduler.address.clone());
        let address = target.connect.clone().or(own).context("there is no scheduler")?;
        let token_file = target.token_file.as_ref().map(|file| file.display().to_string());
        Ok(Ground { scheduler, store, address, token: target.token()?, token_file })
    }

    /// One more client, with a connection of its own.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.door().client().await
    }

    /// For those who connect again and again.
    pub fn door(&self) -> Door {
        Door { address: self.address.clone(), token: self.token.clone() }
    }

    /// A name that nobody has used, for a channel or a worker.
    pub fn name(&self, what: &str) -> String {
        format!("bench-{what}-{:08x}", fastrand::u32(..))
    }

    /// The scheduler, if it is this one's own.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        self.scheduler.as_ref()
    }

    /// How much memory the scheduler takes now, if it is this one's own and the system says so.
    pub fn rss_bytes(&self) -> Option<u64> {
        self.scheduler()?.process.memory_bytes("VmRSS")
    }

    /// The store's directory.
    pub fn dir(&self) -> &Path {
        self.store.dir()
    }

    /// The file with the token, to be given to processes.
    pub fn token_file(&self) -> Option<&str> {
        self.token_file.as_deref()
    }

    /// Measures the machine's limits once more.
    pub async fn measure(&self, mut limits: Limits, commits: Commits) -> anyhow::Result<Limits> {
        let dir = self.store.dir().to_owned();
        let measured = move || limits.measure(&dir, commits.records(), commits.record_bytes).map(|()| limits);
        Ok(tokio::task::spawn_blocking(measured).await??)
    }

    /// Kills the scheduler, lets the system forget what it has read of the store, and starts another one.
    pub async fn restart_cold(&mut self) -> anyhow::Result<()> {
        let scheduler = self.scheduler.take().context("a scheduler of somebody else's is not restarted")?;
        scheduler.kill().await?;
        let scheduler = Scheduler::start(self.store.dir()).await?;
        self.store.forget_pages()?;
        self.address.clone_from(&scheduler.address);
        self.scheduler = Some(scheduler);
        Ok(())
    }

    /// Ends the scheduler, if it is this one's own.
    pub async fn end(self) -> anyhow::Result<()> {
        match self.scheduler {
            Some(scheduler) => scheduler.kill().await,
            None => Ok(()),
        }
    }
}

/// Where clients come in.
#[derive(Debug, Clone)]
pub struct Door {
    address: String,
    token: Option<String>,
}

impl Door {
    /// One more client, with a connection of its own.
    pub async fn client(&self) -> anyhow::Result<Client> {
        connect::client(&self.address, self.token.clone(), CONNECT_TIMEOUT).await
    }
}

/// How many records were committed, in how many commits.
#[derive(Debug, Clone, Copy)]
pub struct Commits {
    records: u64,
    commits: u64,
    pub record_bytes: usize,
}

impl Commits {
    /// None yet, of records of so many bytes.
    pub fn of(record_bytes: usize) -> Commits {
        Commits { records: 0, commits: 0, record_bytes }
    }

    /// With so many records more, in the commits since one.
    pub async fn and(self, records: u64, since: u64, client: &Client) -> anyhow::Result<Commits> {
        let commits = self.commits + newest(client).await?.saturating_sub(since);
        Ok(Commits { records: self.records + records, commits, ..self })
    }

    /// Records of a commit, on the average; at least 1.
    pub fn records(&self) -> u64 {
        (self.records / self.commits.max(1)).max(1)
    }
}

/// The number of the newest commit.
pub async fn newest(client: &Client) -> anyhow::Result<u64> {
    Ok(client.overview().await?.seq.0)
}

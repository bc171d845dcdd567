//! Under what conditions the tasks of a submission are run.

use std::time::Duration;

use crate::client::millis::millis;
use crate::protocol::equipment::{Need, Target};
use crate::protocol::terms::{Backoff, Tag, Term, Terms};
use crate::rows::time::{duration, limit};

#[derive(Debug, clap::Args)]
pub struct Conditions {
    /// How long to wait before it is run again; twice as long each time, up to 5m or this if that is more, and less by up to a
    /// half at random
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true, requires = "retries")]
    backoff: Option<Duration>,

    /// How long it may take in all, waiting and retries included; then it has failed
    #[arg(long, value_name = "DURATION", value_parser = limit, allow_hyphen_values = true)]
    deadline: Option<Duration>,

    /// A word by which the tasks are found: `headwater task list --tag`; given several times, several words
    #[arg(long)]
    tag: Vec<Tag>,

    /// What it has of its worker's resources for itself: cpus=2, gpus=0.5, memory=4GiB; given several times, several,
    /// each once
    ///
    /// It waits for a worker that has that free. The program finds it in its environment: HEADWATER_RESOURCE_CPUS=2,
    /// HEADWATER_RESOURCE_GPUS=0 (which of them), and the same in CUDA_VISIBLE_DEVICES.
    #[arg(long, value_name = "NAME=AMOUNT")]
    needs: Vec<Need>,

    /// Where it may run: worker=NAME, host=NAME or label=WORD; given several times: on any of these workers and hosts, and of
    /// them on those with all of these labels
    #[arg(long, value_name = "WHERE")]
    on: Vec<Target>,

    /// Where it runs rather than on others that are free, too: worker=NAME, host=NAME or label=WORD
    #[arg(long, value_name = "WHERE")]
    prefer: Vec<Target>,
}

impl Conditions {
    /// As they are sent.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn terms(&self) -> anyhow::Result<Terms> {
        let mut terms = Terms::default();
        if let Some(first) = self.backoff {
            terms.set(Term::Backoff(Backoff::exponential(first).jittered()));
        }
        if let Some(deadline) = self.deadline {
            terms.set(Term::Deadline { ms: millis(deadline) });
        }
        self.tag.iter().for_each(|tag| terms.set(Term::Tag(tag.clone())));
        self.needs.iter().for_each(|need| terms.set(Term::Needs(need.clone())));
        self.on.iter().for_each(|target| terms.set(Term::On(target.clone())));
        self.prefer.iter().for_each(|target| terms.set(Term::Prefers(target.clone())));
        terms.check()?;
        Ok(terms)
    }
}

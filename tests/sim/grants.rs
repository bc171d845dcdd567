//! What tasks of the simulator need of workers, what each worker has, and the account of what attempts are granted: what takes
//! it is never given more than there is.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use headwater::log::{Log, Memory};
use headwater::protocol::equipment::{Amount, Equipment, Grant, Label, Need, Resource, Supply};
use headwater::protocol::session::HeldAttempt;
use headwater::protocol::terms::{Term, Terms};
use headwater::protocol::{Epoch, LogId, Producer, TaskEvent, TaskId};
use headwater::scheduler::core::Core;

/// What every worker of the simulator has.
pub fn of_each() -> Equipment {
    equipment(&["cpus=2", "gpus=[a,b]"], &["all"])
}

/// Equipment of this host.
pub fn equipment(resources: &[&str], labels: &[&str]) -> Equipment {
    Equipment {
        host: "here".into(),
        labels: labels.iter().map(|label| Label::new(label).expect("a good name")).collect(),
        resources: resources.iter().map(|text| text.parse().expect("a resource")).collect(),
    }
}

/// What a task of the simulator needs, and where it is to run: it can be had of each worker.
pub fn some(rng: &mut Rng) -> Vec<Term> {
    let amounts = [5_000, 10_000, 15_000, 20_000];
    let need = |text: &str, rng: &mut Rng| {
        let amount = Amount(amounts[rng.usize(..amounts.len())]);
        Term::Needs(Need { resource: text.parse().expect("a good name"), amount })
    };
    let mut terms = Vec::new();
    for resource in ["cpus", "gpus"] {
        terms.extend(rng.bool().then(|| need(resource, rng)));
    }
    terms.extend(rng.bool().then(|| Term::On("label=all".parse().expect("a target"))));
    terms.extend(rng.bool().then(|| Term::Prefers("worker=one".parse().expect("a target"))));
    terms
}

/// Panics if an attempt was granted something that it does not need, or not what it needs.
pub fn audit(log: &Memory) {
    let mut needs: BTreeMap<TaskId, Terms> = BTreeMap::new();
    for batch in log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read") {
        for record in batch.records::<TaskEvent>() {
            match record.expect("records decode").1 {
                TaskEvent::SubmittedUnder { submission, terms, .. } => {
                    needs.insert(submission.key.id, terms);
                }
                TaskEvent::Submitted { submission, .. } => drop(needs.remove(&submission.key.id)),
                TaskEvent::Started { task, .. } => {
                    let needed = needs.get(&task).map_or(0, |terms| terms.needs().count());
                    assert_eq!(needed, 0, "{task} started without what it needs");
                }
                TaskEvent::StartedWith { task, grants, .. } => {
                    let got: BTreeMap<&str, Amount> =
                        grants.iter().map(|grant| (grant.resource.as_str(), grant.amount)).collect();
                    let needed = needs[&task].needs().map(|need| (need.resource.as_str(), need.amount));
                    assert_eq!(got, needed.collect(), "{task}: what it was granted");
                }
                _ => {}
            }
        }
    }
}

/// The attempts that workers have: for each that is new there must be room beside those that take theirs.
#[derive(Default)]
pub struct Given(BTreeMap<(Epoch, Producer), BTreeSet<HeldAttempt>>);

impl Given {
    /// Looks after all workers that are connected.
    pub fn watch(&mut self, epoch: Epoch, core: &Core) {
        let (state, presence) = (core.state(), core.presence());
        let grants_of = |held: &HeldAttempt| state.tasks[&held.task].grants();
        for (worker, of) in presence.slots().workers() {
            let running = &state.sessions[worker].running;
            let held = |task: &TaskId| HeldAttempt { task: *task, attempt: state.tasks[task].attempt };
            let now: BTreeSet<HeldAttempt> = running.iter().map(held).collect();
            let Some(before) = self.0.insert((epoch, *worker), now.clone()) else { continue };
            let new: Vec<&HeldAttempt> = now.difference(&before).collect();
            if new.is_empty() {
                continue;
            }
            let taking: Vec<&HeldAttempt> =
                now.iter().filter(|held| !presence.has_paused(held.task)).collect();
            assert!(taking.len() <= of.window as usize, "{worker} is given {new:?}, of {taking:?}");
            // Those that are granted nothing may wait there.
            let waiting = new.iter().filter(|held| grants_of(held).is_empty()).count();
            let has_slots = waiting == new.len() || taking.len() - waiting <= of.slots as usize;
            assert!(has_slots, "{worker} has no slot for {new:?}, of {taking:?}");
            let new: Vec<&Grant> = new.into_iter().flat_map(grants_of).collect();
            let all: Vec<&Grant> = taking.into_iter().flat_map(grants_of).collect();
            check(&of_each().resources, &new, &all);
        }
    }
}

/// Panics if there is not so much as is granted with these, the new ones among them. Of other things there may be too little:
/// who returns to its worker may wait for what others were given meanwhile.
pub fn check(there_is: &[Resource], new: &[&Grant], all: &[&Grant]) {
    for Grant { resource, amount, parts } in new {
        let same: Vec<&&Grant> = all.iter().filter(|grant| grant.resource == *resource).collect();
        let supply = there_is.iter().find(|there_is| there_is.name == *resource).map(|of| &of.supply);
        match supply.unwrap_or_else(|| panic!("{resource} is granted, and there is none")) {
            Supply::Sum(total) => {
                let sum: u64 = same.iter().map(|grant| grant.amount.0).sum();
                assert!(sum <= total.0, "{sum} of {resource}: {same:?}");
            }
            Supply::Each(ones) => {
                assert!(parts.iter().all(|(part, _)| ones.contains(part)), "{resource}: {parts:?}");
                let whole: u64 = parts.iter().map(|(_, amount)| amount.0).sum();
                assert_eq!(whole, amount.0, "{resource}: {parts:?}");
                for (part, _) in parts {
                    let of_part = same.iter().flat_map(|grant| &grant.parts).filter(|(of, _)| of == part);
                    let sum: u64 = of_part.map(|(_, amount)| amount.0).sum();
                    assert!(sum <= Amount::ONE.0, "{sum} of {resource} {part}: {same:?}");
                }
            }
        }
    }
}

//! Submitting a task.

use super::scatter::names_another_value;
use super::{Decision, Event, Rejection, State};
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::task::{CONCAT, SCATTER};
use crate::protocol::terms::Terms;
use crate::protocol::{Submission, TaskEvent};
use crate::scheduler::core::task::Call;

/// Enters a task, or holds the one that has its key, under whatever terms that is run.
pub(super) fn decide(state: &State, origin: Origin, submission: Submission, terms: Terms) -> Decision {
    submission.check()?;
    submission.check_nested().map_err(|bad| Rejection::Invalid(bad.to_string()))?;
    terms.check()?;
    if &*submission.function == SCATTER {
        return Err(Rejection::Invalid(format!("`{SCATTER}` is no function: no worker has it")));
    }
    if let Some(task) = state.tasks.get(&submission.key.id) {
        if task.function.name != submission.function {
            let (key, function) = (submission.key.label.into(), task.function.name.clone());
            return Err(Rejection::KeyTaken { key, function });
        }
        let is_other = |call: &Call| call.arguments() != submission.arguments;
        if &*submission.function == CONCAT && task.call.as_deref().is_some_and(is_other) {
            return Err(names_another_value(&submission.key));
        }
        let held = TaskEvent::Held { origin, task: submission.key.id, detached: submission.options.detach };
        return Ok((vec![Event::Task(held)], Answer::Submitted));
    }
    if let Some(unknown) = submission.dependencies().into_iter().find(|task| !state.tasks.contains_key(task))
    {
        return Err(Rejection::UnknownTask(unknown));
    }
    let submitted = match terms.is_empty() {
        true => TaskEvent::Submitted { origin, submission },
        false => TaskEvent::SubmittedUnder { origin, submission, terms },
    };
    Ok((vec![Event::Task(submitted)], Answer::Submitted))
}

//! Results that more workers are to keep. No fact comes of the wish, so it is in no log:
//! [`Replicas`](crate::scheduler::core) has it.

use super::{Decision, Rejection, State};
use crate::protocol::TaskId;
use crate::protocol::command::Answer;
use crate::protocol::limits::REPLICAS_MAX;
use crate::protocol::result::Replication;
use crate::scheduler::core::Phase;

/// So many workers are to keep a result. How many do, those say who know who is there.
pub(super) fn replicate(state: &State, task: TaskId, copies: u32) -> Decision {
    if copies == 0 || copies > REPLICAS_MAX {
        let why = format!("{copies} workers cannot be asked to keep a result: give from 1 to {REPLICAS_MAX}");
        return Err(Rejection::Invalid(why));
    }
    match &state.tasks.get(&task).ok_or(Rejection::UnknownTask(task))?.phase {
        Phase::Finished(_) | Phase::Stored(_) => Ok((Vec::new(), Answer::Replicated(Replication::InLog))),
        Phase::Lost => {
            let why = format!("the result of task {task} is lost: wait for it, and ask again");
            Err(Rejection::Invalid(why))
        }
        other => {
            let why =
                format!("task {task} is {}, and has no result: wait for it, and ask again", other.status());
            Err(Rejection::Invalid(why))
        }
    }
}

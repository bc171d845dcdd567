//! How tasks went from one phase to another, for who measures how long they stay there: the core knows no clock. Nothing is
//! noted unless it is wanted, so that a fold of the logs costs nothing for it.

use std::mem;

use super::Core;
use super::task::Phase;
use crate::protocol::TaskId;

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// It could start.
    Ready,
    /// An attempt was given to a worker.
    Started,
    /// The attempt that was running brought a result or an error.
    Ended,
    /// It could start no more, or the attempt that was running is over without either.
    Left,
}

/// What became of tasks since it was asked last, in order. As part of a state it says nothing: all are equal.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    are_wanted: bool,
    made: Vec<(TaskId, Move)>,
}

impl PartialEq for Moves {
    fn eq(&self, _: &Moves) -> bool {
        true
    }
}

impl Eq for Moves {}

impl Core {
    /// From now on it is noted what becomes of tasks, for [`Core::take_moves`].
    pub fn note_moves(&mut self) {
        self.state.moves.are_wanted = true;
    }

    /// What became of tasks since this was asked last, in order.
    pub fn take_moves(&mut self) -> Vec<(TaskId, Move)> {
        mem::take(&mut self.state.moves.made)
    }
}

impl Moves {
    /// The attempt that is running has failed, and its task may be tried again.
    pub(super) fn failed(&mut self, id: TaskId) {
        if self.are_wanted {
            self.made.push((id, Move::Ended));
        }
    }

    /// A task went from a phase to another.
    pub(super) fn went(&mut self, id: TaskId, from: &Phase, to: &Phase) {
        if !self.are_wanted {
            return;
        }
        let made = match (from, to) {
            (_, Phase::Ready) => Move::Ready,
            (_, Phase::Running { .. }) => Move::Started,
            (Phase::Running { .. }, Phase::Finished(_) | Phase::Stored(_) | Phase::Failed(_)) => Move::Ended,
            (Phase::Running { .. } | Phase::Ready, _) => Move::Left,
            _ => return,
        };
        self.made.push((id, made));
    }
}

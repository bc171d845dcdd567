//! The typed handle to a task's outcome.

use std::marker::PhantomData;

use crate::protocol::TaskId;

/// A task's outcome, soon or late, of type `T`.
#[derive(Debug)]
pub struct TaskFuture<T> {
    pub(crate) id: TaskId,
    pub(crate) result: PhantomData<fn() -> T>,
}

impl<T> Clone for TaskFuture<T> {
    fn clone(&self) -> Self {
        TaskFuture { id: self.id, result: PhantomData }
    }
}

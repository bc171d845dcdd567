//! Tasks: submitted under whatever terms, cancelled, tried again.

use fastrand::Rng;
use headwater::protocol::command::{Answer, Command, Rejection};
use headwater::protocol::task::{Argument, TaskOptions, TaskStatus};
use headwater::protocol::{Payload, Submission, TaskId, TaskKey, Template, template};

use super::values::either;
use super::{COUNTER, Client, OWN, PLAIN, is_of_room};
use crate::shadow::Shadow;
use crate::terms;

impl Client {
    pub(super) fn submit(&mut self, rng: &mut Rng) {
        // The first argument is like no other, or a value of its own: the result must be made of it.
        let mut arguments = vec![match rng.choice(self.scattered.keys()).filter(|_| rng.u8(..4) == 0) {
            Some(value) => Argument::Future(*value),
            None => Argument::Value(Payload::raw(format!("{:08x}", rng.u32(..)))),
        }];
        if rng.u8(..3) > 0 {
            let dependencies = rng.choose_multiple(self.held.iter(), 2).into_iter();
            match rng.bool() {
                true => arguments.extend(dependencies.map(|key| Argument::Future(key.id))),
                false => arguments.push(nested(&dependencies.map(|key| key.id).collect::<Vec<_>>())),
            }
        }
        // A few names that all clients use, so that they meet.
        let key = match rng.u8(..16) {
            0 => TaskKey::named(&either(rng)),
            1..4 => TaskKey::named(&format!("shared-{}", rng.u8(..5))),
            _ => TaskKey::unique(OWN, rng.u128(..).to_be_bytes()),
        };
        let options = TaskOptions { retries: rng.u32(..2), priority: rng.i32(-1..2), detach: false };
        let submission = Submission { key, function: PLAIN.into(), version: 1, arguments, options };
        let terms = terms::some(rng);
        self.ask(Command::submit(submission, terms));
    }

    /// Cancels a task that it holds, perhaps one that others hold, too.
    pub(super) fn cancel(&mut self, rng: &mut Rng) {
        if let Some(key) = rng.choice(&self.held).filter(|key| &*key.label != "counter") {
            let is_value = self.scattered.contains_key(&key.id);
            self.cancels.insert(self.link.command(Command::Cancel { task: key.id }), (key.id, is_value));
        }
    }

    /// Tries a task again, if that has failed.
    pub(super) fn retry(&mut self, rng: &mut Rng) {
        for key in rng.choose_multiple(self.held.iter(), 3) {
            self.retries.insert(self.link.command(Command::Retry { task: key.id }), key.id);
        }
    }

    /// Wishes that more workers keep the result of a task, which may have none.
    pub(super) fn replicate(&mut self, rng: &mut Rng) {
        if let Some(key) = rng.choice(&self.held) {
            self.link.command(Command::Replicate { task: key.id, copies: rng.u32(1..5) });
        }
    }

    /// Submits a task that is a client itself, and stays without anyone.
    pub fn submit_counter(&mut self) {
        let options = TaskOptions { retries: 0, priority: 9, detach: true };
        let key = TaskKey::named("counter");
        let submission = Submission { key, function: COUNTER.into(), version: 1, arguments: vec![], options };
        self.ask(Command::Submit(submission));
    }

    /// Whether this is the answer to a cancellation, or to another try.
    pub(super) fn end_answered(
        &mut self,
        number: u64,
        answer: &Result<Answer, Rejection>,
        shadow: &mut Shadow,
    ) -> bool {
        if let Some((task, is_value)) = self.cancels.remove(&number) {
            match answer {
                Err(Rejection::Invalid(_)) if is_value => {}
                Err(refused) if is_of_room(refused) => {}
                other if is_value => {
                    panic!("{task} is a value, and its cancellation was answered with {other:?}")
                }
                Ok(Answer::Ended(TaskStatus::Cancelled)) => drop(shadow.cancelled.insert(task)),
                Ok(Answer::Ended(TaskStatus::Pending | TaskStatus::Running)) => {
                    panic!("{task} has not ended")
                }
                Ok(Answer::Ended(_)) | Err(Rejection::UnknownTask(_)) => {}
                other => panic!("a cancellation was answered with {other:?}"),
            }
            return true;
        }
        if let Some(task) = self.retries.remove(&number) {
            match answer {
                Ok(Answer::Retried) => drop(shadow.renewed.insert(task)),
                // It has not failed, or there is none.
                Err(Rejection::Invalid(_) | Rejection::UnknownTask(_)) => {}
                other => panic!("a retry was answered with {other:?}"),
            }
            return true;
        }
        false
    }
}

/// `[task, [every task, 7]]`: the first is there twice.
fn nested(tasks: &[TaskId]) -> Argument {
    let mut bytes = Vec::new();
    template::begin_array(&mut bytes, 1 + tasks.len().min(1) as u32);
    tasks.iter().take(1).for_each(|task| template::add_hole(&mut bytes, *task));
    template::begin_array(&mut bytes, 1 + tasks.len() as u32);
    tasks.iter().for_each(|task| template::add_hole(&mut bytes, *task));
    bytes.push(7);
    Argument::Nested(Template::new(bytes))
}

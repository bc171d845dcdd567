//! The values that a client scatters: tasks that have never run.

use fastrand::Rng;
use headwater::protocol::command::{Answer, Command, Rejection};
use headwater::protocol::task::SCATTER;
use headwater::protocol::{Payload, TaskKey};
use headwater::scheduler::core::{Phase, State};

use super::{Client, PLAIN, is_of_room};
use crate::shadow::Shadow;

/// A name under which all clients submit and scatter, so that tasks and values meet.
pub(super) fn either(rng: &mut Rng) -> String {
    format!("either-{}", rng.u8(..2))
}

impl Client {
    /// Makes a value a future, or one that it holds again. Under names that all clients use there are two values each, so that
    /// they meet.
    pub(super) fn scatter(&mut self, rng: &mut Rng) {
        let (name, value) = match rng.u8(..8) {
            0 | 1 => (either(rng), rng.u32(..2)),
            2..5 => (format!("value-{}", rng.u8(..2)), rng.u32(..2)),
            _ => (format!("value-{:08x}", rng.u32(..)), rng.u32(..)),
        };
        let mut value = Payload::encode(&value).expect("a number encodes");
        let mut key = TaskKey::named(&name);
        let held = rng.choice(&self.held).filter(|_| rng.u8(..4) == 0);
        if let Some((known, held)) = held.and_then(|held| Some((self.scattered.get(&held.id)?, held))) {
            (key, value) = (held.clone(), known.clone());
        }
        // What stays stands in nobody's way.
        let detach = rng.u8(..8) == 0 && key.label.len() > "either-0".len();
        self.ask(Command::Scatter { key, value, detach });
    }

    /// The answer to what it scattered.
    pub(super) fn scatter_answered(
        &mut self,
        (key, value, detach): (TaskKey, Payload, bool),
        answer: Result<Answer, Rejection>,
        shadow: &mut Shadow,
    ) {
        let known = (key.id, value.bytes.to_vec());
        match answer {
            Ok(Answer::Submitted) => {
                shadow.values.insert(known);
                shadow.values_detached.extend(detach.then_some(key.id));
                self.scattered.insert(key.id, value);
                if !self.held.contains(&key) {
                    self.held.push(key);
                }
            }
            Err(refused) if is_of_room(&refused) => {}
            // Another value has its name, or a task.
            Err(Rejection::Invalid(_)) => {
                let before = self.scattered.get(&key.id);
                assert!(
                    before.is_none_or(|before| *before != value),
                    "{key} is this very value, and refused"
                );
                shadow.values_refused.insert(known);
            }
            Err(Rejection::KeyTaken { function, .. }) if &*function == PLAIN => {
                assert!(!self.scattered.contains_key(&key.id), "{key} is a value, and was said to be a task");
            }
            other => panic!("a value was answered with {other:?}"),
        }
    }

    /// Panics unless the values that it scattered and holds are there, as they were acknowledged. `state` is what the scheduler
    /// that runs has, which may have ended its session.
    pub fn check_values(&self, state: &State) {
        let is_behind = self.ended || self.went_back();
        let session = state.producers.get(&self.session).and_then(|producer| state.sessions.get(producer));
        let Some(session) = session.filter(|_| !is_behind) else { return };
        for (id, value) in &self.scattered {
            assert!(
                session.holds.contains(id),
                "{id} is a value that is held, and its session does not hold it"
            );
            let task = &state.tasks[id];
            assert_eq!(&*task.function.name, SCATTER, "{id} is a value");
            assert_eq!(task.phase, Phase::Finished((value).into()), "the value of {id}");
        }
    }
}

//! What the scenarios are made of: a core with its logs and connections, and commands in few words.

use std::collections::BTreeMap;

use headwater::protocol::command::{Answer, Command, Query};
use headwater::protocol::equipment::Equipment;
use headwater::protocol::message::{Hello, ServerMessage};
use headwater::protocol::session::{FunctionOffer, HeldAttempt, Role, WorkerOffer};
use headwater::protocol::task::{Argument, ErrorKind, TaskError, TaskInfo, TaskOptions};
use headwater::protocol::{
    AttemptNumber, ChannelName, Element, LogId, Payload, Seq, SessionId, Submission, TaskId, TaskKey, TimeMs,
};
use headwater::scheduler::core::{Core, Effect, Event, LogFacts, Output, Restoring, Settings, State};
use headwater::scheduler::{ConnectionId, Request};

use crate::transcript;

/// A core, its logs, and who is connected to it.
pub struct Scene {
    pub core: Core,
    pub settings: Settings,
    now: TimeMs,
    /// What each log holds, by the step and the time that it came with.
    logs: BTreeMap<LogId, Vec<(u64, TimeMs, Event)>>,
    steps: u64,
    names: State,
    connections: u64,
    numbers: BTreeMap<u64, u64>,
    lines: Vec<String>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        Scene {
            core: Core::new(State::default(), settings, LogFacts::default(), 0),
            settings,
            now: 0,
            logs: BTreeMap::new(),
            steps: 0,
            names: State::default(),
            connections: 0,
            numbers: BTreeMap::new(),
            lines: Vec::new(),
        }
    }

    /// A step, and the commit that it brings if it brings anything.
    pub fn step(&mut self, step: impl FnOnce(&mut Core, &mut Output)) {
        let mut out = Output::default();
        let before = self.core.state().clone();
        step(&mut self.core, &mut out);
        if !out.events.is_empty() {
            self.core.end_commit(&[], self.now, &mut out);
        }
        self.steps += 1;
        self.names = self.core.state().clone();
        let gone = before.tasks.iter().filter(|(id, _)| !self.core.state().tasks.contains_key(id));
        gone.for_each(|(id, task)| self.names.tasks.insert(*id, task.clone()));
        for placed in out.events.iter().flat_map(transcript::records) {
            let log = self.logs.entry(placed.event.log()).or_default();
            assert_eq!(placed.offset, log.len() as u64, "offsets are dense");
            log.push((self.steps, self.now, placed.event.clone()));
            self.lines.push(transcript::event(&self.names, &placed.event));
        }
        for effect in &out.effects {
            self.lines.push(format!("→ {}", transcript::effect(&self.names, effect)));
            if let Effect::Accept { connection, .. } = effect {
                self.numbers.insert(connection.0, 0);
            }
        }
        self.core.check();
        assert_eq!(&self.fold(), self.core.state(), "each log folded on its own gives the live state");
        assert_eq!(&restored(self.core.state()), self.core.state(), "a snapshot gives the live state");
    }

    pub fn fold(&self) -> State {
        let mut state = State::default();
        for (log, records) in &self.logs {
            for of_step in records.chunk_by(|one, next| one.0 == next.0) {
                of_step.iter().for_each(|(.., event)| state.apply(Seq(0), event));
                if *log == LogId::TASKS {
                    state.end_commit([*log], of_step[0].1);
                }
            }
        }
        state
    }

    /// The lines since this was last called.
    pub fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    #[track_caller]
    pub fn then(&mut self, expected: &[&str]) {
        assert_eq!(self.told(), expected);
    }

    pub fn connect(&mut self, session: u8, resume: bool, role: Role) -> u64 {
        self.connections += 1;
        let hello = Hello { token: None, session: SessionId([session; 16]), resume, role, seen: None };
        let connection = self.connections;
        self.step(|core, out| core.connect(ConnectionId(connection), &hello, out));
        connection
    }

    pub fn client(&mut self, session: u8) -> u64 {
        self.connect(session, false, Role::Client)
    }

    pub fn worker(&mut self, session: u8, name: &str, slots: u32) -> u64 {
        self.connect(session, false, worker(name, slots, vec![]))
    }

    pub fn ask(&mut self, connection: u64, command: Command) -> u64 {
        let number = self.numbers.entry(connection).or_default();
        *number += 1;
        let number = *number;
        self.ask_again(connection, number, command);
        number
    }

    pub fn ask_again(&mut self, connection: u64, number: u64, command: Command) {
        self.step(|core, out| core.request(ConnectionId(connection), number, Request::Command(command), out));
    }

    pub fn drop_connection(&mut self, connection: u64) {
        let now = self.now;
        self.step(|core, out| core.disconnect(now, ConnectionId(connection), false, out));
    }

    pub fn leave(&mut self, connection: u64) {
        let now = self.now;
        self.step(|core, out| core.disconnect(now, ConnectionId(connection), true, out));
    }

    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        let now = self.now;
        self.step(|core, out| core.tick(now, out));
    }

    /// What is known of a task.
    pub fn task(&mut self, connection: u64, name: &str) -> TaskInfo {
        let mut out = Output::default();
        let query = Request::Query(Query::Task { task: id(name) });
        self.core.request(ConnectionId(connection), 99, query, &mut out);
        match out.effects.remove(0) {
            Effect::Send { message: ServerMessage::Answer(Ok(Answer::Task(info))), .. } => *info,
            other => panic!("{other:?}"),
        }
    }

    /// The scheduler stands still.
    pub fn stand_still(&mut self, ms: u64) {
        self.now += ms;
        self.core.was_absent(ms);
        let now = self.now;
        self.step(|core, out| core.tick(now, out));
    }

    /// The scheduler dies and starts again with what is in the logs.
    pub fn restart(&mut self) {
        self.core = Core::new(self.fold(), self.settings, LogFacts::default(), self.now);
        self.step(|core, out| core.recovered(out));
    }
}

/// The state that a snapshot of this one gives.
fn restored(state: &State) -> State {
    let mut restoring = Restoring::new(Seq(0));
    state.clone().into_items().for_each(|item| restoring.add(item).expect("it makes sense"));
    restoring.finish().expect("it is whole").0
}

pub fn worker(name: &str, slots: u32, held: Vec<HeldAttempt>) -> Role {
    let functions = vec![FunctionOffer { name: "rust:m::f".into(), version: 1 }];
    let results_at = format!("{name}:1").into();
    Role::Worker(WorkerOffer {
        name: name.into(),
        slots,
        functions,
        held,
        results_at,
        equipment: Equipment::default(),
    })
}

pub fn id(name: &str) -> TaskId {
    TaskKey::named(name).id
}

pub fn submission(name: &str, arguments: Vec<Argument>) -> Submission {
    let options = TaskOptions::default();
    Submission { key: TaskKey::named(name), function: "rust:m::f".into(), version: 1, arguments, options }
}

pub fn submit(name: &str) -> Command {
    Command::Submit(submission(name, vec![]))
}

pub fn submit_on(name: &str, dependencies: &[&str]) -> Command {
    Command::Submit(submission(name, dependencies.iter().map(|name| Argument::Future(id(name))).collect()))
}

pub fn number(n: u8) -> Payload {
    Payload::encode(&n).expect("a number encodes")
}

pub fn finish(name: &str, attempt: u32, result: u8) -> Command {
    Command::Finish { task: id(name), attempt: AttemptNumber(attempt), result: number(result) }
}

pub fn fail(name: &str, attempt: u32) -> Command {
    let error = Box::new(TaskError::new(ErrorKind::Returned, "boom", vec!["spark".into()]));
    Command::Fail { task: id(name), attempt: AttemptNumber(attempt), error }
}

pub fn release(name: &str) -> Command {
    Command::Release { tasks: vec![id(name)] }
}

pub fn open(name: &str) -> Command {
    Command::OpenChannel { name: ChannelName::new(name).expect("a good name") }
}

pub fn append(log: u32, name: &str) -> Command {
    Command::append(LogId(log), vec![Element::Future(TaskKey::named(name))].into())
}

pub fn append_value(log: u32, n: u8) -> Command {
    Command::append(LogId(log), vec![Element::Value(number(n))].into())
}

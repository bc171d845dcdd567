//! A scheduler without a driver, for tests of what is kept.

use std::sync::Arc;

use super::Options;
use super::taking::Snapshots;
use crate::log::{Log, Memory, Reader};
use crate::protocol::command::Command;
use crate::protocol::message::Hello;
use crate::protocol::session::Role;
use crate::protocol::task::{Argument, TaskOptions};
use crate::protocol::{Payload, Seq, SessionId, Submission, TaskKey};
use crate::scheduler::core::{Core, LogFacts, Settings, State};
use crate::scheduler::hindsight::Hindsight;
use crate::scheduler::recovery::Recovered;
use crate::scheduler::{ConnectionId, Pipeline, Request, ends, recovery};

const CLIENT: ConnectionId = ConnectionId(1);

/// A scheduler without a driver.
pub struct Rig {
    pub log: Arc<dyn Log>,
    pub pipeline: Pipeline,
    pub snapshots: Snapshots,
    /// What the start has found, and the snapshot that it went on from.
    pub recovered: (State, Seq),
    /// How many commands were given: the key of a task is the number of those before it.
    pub commands: u64,
}

impl Rig {
    /// On an empty store in memory.
    pub fn new(every_records: u64) -> Rig {
        Rig::on(Arc::new(Memory::new()), every_records)
    }

    /// A start on a store, with a client of its own.
    pub fn on(log: Arc<dyn Log>, every_records: u64) -> Rig {
        let epoch = log.begin_epoch().unwrap();
        let mut recovered = recovery::recover(log.as_ref(), &mut |_| Ok(())).unwrap();
        ends::fill(log.as_ref(), &Reader::new(log.clone()), &mut recovered, 0).unwrap();
        let options = Options { every_records, ..Options::default() };
        let snapshots = Snapshots::new(log.clone(), options, &recovered);
        let recovered = (recovered.state, recovered.snapshot);
        let core = Core::new(recovered.0.clone(), Settings::default(), LogFacts::default(), 0);
        let mut pipeline = Pipeline::new(core, epoch, log.last().seq);
        let (session, resume) = (SessionId(u128::from(epoch.0).to_be_bytes()), false);
        pipeline.connect(CLIENT, &Hello { token: None, session, resume, role: Role::Client, seen: None });
        Rig { log, pipeline, snapshots, recovered, commands: 1_000_000 * (epoch.0 - 1) }
    }

    pub fn ask(&mut self, command: Command) {
        self.commands += 1;
        self.pipeline.request(CLIENT, self.commands, Request::Command(command));
    }

    /// Submits so many tasks.
    pub fn submit(&mut self, tasks: u64) {
        for _ in 0..tasks {
            let (key, function, version) = (TaskKey::named(&self.commands.to_string()), "f".into(), 1);
            let arguments = vec![Argument::Value(Payload::raw(vec![7; 200]))];
            let options = TaskOptions::default();
            self.ask(Command::Submit(Submission { key, function, version, arguments, options }));
        }
    }

    /// Submits so many tasks, and lets go of them.
    pub fn come_and_go(&mut self, tasks: u64) {
        let first = self.commands;
        self.submit(tasks);
        let tasks = (first..self.commands).map(|number| TaskKey::named(&number.to_string()).id).collect();
        self.ask(Command::Release { tasks });
    }

    /// Hands out a commit, and makes it durable when that is wanted.
    pub fn commit(&mut self, is_written: bool) {
        let commit = self.pipeline.next_commit(0).unwrap();
        self.snapshots.committing(&commit, &mut self.pipeline);
        self.log.append(&commit).unwrap();
        self.log.flush().unwrap();
        if is_written {
            self.pipeline.committed(commit.seq);
        }
    }

    /// Steps until the snapshot is written, or broken off.
    pub fn finish(&mut self) {
        while self.snapshots.is_taking() {
            self.snapshots.step(&mut self.pipeline);
            std::thread::yield_now();
        }
    }

    /// What a start finds.
    pub fn recover(&self) -> Recovered {
        recovery::recover(self.log.as_ref(), &mut |_| Ok(())).unwrap()
    }

    /// Who looks back on what there is.
    pub fn hindsight(&self) -> Hindsight {
        Hindsight::new(Reader::new(self.log.clone()))
    }
}

//! A scheduler without a driver, for tests of what is kept.

use std::sync::Arc;

use super::Options;
use super::taking::Snapshots;
use crate::log::{Log, Memory};
use crate::protocol::command::Command;
use crate::protocol::message::Hello;
use crate::protocol::session::Role;
use crate::protocol::task::{Argument, TaskOptions};
use crate::protocol::{Payload, Seq, SessionId, Submission, TaskKey};
use crate::scheduler::core::{Core, LogFacts, Settings};
use crate::scheduler::recovery::Recovered;
use crate::scheduler::{ConnectionId, Pipeline, Request, recovery};

const CLIENT: ConnectionId = ConnectionId(1);

/// A scheduler without a driver.
pub struct Rig {
    pub log: Memory,
    pub pipeline: Pipeline,
    pub snapshots: Snapshots,
    /// How many commands were given: the key of a task is the number of those before it.
    pub commands: u64,
}

impl Rig {
    pub fn new(every_records: u64) -> Rig {
        let log = Memory::new();
        let epoch = log.begin_epoch().unwrap();
        let recovered = recovery::recover(&log, &mut |_| Ok(())).unwrap();
        let options = Options { every_records, ..Options::default() };
        let snapshots = Snapshots::new(Arc::new(log.clone()), options, &recovered);
        let core = Core::new(recovered.state, Settings::default(), LogFacts::default(), 0);
        let mut pipeline = Pipeline::new(core, epoch, Seq(0));
        let (session, resume) = (SessionId([1; 16]), false);
        pipeline.connect(CLIENT, &Hello { token: None, session, resume, role: Role::Client, seen: None });
        Rig { log, pipeline, snapshots, commands: 0 }
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
        recovery::recover(&self.log, &mut |_| Ok(())).unwrap()
    }
}

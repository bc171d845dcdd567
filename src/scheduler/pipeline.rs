//! Group commit: while one commit is being made durable, the next one fills; nothing leaves before its
//! cause is durable. Pure: the driver and the simulator both turn this crank.
//!
//! ```text
//!   core's output ──▶ open commit ──next_commit──▶ in flight ──committed──▶ durable
//!         effects ──▶ wait for the commit they came with ─────next_effect──▶ out
//! ```
//!
//! An effect that came without events (a refusal, the answer to a query, a dedupe) may still tell of
//! facts that are not durable yet; so it waits for the newest commit that the core has seen.

use std::collections::{BTreeMap, VecDeque};

use super::core::{Core, Effect, Event, Output, Placed};
use super::handle::{ConnectionId, Request};
use crate::protocol::batch::{Commit, OpenBatch};
use crate::protocol::message::Hello;
use crate::protocol::{Epoch, LogId, Seq, TimeMs};

/// The core, and the commits on their way to the log.
#[derive(Debug)]
pub struct Pipeline {
    core: Core,
    epoch: Epoch,
    /// What the next commit will hold; several batches for a log when one is full.
    open: BTreeMap<LogId, Vec<OpenBatch>>,
    open_records: usize,
    /// The newest commit that was handed out.
    handed_out: Seq,
    durable: Seq,
    waiting: VecDeque<(Seq, Effect)>,
}

impl Pipeline {
    /// Goes on after the last durable commit.
    pub fn new(core: Core, epoch: Epoch, last: Seq) -> Self {
        let (open, waiting) = (BTreeMap::new(), VecDeque::new());
        Pipeline { core, epoch, open, open_records: 0, handed_out: last, durable: last, waiting }
    }

    /// The core.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Enters the receipt of a start.
    pub fn recovered(&mut self) {
        self.step(|core, out| core.recovered(out));
    }

    /// See [`Core::connect`].
    pub fn connect(&mut self, connection: ConnectionId, hello: &Hello) {
        self.step(|core, out| core.connect(connection, hello, out));
    }

    /// See [`Core::request`].
    pub fn request(&mut self, connection: ConnectionId, number: u64, request: Request) {
        self.step(|core, out| core.request(connection, number, request, out));
    }

    /// See [`Core::disconnect`].
    pub fn disconnect(&mut self, now: TimeMs, connection: ConnectionId, goodbye: bool) {
        self.step(|core, out| core.disconnect(now, connection, goodbye, out));
    }

    /// See [`Core::tick`].
    pub fn tick(&mut self, now: TimeMs) {
        self.step(|core, out| core.tick(now, out));
    }

    fn step(&mut self, step: impl FnOnce(&mut Core, &mut Output)) {
        let mut out = Output::default();
        step(&mut self.core, &mut out);
        for placed in &out.events {
            self.record(placed);
        }
        let cause = if self.open_records > 0 { self.handed_out.next() } else { self.handed_out };
        self.core.facts_mut().seq = cause;
        self.waiting.extend(out.effects.into_iter().map(|effect| (cause, effect)));
    }

    fn record(&mut self, placed: &Placed) {
        let log = placed.event.log();
        let batches = self.open.entry(log).or_default();
        let pushed = batches.last_mut().is_some_and(|batch| push(batch, &placed.event));
        if !pushed {
            let mut batch = OpenBatch::new(log, placed.offset, placed.index);
            push(&mut batch, &placed.event);
            batches.push(batch);
        }
        self.open_records += 1;
    }

    /// Records that wait for the next commit.
    pub fn open_records(&self) -> usize {
        self.open_records
    }

    /// Whether a commit is on its way to the log.
    pub fn is_committing(&self) -> bool {
        self.handed_out > self.durable
    }

    /// Closes the open commit, if there is anything in it and none is on its way.
    pub fn next_commit(&mut self, now: TimeMs) -> Option<Commit> {
        if self.open_records == 0 || self.is_committing() {
            return None;
        }
        self.handed_out = self.handed_out.next();
        self.open_records = 0;
        let (seq, epoch) = (self.handed_out, self.epoch);
        let open = std::mem::take(&mut self.open).into_values().flatten();
        Some(Commit { seq, epoch, batches: open.map(|batch| batch.seal(seq, epoch, now)).collect() })
    }

    /// The commit that was on its way is durable.
    pub fn committed(&mut self, seq: Seq) {
        self.durable = seq;
    }

    /// The next effect whose cause is durable.
    pub fn next_effect(&mut self) -> Option<Effect> {
        let (cause, _) = self.waiting.front()?;
        if *cause > self.durable {
            return None;
        }
        self.waiting.pop_front().map(|(_, effect)| effect)
    }
}

fn push(batch: &mut OpenBatch, event: &Event) -> bool {
    match event {
        Event::Task(event) => batch.push(event, false),
        Event::Channel(_, event) => batch.push(event, event.is_element()),
    }
}

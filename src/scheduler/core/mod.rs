//! The scheduler's core: what a command means, and what follows from it. Pure: no async, clock,
//! randomness, socket, file or log line; time and identities arrive as arguments.
//!
//! ```text
//!            decide                    apply
//!  request ────────▶ events ──┬──────────────────▶ State ──▶ upkeep ──▶ more events …
//!                             └─▶ effects ◀── Presence
//! ```
//!
//! - [`State`] is nothing but a fold over the logs: [`State::apply`] is its only mutator, the same live
//!   and in replay. Folding the task log first and then each channel's log gives the same state as
//!   the order in which it all happened.
//! - [`Presence`] is who is connected, what workers offer, who waits for which task: it belongs to no
//!   log and is empty after a start.
//! - `decide` reads both and answers with events or a rejection. It never changes anything itself.
//! - `upkeep` runs after every step until nothing follows any more: sessions of attempts that are over
//!   end, dependents of failed tasks fail, tasks that nobody keeps are forgotten, results that are lost and
//!   needed are computed anew, ready tasks start, workers that retire hand over what they keep.
//! - [`Effect`]s are instructions to the edge. They are not carried out here; the
//!   [`Pipeline`](super::Pipeline) releases them once the commit that they depend on is durable.
//!
//! Never imported here: tokio, tracing, `log`, `server`, `client`.

mod apply;
mod assigned;
mod check;
mod consumers;
mod deadlines;
mod deaths;
mod decide;
mod demand;
mod effect;
mod explain;
mod group;
mod hand_over;
mod index;
mod kept;
mod lineage;
mod lost;
mod moments;
mod moves;
mod output;
mod phases;
mod place;
mod presence;
mod query;
mod replicas;
mod retention;
mod retired;
mod room;
mod slots;
mod small_set;
mod snapshot;
mod state;
mod task;
mod tasks;
mod upkeep;
mod value;
mod walk;

pub use deaths::{Death, Deaths};
pub use demand::Demand;
pub use effect::Effect;
pub use group::{Group, Lease, Past};
pub use kept::Kept;
pub use moments::{Moment, Moments, When};
pub use moves::{Move, Moves};
pub use output::{Output, Placed};
pub use presence::Presence;
pub use retention::Trim;
pub use retired::Retired;
pub use room::{DISK_RESERVE_BYTES, Shortage};
pub use slots::{Slots, Worker};
pub use small_set::SmallSet;
pub use snapshot::{BadSnapshot, Restoring};
pub use state::{Channel, Counts, Cursor, Produced, Remembered, Session, State};
pub use task::{Call, Conditions, Keepers, Phase, Stored, Task, Turn};
pub use tasks::Tasks;
pub use value::Value;

use self::consumers::{Consumers, Membership};
use self::replicas::Replicas;
use self::retention::Retaining;
use super::handle::{ConnectionId, Request};
use crate::protocol::command::{Answer, Rejection};
use crate::protocol::event::{Origin, Receipt};
use crate::protocol::message::{Closing, Hello, ServerMessage};
use crate::protocol::session::{EndReason, Role};
use crate::protocol::snapshot::SnapshotItem;
use crate::protocol::start::Starts;
use crate::protocol::{ChannelEvent, Elements, LogId, Producer, Seq, TaskEvent, TaskId, TimeMs};

/// A fact for one of the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// For the task log.
    Task(TaskEvent),
    /// For a channel's log.
    Channel(LogId, ChannelEvent),
    /// For a channel's log, the values that a command appends: a [`ChannelEvent::Appended`] for each, which follow
    /// each other. As one, since there may be thousands; replay meets them one by one.
    Values {
        /// The log.
        log: LogId,
        /// Who appends them.
        origin: Origin,
        /// They; no futures.
        values: Elements,
    },
}

impl Event {
    /// The log it belongs to.
    pub fn log(&self) -> LogId {
        match self {
            Event::Task(_) => LogId::TASKS,
            Event::Channel(log, _) | Event::Values { log, .. } => *log,
        }
    }
}

/// What the core's owner may choose.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a client that cannot be heard is waited for.
    pub client_lease_ms: u64,
    /// How long a worker that cannot be heard is waited for.
    pub worker_lease_ms: u64,
    /// At so many workers that died while they ran it a task is failed as poison; 0: never.
    pub deaths_max: u32,
    /// With less free than this where the log is kept, nothing is added to it by a client's wish; 0: as
    /// long as the disk takes it.
    pub disk_reserve_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            client_lease_ms: 30_000,
            worker_lease_ms: 10_000,
            deaths_max: 3,
            disk_reserve_bytes: DISK_RESERVE_BYTES,
        }
    }
}

/// The state, who is there, and the rules.
#[derive(Debug)]
pub struct Core {
    state: State,
    presence: Presence,
    settings: Settings,
    facts: LogFacts,
    retaining: Retaining,
    consumers: Consumers,
    replicas: Replicas,
    more_upkeep: bool,
}

/// What the log knows and the state does not, for those who ask.
#[derive(Debug, Clone, Default)]
pub struct LogFacts {
    /// The starts that the store remembers, the last of which is the running one.
    pub starts: Starts,
    /// The newest commit.
    pub seq: Seq,
    /// The commit that will hold what is decided next.
    pub next: Seq,
    /// The receipt of this start.
    pub receipt: Receipt,
    /// Where the records are kept, in words.
    pub store: String,
    /// What is wrong with the room there, when there is too little.
    pub shortage: Option<Shortage>,
}

impl Core {
    /// A core that goes on from a state, with nobody connected yet: everyone who has a session has
    /// its lease from `now` on to come back.
    pub fn new(state: State, settings: Settings, facts: LogFacts, now: TimeMs) -> Self {
        let mut presence = Presence::default();
        for (producer, session) in &state.sessions {
            presence.await_return(*producer, session, now);
        }
        let (retaining, consumers) = (Retaining::of(&state, now), Consumers::of(&state, now));
        Core {
            state,
            presence,
            settings,
            facts,
            retaining,
            consumers,
            replicas: Replicas::default(),
            more_upkeep: false,
        }
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state, without the core around it.
    pub fn into_state(self) -> State {
        self.state
    }

    /// Who is there.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// What the log knows.
    pub fn facts(&self) -> &LogFacts {
        &self.facts
    }

    /// What the log knows; its owner keeps it true.
    pub fn facts_mut(&mut self) -> &mut LogFacts {
        &mut self.facts
    }

    /// Enters the receipt of a start.
    pub fn recovered(&mut self, out: &mut Output) {
        self.emit(Event::Task(TaskEvent::Recovered(self.facts.receipt.clone())), out);
        self.upkeep(out);
    }

    /// A connection says hello. It is answered with [`Effect::Accept`] or [`Effect::Close`]; the latter also
    /// when it has seen what the store does not have.
    pub fn connect(&mut self, connection: ConnectionId, hello: &Hello, out: &mut Output) {
        if let Some(regress) = hello.seen.and_then(|seen| self.facts.starts.check(&seen).err()) {
            let why = Closing::Regressed(regress);
            return out.effects.push(Effect::Close { connection, why });
        }
        match decide::hello(&self.state, &self.presence, &self.settings, hello) {
            Ok(entry) => {
                self.emit_all(entry.events, out);
                if let Some(old) = self.presence.arrive(&self.state, connection, entry.producer, &hello.role)
                {
                    out.effects.push(Effect::Close { connection: old, why: Closing::Replaced });
                }
                out.effects.push(Effect::Accept { connection, lease_ms: entry.lease_ms });
                if let Role::Worker(offer) = &hello.role {
                    self.emit_all(decide::undeliverable(&self.state, entry.producer, &offer.held), out);
                    for (watcher, message) in self.presence.settle_stored(&self.state, entry.producer) {
                        out.effects.push(effect::send(watcher, message));
                    }
                }
                effect::reattach(&self.state, &self.presence, connection, entry.producer, &hello.role, out);
            }
            Err(rejection) => {
                out.effects.push(Effect::Close { connection, why: Closing::Rejected(rejection) });
            }
        }
        self.upkeep(out);
    }

    /// A connection asks for something. Requests of connections that are gone are ignored.
    pub fn request(&mut self, connection: ConnectionId, number: u64, request: Request, out: &mut Output) {
        let Some(producer) = self.presence.session_of(connection) else { return };
        match request {
            Request::Command(command) => {
                let origin = Origin { producer, number };
                self.presence.hear(&self.state, producer, &command);
                let membership = Membership::of(&command);
                let wish = self.replicas.hear(&self.presence, producer, &command);
                let retirement = decide::Retirement::of(&command, producer);
                let decision = decide::command(&self.state, &self.facts, origin, command);
                let answer = decision.and_then(|(events, answer)| {
                    room::check(&self.facts, &events)?;
                    self.emit_all(events, out);
                    if let Some(retirement) = retirement {
                        self.retire(retirement, out);
                    }
                    Ok(self.replicas.answer(&self.state, &self.presence, wish, answer))
                });
                let is_done = answer.is_ok();
                self.answer(connection, number, answer, out);
                if let Some(membership) = membership.filter(|_| is_done) {
                    self.follow(membership, connection, producer, out);
                }
                self.upkeep(out);
            }
            Request::Query(query) => {
                let answer = self.ask(producer, query);
                self.answer(connection, number, answer, out);
            }
            Request::Watch(tasks) => {
                for task in tasks {
                    if let Some(message) = self.presence.watch(&self.state, connection, task) {
                        out.effects.push(Effect::Send { connection, number: 0, message });
                    }
                }
            }
        }
    }

    /// A connection is gone. With `goodbye`, its session is over; without, its lease runs from when it was
    /// last heard.
    pub fn disconnect(
        &mut self,
        heard_at: TimeMs,
        connection: ConnectionId,
        goodbye: bool,
        out: &mut Output,
    ) {
        let Some(producer) = self.presence.depart(connection) else { return };
        self.consumers.depart(producer);
        let Some(session) = self.state.sessions.get(&producer) else { return };
        if goodbye {
            self.end_session(producer, EndReason::Left, out);
        } else {
            self.presence.await_return(producer, session, heard_at);
        }
        self.upkeep(out);
    }

    /// The scheduler itself was away for so long, standing still or suspended: nobody could be heard, so that
    /// time counts against nobody's lease.
    pub fn was_absent(&mut self, ms: u64) {
        self.presence.postpone_leases(ms);
        self.retaining.postpone_pins(ms);
        self.consumers.postpone(ms);
    }

    /// So much is free where the log is kept; `None` where no bound is known. When that is less than the
    /// reserve, what makes the log grow is refused, and nothing is started.
    pub fn free_space(&mut self, free_bytes: Option<u64>, out: &mut Output) {
        self.facts.shortage = room::judge(self.facts.shortage, self.settings.disk_reserve_bytes, free_bytes);
        self.upkeep(out);
    }

    /// What is wrong with the room for the log, when there is too little.
    pub fn shortage(&self) -> Option<Shortage> {
        self.facts.shortage
    }

    /// Lets time pass: sessions whose lease is over end, what is too old is trimmed, and what tasks waited for is there.
    pub fn tick(&mut self, now: TimeMs, out: &mut Output) {
        self.trim_old(now, out);
        self.pass_moments(now, out);
        self.end_old_leases(now, out);
        while let Some(producer) = self.presence.pop_expired(now) {
            self.end_session(producer, EndReason::LeaseExpired, out);
        }
        self.upkeep(out);
    }

    /// When [`Core::tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<TimeMs> {
        let deadlines = [
            self.presence.next_deadline(),
            self.retaining.next_deadline(),
            self.consumers.next_deadline(),
            self.state.moments.next(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// What was trimmed since this was asked last.
    pub fn take_trims(&mut self) -> Vec<Trim> {
        self.retaining.take_trims()
    }

    /// Whether upkeep has more to do than it did in the last step: call [`Core::tick`] again soon.
    pub fn has_more_upkeep(&self) -> bool {
        self.more_upkeep
    }

    /// Begins to take a snapshot of the state as it is now; one that was being taken is given up. Taking it changes
    /// nothing, and it is taken bit by bit: see [`Core::next_items`].
    pub fn begin_snapshot(&mut self) {
        self.state.begin_snapshot();
    }

    /// Goes on with the snapshot that is being taken, for about so many tasks. Answers the next of its items: there
    /// may be none, and more of tasks that have changed since. Nothing when all were given, or none is being taken.
    pub fn next_items(&mut self, tasks: usize) -> Option<Vec<SnapshotItem>> {
        self.state.next_items(tasks)
    }

    /// Gives the snapshot up that is being taken.
    pub fn end_snapshot(&mut self) {
        self.state.end_snapshot();
    }

    fn end_session(&mut self, producer: Producer, reason: EndReason, out: &mut Output) {
        let events = decide::end_session(&self.state, &self.presence, &self.settings, producer, reason);
        self.emit_all(events, out);
    }

    /// A worker is given nothing more, from here on: what it was given before is ahead of the news.
    fn retire(&mut self, retirement: decide::Retirement, out: &mut Output) {
        let decide::Retirement { worker, retire, is_news } = retirement;
        self.presence.retire(worker, retire);
        if is_news && let Some(connection) = self.presence.connection_of(worker) {
            out.effects.push(effect::send(connection, ServerMessage::Retire(retire)));
        }
    }

    fn answer(
        &self,
        connection: ConnectionId,
        number: u64,
        answer: Result<Answer, Rejection>,
        out: &mut Output,
    ) {
        out.effects.push(Effect::Send { connection, number, message: ServerMessage::Answer(answer) });
    }

    fn upkeep(&mut self, out: &mut Output) {
        for _ in 0..upkeep::STEPS_MAX {
            let events = upkeep::next(&self.state, &self.settings, &self.presence, &self.facts);
            self.more_upkeep = true;
            if !events.is_empty() {
                self.emit_all(events, out);
                continue;
            }
            let next = hand_over::next(&self.state, &self.presence);
            match next.or_else(|| self.replicas.next(&self.state, &self.presence, &self.facts)) {
                Some(hand_over::Step::Facts(events)) => self.emit_all(events, out),
                Some(hand_over::Step::Copy { task, by }) => self.begin_copy(task, by, out),
                None if self.lease_next(out) => {}
                None => {
                    self.more_upkeep = false;
                    return;
                }
            }
        }
    }

    fn begin_copy(&mut self, task: TaskId, by: Producer, out: &mut Output) {
        self.presence.begin_copy(task, by);
        let located = effect::located(&self.state, &self.presence, task);
        if let (Some(located), Some(connection)) = (located, self.presence.connection_of(by)) {
            out.effects.push(effect::send(connection, ServerMessage::Copy(located)));
        }
    }

    fn emit_all(&mut self, events: Vec<Event>, out: &mut Output) {
        for event in events {
            self.emit(event, out);
        }
    }

    /// The one place where a fact comes into being: what it means for the edge is read off before it
    /// is applied, since some facts remove what they speak of.
    fn emit(&mut self, event: Event, out: &mut Output) {
        effect::of(&self.state, &self.presence, &event, &mut out.effects);
        self.tell_members(&event, out);
        self.presence.observe(&self.state, &event);
        self.retaining.observe(&self.state, &event);
        self.consumers.observe(&self.state, &event);
        let (offset, index) = self.state.head_of(event.log());
        let trimmed = match &event {
            Event::Channel(log, ChannelEvent::Trimmed { .. } | ChannelEvent::Deleted { .. }) => Some(*log),
            _ => None,
        };
        let first = |state: &State| state.channels.get(&trimmed?).map(|channel| channel.kept.first);
        let before = first(&self.state);
        self.state.apply(self.facts.next, &event);
        if let (Some(log), Some(before), Some(now)) = (trimmed, before, first(&self.state)) {
            self.retaining.trimmed(log, before, now);
        }
        out.events.push(Placed { offset, index, event });
    }
}

/// A session as [`decide::hello`] found or made it.
struct Entry {
    producer: Producer,
    lease_ms: u64,
    events: Vec<Event>,
}

//! Group commit: while one commit is being made durable, the next one fills; nothing leaves before its
//! cause is durable. Pure: the driver and the simulator both turn this crank.
//!
//! ```text
//!   core's output ──▶ open commit ──next_commit──▶ in flight ──appended──▶ written ──committed──▶ durable
//!         effects ──▶ wait for the commit they came with ─────────────────────────────next_effect──▶ out
//!         acks of buffered appends ──────────────────────────next_effect──▶ out
//! ```
//!
//! An effect that came without events (a refusal, the answer to a query, a dedupe) may still tell of
//! facts that are not durable yet; so it waits for the newest commit that the core has seen.
//!
//! Only the acknowledgement of an append that is buffered leaves once its commit is appended. Such commits are flushed
//! together: within the time that the appends allow, or at once when anything else has come. So whatever else waits, waits
//! for one flush as ever, and buffered appends behind it wait with it: effects leave in the order in which they came.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::core::{Core, Effect, Event, Move, Output, Placed, Trim};
use super::handle::{ConnectionId, Request};
use super::tally::Tally;
use crate::protocol::batch::{Commit, OpenBatch};
use crate::protocol::channel::Durability;
use crate::protocol::command::Answer;
use crate::protocol::message::{Hello, ServerMessage};
use crate::protocol::snapshot::SnapshotItem;
use crate::protocol::{ChannelEvent, Epoch, LogId, Seq, TaskId, TimeMs};

/// Most records of an open commit, and most bytes: while there are more, no further calls are to be
/// taken. At about 150 bytes each, 65,536 records are 10 MB; 32 MiB are 550 of the largest. A disk takes
/// either in well under a second.
const OPEN_RECORDS_MAX: usize = 65_536;
const OPEN_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most effects that wait for a commit; a row of a listing counts as one. Not all commands bring records,
/// and while a disk takes its time any number of questions can be asked.
const WAITING_MAX: usize = 65_536;

/// Most bytes of commits that are appended and not durable, about: with more they are flushed at once. 1 MiB: half of
/// what a store on disk puts down before it makes all of it durable anyhow, and little to keep for readers.
const UNFLUSHED_BYTES_MAX: usize = 1024 * 1024;

/// When something that is not durable is to be flushed, in ms from when it is handed out: at once.
const AT_ONCE: u32 = 0;

/// The core, and the commits on their way to the log.
#[derive(Debug)]
pub struct Pipeline {
    core: Core,
    /// Empty, but for the room in it.
    out: Output,
    epoch: Epoch,
    /// What the next commit will hold; several batches for a log when one is full.
    open: BTreeMap<LogId, Vec<OpenBatch>>,
    open_records: usize,
    open_bytes: usize,
    /// Within how many ms the open commit is to be flushed; nothing for one that nothing has come for.
    open_flush_ms: Option<u32>,
    /// The newest commit that was handed out, that is appended, and that is durable.
    handed_out: Seq,
    appended: Seq,
    durable: Seq,
    /// Whether the writer was told to flush, and has not.
    is_flushing: bool,
    /// By when those that were handed out are to be durable, and how large those are that are not.
    flush_by: Option<TimeMs>,
    unflushed_bytes: usize,
    /// The newest commit that each connection was told to be durable.
    told: HashMap<ConnectionId, Seq>,
    waiting: VecDeque<(Seq, Effect)>,
    /// How much all of them weigh.
    waiting_weight: usize,
    /// How many effects have left so far.
    effects_left: u64,
    /// What was trimmed with the commit that was handed out, and with those that are durable.
    trims: (Vec<Trim>, Vec<Trim>),
    /// What has happened: in the open commit, in those that were handed out, and in those that are durable.
    tallies: [Tally; 3],
}

impl Pipeline {
    /// Goes on after the last durable commit.
    pub fn new(core: Core, epoch: Epoch, last: Seq) -> Self {
        Pipeline {
            core,
            out: Output::default(),
            epoch,
            open: BTreeMap::new(),
            open_records: 0,
            open_bytes: 0,
            open_flush_ms: None,
            handed_out: last,
            appended: last,
            durable: last,
            is_flushing: false,
            flush_by: None,
            unflushed_bytes: 0,
            told: HashMap::new(),
            waiting: VecDeque::new(),
            waiting_weight: 0,
            effects_left: 0,
            trims: Default::default(),
            tallies: Default::default(),
        }
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
    pub fn disconnect(&mut self, heard_at: TimeMs, connection: ConnectionId, goodbye: bool) {
        self.told.remove(&connection);
        self.step(|core, out| core.disconnect(heard_at, connection, goodbye, out));
    }

    /// See [`Core::was_absent`].
    pub fn was_absent(&mut self, ms: u64) {
        self.core.was_absent(ms);
    }

    /// See [`Core::free_space`].
    pub fn free_space(&mut self, free_bytes: Option<u64>) {
        self.step(|core, out| core.free_space(free_bytes, out));
    }

    /// See [`Core::tick`].
    pub fn tick(&mut self, now: TimeMs) {
        self.step(|core, out| core.tick(now, out));
    }

    fn step(&mut self, step: impl FnOnce(&mut Core, &mut Output)) {
        let mut out = std::mem::take(&mut self.out);
        self.core.facts_mut().next = self.handed_out.next();
        step(&mut self.core, &mut out);
        for placed in &out.events {
            self.tallies[0].count(&placed.event);
            self.record(placed);
        }
        let cause = if self.open_records > 0 { self.handed_out.next() } else { self.handed_out };
        self.core.facts_mut().seq = cause;
        let buffered = out.effects.iter().filter_map(flush_ms).min();
        let all_buffered = buffered.is_some() && out.effects.iter().all(|effect| flush_ms(effect).is_some());
        match buffered.filter(|_| all_buffered) {
            Some(flush_ms) => self.flush_within(flush_ms),
            None if !out.effects.is_empty() || !out.events.is_empty() => self.flush_within(AT_ONCE),
            None => {}
        }
        self.waiting_weight += out.effects.iter().map(weight).sum::<usize>();
        self.waiting.extend(out.effects.drain(..).map(|effect| (cause, effect)));
        out.clear();
        self.out = out;
    }

    fn record(&mut self, placed: &Placed) {
        let log = placed.event.log();
        let batches = self.open.entry(log).or_default();
        let before = batches.last().map_or(0, OpenBatch::bytes);
        let full_before = batches.len();
        let place = |at: u64| (placed.offset + at, placed.index + at);
        self.open_records += match &placed.event {
            Event::Task(event) => {
                put(batches, log, place(0), |batch| batch.push(event, false));
                1
            }
            Event::Channel(_, event) => {
                put(batches, log, place(0), |batch| batch.push(event, event.is_element()));
                1
            }
            Event::Values { origin, values, .. } => {
                let before = ChannelEvent::before_element(*origin);
                for (at, (value, _)) in (0..).zip(values.encoded()) {
                    put(batches, log, place(at), |batch| batch.push_encoded([&before, value], true));
                }
                values.len()
            }
        };
        let bytes: usize = batches[full_before.saturating_sub(1)..].iter().map(OpenBatch::bytes).sum();
        self.open_bytes += bytes - before;
    }

    /// Whether the next commit, or what waits for it, is so much that first it must become durable.
    pub fn is_full(&self) -> bool {
        self.open_records >= OPEN_RECORDS_MAX
            || self.open_bytes >= OPEN_BYTES_MAX
            || self.waiting_weight >= WAITING_MAX
    }

    /// Records that wait for the next commit.
    pub fn open_records(&self) -> usize {
        self.open_records
    }

    /// Lets what has come so far be flushed within this time, or earlier.
    fn flush_within(&mut self, flush_ms: u32) {
        if self.open_records > 0 {
            self.open_flush_ms = Some(self.open_flush_ms.map_or(flush_ms, |open| open.min(flush_ms)));
        } else if self.handed_out > self.durable && flush_ms == AT_ONCE {
            self.flush_by = Some(0);
        }
    }

    /// Lets all that has come so far be flushed at once.
    pub fn flush_at_once(&mut self) {
        self.flush_within(AT_ONCE);
    }

    /// Whether the writer has something to do.
    pub fn is_writing(&self) -> bool {
        self.handed_out > self.appended || self.is_flushing
    }

    /// Whether all that has come so far is durable.
    pub fn is_durable(&self) -> bool {
        self.open_records == 0 && self.handed_out == self.durable
    }

    /// Closes the open commit, if there is anything in it and the writer has nothing to do.
    pub fn next_commit(&mut self, now: TimeMs) -> Option<Commit> {
        if self.open_records == 0 || self.is_writing() {
            return None;
        }
        let channels: Vec<LogId> = self.open.keys().copied().filter(|log| *log != LogId::TASKS).collect();
        let (flush_ms, told) = (self.open_flush_ms.take().unwrap_or(AT_ONCE), self.waiting.len());
        self.step(|core, out| core.end_commit(&channels, now, out));
        self.open_flush_ms = None;
        // What is trimmed for what was appended may wait as long as that, unless somebody is told of it.
        let flush_ms = if self.waiting.len() > told { AT_ONCE } else { flush_ms };
        self.trims.0.append(&mut self.core.take_trims());
        let tally = std::mem::take(&mut self.tallies[0]);
        self.tallies[1] += tally;
        self.handed_out = self.handed_out.next();
        (self.open_records, self.open_bytes) = (0, 0);
        let (seq, epoch) = (self.handed_out, self.epoch);
        let open = std::mem::take(&mut self.open).into_values().flatten();
        let batches = open.map(|batch| batch.seal(seq, epoch, now)).collect();
        let commit = Commit { seq, epoch, batches };
        self.unflushed_bytes += commit.bytes();
        let is_much = self.unflushed_bytes > UNFLUSHED_BYTES_MAX;
        let by = if is_much || flush_ms == AT_ONCE { 0 } else { now.saturating_add(flush_ms.into()) };
        self.flush_by = Some(self.flush_by.map_or(by, |before| before.min(by)));
        Some(commit)
    }

    /// Whether what was handed out is to be flushed now: with the commit that was just handed out, if one was. To be asked
    /// when the writer has nothing else to do.
    pub fn next_flush(&mut self, now: TimeMs) -> bool {
        if self.is_flushing || self.flush_by.is_none_or(|by| by > now) {
            return false;
        }
        self.is_flushing = true;
        true
    }

    /// By when [`Self::next_flush`] is to be asked again, unless the writer is to be waited for.
    pub fn flush_by(&self) -> Option<TimeMs> {
        self.flush_by.filter(|_| !self.is_writing())
    }

    /// Begins to take a snapshot of the state at the commit that was handed out last; one that was being taken is given
    /// up. To be called before anything else happens to the core, and of use only once that commit is durable: it is
    /// flushed at once.
    pub fn begin_snapshot(&mut self) {
        debug_assert_eq!(self.open_records, 0, "the state is ahead of the commit");
        self.flush_at_once();
        self.core.begin_snapshot();
    }

    /// See [`Core::next_items`].
    pub fn next_items(&mut self, tasks: usize) -> Option<Vec<SnapshotItem>> {
        self.core.next_items(tasks)
    }

    /// See [`Core::end_snapshot`].
    pub fn end_snapshot(&mut self) {
        self.core.end_snapshot();
    }

    /// The newest durable commit.
    pub fn durable(&self) -> Seq {
        self.durable
    }

    /// The commit that was on its way is appended, and not flushed.
    pub fn appended(&mut self, seq: Seq) {
        self.appended = seq;
    }

    /// The commit that was on its way is durable, with all before it.
    pub fn committed(&mut self, seq: Seq) {
        (self.appended, self.durable, self.is_flushing) = (seq, seq, false);
        (self.flush_by, self.unflushed_bytes) = (None, 0);
        self.trims.1.append(&mut self.trims.0);
        let tally = std::mem::take(&mut self.tallies[1]);
        self.tallies[2] += tally;
    }

    /// What has happened, and is durable, since this was asked last.
    pub fn next_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tallies[2])
    }

    /// How many effects have come so far.
    pub fn effects(&self) -> u64 {
        self.effects_left + self.waiting.len() as u64
    }

    /// How many of them have left: those that came first.
    pub fn effects_left(&self) -> u64 {
        self.effects_left
    }

    /// See [`Core::note_moves`].
    pub fn note_moves(&mut self) {
        self.core.note_moves();
    }

    /// See [`Core::take_moves`].
    pub fn take_moves(&mut self) -> Vec<(TaskId, Move)> {
        self.core.take_moves()
    }

    /// What was trimmed for good since this was asked last.
    pub fn next_trims(&mut self) -> Vec<Trim> {
        std::mem::take(&mut self.trims.1)
    }

    /// What a connection is told that is accepted.
    pub fn welcome(&self, lease_ms: u64, now_ms: TimeMs) -> ServerMessage {
        let start = self.core.facts().starts.newest();
        ServerMessage::Welcome { start, seq: self.durable, lease_ms, now_ms }
    }

    /// The next effect whose cause is durable; of a buffered append, appended. Before the first message of those that came
    /// with a commit that is durable each connection is told of that commit.
    pub fn next_effect(&mut self) -> Option<Effect> {
        let (cause, effect) = self.waiting.front_mut()?;
        if *cause > self.durable {
            let may_leave = *cause <= self.appended && flush_ms(effect).is_some();
            return if may_leave { self.pop_effect() } else { None };
        }
        if let Effect::Send {
            message: ServerMessage::Answer(Ok(Answer::Appended { durability, .. })), ..
        } = effect
        {
            // Whatever it was to be.
            *durability = Durability::Fsynced;
        }
        match effect {
            Effect::Accept { connection, .. } => drop(self.told.insert(*connection, self.durable)),
            Effect::Send { connection, .. } => {
                let connection = *connection;
                if let Some(told) = self.told.get_mut(&connection).filter(|told| **told < self.durable) {
                    *told = self.durable;
                    let message = ServerMessage::Durable { seq: self.durable };
                    return Some(Effect::Send { connection, number: 0, message });
                }
            }
            Effect::Close { connection, .. } => drop(self.told.remove(connection)),
        }
        self.pop_effect()
    }

    fn pop_effect(&mut self) -> Option<Effect> {
        let (_, effect) = self.waiting.pop_front()?;
        self.waiting_weight -= weight(&effect);
        self.effects_left += 1;
        Some(effect)
    }
}

/// For how long what an effect tells of need not be durable: it is the acknowledgement of a buffered append.
fn flush_ms(effect: &Effect) -> Option<u32> {
    match effect {
        Effect::Send {
            message:
                ServerMessage::Answer(Ok(Answer::Appended {
                    durability: Durability::Buffered { flush_ms }, ..
                })),
            ..
        } => Some(*flush_ms),
        _ => None,
    }
}

fn weight(effect: &Effect) -> usize {
    match effect {
        Effect::Send { message: ServerMessage::Answer(Ok(Answer::Tasks(rows))), .. } => 1 + rows.len(),
        Effect::Send { message: ServerMessage::Answer(Ok(Answer::Channels(rows))), .. } => 1 + rows.len(),
        Effect::Send { message: ServerMessage::Answer(Ok(Answer::Workers(rows))), .. } => 1 + rows.len(),
        _ => 1,
    }
}

/// Puts a record that has this offset and index into the last of a log's batches, or into a new one behind it.
fn put(
    batches: &mut Vec<OpenBatch>,
    log: LogId,
    (offset, index): (u64, u64),
    push: impl Fn(&mut OpenBatch) -> bool,
) {
    if !batches.last_mut().is_some_and(&push) {
        let mut batch = OpenBatch::new(log, offset, index);
        push(&mut batch);
        batches.push(batch);
    }
}

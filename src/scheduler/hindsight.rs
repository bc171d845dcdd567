//! The state as it was, for those who look back: folded from what the store has, as a start does it, up to a place in the
//! task log.
//!
//! It is told as of a place between commits, since what is in one commit has happened at once. Who was connected is in no log, so
//! nobody is. What was trimmed since is not there either.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::core::{Core, LogFacts, Phase, Settings};
use super::recovery;
use crate::log::{self, Reader};
use crate::protocol::batch::Batch;
use crate::protocol::command::{Answer, Query, Rejection};
use crate::protocol::task::TaskInfo;
use crate::protocol::{LogId, Producer, Seq, TimeMs};

/// The state behind a commit.
#[derive(Debug)]
pub struct AsOf {
    core: Core,
    /// The offset of the task log before which it lies.
    pub offset: u64,
    /// The newest commit that it knows; 0 before the first.
    pub seq: Seq,
    /// When the newest record of the task log that it knows was committed.
    pub time_ms: Option<TimeMs>,
    /// What it does not know of what was before, since the records are lost: then it is what is known.
    pub lost: Option<String>,
}

impl AsOf {
    /// Answers a question, as the scheduler would have, but for what it knew of workers: that is in no log.
    ///
    /// # Errors
    /// As there.
    pub fn ask(&self, query: Query) -> Result<Answer, Rejection> {
        // Nobody's session: what is asked of workers' own is no question of those who look back.
        let mut answer = self.core.ask(Producer(0), query)?;
        match &mut answer {
            Answer::Tasks(tasks) => tasks.iter_mut().for_each(|info| self.forgive(info)),
            Answer::Task(info) => self.forgive(info),
            _ => {}
        }
        Ok(answer)
    }

    /// Of a task that could have started it is not told that no worker was connected: here none ever is.
    fn forgive(&self, info: &mut TaskInfo) {
        if self.core.state().tasks.get(&info.key.id).is_some_and(|task| task.phase == Phase::Ready) {
            info.waits_for = Some("a worker: which there were is in no log".to_owned());
        }
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> &super::core::State {
        self.core.state()
    }
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    /// It is still to come.
    #[error("offset {offset} is past the head of the task log, which is {head}: give {head} or less")]
    Future {
        /// What was asked for.
        offset: u64,
        /// Where the task log ends.
        head: u64,
    },
    /// The records that it would have to be folded from are gone.
    #[error(
        "the state at offset {offset} cannot be told any more: the records before {first} are trimmed, and no snapshot is as old"
    )]
    Trimmed {
        /// What was asked for.
        offset: u64,
        /// The first record of the task log that is kept.
        first: u64,
    },
    /// The store cannot be read, or whoever asked does not wait any more.
    #[error(transparent)]
    Log(#[from] log::Error),
}

/// Tells how it was. It keeps what it told last: what is asked next is often the same, or a little later.
pub struct Hindsight {
    reader: Reader,
    last: Mutex<Option<Arc<AsOf>>>,
    asked_at: Mutex<Instant>,
}

/// How long what was told last is kept: 5 min. It is as large as the scheduler's own state.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);

/// How often it is looked whether it is still wanted.
const LET_GO_EVERY: Duration = Duration::from_secs(60);

impl Hindsight {
    /// Of a store that is read by this.
    pub fn new(reader: Reader) -> Hindsight {
        Hindsight { reader, last: Mutex::default(), asked_at: Mutex::new(Instant::now()) }
    }

    /// The state just before the commit that has this record of the task log; at its head, as it is now. Takes as long as
    /// reading what it is folded from: call it where one may wait. `goes_on` is asked again and again, and may break it off.
    ///
    /// # Errors
    /// [`NotTold`].
    pub fn before(
        &self,
        offset: u64,
        goes_on: &dyn Fn() -> Result<(), log::Error>,
    ) -> Result<Arc<AsOf>, NotTold> {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let bounds = self.reader.bounds(LogId::TASKS);
        if offset > bounds.head {
            return Err(NotTold::Future { offset, head: bounds.head });
        }
        if offset < bounds.first {
            return Err(NotTold::Trimmed { offset, first: bounds.first });
        }
        let seq = match self.whole_at(offset, bounds.first)? {
            Some(batch) => Seq(batch.header().seq.0.saturating_sub(1)),
            None if offset == bounds.head => self.reader.last().seq,
            None => Seq(0),
        };
        let mut last = self.last();
        if let Some(as_of) = last.as_ref().filter(|as_of| as_of.seq == seq) {
            return Ok(as_of.clone());
        }
        let watch = &mut |_| goes_on();
        let snapshots = self.reader.snapshots()?;
        let goes_further = |as_of: &Arc<AsOf>| {
            let is_earlier = as_of.seq < seq && as_of.offset >= bounds.first && as_of.lost.is_none();
            // A snapshot takes about as long to read as so many records to fold as it has tasks.
            let is_near = offset.saturating_sub(as_of.offset) <= as_of.core.state().tasks.len() as u64;
            is_earlier && (is_near || !snapshots.iter().any(|at| *at > as_of.seq && *at <= seq))
        };
        let (state, from, lost) = match last.take().filter(goes_further).and_then(Arc::into_inner) {
            // Nobody has it in hand any more: it is taken further.
            Some(as_of) => {
                let (mut state, from) = (as_of.core.into_state(), as_of.offset);
                let (_, lost) = recovery::fold_to(self.reader.log(), &mut state, seq, watch)?;
                (state, from, lost)
            }
            None => {
                let recovered = recovery::recover_to(self.reader.log(), seq, watch)?;
                (recovered.state, recovered.tasks_from, recovered.lost)
            }
        };
        // Looked at behind the fold: the log may have been trimmed while it went on, and not all of it was there.
        let first = self.reader.log().bounds(LogId::TASKS).first;
        if first > from {
            return Err(NotTold::Trimmed { offset, first });
        }
        let offset = state.tasks_head;
        let newest = match offset.checked_sub(1) {
            Some(newest) => self.reader.read(LogId::TASKS, newest, 0)?.into_iter().next(),
            None => None,
        };
        let time_ms = newest.map(|batch| batch.header().time_ms);
        // Those that had written something.
        let starts = self.reader.starts().iter().filter(|start| start.after < seq).copied().collect();
        let facts = LogFacts {
            starts,
            seq,
            next: seq.next(),
            store: self.reader.log().describe(),
            ..LogFacts::default()
        };
        let core = Core::new(state, Settings::default(), facts, time_ms.unwrap_or_default());
        let as_of = Arc::new(AsOf { core, offset, seq, time_ms, lost: lost.in_words() });
        *last = Some(as_of.clone());
        Ok(as_of)
    }

    /// The whole batch of the task log that has this offset, or the last before it: of what commits lost records are is not known.
    fn whole_at(&self, mut offset: u64, first: u64) -> Result<Option<Batch>, log::Error> {
        loop {
            match self.reader.read(LogId::TASKS, offset, 0)?.into_iter().next() {
                Some(lost) if lost.is_lost() && lost.header().base_offset > first => {
                    offset = lost.header().base_offset - 1;
                }
                found => return Ok(found.filter(|batch| !batch.is_lost())),
            }
        }
    }

    /// Lets go of what was told last whenever nobody has asked for 5 to 6 min. To be run for as long as somebody may ask.
    pub async fn let_go_of_old(&self) -> ! {
        let mut ticks = interval(LET_GO_EVERY);
        loop {
            ticks.tick().await;
            let asked_at = *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever holds it is folding, and needs it.
            if asked_at.elapsed() >= KEPT_FOR
                && let Ok(mut last) = self.last.try_lock()
            {
                last.take();
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<AsOf>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::log::{Log, Memory};
    use crate::protocol::batch::{Commit, OpenBatch};
    use crate::protocol::event::Origin;
    use crate::protocol::snapshot::SnapshotItem;
    use crate::protocol::task::TaskOptions;
    use crate::protocol::{
        ChannelEvent, ChannelName, Element, Epoch, Payload, Submission, TaskEvent, TaskKey,
    };

    const GO_ON: &dyn Fn() -> Result<(), log::Error> = &|| Ok(());

    /// A store with so many commits: each has two submissions, and beside each other one an element of a channel.
    fn store(commits: u64) -> (Arc<Memory>, Reader) {
        let log = Arc::new(Memory::new());
        log.begin_epoch().unwrap();
        let reader = Reader::new(log.clone());
        let (origin, channel) = (Origin { producer: Producer(1), number: 1 }, LogId(1));
        for seq in 1..=commits {
            let mut tasks = OpenBatch::new(LogId::TASKS, 2 * (seq - 1), 0);
            for n in 0..2 {
                let key = TaskKey::named(&format!("{seq}-{n}"));
                let (function, arguments) = ("f".into(), vec![]);
                let options = TaskOptions { detach: true, ..TaskOptions::default() };
                let submission = Submission { key, function, version: 1, arguments, options };
                assert!(tasks.push(&TaskEvent::Submitted { origin, submission }, false));
            }
            let mut batches = vec![tasks.seal(Seq(seq), Epoch(1), 1000 * seq)];
            if seq % 2 == 0 {
                let mut elements = OpenBatch::new(channel, seq / 2 - 1, seq / 2 - 1);
                let element = Element::Value(Payload::encode(&seq).unwrap());
                assert!(elements.push(&ChannelEvent::Appended { origin, element }, true));
                batches.push(elements.seal(Seq(seq), Epoch(1), 1000 * seq));
            }
            let commit = Commit { seq: Seq(seq), epoch: Epoch(1), batches };
            log.append(&commit).unwrap();
            log.flush().unwrap();
            reader.publish(&commit);
        }
        (log, reader)
    }

    fn items(log: &dyn Log, seq: Seq) -> Vec<SnapshotItem> {
        recovery::recover_to(log, seq, &mut |_| Ok(())).unwrap().state.into_items().collect()
    }

    #[test]
    fn it_is_the_same_however_one_gets_there() {
        let (log, reader) = store(20);
        let hindsight = Hindsight::new(reader);
        // Forward, in a step and in leaps, back, and the same again.
        for offset in [0, 1, 2, 3, 4, 10, 40, 12, 12, 13, 39] {
            let as_of = hindsight.before(offset, GO_ON).unwrap();
            assert_eq!(
                (as_of.offset, as_of.seq),
                (offset / 2 * 2, Seq(offset / 2)),
                "of {offset}: between commits"
            );
            let time_ms = (offset > 1).then_some(1000 * (offset / 2));
            assert_eq!(as_of.time_ms, time_ms);
            let told: Vec<_> = {
                let Answer::Tasks(tasks) = as_of.ask(Query::Tasks { from: 0 }).unwrap() else { panic!() };
                tasks.into_iter().map(|info| info.key.label).collect()
            };
            let expected = (1..=offset / 2).flat_map(|seq| [format!("{seq}-0"), format!("{seq}-1")]);
            assert_eq!(told, expected.map(Into::into).collect::<Vec<Box<str>>>());
            drop(as_of);
            let state = hindsight.last().take().and_then(Arc::into_inner).unwrap().core.into_state();
            assert_eq!(state.clone().into_items().collect::<Vec<_>>(), items(log.as_ref(), Seq(offset / 2)));
            let facts = LogFacts::default();
            let core = Core::new(state, Settings::default(), facts, 0);
            let (offset, seq) = (offset / 2 * 2, Seq(offset / 2));
            *hindsight.last() = Some(Arc::new(AsOf { core, offset, seq, time_ms, lost: None }));
        }
    }

    #[test]
    fn of_workers_that_nobody_knows_any_more_nothing_is_said() {
        let (_, reader) = store(2);
        let as_of = Hindsight::new(reader).before(2, GO_ON).unwrap();
        let Answer::Tasks(tasks) = as_of.ask(Query::Tasks { from: 0 }).unwrap() else { panic!() };
        let Answer::Task(one) = as_of.ask(Query::Task { task: tasks[0].key.id }).unwrap() else { panic!() };
        for info in tasks.iter().chain([&*one]) {
            assert_eq!(info.waits_for.as_deref(), Some("a worker: which there were is in no log"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_last_is_kept_for_a_while_and_no_longer() {
        let (_, reader) = store(20);
        let hindsight = Arc::new(Hindsight::new(reader));
        let lets_go = tokio::spawn({
            let hindsight = hindsight.clone();
            async move { hindsight.let_go_of_old().await }
        });
        let weak = Arc::downgrade(&hindsight.before(10, GO_ON).unwrap());
        sleep(KEPT_FOR - LET_GO_EVERY / 2).await;
        assert!(weak.upgrade().is_some(), "it is not over yet");
        // Whoever asks for the same has it, and it is kept as long again.
        let again = hindsight.before(10, GO_ON).unwrap();
        assert!(Arc::ptr_eq(&again, &weak.upgrade().unwrap()));
        drop(again);
        sleep(KEPT_FOR - LET_GO_EVERY / 2).await;
        assert!(weak.upgrade().is_some(), "somebody has asked meanwhile");
        sleep(2 * LET_GO_EVERY).await;
        assert!(weak.upgrade().is_none() && hindsight.last().is_none(), "nobody asks any more");
        // And told again it can be.
        assert_eq!(hindsight.before(10, GO_ON).unwrap().seq, Seq(5));
        lets_go.abort();
    }

    #[test]
    fn what_was_told_last_is_taken_further_unless_a_snapshot_is_nearer() {
        let (log, reader) = store(20);
        let hindsight = Hindsight::new(reader);
        // One that does not tell the truth, so that it is seen when it is used.
        let mut state = recovery::recover_to(log.as_ref(), Seq(10), &mut |_| Ok(())).unwrap().state;
        state.last_producer = Producer(99);
        let pieces = state.into_items().map(|item| postcard::to_stdvec(&item).unwrap());
        log.write_snapshot(Seq(10), &mut pieces.collect::<Vec<_>>().into_iter()).unwrap();
        let mut is_used =
            |offset| hindsight.before(offset, GO_ON).unwrap().state().last_producer == Producer(99);
        // As many records away as there are tasks, and more.
        assert_eq!(
            [18, 36, 8, 18, 0, 20, 21].map(&mut is_used),
            [false, false, false, false, false, true, true]
        );
    }

    #[test]
    fn what_is_trimmed_while_it_is_folded_is_not_left_out_in_silence() {
        let (log, reader) = store(20);
        let hindsight = Hindsight::new(reader);
        let of_five = recovery::recover_to(log.as_ref(), Seq(5), &mut |_| Ok(())).unwrap().state;
        let pieces = of_five.into_items().map(|item| postcard::to_stdvec(&item).unwrap());
        log.write_snapshot(Seq(5), &mut pieces.collect::<Vec<_>>().into_iter()).unwrap();
        // As soon as the snapshot is read.
        let told = hindsight.before(40, &|| log.trim(LogId::TASKS, 30));
        assert!(matches!(told, Err(NotTold::Trimmed { first: 30, .. })), "{told:?}");
    }

    /// A store with the channel `a`, of which more is kept than is read at a time: its element 0 is in commit 1, and so on.
    /// The task log has a record in commits 1 and 20.
    fn store_of_large(elements: u64) -> (Arc<Memory>, Reader) {
        let log = Arc::new(Memory::new());
        log.begin_epoch().unwrap();
        let reader = Reader::new(log.clone());
        let origin = Origin { producer: Producer(1), number: 1 };
        for (seq, at) in (1..).zip(0..elements) {
            let mut batches = Vec::new();
            for (_, offset, log, name) in
                [(1, 0, LogId(1), "a"), (20, 1, LogId(2), "b")].into_iter().filter(|(of, ..)| *of == seq)
            {
                let name = ChannelName::new(name).unwrap();
                let mut tasks = OpenBatch::new(LogId::TASKS, offset, 0);
                assert!(tasks.push(&TaskEvent::ChannelCreated { origin, log, name }, false));
                batches.push(tasks.seal(Seq(seq), Epoch(1), 0));
            }
            let mut appended = OpenBatch::new(LogId(1), at, at);
            let element = Element::Value(Payload::raw(vec![0; 50_000]));
            assert!(appended.push(&ChannelEvent::Appended { origin, element }, true));
            batches.push(appended.seal(Seq(seq), Epoch(1), 0));
            let commit = Commit { seq: Seq(seq), epoch: Epoch(1), batches };
            log.append(&commit).unwrap();
            log.flush().unwrap();
            reader.publish(&commit);
        }
        (log, reader)
    }

    /// The head of the channel `a`, and how many elements it ever had.
    fn reach(as_of: &AsOf) -> (u64, u64) {
        let name = ChannelName::new("a").unwrap();
        let Answer::Channel(info) = as_of.ask(Query::Channel { name }).unwrap() else { panic!() };
        (info.head, info.elements)
    }

    #[test]
    fn a_channel_that_is_trimmed_while_it_is_folded_keeps_its_offsets() {
        let (log, reader) = store_of_large(30);
        let hindsight = Hindsight::new(reader);
        let pieces = std::cell::Cell::new(0);
        let trimmed = || {
            pieces.set(pieces.get() + 1);
            // Behind the task log, and the first piece of the channel's.
            if pieces.get() == 3 { log.trim(LogId(1), 28) } else { Ok(()) }
        };
        assert_eq!(reach(&hindsight.before(2, &trimmed).unwrap()), (30, 30));
        assert!(pieces.get() > 3);
    }

    #[test]
    fn of_a_channel_nothing_is_told_that_was_still_to_come() {
        let (log, reader) = store_of_large(30);
        let hindsight = Hindsight::new(reader);
        assert_eq!(reach(&hindsight.before(1, GO_ON).unwrap()), (19, 19));
        log.trim(LogId(1), 10).unwrap();
        *hindsight.last() = None;
        assert_eq!(reach(&hindsight.before(1, GO_ON).unwrap()), (19, 19));
        log.trim(LogId(1), 28).unwrap();
        *hindsight.last() = None;
        assert_eq!(reach(&hindsight.before(1, GO_ON).unwrap()), (0, 0), "all that is kept came later");
        assert_eq!(reach(&hindsight.before(2, GO_ON).unwrap()), (30, 30));
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let (log, reader) = store(20);
        let hindsight = Hindsight::new(reader.clone());
        let told = hindsight.before(41, GO_ON).unwrap_err().to_string();
        assert_eq!(told, "offset 41 is past the head of the task log, which is 40: give 40 or less");
        let stopped = || Err(log::Error::Refused("nobody waits".to_owned()));
        assert!(matches!(hindsight.before(40, &stopped), Err(NotTold::Log(_))));
        log.trim(LogId::TASKS, 10).unwrap();
        for offset in [9, 10, 40] {
            assert!(
                matches!(hindsight.before(offset, GO_ON), Err(NotTold::Trimmed { first: 10, .. })),
                "{offset}"
            );
        }
    }
}

//! A member of a group: what is leased to it, read and brought in order.
//!
//! ```text
//!   leased ──▶ runs that wait ──▶ read where they lie ──▶ a delivery, or the dead letters
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::channel::Channel;
use super::connection::{Connection, MemberItem, Membership};
use super::delivery::Delivery;
use super::elements::{self, Element};
use super::error::{Error, Result};
use super::group::DEAD_LETTER_HEADERS;
use super::handle::Client;
use super::marked::Placed;
use super::reading::{Item, Offset, Records};
use crate::protocol::command::{Command, Rejection};
use crate::protocol::group::{
    DeadLetters, GroupEnd, GroupId, GroupInfo, Leased, LeasedRun, OfGroup, stretches,
};
use crate::protocol::limits::LEASED_PER_MEMBER_MAX;
use crate::protocol::message::Reads;
use crate::protocol::transaction::{Part, Transaction};
use crate::protocol::{self, ChannelEvent, ChannelName, Elements, Headers, Payload};

/// Most records of others that are read past to come to the next element, instead of beginning to read there: 256.
const READ_PAST_MAX: u64 = 256;

/// One of those who share the elements of a channel: [`Group::join`](super::Group::join). Dropped, it leaves: what it was given and is not done
/// with goes to others.
pub struct Member<T> {
    channel: Channel<T>,
    group: GroupId,
    membership: Membership,
    /// What was leased and has not been brought yet.
    waiting: Arc<Mutex<Waiting>>,
    /// How often each was leased when it was taken in; those that are done with do not matter.
    known: BTreeMap<u64, u32>,
    dead_letters: Option<DeadLetters>,
    records: Option<Records<ChannelEvent>>,
    is_over: bool,
    extending: JoinHandle<()>,
}

/// What was leased and has not been brought yet.
#[derive(Debug)]
pub(super) struct Waiting {
    runs: VecDeque<LeasedRun>,
    lease: Duration,
    /// Until when all of it is leased.
    until: Instant,
    /// When something was asked for last, and whether it still is: who is stuck shall not keep what waits behind it from
    /// others.
    asked_at: Instant,
    is_asking: bool,
}

impl Waiting {
    fn indexes(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs.iter().flat_map(|run| run.index..run.index + u64::from(run.count))
    }

    /// Takes in what was leased at a time, but for what was told before, on another connection.
    fn take_in(&mut self, leased: Leased, at: Instant, known: &mut BTreeMap<u64, u32>) {
        self.let_go(known);
        self.lease = Duration::from_millis(leased.lease_ms);
        if self.runs.is_empty() {
            self.until = at + self.lease;
        }
        for run in leased.runs {
            for place in 0..u64::from(run.count) {
                let (index, offset) = (run.index + place, run.offset + place);
                if known.get(&index).is_some_and(|attempt| *attempt >= run.attempt) {
                    continue;
                }
                known.insert(index, run.attempt);
                let follows = |last: &LeasedRun| {
                    let count = u64::from(last.count);
                    (last.attempt, last.index + count, last.offset + count) == (run.attempt, index, offset)
                };
                match self.runs.back_mut() {
                    Some(last) if follows(last) => last.count += 1,
                    _ => self.runs.push_back(LeasedRun { offset, index, count: 1, ..run }),
                }
            }
        }
    }

    /// Whether nobody has asked for more for so long that what is here may be another's.
    fn is_stuck(&self) -> bool {
        !self.is_asking && self.asked_at.elapsed() >= self.lease
    }

    /// Lets go of what may be another's by now. Where it is not, since the scheduler was away meanwhile, it is told again,
    /// and is news then.
    fn let_go(&mut self, known: &mut BTreeMap<u64, u32>) {
        if Instant::now() >= self.until {
            for index in self.indexes() {
                known.remove(&index);
            }
            self.runs.clear();
        }
    }

    /// The run to bring from next; none that may be another's by now.
    fn next(&mut self, known: &mut BTreeMap<u64, u32>) -> Option<LeasedRun> {
        self.let_go(known);
        self.runs.front().copied()
    }

    /// Whoever is at work on something says so: it is not stuck.
    pub(super) fn goes_on(&mut self) {
        self.asked_at = Instant::now();
    }

    /// The first element is taken out.
    fn advance(&mut self) {
        if let Some(run) = self.runs.front_mut() {
            (run.offset, run.index, run.count) = (run.offset + 1, run.index + 1, run.count - 1);
            if run.count == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// Takes out the first elements, as far as they are at these offsets, where all is gone.
    fn take_gone(&mut self, offsets: Range<u64>) -> BTreeSet<u64> {
        let mut gone = BTreeSet::new();
        while let Some(run) = self.runs.front().copied().filter(|run| offsets.contains(&run.offset)) {
            gone.insert(run.index);
            self.advance();
        }
        gone
    }
}

impl<T> Member<T> {
    pub(super) fn new(channel: Channel<T>, info: &GroupInfo, window: u32) -> Self {
        let connection = channel.client().connection().clone();
        let (lease, now) = (Duration::from_millis(info.options.lease_ms), Instant::now());
        let waiting = Waiting { runs: VecDeque::new(), lease, until: now, asked_at: now, is_asking: false };
        let waiting = Arc::new(Mutex::new(waiting));
        let extending = tokio::spawn(extend(connection.clone(), info.id, waiting.clone()));
        Member {
            channel,
            group: info.id,
            membership: connection.join(info.id, window),
            waiting,
            known: BTreeMap::new(),
            dead_letters: info.options.dead_letters.clone(),
            records: None,
            is_over: false,
            extending,
        }
    }

    /// Which group it is a member of.
    pub fn group(&self) -> GroupId {
        self.group
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// Somebody asks for the next element. The scheduler, which leases nothing to a member that let a lease pass, hears of
    /// one that was away for so long.
    fn ask(&self) -> Asking {
        let mut waiting = self.waiting();
        if waiting.is_stuck() {
            let of = OfGroup { group: self.group, elements: stretches(waiting.indexes()) };
            drop(self.channel.client().connection().command(Command::Extend(of)));
        }
        waiting.is_asking = true;
        Asking(self.waiting.clone())
    }

    /// Takes in what was leased. What is known already was told before, on another connection.
    fn take_in(&mut self, item: MemberItem) -> Option<Result<()>> {
        let (leased, at) = match item {
            MemberItem::Leased(leased, at) => (leased, at),
            MemberItem::Ended(GroupEnd::Drained) => return None,
            MemberItem::Ended(GroupEnd::Deleted) => {
                return Some(Err(Rejection::UnknownGroup(self.group).into()));
            }
        };
        self.dead_letters.clone_from(&leased.dead_letters);
        lock(&self.waiting).take_in(leased, at, &mut self.known);
        // What is done with, or was another's by then, need not be known for ever.
        while self.known.len() > 2 * LEASED_PER_MEMBER_MAX as usize {
            self.known.pop_first();
        }
        Some(Ok(()))
    }

    /// Says of the elements that are to come next, as far as they are at these offsets, where all is gone, that they are
    /// done with, without waiting for the answer. Answers whether there were any.
    fn forget(&self, offsets: Range<u64>) -> bool {
        let gone = self.waiting().take_gone(offsets);
        let is_any = !gone.is_empty();
        if is_any {
            let of = OfGroup { group: self.group, elements: stretches(gone) };
            drop(self.channel.client().connection().command(Command::Acknowledge(of)));
        }
        is_any
    }

    /// Puts an element where nobody acknowledges: there, and done with here, in one commit.
    async fn bury(&self, dead: DeadLetters, raw: &Raw) -> Result<()> {
        let client = self.channel.client();
        let letters = client.channel::<T>(dead.channel.as_str()).await?;
        let mut headers = raw.headers.clone();
        let words =
            [self.channel.name().to_owned(), raw.placed.offset.to_string(), (raw.attempt - 1).to_string()];
        for (key, words) in DEAD_LETTER_HEADERS.into_iter().zip(words) {
            headers.insert(key, words);
        }
        let mut elements = Elements::default();
        elements.push_with(&headers, &raw.placed.item);
        let elements_done = vec![(raw.placed.index, 1)];
        let transaction = Transaction {
            appends: vec![Part { log: letters.log(), elements, expect: None }],
            acknowledges: vec![OfGroup { group: self.group, elements: elements_done }],
            ..Transaction::default()
        };
        match client.connection().command(Command::Transact(transaction)).await {
            // Somebody else's by now.
            Ok(_) | Err(Error::Rejected(Rejection::LeaseOver { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// How an element is read.
type Read<U> = fn(&Client, &ChannelName, &Placed<protocol::Element>) -> Result<Element<U>>;

/// An element as its record has it, and how often it was leased.
struct Raw {
    placed: Placed<protocol::Element>,
    headers: Headers,
    attempt: u32,
}

impl<T: DeserializeOwned> Member<T> {
    /// The next element that is leased to this member; `None` when the channel was stopped and all are done with. Dropped
    /// before it brings something it loses nothing, but that an element which was on its way to the dead letters may be
    /// leased once more.
    ///
    /// # Errors
    /// [`Error::Decode`] for a value of another type: it is given back, and goes on to the dead letters if there are any.
    /// [`Error::Trimmed`] and [`Error::Damaged`] for elements that are gone, which are done with then. What is wrong with
    /// the channel of the dead letters: the element comes again when its lease is over. Any other is the last item: that
    /// the group was deleted, say.
    pub async fn next(&mut self) -> Option<Result<Delivery<T>>> {
        self.next_as(elements::typed).await
    }
}

impl<T> Member<T> {
    /// As [`Self::next`], with each value as it was stored: of whatever type it is.
    ///
    /// # Errors
    /// As there, but for the first.
    pub async fn next_payload(&mut self) -> Option<Result<Delivery<Payload>>> {
        self.next_as(elements::untyped).await
    }

    async fn next_as<U>(&mut self, read: Read<U>) -> Option<Result<Delivery<U>>> {
        loop {
            if self.is_over {
                return None;
            }
            let _asking = self.ask();
            let raw = match self.next_raw().await {
                Some(Ok(raw)) => raw,
                Some(Err(error @ (Error::Trimmed { .. } | Error::Damaged { .. }))) => {
                    return Some(Err(error));
                }
                Some(Err(error)) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
                None => {
                    self.is_over = true;
                    return None;
                }
            };
            match &self.dead_letters {
                Some(dead) if raw.attempt > dead.attempts_max => {
                    if let Err(error) = self.bury(dead.clone(), &raw).await {
                        return Some(Err(error));
                    }
                }
                _ => return Some(self.delivery(raw, read)),
            }
        }
    }

    fn delivery<U>(&self, raw: Raw, read: Read<U>) -> Result<Delivery<U>> {
        let Raw { placed, headers, attempt } = raw;
        let (index, offset, time_ms) = (placed.index, placed.offset, placed.time_ms);
        let (client, name) = (self.channel.client(), self.channel.channel_name());
        match read(client, name, &placed) {
            Ok(element) => Ok(Delivery {
                element,
                headers,
                index,
                offset,
                time_ms,
                attempt,
                group: self.group,
                waiting: self.waiting.clone(),
                channel: Channel::new(client.clone(), name.clone(), self.channel.log()),
            }),
            Err(error) => {
                let of = OfGroup { group: self.group, elements: vec![(index, 1)] };
                drop(self.channel.client().connection().command(Command::GiveBack(of)));
                Err(error)
            }
        }
    }

    /// The next element as its record has it.
    async fn next_raw(&mut self) -> Option<Result<Raw>> {
        loop {
            while let Some(item) = self.membership.take_here() {
                if let Err(error) = item.and_then(|item| self.take_in(item).unwrap_or(Ok(()))) {
                    return Some(Err(error));
                }
            }
            let next = lock(&self.waiting).next(&mut self.known);
            let Some(run) = next else {
                match self.membership.next().await? {
                    Ok(item) => match self.take_in(item)? {
                        Ok(()) => continue,
                        Err(error) => return Some(Err(error)),
                    },
                    Err(error) => return Some(Err(error)),
                }
            };
            let is_near = |records: &Records| {
                records
                    .next_offset()
                    .is_some_and(|next| (next..=next.saturating_add(READ_PAST_MAX)).contains(&run.offset))
            };
            if !self.records.as_ref().is_some_and(is_near) {
                let (client, name) = (self.channel.client(), self.channel.channel_name().clone());
                let from = Offset::At(run.offset);
                self.records = Some(Records::new(client, name, self.channel.log(), from, Reads::Durable));
            }
            let item = self.records.as_mut()?.next().await;
            let name = || self.channel.channel_name().clone();
            let Some(item) = item else {
                // The channel is no more: that is said of the group, too.
                self.records = None;
                self.waiting().runs.clear();
                continue;
            };
            match item {
                Ok(Item::Record(record)) if record.offset == run.offset => {
                    self.waiting().advance();
                    let Some(appended) = record.event.appended() else {
                        return Some(Err(Error::msg("a record that is no element was leased")));
                    };
                    let placed = Placed {
                        index: run.index,
                        offset: record.offset,
                        time_ms: record.time_ms,
                        item: appended.element.clone(),
                    };
                    let headers = appended.headers.clone();
                    return Some(Ok(Raw { placed, headers, attempt: run.attempt }));
                }
                Ok(Item::Record(_) | Item::CaughtUp { .. }) => {}
                // It is said if something of this member's is gone.
                Ok(Item::Trimmed { from, first }) => {
                    if self.forget(0..first) {
                        return Some(Err(Error::Trimmed { channel: name(), from, first }));
                    }
                }
                Ok(Item::Damaged { from, to, why }) => {
                    if self.forget(from..to) {
                        return Some(Err(Error::Damaged { channel: name(), from, to, why }));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Somebody asks for the next element.
struct Asking(Arc<Mutex<Waiting>>);

impl Drop for Asking {
    fn drop(&mut self) {
        let mut waiting = lock(&self.0);
        (waiting.is_asking, waiting.asked_at) = (false, Instant::now());
    }
}

/// Extends what was leased and has not been brought yet, as long as somebody asks for more: of nothing, too, since a member
/// that lets a lease pass is leased nothing until it says that it goes on.
async fn extend(connection: Connection, group: GroupId, waiting: Arc<Mutex<Waiting>>) {
    loop {
        let pause = lock(&waiting).lease / 3;
        sleep(pause).await;
        let elements = {
            let waiting = lock(&waiting);
            if waiting.is_stuck() {
                continue;
            }
            stretches(waiting.indexes())
        };
        let before = Instant::now();
        if connection.command(Command::Extend(OfGroup { group, elements })).await.is_ok() {
            let mut waiting = lock(&waiting);
            waiting.until = before + waiting.lease;
        }
    }
}

impl<T> Drop for Member<T> {
    fn drop(&mut self) {
        self.extending.abort();
    }
}

impl<T> fmt::Debug for Member<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member(group {} of {:?})", self.group, self.channel)
    }
}

pub(super) fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    /// What waits, leased so long ago.
    fn waiting(runs: &[LeasedRun], known: &mut BTreeMap<u64, u32>, ago: Duration) -> Waiting {
        let now = Instant::now();
        let mut waiting =
            Waiting { runs: VecDeque::new(), lease: LEASE, until: now, asked_at: now, is_asking: false };
        waiting.take_in(leased(runs), now.checked_sub(ago).expect("a clock that has run"), known);
        waiting
    }

    fn leased(runs: &[LeasedRun]) -> Leased {
        Leased { runs: runs.to_vec(), lease_ms: LEASE.as_millis() as u64, dead_letters: None }
    }

    fn run(offset: u64, count: u32) -> LeasedRun {
        LeasedRun { offset, index: offset, count, attempt: 1 }
    }

    #[test]
    fn what_is_lost_is_so_up_to_its_end_and_not_before_its_beginning() {
        let mut known = BTreeMap::new();
        // An older one comes again behind newer ones.
        let mut waiting = waiting(&[run(300, 5), run(10, 1)], &mut known, Duration::ZERO);
        assert_eq!(waiting.take_gone(300..350), (300..305).collect());
        assert_eq!(waiting.next(&mut known), Some(run(10, 1)));
        assert_eq!(waiting.take_gone(0..350), BTreeSet::from([10]));
    }

    #[test]
    fn what_is_told_again_is_brought_once_unless_it_was_let_go() {
        let (mut known, told) = (BTreeMap::new(), [run(0, 2)]);
        let mut fresh = waiting(&told, &mut known, Duration::ZERO);
        fresh.take_in(leased(&told), Instant::now(), &mut known);
        assert_eq!(fresh.indexes().collect::<Vec<_>>(), [0, 1]);
        // Its time is over, and the scheduler, which was away, says that it is this member's still.
        let mut known = BTreeMap::new();
        let mut old = waiting(&told, &mut known, LEASE);
        assert_eq!(old.runs.len(), 1);
        old.take_in(leased(&told), Instant::now(), &mut known);
        assert_eq!(old.next(&mut known), Some(run(0, 2)));
        // Nor is it brought when nobody says that.
        let mut old = waiting(&told, &mut BTreeMap::new(), LEASE);
        assert_eq!(old.next(&mut known), None);
    }
}

//! A member of a group: what is leased to it, read and brought in order.
//!
//! ```text
//!   leased ──▶ runs that wait ──▶ read where they lie ──▶ a delivery, or the dead letters
//! ```

mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use self::waiting::{Asking, extend};
pub(super) use self::waiting::{Waiting, lock};
use super::channel::Channel;
use super::connection::{MemberItem, Membership, Reply};
use super::delivery::Delivery;
use super::elements::{self, Element};
use super::error::{Error, Result};
use super::group::DEAD_LETTER_HEADERS;
use super::handle::Client;
use super::marked::Placed;
use super::reading::{Item, Offset, Records};
use crate::protocol::command::{Answer, Command, Rejection};
use crate::protocol::group::{DeadLetters, GroupEnd, GroupId, GroupInfo, OfGroup, stretches};
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
    /// What was read last, and is on its way to be brought, or to the dead letters.
    in_hand: Option<Raw>,
    /// How often each was leased when it was taken in; those that are done with do not matter.
    known: BTreeMap<u64, u32>,
    dead_letters: Option<DeadLetters>,
    records: Option<Records<ChannelEvent>>,
    /// Where it was asked to begin.
    records_from: u64,
    is_over: bool,
    extending: JoinHandle<()>,
}

impl<T> Member<T> {
    pub(super) fn new(channel: Channel<T>, info: &GroupInfo, window: u32) -> Self {
        let connection = channel.client().connection().clone();
        let waiting = Waiting::new(Duration::from_millis(info.options.lease_ms));
        let waiting = Arc::new(Mutex::new(waiting));
        let extending = tokio::spawn(extend(connection.clone(), info.id, waiting.clone()));
        Member {
            channel,
            group: info.id,
            membership: connection.join(info.id, window),
            waiting,
            in_hand: None,
            known: BTreeMap::new(),
            dead_letters: info.options.dead_letters.clone(),
            records: None,
            records_from: 0,
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
        let waiting = self.waiting();
        if waiting.is_stuck() {
            let of = OfGroup { group: self.group, elements: stretches(waiting.indexes()) };
            drop(self.channel.client().connection().command(Command::Extend(of)));
        }
        drop(waiting);
        Asking::of(&self.waiting)
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
    async fn bury(&self, dead: &DeadLetters, raw: &Raw) -> Result<()> {
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

/// An element as its record has it, and how often it was tried and leased.
struct Raw {
    placed: Placed<protocol::Element>,
    headers: Headers,
    attempt: u32,
    leases: u32,
    /// The answer to its being tried, which whoever asked for it did not wait for.
    trying: Option<Reply<Answer>>,
}

impl<T: DeserializeOwned> Member<T> {
    /// The next element that is leased to this member; `None` when the channel was stopped and all are done with. Dropped
    /// before it brings something it loses nothing.
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
            let raw = match self.take_in_hand().await {
                Some(Ok(())) => self.in_hand.as_ref()?,
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
            if let Some(dead) = self.dead_letters.as_ref().filter(|dead| raw.attempt > dead.attempts_max) {
                let buried = self.bury(dead, raw).await;
                self.in_hand = None;
                if let Err(error) = buried {
                    return Some(Err(error));
                }
                continue;
            }
            match self.try_it().await {
                Ok(true) => return self.in_hand.take().map(|raw| self.delivery(raw, read)),
                Ok(false) => {}
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Says that what is in hand is tried, before it is brought, since it may end whoever has it; the first time it is leased
    /// that counts without a word. Answers whether it is to be brought now: it may be another's.
    async fn try_it(&mut self) -> Result<bool> {
        let Some(raw) = self.in_hand.as_mut().filter(|raw| raw.leases > 1) else { return Ok(true) };
        let (index, connection) = (raw.placed.index, self.channel.client().connection());
        let of = OfGroup { group: self.group, elements: vec![(index, 1)] };
        let answer = raw.trying.get_or_insert_with(|| connection.command(Command::Try(of))).await;
        raw.trying = None;
        match answer {
            Ok(_) => {}
            // That the group is no more is said behind this.
            Err(Error::Rejected(Rejection::LeaseOver { .. } | Rejection::UnknownGroup(_))) => {
                self.in_hand = None;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        // What is tried may be a newer lease, which was told before the answer: its numbers count.
        self.hear()?;
        let newer = lock(&self.waiting).take_out(index);
        if let (Some(newer), Some(raw)) = (newer, &mut self.in_hand) {
            (raw.attempt, raw.leases) = (newer.attempt, newer.leases);
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes in what has been told.
    fn hear(&mut self) -> Result<()> {
        while let Some(item) = self.membership.take_here() {
            self.take_in(item?).unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Reads the next element, unless one is in hand since whoever asked for it does so no longer.
    async fn take_in_hand(&mut self) -> Option<Result<()>> {
        if self.in_hand.is_none() {
            match self.next_raw().await? {
                Ok(raw) => self.in_hand = Some(raw),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(()))
    }

    fn delivery<U>(&self, raw: Raw, read: Read<U>) -> Result<Delivery<U>> {
        let Raw { placed, headers, attempt, .. } = raw;
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
            if let Err(error) = self.hear() {
                return Some(Err(error));
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
                // Not yet known where it was asked to begin with it: somebody asked, and did not wait.
                let next = records.next_offset().unwrap_or(self.records_from);
                (next..=next.saturating_add(READ_PAST_MAX)).contains(&run.offset)
            };
            if !self.records.as_ref().is_some_and(is_near) {
                let (client, name) = (self.channel.client(), self.channel.channel_name().clone());
                let from = Offset::At(run.offset);
                self.records_from = run.offset;
                self.records = Some(Records::new(client, name, self.channel.log(), from, Reads::Durable));
            }
            let item = self.records.as_mut()?.next().await;
            let name = || self.channel.channel_name().clone();
            let Some(item) = item else {
                // The channel is no more: that is said of the group, too.
                self.records = None;
                self.waiting().clear();
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
                    let (attempt, leases) = (run.attempt, run.leases);
                    return Some(Ok(Raw { placed, headers, attempt, leases, trying: None }));
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

impl<T> Drop for Member<T> {
    fn drop(&mut self) {
        self.extending.abort();
        // What is wrong with it does not matter any more.
        let _ = self.hear();
        let in_hand = self.in_hand.as_ref().map(|raw| raw.placed.index);
        let untried: BTreeSet<u64> = self.waiting().indexes().chain(in_hand).collect();
        let untried = stretches(untried);
        self.membership.leaves_untried(untried);
    }
}

impl<T> fmt::Debug for Member<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member(group {} of {:?})", self.group, self.channel)
    }
}

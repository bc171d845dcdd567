//! Groups: consumers that share the elements of a channel, each element leased to one of them until it is acknowledged.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::channel::ChannelName;
use super::ids::{LogId, Producer};
use super::limits::{LEASE_MS_MAX, LEASE_MS_MIN, PIN_MS_MAX};
use super::name::name;
use super::rejection::Rejection;

name! {
    /// A group's name, of those of its channel: 1 to [`NAME_BYTES_MAX`](super::limits::NAME_BYTES_MAX) bytes of letters,
    /// digits, and `. _ - / :`.
    GroupName, "group", |name| name
}

/// Which group: the offset in the task log of the record that made it. One of the same name that is made later is
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a group leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOptions {
    /// How long a member has an element for itself until it acknowledges or extends it: from
    /// [`LEASE_MS_MIN`] to [`LEASE_MS_MAX`].
    pub lease_ms: u64,
    /// Where elements go that were tried often enough and never acknowledged; `None` for nowhere: they are leased again and
    /// again.
    pub dead_letters: Option<DeadLetters>,
    /// For how long after something was acknowledged the channel keeps, whatever its bounds, what is not: in ms, at most
    /// [`PIN_MS_MAX`]; 0 for not at all.
    pub pin_ms: u64,
}

/// Where elements go that were tried often enough, and never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// The channel.
    pub channel: ChannelName,
    /// How often an element is tried before; at least 1.
    pub attempts_max: u32,
}

impl Default for GroupOptions {
    /// A lease of 30 s, no dead letters, no pin.
    fn default() -> Self {
        GroupOptions { lease_ms: 30_000, dead_letters: None, pin_ms: 0 }
    }
}

impl GroupOptions {
    /// Checks the bounds.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] says which is not kept.
    pub fn check(&self) -> Result<(), Rejection> {
        let invalid = |why: String| Err(Rejection::Invalid(why));
        if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&self.lease_ms) {
            let lease_ms = self.lease_ms;
            return invalid(format!(
                "a lease of {lease_ms} ms: give one from {LEASE_MS_MIN} ms to {LEASE_MS_MAX} ms, and extend it while work goes on"
            ));
        }
        if self.pin_ms > PIN_MS_MAX {
            return invalid(format!("a pin of {} ms: give at most {PIN_MS_MAX}", self.pin_ms));
        }
        match &self.dead_letters {
            Some(dead) if dead.attempts_max == 0 => {
                invalid("no attempts before an element is a dead letter: give at least 1".to_owned())
            }
            Some(dead) if dead.channel.is_reserved() => Err(Rejection::ReservedChannel(dead.channel.clone())),
            _ => Ok(()),
        }
    }
}

/// Elements that follow each other: the index of the first, and how many.
pub type Stretch = (u64, u32);

/// The indexes of these stretches.
pub fn indexes(stretches: &[Stretch]) -> impl Iterator<Item = u64> + '_ {
    stretches.iter().flat_map(|(first, count)| *first..first.saturating_add(u64::from(*count)))
}

/// Indexes in order as stretches.
pub fn stretches(indexes: impl IntoIterator<Item = u64>) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = Vec::new();
    for index in indexes {
        match all.last_mut() {
            Some((first, count)) if *first + u64::from(*count) == index && *count < u32::MAX => *count += 1,
            _ => all.push((index, 1)),
        }
    }
    all
}

/// Elements of a group, all of which are leased to whoever speaks of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfGroup {
    /// The group.
    pub group: GroupId,
    /// They; at least one.
    pub elements: Vec<Stretch>,
}

/// Elements that are leased to a member: they follow each other, without a record between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedRun {
    /// The offset of the first.
    pub offset: u64,
    /// Its index.
    pub index: u64,
    /// How many.
    pub count: u32,
    /// How often each was tried, this time included: the first time it was leased counts in any case, a later one once its
    /// member has said that it tries it, or gave it back.
    pub attempt: u32,
    /// How often each was leased, this time included.
    pub leases: u32,
}

impl LeasedRun {
    /// Takes in one element that follows those it has, tried and leased as often; answers whether it did.
    pub fn take_in(&mut self, one: LeasedRun) -> bool {
        let count = u64::from(self.count);
        let follows = LeasedRun { offset: self.offset + count, index: self.index + count, count: 1, ..*self };
        let is_next = one == follows;
        self.count += u32::from(is_next);
        is_next
    }
}

/// Elements that are leased to a member, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// They.
    pub runs: Vec<LeasedRun>,
    /// For how long.
    pub lease_ms: u64,
    /// Where those go whose attempt is above the bound that it says there; this is the member's to do.
    pub dead_letters: Option<DeadLetters>,
}

/// Why a lease is over before its element was acknowledged, other than with its member's session. The element is leased
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseEnd {
    /// Its time is over.
    Expired,
    /// The member gave the element back.
    GivenBack,
    /// The member left the group.
    Left,
    /// The member left the group, and had not begun with the element.
    Untried,
}

impl fmt::Display for LeaseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeaseEnd::Expired => "its lease was over",
            LeaseEnd::GivenBack => "its member gave it back",
            LeaseEnd::Left => "its member left",
            LeaseEnd::Untried => "its member left before it tried it",
        })
    }
}

/// Why a group leases nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupEnd {
    /// The channel was stopped, and every element is acknowledged.
    Drained,
    /// The group was deleted, perhaps with its channel.
    Deleted,
}

/// What is known of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Which.
    pub id: GroupId,
    /// The channel.
    pub channel: ChannelName,
    /// The channel's log.
    pub log: LogId,
    /// Its name.
    pub name: GroupName,
    /// How it leases.
    pub options: GroupOptions,
    /// The index of the first element that was never leased.
    pub next: u64,
    /// How many elements of the channel are not acknowledged.
    pub lag: u64,
    /// How many of them are leased now.
    pub leased: u64,
    /// How many wait to be leased once more.
    pub waiting: u64,
    /// Who is there to take elements; at most [`MEMBERS_SHOWN_MAX`](super::limits::MEMBERS_SHOWN_MAX).
    pub members: Vec<MemberInfo>,
    /// Whether elements are kept for its sake now that are over the channel's bounds.
    pub holds_back: bool,
}

/// What is known of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Its session.
    pub session: Producer,
    /// How many elements it takes at a time.
    pub window: u32,
    /// How many are leased to it.
    pub leased: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_and_stretches_are_the_same() {
        let all = [0, 1, 2, 7, 9, 10];
        assert_eq!(stretches(all), [(0, 3), (7, 1), (9, 2)]);
        assert_eq!(indexes(&stretches(all)).collect::<Vec<_>>(), all);
    }

    #[test]
    fn options_have_bounds_and_each_says_what_to_do() {
        let told = |options: GroupOptions| options.check().map_err(|error| error.to_string());
        assert_eq!(told(GroupOptions::default()), Ok(()));
        for lease_ms in [LEASE_MS_MIN, LEASE_MS_MAX] {
            assert_eq!(told(GroupOptions { lease_ms, ..GroupOptions::default() }), Ok(()));
        }
        for lease_ms in [LEASE_MS_MIN - 1, LEASE_MS_MAX + 1] {
            let error = told(GroupOptions { lease_ms, ..GroupOptions::default() }).unwrap_err();
            assert!(error.contains("give one from 100 ms to 86400000 ms"), "{error}");
        }
        let dead = |channel: &str, attempts_max| {
            let channel = ChannelName::new(channel).unwrap();
            let dead_letters = Some(DeadLetters { channel, attempts_max });
            told(GroupOptions { dead_letters, ..GroupOptions::default() })
        };
        assert_eq!(dead("dead", 1), Ok(()));
        assert!(dead("dead", 0).unwrap_err().contains("give at least 1"));
        assert!(dead("$tasks", 1).is_err());
        let pinned = |pin_ms| told(GroupOptions { pin_ms, ..GroupOptions::default() });
        assert_eq!(pinned(PIN_MS_MAX), Ok(()));
        assert!(
            pinned(PIN_MS_MAX + 1).unwrap_err().contains("a pin of 2592000001 ms: give at most 2592000000")
        );
    }
}

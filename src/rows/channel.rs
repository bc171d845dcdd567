//! Channels, their cursors and their groups.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::record::{durability_word, retention_details};
use super::{counted, time};
use crate::protocol::channel::ChannelInfo;
use crate::protocol::cursor::CursorInfo;
use crate::protocol::group::{DeadLetters, GroupInfo};

/// A channel among others.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    name: &'a str,
    first: u64,
    head: u64,
    elements: u64,
    bytes: u64,
    stopped: bool,
    digest: String,
}

impl<'a> Listed<'a> {
    pub fn of(info: &'a ChannelInfo) -> Self {
        let ChannelInfo { name, first, head, elements, bytes, stopped, digest, .. } = info;
        let (name, digest) = (name.as_str(), digest.to_string());
        let (first, head, elements, bytes, stopped) = (*first, *head, *elements, *bytes, *stopped);
        Listed { name, first, head, elements, bytes, stopped, digest }
    }
}

/// A channel with all that is known of it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    pub name: &'a str,
    pub log: u32,
    pub first: u64,
    pub head: u64,
    pub elements: u64,
    pub trimmed: u64,
    pub bytes: u64,
    pub stopped: bool,
    pub digest: String,
    /// Unless it is as of another time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<u64>,
    pub durability: String,
    pub retention: Map<String, Value>,
    pub cursors: Vec<CursorRow<'a>>,
    pub groups: Vec<GroupRow<'a>>,
    pub pinned_by: Vec<&'a str>,
}

impl<'a> Shown<'a> {
    pub fn of(
        info: &'a ChannelInfo,
        cursors: &'a [CursorInfo],
        groups: &'a [GroupInfo],
        subscribers: Option<u64>,
    ) -> Shown<'a> {
        let holding = cursors.iter().filter(|cursor| cursor.holds_back).map(|cursor| cursor.name.as_str());
        let groups_holding = groups.iter().filter(|group| group.holds_back).map(|group| group.name.as_str());
        Shown {
            name: info.name.as_str(),
            log: info.log.0,
            first: info.first,
            head: info.head,
            elements: info.elements,
            trimmed: info.trimmed,
            bytes: info.bytes,
            stopped: info.stopped,
            digest: info.digest.to_string(),
            subscribers,
            durability: durability_word(info.durability),
            retention: retention_details(info.retention),
            cursors: cursors.iter().map(CursorRow::of).collect(),
            groups: groups.iter().map(GroupRow::of).collect(),
            pinned_by: holding.chain(groups_holding).collect(),
        }
    }
}

/// A cursor, and how far it has come.
#[derive(Debug, Serialize)]
pub struct CursorRow<'a> {
    name: &'a str,
    offset: u64,
    lag: u64,
    pin_ms: u64,
    holds_back: bool,
}

impl<'a> CursorRow<'a> {
    pub fn of(info: &'a CursorInfo) -> Self {
        let CursorInfo { name, offset, lag, pin_ms, holds_back, .. } = info;
        CursorRow {
            name: name.as_str(),
            offset: *offset,
            lag: *lag,
            pin_ms: *pin_ms,
            holds_back: *holds_back,
        }
    }

    pub fn line(&self) -> String {
        format!("cursor       {} at {}, lag {}{}", self.name, self.offset, self.lag, self.pin())
    }

    fn pin(&self) -> String {
        if self.pin_ms == 0 {
            return String::new();
        }
        format!(", pinned for {}", time::in_units(Duration::from_millis(self.pin_ms)))
    }
}

/// A group, and how far its members have come.
#[derive(Debug, Serialize)]
pub struct GroupRow<'a> {
    name: &'a str,
    next: u64,
    lag: u64,
    leased: u64,
    waiting: u64,
    members: usize,
    lease_ms: u64,
    pin_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_max: Option<u32>,
    holds_back: bool,
}

impl<'a> GroupRow<'a> {
    pub fn of(info: &'a GroupInfo) -> Self {
        let GroupInfo { name, options, next, lag, leased, waiting, members, holds_back, .. } = info;
        let dead = options.dead_letters.as_ref();
        GroupRow {
            name: name.as_str(),
            next: *next,
            lag: *lag,
            leased: *leased,
            waiting: *waiting,
            members: members.len(),
            lease_ms: options.lease_ms,
            pin_ms: options.pin_ms,
            dead_letters: dead.map(|DeadLetters { channel, .. }| channel.as_str()),
            attempts_max: dead.map(|dead| dead.attempts_max),
            holds_back: *holds_back,
        }
    }

    pub fn line(&self) -> String {
        let GroupRow { name, lag, leased, waiting, .. } = self;
        let members = counted(self.members as u64, "member");
        format!(
            "group        {name}: {members}, lag {lag}, of which {leased} leased and {waiting} to be leased again"
        )
    }
}

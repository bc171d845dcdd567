//! What clients were told against what is there.

use std::collections::{BTreeMap, HashMap};

use super::channel::{ChannelCheck, Entry, What};
use super::tasks::TasksCheck;
use super::{Found, Kind};
use crate::cli::torture::life::{self, Ack, BURST_MAX, Life, LifeId};
use crate::protocol::Producer;

/// Each acknowledged element is in its place; each stamp that is there was appended by its life, once over
/// all channels.
pub fn check(
    lives: &HashMap<LifeId, Life>,
    channels: &BTreeMap<String, ChannelCheck>,
    tasks: &TasksCheck,
    found: &mut Found,
) {
    for life in lives.values() {
        let mut last = HashMap::new();
        for (at, ack) in life.acks.iter().enumerate() {
            let (number, offset) = (ack.number, ack.offset);
            found.add_unless(number == at as u64, Kind::Lost, || {
                format!("{}: the acknowledgement of {at} is missing, {number} follows", life.id)
            });
            let before = last.insert(&ack.channel, offset);
            found.add_unless(before.is_none_or(|before| before < offset), Kind::Reordered, || {
                format!("{}: {number} was acknowledged at {offset}, behind it {before:?}", life.id)
            });
            check_place(life, ack, channels, found);
            check_result(life, ack, tasks, found);
        }
    }
    check_stamps(lives, channels, tasks, found);
}

fn check_place(life: &Life, ack: &Ack, channels: &BTreeMap<String, ChannelCheck>, found: &mut Found) {
    let Ack { number, channel, offset, kind } = ack;
    let expected = match kind {
        life::Kind::Value => What::Stamp { life: life.id, number: *number },
        life::Kind::Future { key, .. } => What::Future(key.id),
    };
    let entry = channels.get(channel).and_then(|channel| channel.entry(*offset));
    if entry.map(|entry| &entry.what) != Some(&expected) {
        let there = entry.map_or("nothing".to_owned(), |entry| entry.what.to_string());
        let what = format!(
            "element {number} of {}, {expected}, was acknowledged at offset {offset} of channel {channel}: \
             there is {there}",
            life.id
        );
        found.add(Kind::Lost, what);
    }
}

fn check_result(life: &Life, ack: &Ack, tasks: &TasksCheck, found: &mut Found) {
    let life::Kind::Future { key, result } = &ack.kind else { return };
    let Some(outcome) = tasks.task(key.id).and_then(|task| task.outcome.as_ref()) else { return };
    found.add_unless(outcome.brings(*result), Kind::WrongResult, || {
        format!("{} submitted {key} for {result}: {outcome}", life.id)
    });
}

fn check_stamps(
    lives: &HashMap<LifeId, Life>,
    channels: &BTreeMap<String, ChannelCheck>,
    tasks: &TasksCheck,
    found: &mut Found,
) {
    let mut places = HashMap::new();
    let mut producers: HashMap<LifeId, Producer> = HashMap::new();
    for (name, channel) in channels {
        for (offset, Entry { producer, what }) in channel.entries() {
            let What::Stamp { life: id, number } = *what else { continue };
            let place = format!("channel {name}, offset {offset}: {what}");
            if let Some((other, at)) = places.insert((id, number), (name, offset)) {
                found.add(Kind::Repeated, format!("{place} is also at offset {at} of {other}"));
            }
            let Some(life) = lives.get(&id) else {
                // It may have begun after the files were read.
                continue;
            };
            let is_of_session = *producers.entry(id).or_insert(*producer) == *producer
                && match (tasks.session(*producer), &life.session) {
                    (Some(session), Some(id)) => session.id == *id,
                    _ => true,
                };
            found.add_unless(is_of_session, Kind::Unasked, || {
                format!("{place} was appended by producer {producer}, which is another session")
            });
        }
    }
}

/// Nobody sends more than a burst ahead of what it was told: for lives that are over.
pub fn check_unasked(
    lives: &HashMap<LifeId, Life>,
    channels: &BTreeMap<String, ChannelCheck>,
    found: &mut Found,
) {
    for (name, channel) in channels {
        for (offset, Entry { what, .. }) in channel.entries() {
            let What::Stamp { life, number } = *what else { continue };
            let told = lives.get(&life).map(|life| life.acks.len() as u64);
            found.add_unless(told.is_some_and(|told| number < told + BURST_MAX), Kind::Unasked, || {
                format!("channel {name}, offset {offset}: {what}, which nobody has sent")
            });
        }
    }
}

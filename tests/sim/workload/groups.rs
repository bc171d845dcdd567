//! The groups of a client: it joins, and says of what is leased to it that it is done with, or not.

use std::collections::BTreeMap;

use fastrand::Rng;
use headwater::protocol::LogId;
use headwater::protocol::command::{Answer, Command, Rejection};
use headwater::protocol::group::{
    GroupEnd, GroupId, GroupName, GroupOptions, Leased, OfGroup, indexes, stretches,
};

use super::{Client, is_of_room};
use crate::shadow::Shadow;

/// What a client has of groups.
#[derive(Default)]
pub(super) struct Groups {
    /// Those that it joined, and for how many elements.
    joined: BTreeMap<GroupId, u32>,
    /// What is leased to it, as far as it knows: how often it was.
    leased: BTreeMap<(GroupId, u64), u32>,
    /// What it said that it is done with, by the number of the command.
    done: BTreeMap<u64, OfGroup>,
    opening: BTreeMap<u64, u32>,
}

impl Client {
    pub(super) fn consume(&mut self, rng: &mut Rng, log: LogId) {
        let Some((group, index)) = rng.choice(self.groups.leased.keys()).copied().filter(|_| rng.u8(..8) > 0)
        else {
            return self.open_group(rng, log);
        };
        let of = OfGroup { group, elements: vec![(index, 1)] };
        match rng.u8(..20) {
            0..9 => {
                // With some of those behind it.
                let of_group = self.groups.leased.range((group, index)..=(group, u64::MAX));
                let some = of_group.map(|((_, index), _)| *index).take(rng.usize(1..4)).collect::<Vec<_>>();
                some.iter().for_each(|index| _ = self.groups.leased.remove(&(group, *index)));
                let of = OfGroup { group, elements: stretches(some) };
                let number = self.link.command(Command::Acknowledge(of.clone()));
                self.groups.done.insert(number, of);
            }
            9..12 => {
                self.groups.leased.remove(&(group, index));
                self.link.command(Command::GiveBack(of));
            }
            12..15 => drop(self.link.command(Command::Extend(of))),
            15..19 => drop(self.link.command(Command::Try(of))),
            _ => {
                self.groups.joined.remove(&group);
                let of_group = self.groups.leased.extract_if(.., |(other, _), _| *other == group);
                let indexes: Vec<u64> = of_group.map(|((_, index), _)| index).collect();
                let untried = stretches(indexes.into_iter().filter(|_| rng.bool()));
                self.link.command(Command::Leave { group, untried });
            }
        }
    }

    fn open_group(&mut self, rng: &mut Rng, log: LogId) {
        let name = GroupName::new(if rng.bool() { "g" } else { "h" }).expect("a good name");
        if rng.u8(..30) == 0 {
            self.link.command(Command::DeleteGroup { log, name });
            return;
        }
        let pin_ms = *rng.choice(&[0, 0, 0, 200]).expect("there are some");
        let options = (rng.u8(..3) == 0).then(|| GroupOptions {
            lease_ms: rng.u64(100..400),
            dead_letters: None,
            pin_ms,
        });
        let open = Command::OpenGroup { log, name, options, from_end: rng.u8(..4) == 0 };
        self.groups.opening.insert(self.link.command(open), rng.u32(1..6));
    }

    /// What it joined on another connection it joins on this one.
    pub(super) fn join_again(&mut self) {
        for (group, window) in &self.groups.joined {
            self.link.command(Command::Join { group: *group, window: *window });
        }
    }

    pub(super) fn was_leased(&mut self, group: GroupId, leased: Leased, shadow: &mut Shadow) {
        if !self.groups.joined.contains_key(&group) {
            return;
        }
        for run in leased.runs {
            for index in run.index..run.index + u64::from(run.count) {
                let told = shadow.attempts.entry((group, index)).or_default();
                *told = run.attempt.max(*told);
                let before = self.groups.leased.insert((group, index), run.attempt);
                assert!(before.is_none_or(|before| before <= run.attempt), "{index} of {group}");
            }
        }
    }

    pub(super) fn group_ended(&mut self, group: GroupId, _: GroupEnd) {
        self.groups.joined.remove(&group);
        self.groups.leased.retain(|(other, _), _| *other != group);
    }

    /// Takes an answer, if it is to something of a group.
    pub(super) fn group_answered(
        &mut self,
        number: u64,
        answer: &Result<Answer, Rejection>,
        shadow: &mut Shadow,
    ) -> bool {
        if let Some(window) = self.groups.opening.remove(&number) {
            match answer {
                Ok(Answer::Group(info)) => {
                    self.groups.joined.insert(info.id, window);
                    self.link.command(Command::Join { group: info.id, window });
                }
                Err(Rejection::UnknownChannel(_)) => {}
                Err(refused) if is_of_room(refused) => {}
                other => panic!("the opening of a group was answered with {other:?}"),
            }
            return true;
        }
        let Some(of) = self.groups.done.remove(&number) else { return false };
        match answer {
            Ok(Answer::Reported) => {
                for index in indexes(&of.elements) {
                    assert!(shadow.consumed.insert((of.group, index)), "{index} is done with twice");
                }
            }
            Err(Rejection::LeaseOver { .. } | Rejection::UnknownGroup(_)) => {}
            Err(refused) if is_of_room(refused) => {}
            other => panic!("what was done with was answered with {other:?}"),
        }
        true
    }
}

//! Groups: each element is leased to one member at a time, until it is done with.

use std::collections::{BTreeMap, BTreeSet};

use headwater::log::{Log, Memory};
use headwater::protocol::command::{Answer, Command, Query};
use headwater::protocol::group::{
    DeadLetters, GroupId, GroupName, GroupOptions, LeaseEnd, OfGroup, Stretch, indexes,
};
use headwater::protocol::message::ServerMessage;
use headwater::protocol::session::Role;
use headwater::protocol::transaction::{Part, Transaction};
use headwater::protocol::{ChannelName, Element, LogId, Producer, TaskEvent};
use headwater::scheduler::core::{Effect, Output, Past, State};
use headwater::scheduler::{ConnectionId, Request};

use crate::scene::{Scene, append_value, number, open};
use crate::shadow::Shadow;

/// Holds the records of groups against each other, and against what clients were told.
pub fn audit(log: &Memory, shadow: &Shadow, state: &State) {
    let mut leased: BTreeMap<(GroupId, u64), Producer> = BTreeMap::new();
    let mut done: BTreeSet<(GroupId, u64)> = BTreeSet::new();
    // Of each element how often it was leased, and how often tried.
    let mut past: BTreeMap<(GroupId, u64), Past> = BTreeMap::new();
    let mut tried: BTreeSet<(GroupId, u64)> = BTreeSet::new();
    let mut begins: BTreeMap<GroupId, u64> = BTreeMap::new();
    for batch in log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read") {
        for record in batch.records::<TaskEvent>() {
            let (offset, event) = record.expect("records decode");
            match event {
                TaskEvent::GroupCreated { next, .. } => drop(begins.insert(GroupId(offset), next)),
                TaskEvent::Leased { group, member, elements } => {
                    for index in indexes(&elements) {
                        assert!(!done.contains(&(group, index)), "{index} of {group} was done with");
                        let past = past.entry((group, index)).or_default();
                        past.leases += 1;
                        if past.leases == 1 {
                            tried.insert((group, index));
                        }
                        let before = leased.insert((group, index), member);
                        assert_eq!(before, None, "{index} of {group} is leased to two");
                    }
                }
                TaskEvent::Acknowledged { origin, of } => {
                    for index in indexes(&of.elements) {
                        let member = leased.remove(&(of.group, index));
                        assert_eq!(member, Some(origin.producer), "{index} of {} is done with", of.group);
                        assert!(done.insert((of.group, index)), "{index} of {} twice", of.group);
                    }
                }
                TaskEvent::Tried { origin, of } => {
                    for element in indexes(&of.elements).map(|index| (of.group, index)) {
                        assert_eq!(leased.get(&element), Some(&origin.producer), "{element:?} is tried");
                        tried.insert(element);
                    }
                }
                TaskEvent::LeaseEnded { of, why, .. } => {
                    for element in indexes(&of.elements).map(|index| (of.group, index)) {
                        assert!(leased.remove(&element).is_some(), "{element:?}");
                        let was_tried = tried.remove(&element);
                        let counts = why != LeaseEnd::Untried && (was_tried || why == LeaseEnd::GivenBack);
                        past.entry(element).or_default().tries += u32::from(counts);
                    }
                }
                TaskEvent::SessionEnded { producer, .. } => {
                    for (element, _) in leased.extract_if(.., |_, member| *member == producer) {
                        past.entry(element).or_default().tries += u32::from(tried.remove(&element));
                    }
                }
                TaskEvent::GroupDeleted { group, .. } => leased.retain(|(of, _), _| *of != group),
                _ => {}
            }
        }
    }
    for (element, told) in &shadow.attempts {
        assert!(
            past.get(element).is_some_and(|past| past.tries + 1 >= *told),
            "{element:?} was told of as attempt {told}"
        );
    }
    for (id, group) in &state.groups {
        let (first, times) = (state.channels[&group.log].kept.first.index, |index| past.get(&(*id, index)));
        for index in begins[id].max(first)..group.next {
            let is_open = group.leased.contains_key(&index) || group.waiting.contains_key(&index);
            assert!(is_open != done.contains(&(*id, index)), "{index} of {id} is neither open nor done with");
            let counted = group.leased.get(&index).map(|lease| {
                assert_eq!(lease.is_tried, tried.contains(&(*id, index)), "whether {index} of {id} is tried");
                Past { leases: lease.leases(), tries: lease.before.tries }
            });
            let counted = counted.or(group.waiting.get(&index).copied());
            assert!(counted.is_none() || times(index) == counted.as_ref(), "attempts at {index} of {id}");
        }
    }
    let lost = shadow.consumed.difference(&done).next();
    assert_eq!(lost, None, "acknowledged as done with, and not in the log");
}

const LOG: LogId = LogId(1);

fn name() -> GroupName {
    GroupName::new("g").expect("a good name")
}

fn open_group(options: Option<GroupOptions>) -> Command {
    Command::OpenGroup { log: LOG, name: name(), options, from_end: false }
}

fn of(group: GroupId, elements: &[Stretch]) -> OfGroup {
    OfGroup { group, elements: elements.to_vec() }
}

fn done(group: GroupId, elements: &[Stretch]) -> Command {
    Command::Acknowledge(of(group, elements))
}

/// A scene with clients on connections 1 to 3, the channel `a` with so many values, and a group of it.
fn scene(values: u8, options: GroupOptions) -> (Scene, GroupId) {
    let mut scene = Scene::new();
    (1..=3).for_each(|session| {
        scene.client(session);
    });
    scene.ask(1, open("a"));
    (0..values).for_each(|n| {
        scene.ask(1, append_value(1, n));
    });
    scene.ask(1, open_group(Some(options)));
    let group = *scene.core.state().groups.keys().next().expect("it was made");
    scene.told();
    (scene, group)
}

fn join(scene: &mut Scene, connection: u64, group: GroupId, window: u32) {
    // Its session has used other numbers on another connection.
    scene.ask_again(connection, 100 + connection, Command::Join { group, window });
}

#[test]
fn elements_are_spread_over_those_that_have_room_and_leased_once() {
    let (mut scene, group) = scene(5, GroupOptions::default());
    join(&mut scene, 1, group, 2);
    scene.then(&[
        "group 4 leases [(0, 2)] to 1",
        "→ to 1: reported",
        "→ to 1: leased of 4 2 from 0 at 0, attempt 1",
    ]);
    join(&mut scene, 2, group, 8);
    scene.then(&[
        "group 4 leases [(2, 3)] to 2",
        "→ to 2: reported",
        "→ to 2: leased of 4 3 from 2 at 2, attempt 1",
    ]);
    // There is nothing more; what comes goes to whoever has the most room.
    scene.ask(1, append_value(1, 9));
    scene.then(&[
        "a: value 9",
        "group 4 leases [(5, 1)] to 2",
        "→ to 1: appended",
        "→ to 2: leased of 4 1 from 5 at 5, attempt 1",
    ]);
    // Of those with the same room each has its turn.
    join(&mut scene, 1, group, 6);
    scene.told();
    for (n, member) in [(11, 1), (12, 2), (13, 1)] {
        scene.ask(1, append_value(1, n));
        let told = scene.told();
        assert!(told[1].ends_with(&format!("to {member}")), "{told:?}");
    }
    join(&mut scene, 1, group, 4);
    scene.told();
    // Who is done has room for more.
    scene.ask(1, done(group, &[(0, 1)]));
    scene.ask(2, Command::Leave { group, untried: vec![] });
    let told = scene.told();
    assert!(told.contains(&"group 4 leases [(2, 1)] to 1".to_owned()), "{told:?}");
}

#[test]
fn what_is_not_leased_to_a_member_is_not_its_to_be_done_with() {
    let (mut scene, group) = scene(4, GroupOptions::default());
    join(&mut scene, 1, group, 2);
    join(&mut scene, 2, group, 2);
    scene.told();
    let before = scene.core.state().clone();
    for (connection, command, expected) in [
        (1, done(group, &[(2, 1)]), "element 2 is not leased to this member"),
        (1, done(group, &[(0, 3)]), "element 2 is not leased"),
        (1, done(group, &[(9, 1)]), "element 9 is not leased"),
        (3, done(group, &[(0, 1)]), "element 0 is not leased"),
        (1, done(group, &[]), "at least one"),
        (1, done(group, &[(0, 0); 100_000]), "a stretch of no elements"),
        (1, Command::Extend(of(group, &[(0, 0); 100_000])), "a stretch of no elements"),
        (1, done(group, &[(0, 1), (0, 1)]), "each once"),
        (1, done(group, &[(0, 5_000)]), "over the limit of 4096"),
        (1, Command::GiveBack(of(group, &[(2, 1)])), "element 2 is not leased"),
        (1, Command::Try(of(group, &[(2, 1)])), "element 2 is not leased"),
        (1, Command::Leave { group, untried: vec![(0, 5_000)] }, "over the limit of 4096"),
        (1, done(GroupId(999), &[(0, 1)]), "there is no group 999"),
        (1, Command::Join { group, window: 0 }, "take from 1 to 4096"),
        (1, Command::Join { group, window: 4097 }, "take from 1 to 4096"),
        (1, Command::Join { group: GroupId(999), window: 1 }, "there is no group 999"),
    ] {
        scene.ask(connection, command);
        let told = scene.told();
        assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:?}");
        assert_eq!(*scene.core.state(), before, "{expected}");
    }
    // Asked again, what was done is done once.
    let number = scene.ask(1, done(group, &[(0, 2)]));
    scene.told();
    scene.ask_again(1, number, done(group, &[(0, 2)]));
    scene.then(&["→ to 1: reported"]);
}

#[test]
fn what_is_not_done_in_time_goes_to_another_and_is_counted() {
    let options = GroupOptions { lease_ms: 1_000, ..GroupOptions::default() };
    let (mut scene, group) = scene(2, options);
    join(&mut scene, 1, group, 2);
    scene.pass(1);
    scene.told();
    scene.pass(600);
    scene.ask(1, Command::Extend(of(group, &[(1, 1)])));
    scene.told();
    join(&mut scene, 2, group, 1);
    scene.told();
    scene.pass(450);
    // The first was not extended.
    scene.then(&[
        "group 4 leases [(0, 1)] no more: its lease was over",
        "group 4 leases [(0, 1)] to 2",
        "→ to 2: leased of 4 1 from 0 at 0, attempt 2",
    ]);
    // Who let a lease pass is leased nothing, until it says something.
    scene.ask(2, Command::Try(of(group, &[(0, 1)])));
    scene.leave(2);
    let told = scene.told();
    assert!(!told.iter().any(|line| line.contains("leases [(0, 1)] to")), "{told:?}");
    scene.ask(1, Command::Extend(of(group, &[])));
    scene.then(&[
        "group 4 leases [(0, 1)] to 1",
        "→ to 1: reported",
        "→ to 1: leased of 4 1 from 0 at 0, attempt 3",
    ]);
}

#[test]
fn what_waits_behind_what_ends_its_members_counts_as_tried_the_first_time_only() {
    let (mut scene, group) = scene(3, GroupOptions { lease_ms: 1_000, ..GroupOptions::default() });
    join(&mut scene, 1, group, 3);
    scene.leave(1);
    join(&mut scene, 2, group, 3);
    let told = scene.told();
    assert!(told.contains(&"→ to 2: leased of 4 3 from 0 at 0, attempt 2".to_owned()), "{told:?}");
    // It tries the first, says so twice, and is gone.
    scene.ask(2, Command::Try(of(group, &[(0, 1)])));
    scene.then(&["group 4 tries [(0, 1)]", "→ to 2: reported"]);
    scene.ask(2, Command::Try(of(group, &[(0, 1)])));
    scene.then(&["→ to 2: reported"]);
    scene.ask(1, Command::Try(of(group, &[(1, 1)])));
    scene.told();
    scene.leave(2);
    join(&mut scene, 3, group, 3);
    let runs = ["→ to 3: leased of 4 1 from 0 at 0, attempt 3; 2 from 1 at 1, attempt 2"];
    let told = scene.told();
    assert!(told.ends_with(&runs.map(str::to_owned)), "{told:?}");
    // What is leased as before when its time is over was tried as often; what was given back, once more.
    scene.ask(3, Command::GiveBack(of(group, &[(1, 1)])));
    scene.told();
    scene.pass(0);
    scene.pass(1_000);
    scene.ask(3, Command::Extend(of(group, &[])));
    let told = scene.told();
    let runs = "leased of 4 1 from 0 at 0, attempt 3; 1 from 1 at 1, attempt 3; 1 from 2 at 2, attempt 2";
    assert!(told.iter().any(|line| line.ends_with(runs)), "{told:?}");
    // One that was not tried each time, and is now.
    scene.ask(3, Command::Try(of(group, &[(2, 1)])));
    scene.then(&["group 4 tries [(2, 1)]", "→ to 3: reported"]);
}

#[test]
fn what_a_member_that_leaves_had_not_begun_with_is_not_counted() {
    let (mut scene, group) = scene(3, GroupOptions::default());
    join(&mut scene, 1, group, 3);
    scene.told();
    // What it never had does not matter.
    scene.ask(1, Command::Leave { group, untried: vec![(1, 1), (7, 2)] });
    scene.then(&[
        "group 4 leases [(1, 1)] no more: its member left before it tried it",
        "group 4 leases [(0, 1), (2, 1)] no more: its member left",
        "→ to 1: reported",
    ]);
    join(&mut scene, 2, group, 3);
    let told = scene.told();
    let runs = "leased of 4 1 from 0 at 0, attempt 2; 1 from 1 at 1, attempt 1; 1 from 2 at 2, attempt 2";
    assert!(told.iter().any(|line| line.ends_with(runs)), "{told:?}");
}

#[test]
fn a_lease_that_is_extended_holds_from_then_on_though_nothing_else_happens() {
    let options = GroupOptions { lease_ms: 1_000, ..GroupOptions::default() };
    let (mut scene, group) = scene(1, options);
    join(&mut scene, 1, group, 1);
    scene.pass(0);
    scene.pass(600);
    scene.ask(1, Command::Extend(of(group, &[(0, 1)])));
    // No commit comes of it: so the driver has to say at once what time it is.
    assert!(scene.core.next_deadline().is_some_and(|at| at <= 600));
    scene.pass(0);
    assert_eq!(scene.core.next_deadline(), Some(1_600));
    scene.told();
    scene.pass(999);
    scene.then(&[]);
    scene.pass(1);
    scene.then(&["group 4 leases [(0, 1)] no more: its lease was over"]);
}

#[test]
fn while_the_scheduler_stands_still_no_lease_runs() {
    let (mut scene, group) = scene(1, GroupOptions { lease_ms: 1_000, ..GroupOptions::default() });
    join(&mut scene, 1, group, 1);
    scene.pass(0);
    scene.pass(600);
    scene.stand_still(5_000);
    scene.told();
    scene.pass(399);
    scene.then(&[]);
    scene.pass(1);
    scene.then(&["group 4 leases [(0, 1)] no more: its lease was over"]);
}

#[test]
fn a_member_that_was_away_is_told_what_is_leased_to_it_and_one_that_dies_loses_it() {
    let (mut scene, group) = scene(3, GroupOptions { lease_ms: 80_000, ..GroupOptions::default() });
    join(&mut scene, 1, group, 2);
    scene.drop_connection(1);
    scene.told();
    let again = scene.connect(1, true, Role::Client);
    scene.told();
    join(&mut scene, again, group, 2);
    scene.then(&["→ to 4: reported", "→ to 4: leased of 4 2 from 0 at 0, attempt 1"]);
    // A scheduler that starts anew knows what is leased, and to whom.
    scene.restart();
    scene.told();
    assert_eq!(scene.core.state().leased_to(group, Producer(1)), [0, 1]);
    let second = scene.connect(2, true, Role::Client);
    join(&mut scene, second, group, 8);
    scene.told();
    scene.pass(40_000);
    let told = scene.told();
    assert!(told.iter().any(|line| line.contains("leased of 4 2 from 0 at 0, attempt 2")), "{told:?}");
}

#[test]
fn members_are_told_when_all_is_done_with_and_when_the_group_is_no_more() {
    let (mut scene, group) = scene(1, GroupOptions::default());
    join(&mut scene, 1, group, 1);
    join(&mut scene, 2, group, 1);
    scene.ask(3, Command::Stop { log: LOG });
    scene.told();
    scene.ask(1, done(group, &[(0, 1)]));
    scene.then(&[
        "group 4 is done with [(0, 1)]",
        "→ to 1: reported",
        "→ to 1: group 4 ended: Drained",
        "→ to 2: group 4 ended: Drained",
    ]);
    scene.ask(3, Command::Resume { log: LOG });
    join(&mut scene, 1, group, 1);
    scene.told();
    scene.ask(3, Command::DeleteGroup { log: LOG, name: name() });
    scene.then(&["no group 4", "→ to 1: group 4 ended: Deleted", "→ to 3: deleted"]);
    scene.ask(3, Command::DeleteGroup { log: LOG, name: name() });
    scene.then(&["→ to 3: deleted"]);
    // One that goes with its channel, too.
    scene.ask(1, open_group(None));
    let group = *scene.core.state().groups.keys().next().expect("it was made");
    join(&mut scene, 1, group, 1);
    scene.told();
    scene.ask(3, Command::Delete { log: LOG });
    let told = scene.told();
    assert!(told.iter().any(|line| line.contains("ended: Deleted")), "{told:?}");
    assert!(scene.core.state().groups.is_empty());
}

#[test]
fn what_is_trimmed_is_leased_to_nobody_and_who_has_it_may_be_done_with_it() {
    let (mut scene, group) = scene(6, GroupOptions::default());
    join(&mut scene, 1, group, 2);
    scene.ask(3, Command::Trim { log: LOG, before: Some(4) });
    scene.ask(1, Command::GiveBack(of(group, &[(0, 1)])));
    scene.told();
    scene.ask(1, done(group, &[(1, 1)]));
    let told = scene.told();
    assert!(told.contains(&"group 4 leases [(5, 1)] to 1".to_owned()), "{told:?}");
    assert_eq!(scene.core.state().leased_to(group, Producer(1)), [4, 5]);
}

#[test]
fn what_a_group_has_not_done_is_kept_for_its_time() {
    let options = GroupOptions { pin_ms: 1_000, lease_ms: 50_000, ..GroupOptions::default() };
    let (mut scene, group) = scene(3, options);
    join(&mut scene, 1, group, 8);
    let mut number = 200;
    // Commits are not the scene's to end: it is left out from here on.
    let mut then = |command: Option<Command>, now: u64| {
        let (core, mut out) = (&mut scene.core, Output::default());
        if let Some(command) = command {
            number += 1;
            core.request(ConnectionId(1), number, Request::Command(command), &mut out);
        }
        core.end_commit(&[LOG], now, &mut out);
        core.tick(now, &mut out);
        core.check();
        let query = Query::Groups { log: LOG, after: None };
        let mut out = Output::default();
        core.request(ConnectionId(1), 99, Request::Query(query), &mut out);
        let holds_back = match &out.effects[0] {
            Effect::Send { message: ServerMessage::Answer(Ok(Answer::Groups(groups))), .. } => {
                groups[0].holds_back
            }
            other => panic!("{other:?}"),
        };
        (core.state().channels[&LOG].kept.first.index, holds_back)
    };
    let retention = headwater::Retention::ALL.with_elements(1);
    assert_eq!(then(Some(Command::Retain { log: LOG, retention }), 0), (0, true));
    assert_eq!(then(Some(done(group, &[(0, 2)])), 10), (2, false), "what is done with goes");
    assert_eq!(then(Some(append_value(1, 7)), 900), (2, true), "it is pinned anew");
    assert_eq!(then(None, 1_009), (2, true));
    assert_eq!(then(None, 1_010), (3, false), "for its time");
}

#[test]
fn what_comes_of_an_element_and_that_it_is_done_with_are_one_transaction() {
    let (mut scene, group) = scene(2, GroupOptions::default());
    join(&mut scene, 1, group, 2);
    let transact = |index: u64| {
        let elements = vec![Element::Value(number(9))].into();
        let appends = vec![Part { log: LOG, elements, expect: None }];
        Command::Transact(Transaction {
            appends,
            cursors: vec![],
            acknowledges: vec![of(group, &[(index, 1)])],
        })
    };
    scene.told();
    scene.ask(1, transact(0));
    let told = scene.told();
    assert_eq!(told[..3], ["group 4 is done with [(0, 1)]", "transacted 1 at 2 of log 1", "a: value 9"]);
    let before = scene.core.state().clone();
    scene.ask(1, transact(0));
    assert!(scene.told()[0].contains("element 0 is not leased"));
    assert_eq!(*scene.core.state(), before);
}

#[test]
fn how_a_group_leases_is_what_was_said_last() {
    let (mut scene, group) = scene(1, GroupOptions { lease_ms: 500, ..GroupOptions::default() });
    scene.ask(2, open_group(None));
    scene.then(&["→ to 2: group"]);
    let dead_letters = Some(DeadLetters { channel: ChannelName::new("dead").unwrap(), attempts_max: 3 });
    let options = GroupOptions { lease_ms: 700, dead_letters, pin_ms: 0 };
    scene.ask(2, open_group(Some(options.clone())));
    scene.then(&["group 4 leases for 700 ms", "→ to 2: group"]);
    scene.ask(2, open_group(Some(options.clone())));
    scene.then(&["→ to 2: group"]);
    assert_eq!(scene.core.state().groups[&group].options, options);
    scene.ask(2, open_group(Some(GroupOptions { lease_ms: 1, ..options })));
    assert!(scene.told()[0].contains("a lease of 1 ms"));
    // What is not done with would never come to an end.
    let dead_letters = Some(DeadLetters { channel: ChannelName::new("a").unwrap(), attempts_max: 3 });
    scene.ask(2, open_group(Some(GroupOptions { dead_letters, ..GroupOptions::default() })));
    assert!(scene.told()[0].contains("give another one"));
}

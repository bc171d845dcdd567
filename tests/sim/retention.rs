//! Holds what channels keep against the records that say why: nothing goes that no bound and nobody asked for, and nothing
//! stays that is over a bound.

use std::collections::BTreeSet;

use headwater::log::{Log, Memory};
use headwater::protocol::channel::{Retention, TrimCause};
use headwater::protocol::command::Command;
use headwater::protocol::group::GroupId;
use headwater::protocol::{ChannelEvent, Element, LogId, TaskEvent, TimeMs};
use headwater::scheduler::core::Channel;

use crate::scene::{Scene, open};

/// An element as a reader of all records knows it.
struct Known {
    offset: u64,
    bytes: u64,
    time_ms: TimeMs,
}

/// Panics if the channel has lost an element without a reason, or kept one over its bounds.
pub fn audit(log: &Memory, id: LogId, channel: &Channel) {
    let (mut elements, mut first, mut retention) = (Vec::<Known>::new(), (0, 0), Retention::ALL);
    let batches = log.read(id, 0, usize::MAX).expect("the log can be read");
    let is_pinned = was_pinned(log, id);
    for (at, batch) in batches.iter().enumerate() {
        let time_ms = batch.header().time_ms;
        for record in batch.records::<ChannelEvent>() {
            let (offset, event) = record.expect("records decode");
            if let Some(appended) = event.appended() {
                let bytes = match appended.element {
                    Element::Future(_) => 0,
                    Element::Value(payload) => payload.bytes.len() as u64,
                };
                elements.push(Known { offset, bytes, time_ms });
            }
            match event {
                ChannelEvent::Changed { retention: now, .. } => retention = now,
                ChannelEvent::Deleted { count, .. } => {
                    (first, retention) = ((offset, count), Retention::ALL);
                }
                ChannelEvent::Trimmed { cause, before, index } => {
                    let is_before = |known: &&Known| known.offset < before;
                    assert_eq!(
                        elements.iter().take_while(is_before).count() as u64,
                        index,
                        "log {id}: the index"
                    );
                    assert!(before > first.0 && index >= first.1, "log {id} was trimmed to where it began");
                    let kept = &elements[index as usize..];
                    match cause {
                        TrimCause::Asked(_) => {}
                        TrimCause::Elements => {
                            let (kept, max) = (kept.len() as u64, retention.max_elements.expect("a bound"));
                            assert!(
                                kept == max || kept > max && is_pinned,
                                "log {id} keeps {kept}, and not {max}"
                            );
                        }
                        TrimCause::Age => {
                            // None of them is before where a cursor holds it back, perhaps.
                            let youngest = elements[..index as usize].last().map_or(0, |known| known.time_ms);
                            let max = retention.max_age_ms.expect("a bound by age");
                            assert!(youngest + max <= time_ms, "log {id}: trimmed too early");
                        }
                        TrimCause::Bytes => {
                            let max = retention.max_bytes.expect("a bound by bytes");
                            let before: u64 =
                                elements[first.1 as usize..].iter().map(|known| known.bytes).sum();
                            assert!(
                                before > max || !is_counted(&elements, first.1),
                                "log {id}: trimmed for {before} bytes, and may keep {max}"
                            );
                        }
                    }
                    first = (before, index);
                }
                _ => {}
            }
        }
        if batches.get(at + 1).is_some_and(|next| next.header().seq == batch.header().seq) {
            continue;
        }
        if is_pinned {
            continue;
        }
        let kept = &elements[first.1 as usize..];
        if let Some(max) = retention.max_elements {
            assert!(kept.len() as u64 <= max, "log {id} keeps {} elements, and not {max}", kept.len());
        }
        if let Some(max) = retention.max_bytes.filter(|_| is_counted(&elements, first.1)) {
            let older =
                kept.iter().filter(|known| known.time_ms < time_ms).map(|known| known.bytes).sum::<u64>();
            assert!(older <= max, "log {id} keeps {older} bytes, and not {max}");
        }
    }
    let kept = channel.kept.first;
    assert_eq!((kept.offset, kept.index), first, "where log {id} begins");
}

/// Whether the bytes from this element on are known, and not taken to be a share of those that came with it: values and
/// futures of one commit are taken to be of one size when a bound by elements, or somebody, cuts between them.
fn is_counted(elements: &[Known], first: u64) -> bool {
    let time_ms = |at: usize| elements.get(at).map(|known| known.time_ms);
    first == 0 || time_ms(first as usize) != time_ms(first as usize - 1)
}

/// Whether a cursor or a group ever held back what it had not passed.
fn was_pinned(log: &Memory, id: LogId) -> bool {
    let mut groups = BTreeSet::new();
    for batch in log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read") {
        for record in batch.records::<TaskEvent>() {
            let (offset, event) = record.expect("records decode");
            let is_pinned = match event {
                TaskEvent::CursorSet { log, pin_ms, .. } => log == id && pin_ms > 0,
                TaskEvent::GroupCreated { log, options, .. } if log == id => {
                    groups.insert(GroupId(offset));
                    options.pin_ms > 0
                }
                TaskEvent::GroupChanged { group, options, .. } => {
                    groups.contains(&group) && options.pin_ms > 0
                }
                _ => false,
            };
            if is_pinned {
                return true;
            }
        }
    }
    false
}

#[test]
fn who_opened_a_channel_that_was_deleted_before_the_answer_came_has_it_made_again() {
    let mut scene = Scene::new();
    scene.client(1);
    scene.client(2);
    let number = scene.ask(1, open("a"));
    scene.ask(2, Command::Delete { log: LogId(1) });
    scene.told();
    scene.ask_again(1, number, open("a"));
    scene.then(&["a: resumed", "→ to 1: channel"]);
}

//! Appending to several channels and moving cursors, in one commit.

use super::{Decision, Event, LogFacts, State, append, cursor, group};
use crate::protocol::TaskEvent;
use crate::protocol::command::{Answer, AppendOptions};
use crate::protocol::event::Origin;
use crate::protocol::transaction::{AppendedPart, Part, Transaction};

/// Does all of it or nothing. Each part is decided as if it were alone: no two are of the same channel, so none of them
/// changes what another one finds.
///
/// The record that says what the transaction appended comes before what it appended, as it does when the task log is
/// folded first: so what is remembered of it is the same either way.
pub(super) fn decide(state: &State, facts: &LogFacts, origin: Origin, transaction: Transaction) -> Decision {
    transaction.check()?;
    let Transaction { mut appends, cursors, acknowledges } = transaction;
    let mut events = Vec::new();
    for to in cursors {
        events.append(&mut cursor::set(state, origin, to)?.0);
    }
    for of in acknowledges {
        events.append(&mut group::acknowledge(state, origin, of)?.0);
    }
    appends.sort_by_key(|part| part.log);
    let (mut appended, mut of_channels) = (Vec::with_capacity(appends.len()), Vec::new());
    for Part { log, elements, expect } in appends {
        let (first, count) = (state.head_of(log).0, elements.len() as u32);
        let options = AppendOptions { expect, ..AppendOptions::default() };
        of_channels.append(&mut append::decide(state, facts, origin, log, elements, options)?.0);
        appended.push(AppendedPart { log, first, count });
    }
    events.push(Event::Task(TaskEvent::Transacted { origin, appended: appended.clone() }));
    events.append(&mut of_channels);
    let (seq, epoch) = (facts.next, facts.starts.newest().epoch);
    Ok((events, Answer::Transacted { seq, epoch, appended }))
}

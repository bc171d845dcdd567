//! Setting a cursor, and forgetting it.

use super::{Decision, Event, Rejection, State, channel};
use crate::protocol::command::Answer;
use crate::protocol::cursor::{CursorMove, CursorName};
use crate::protocol::event::Origin;
use crate::protocol::limits::{CURSORS_PER_CHANNEL_MAX, PIN_MS_MAX, TooLarge};
use crate::protocol::{LogId, TaskEvent};

/// Sets a cursor, if it is where it is to be moved from.
pub(super) fn set(state: &State, origin: Origin, to: CursorMove) -> Decision {
    let CursorMove { log, name, offset, from, pin_ms } = to;
    let channel = channel::writable(state, log)?;
    let before = channel.cursors.get(&name);
    let at = before.map_or(0, |cursor| cursor.offset);
    if let Some(from) = from.filter(|from| *from != at) {
        return Err(Rejection::CursorMoved { name, at, from });
    }
    if offset > channel.head {
        let (name, head) = (channel.name.to_string(), channel.head);
        return Err(Rejection::PastHead { name, offset, head });
    }
    if before.is_none() {
        let hint = "delete those that nobody reads from any more: `headwater channel cursor list` shows them";
        TooLarge::check("the number of cursors", channel.cursors.len() + 1, CURSORS_PER_CHANNEL_MAX, hint)?;
    }
    if pin_ms > PIN_MS_MAX {
        let hint = "set the cursor again before that time is over";
        TooLarge::check("the pin in ms", pin_ms as usize, PIN_MS_MAX as usize, hint)?;
    }
    Ok((vec![Event::Task(TaskEvent::CursorSet { origin, log, name, offset, pin_ms })], Answer::CursorSet))
}

/// Forgets a cursor.
pub(super) fn delete(state: &State, origin: Origin, log: LogId, name: CursorName) -> Decision {
    let channel = channel::writable(state, log)?;
    let is_there = channel.cursors.contains_key(&name);
    let event = is_there.then(|| Event::Task(TaskEvent::CursorDeleted { origin, log, name }));
    Ok((event.into_iter().collect(), Answer::Deleted))
}

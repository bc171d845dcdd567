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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Producer, Seq};
    use crate::scheduler::core::decide::with_channel;

    const LOG: LogId = LogId(1);
    const ORIGIN: Origin = Origin { producer: Producer(1), number: 1 };

    fn to(name: &str) -> CursorMove {
        CursorMove { log: LOG, name: CursorName::new(name).unwrap(), offset: 0, from: None, pin_ms: 0 }
    }

    #[test]
    fn a_channel_has_so_many_cursors_and_no_more() {
        let mut state = with_channel();
        for number in 0..CURSORS_PER_CHANNEL_MAX {
            let (events, _) = set(&state, ORIGIN, to(&number.to_string())).unwrap();
            events.iter().for_each(|event| state.apply(Seq(1), event));
        }
        let told = set(&state, ORIGIN, to("one-more")).unwrap_err().to_string();
        assert!(
            told.starts_with("the number of cursors is 1025, over the limit of 1024: delete those"),
            "{told}"
        );
        assert!(set(&state, ORIGIN, to("0")).is_ok(), "one that is there can be set");
    }

    #[test]
    fn a_pin_has_a_bound() {
        let state = with_channel();
        let pinned = |pin_ms| set(&state, ORIGIN, CursorMove { pin_ms, ..to("a") });
        assert!(pinned(PIN_MS_MAX).is_ok());
        let told = pinned(PIN_MS_MAX + 1).unwrap_err().to_string();
        assert!(told.contains("over the limit of 2592000000: set the cursor again"), "{told}");
    }
}

//! Room on the disk: when so little is left that nothing is added to the log any more by a client's wish.
//!
//! What is refused then is what makes the log grow for good: a new task, a new channel, an element. What
//! ends something or makes room goes on, and so does what reading needs: outcomes, releases, stops,
//! sessions, holds on tasks that there are. Tasks that wait are not started: what runs can bring one
//! outcome for each slot, what waits any number.

use super::{Event, LogFacts};
use crate::protocol::TaskEvent;
use crate::protocol::command::Rejection;

/// How much is kept free unless told otherwise: 256 MiB. Between two looks at the disk two commits of 32
/// MiB can be written ([`Pipeline`](crate::scheduler::Pipeline) bounds them), which sled makes up to twice
/// as much; a snapshot that is under way grows until it is broken off; and sled takes segments of 8 MiB,
/// of which some are begun and not full. That is about 160 MiB; the rest is for the outcomes of what runs.
pub const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;

/// What part of the reserve must be free beside it before more is taken again, an eighth: so that a disk
/// on the brink is not full and not full again with each look.
const MARGIN: u64 = 8;

/// Too little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// How much is free.
    pub free_bytes: u64,
    /// From how much on there is room again.
    pub wanted_bytes: u64,
}

/// Whether there is too little room, and whether there was.
pub(super) fn judge(
    before: Option<Shortage>,
    reserve_bytes: u64,
    free_bytes: Option<u64>,
) -> Option<Shortage> {
    let free_bytes = free_bytes?;
    let wanted_bytes = reserve_bytes.saturating_add(reserve_bytes / MARGIN);
    let enough = if before.is_some() { wanted_bytes } else { reserve_bytes };
    (free_bytes < enough).then_some(Shortage { free_bytes, wanted_bytes })
}

/// Refuses what a command would add when there is too little room.
pub(super) fn check(facts: &LogFacts, events: &[Event]) -> Result<(), Rejection> {
    match facts.shortage {
        Some(Shortage { free_bytes, wanted_bytes }) if events.iter().any(grows) => {
            Err(Rejection::DiskLow { place: facts.store.clone(), free_bytes, wanted_bytes })
        }
        _ => Ok(()),
    }
}

fn grows(event: &Event) -> bool {
    match event {
        Event::Task(event) => {
            matches!(
                event,
                TaskEvent::Submitted { .. }
                    | TaskEvent::SubmittedUnder { .. }
                    | TaskEvent::Scattered { .. }
                    | TaskEvent::ChannelCreated { .. }
            )
        }
        Event::Channel(_, event) => event.is_element(),
        Event::Values { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_there_is_more_than_where_it_began() {
        let low = |free_bytes| Some(Shortage { free_bytes, wanted_bytes: 900 });
        let mut found = None;
        for (free, expected) in
            [(800, None), (799, low(799)), (800, low(800)), (899, low(899)), (900, None), (800, None)]
        {
            found = judge(found, 800, Some(free));
            assert_eq!(found, expected, "{free}");
        }
        assert_eq!(judge(None, 0, Some(0)), None, "no reserve");
        assert_eq!(judge(low(1), 800, None), None, "no bound is known");
        assert!(judge(None, u64::MAX, Some(u64::MAX - 1)).is_some());
    }
}

//! Finding a batch by its time, in any engine: a search between where a log begins and where it ends.

use super::{Error, Log};
use crate::protocol::batch::Batch;
use crate::protocol::{LogId, TimeMs};

/// As [`Log::find_time`]. All before `low` is earlier, or gone; `found` is where the search has come down to.
pub(super) fn find<L: Log + ?Sized>(log: &L, id: LogId, time_ms: TimeMs) -> Result<Option<Batch>, Error> {
    let bounds = log.bounds(id);
    let (mut low, mut high) = (bounds.first, bounds.head);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(batch) = log.read(id, middle, 0)?.into_iter().next() else { break };
        let (base, end) = (batch.header().base_offset, batch.header().end_offset());
        if batch.header().time_ms < time_ms {
            low = end;
        } else if base > middle {
            // What was in between was trimmed meanwhile.
            low = base;
            found = Some(batch);
        } else {
            high = base;
            found = Some(batch);
        }
    }
    Ok(found)
}

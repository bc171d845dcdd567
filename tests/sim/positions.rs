//! Where a subscription begins, worked out from all that can be read, record by record.

use headwater::log::{Log, Memory};
use headwater::protocol::message::Position;
use headwater::protocol::{ChannelEvent, LogId, TimeMs};

/// The offset and time of each record of a channel, and whether it is an element.
fn records(log: &Memory, id: LogId) -> Vec<(u64, TimeMs, bool)> {
    let mut records = Vec::new();
    for batch in log.read(id, 0, usize::MAX).expect("the log can be read") {
        let of = |record| {
            let (offset, event): (u64, ChannelEvent) = record;
            (offset, batch.header().time_ms, event.is_element())
        };
        records.extend(batch.records().map(|record| of(record.expect("records decode"))));
    }
    records
}

/// Holds against a log, of which what is before `first` is trimmed, where a reader of a channel begins that asked for this.
pub fn check(log: &Memory, id: LogId, first: u64, asked: Position, from: u64) {
    let records = records(log, id);
    let head = records.len() as u64;
    if first > 0 && from <= first {
        // A part of what was asked for is gone, and that is announced.
        return;
    }
    let expected = match asked {
        Position::Last(0) => head,
        Position::Last(count) => {
            let elements: Vec<u64> =
                records.iter().filter(|record| record.2).map(|record| record.0).collect();
            match (elements.len() as u64).checked_sub(count) {
                None | Some(0) => 0,
                Some(before) => elements.get(before as usize).copied().unwrap_or(head),
            }
        }
        Position::Time(time_ms) => records.iter().find(|record| record.1 >= time_ms).map_or(head, |it| it.0),
        Position::Offset(_) | Position::Index(_) | Position::End | Position::Stored(_) => return,
    };
    assert_eq!(from, expected, "{asked:?} of log {id} with head {head}");
}

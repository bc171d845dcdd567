//! From a log to a state: the same fold as live, with the effects dropped.

use super::core::{Event, State};
use crate::log::{Error, Log};
use crate::protocol::batch::{BadBatch, Batch};
use crate::protocol::{ChannelEvent, LogId, TaskEvent};

/// How many bytes of batches are read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// Folds all logs of a store, the task log first.
///
/// # Errors
/// When the store cannot be read, or a batch is damaged.
pub fn fold(log: &dyn Log) -> Result<State, Error> {
    let mut state = State::default();
    for id in log.logs() {
        let mut next = log.bounds(id).first;
        let first = log.read(id, next, 0)?;
        if let Some(batch) = first.first() {
            state.begin_channel_at(id, batch.header().base_offset, batch.header().base_index);
        }
        loop {
            let batches = log.read(id, next, READ_BYTES)?;
            let Some(last) = batches.last() else { break };
            next = last.header().end_offset();
            for batch in &batches {
                apply(&mut state, id, batch).map_err(|why| {
                    let offset = batch.header().base_offset;
                    Error::Damaged { log: id, offset, why }
                })?;
            }
        }
    }
    Ok(state)
}

fn apply(state: &mut State, log: LogId, batch: &Batch) -> Result<(), BadBatch> {
    if log == LogId::TASKS {
        for record in batch.records::<TaskEvent>() {
            state.apply(&Event::Task(record?.1));
        }
    } else {
        for record in batch.records::<ChannelEvent>() {
            state.apply(&Event::Channel(log, record?.1));
        }
    }
    Ok(())
}

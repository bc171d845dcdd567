//! What named producers have appended before, and forgetting one.

use super::{Decision, Event, LogFacts, Rejection, State, channel};
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::limits::{PRODUCERS_PER_CHANNEL_MAX, TooLarge};
use crate::protocol::producer::{ProducedBy, ProducerName};
use crate::protocol::{ChannelEvent, LogId};
use crate::scheduler::core::{Channel, Produced};

/// The answer to an append of a named producer that is not above its newest; nothing for one that is. Asked before all
/// else: what was appended before is told whatever the channel would take now.
pub(super) fn answer_before(channel: &Channel, facts: &LogFacts, by: &ProducedBy) -> Option<Answer> {
    let Produced { number: newest, first, count, seq } = *channel.producers.get(&by.name)?;
    if by.number < newest {
        return Some(Answer::AppendedBefore { newest });
    }
    let first_answer = || Answer::Appended { first, count, seq, epoch: facts.starts.epoch_of(seq) };
    (by.number == newest).then(first_answer)
}

/// Refuses an append that does not come behind the one that it names, and a producer too many.
pub(super) fn check(channel: &Channel, by: &ProducedBy) -> Result<(), Rejection> {
    let newest = channel.producers.get(&by.name);
    let at = newest.map_or(0, |newest| newest.number);
    if let Some(from) = by.from.filter(|from| *from != at) {
        return Err(Rejection::ProducerMoved { name: by.name.clone(), at, from });
    }
    if newest.is_none() {
        let hint = "forget those under whose name nobody appends any more: `headwater channel producer list` shows them";
        let count = channel.producers.len() + 1;
        TooLarge::check("the number of producers", count, PRODUCERS_PER_CHANNEL_MAX, hint)?;
    }
    Ok(())
}

/// Forgets a named producer. It is a fact, too, when there is none: one that comes to be behind this is not forgotten
/// when the command is sent again.
pub(super) fn forget(state: &State, origin: Origin, log: LogId, producer: ProducerName) -> Decision {
    channel::writable(state, log)?;
    Ok((vec![Event::Channel(log, ChannelEvent::ProducerForgotten { origin, producer })], Answer::Deleted))
}

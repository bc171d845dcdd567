//! What named producers have appended before, and forgetting one.

use super::{Decision, Event, LogFacts, Rejection, State, channel};
use crate::protocol::channel::Durability;
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
    // Whatever it was acknowledged as then, now it waits until it is durable.
    let (epoch, durability) = (facts.starts.epoch_of(seq), Durability::Fsynced);
    let first_answer = || Answer::Appended { first, count, seq, epoch, durability };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, Seq};

    fn by(name: &str, from: Option<u64>) -> ProducedBy {
        ProducedBy { name: ProducerName::new(name).unwrap(), number: 9, from }
    }

    fn channel(producers: usize) -> Channel {
        let newest = Produced { number: 5, first: 0, count: 1, seq: Seq(1) };
        let names = (0..producers).map(|number| ProducerName::new(&number.to_string()).unwrap());
        let channel = Channel::new(ChannelName::new("a").unwrap());
        Channel { producers: names.map(|name| (name, newest)).collect(), ..channel }
    }

    #[test]
    fn a_channel_has_so_many_producers_and_no_more() {
        assert_eq!(check(&channel(PRODUCERS_PER_CHANNEL_MAX - 1), &by("new", None)), Ok(()));
        let full = channel(PRODUCERS_PER_CHANNEL_MAX);
        let told = check(&full, &by("new", None)).unwrap_err().to_string();
        let begins = "the number of producers is 1025, over the limit of 1024: forget those under whose name";
        assert!(told.starts_with(begins), "{told}");
        assert_eq!(check(&full, &by("0", None)), Ok(()), "one that is there goes on");
    }

    #[test]
    fn an_append_comes_behind_the_number_that_it_names() {
        let channel = channel(1);
        for (name, from, expected) in [
            ("0", Some(5), Ok(())),
            ("0", Some(4), Err(5)),
            ("0", Some(6), Err(5)),
            ("b", Some(0), Ok(())),
            ("b", Some(5), Err(0)),
        ] {
            let told = check(&channel, &by(name, from)).map_err(|rejection| match rejection {
                Rejection::ProducerMoved { at, .. } => at,
                other => panic!("{other}"),
            });
            assert_eq!(told, expected, "{name} from {from:?}");
        }
    }
}

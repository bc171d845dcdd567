//! Appending elements to a channel.

use std::collections::HashSet;

use super::{Decision, Event, LogFacts, Rejection, State, channel, producer};
use crate::protocol::channel::Progress;
use crate::protocol::command::{Answer, AppendOptions};
use crate::protocol::event::Origin;
use crate::protocol::limits::{APPEND_BYTES_MAX, ELEMENTS_PER_APPEND_MAX, PAYLOAD_BYTES_MAX, TooLarge};
use crate::protocol::producer::ProducedBy;
use crate::protocol::{ChannelEvent, Element, Elements, LogId, TaskId, TaskKey};
use crate::scheduler::core::{Channel, Phase};

/// Appends all of them or none; of a named producer, only what it has not appended before. A future that runs already or has ended is followed, after the last
/// element, by a record that says so.
pub(super) fn decide(
    state: &State,
    facts: &LogFacts,
    origin: Origin,
    log: LogId,
    elements: Elements,
    options: AppendOptions,
) -> Decision {
    let channel = channel::writable(state, log)?;
    let AppendOptions { expect, producer, durability } = options;
    let is_produced = producer.is_some();
    if let Some(answer) = producer.as_ref().and_then(|by| producer::answer_before(channel, facts, by)) {
        return Ok((Vec::new(), answer));
    }
    if channel.stopped {
        return Err(Rejection::ChannelStopped(channel.name.clone(), channel.elements));
    }
    check_sizes(&elements)?;
    check_expected(channel, expect)?;
    if let Some(by) = &producer {
        producer::check(channel, by)?;
    }
    let durability = durability.unwrap_or(channel.durability);
    durability.check()?;
    let (seq, epoch) = (facts.next, facts.starts.newest().epoch);
    let count = elements.len() as u32;
    let answer = Answer::Appended { first: channel.head, count, seq, epoch, durability };
    let mut producer = producer;
    // The first says whose they are.
    let mut record = |headers, element| {
        let event = match producer.take() {
            Some(ProducedBy { name: producer, number, .. }) => {
                ChannelEvent::Produced { origin, producer, number, count, headers, element }
            }
            None => ChannelEvent::of_element(origin, headers, element),
        };
        Event::Channel(log, event)
    };
    if elements.are_bare_values() {
        let mut values = elements;
        let first = if is_produced { values.take_first() } else { None };
        let first = first.map(|(headers, element)| record(headers, element));
        let others = (!values.is_empty()).then_some(Event::Values { log, origin, values });
        return Ok((first.into_iter().chain(others).collect(), answer));
    }
    let mut events = Vec::with_capacity(elements.len());
    let mut progress = Vec::new();
    let mut seen: HashSet<TaskId> = HashSet::new();
    for (headers, mut element) in elements.iter() {
        if let Element::Future(key) = &mut element {
            // The label is the task's own, whatever the client calls it.
            *key = state.key_of(key.id).ok_or(Rejection::UnknownTask(key.id))?;
            if seen.insert(key.id) {
                progress.extend(progress_so_far(state, key).map(|event| Event::Channel(log, event)));
            }
        }
        events.push(record(headers, element));
    }
    events.append(&mut progress);
    Ok((events, answer))
}

/// Refuses an append to a channel that somebody has written to since its caller read it.
fn check_expected(channel: &Channel, expect: Option<u64>) -> Result<(), Rejection> {
    match expect {
        Some(expected) if !(channel.written_to..=channel.head).contains(&expected) => {
            Err(Rejection::Conflict { channel: channel.name.clone(), expected, head: channel.head })
        }
        _ => Ok(()),
    }
}

fn check_sizes(elements: &Elements) -> Result<(), Rejection> {
    if elements.is_empty() {
        return Err(Rejection::Invalid("an append needs at least one element".to_owned()));
    }
    TooLarge::check(
        "the number of elements",
        elements.len(),
        ELEMENTS_PER_APPEND_MAX,
        "append fewer at a time",
    )?;
    // One that is over its own bound is so only together with all the others.
    if elements.payload_bytes() > PAYLOAD_BYTES_MAX {
        let hint = "append a path or a key to where the data lie";
        for (_, payload) in elements.encoded() {
            TooLarge::check("the value", payload.map_or(0, <[u8]>::len), PAYLOAD_BYTES_MAX, hint)?;
        }
    }
    if elements.have_headers() {
        elements.iter().try_for_each(|(headers, _)| headers.check())?;
    }
    let bytes = elements.content_bytes();
    TooLarge::check("all values together", bytes, APPEND_BYTES_MAX, "append fewer at a time")?;
    Ok(())
}

fn progress_so_far(state: &State, key: &TaskKey) -> Option<ChannelEvent> {
    let task = state.tasks.get(&key.id)?;
    let progress = match &task.phase {
        Phase::Waiting { .. } | Phase::Ready | Phase::Delayed | Phase::Lost => return None,
        Phase::Running { worker } => {
            Progress::Started { attempt: task.attempt, worker: state.worker_name(*worker) }
        }
        Phase::Finished(result) => Progress::Finished { result: result.to_payload() },
        Phase::Failed(error) => Progress::Failed { error: error.clone() },
        Phase::Cancelled => Progress::Cancelled,
        Phase::Stored(stored) => Progress::Stored { result: stored.result },
    };
    Some(ChannelEvent::Progress { key: key.clone(), progress })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::channel::Durability;
    use crate::protocol::producer::ProducerName;
    use crate::protocol::start::Start;
    use crate::protocol::{Epoch, Headers, Payload, Producer, Seq, StartId};
    use crate::scheduler::core::decide::with_channel;

    const LOG: LogId = LogId(1);
    const ORIGIN: Origin = Origin { producer: Producer(5), number: 7 };

    /// Appends, and tells what the records are and what is answered.
    fn append(
        state: &mut State,
        next: u64,
        elements: Vec<(Headers, Element)>,
        options: AppendOptions,
    ) -> (Vec<&'static str>, Answer) {
        let start = |epoch, after| Start { epoch: Epoch(epoch), id: StartId(epoch), after: Seq(after) };
        let starts = [start(3, 0), start(4, 50)].into_iter().collect();
        let facts = LogFacts { starts, next: Seq(next), ..LogFacts::default() };
        let (events, answer) = decide(state, &facts, ORIGIN, LOG, elements.into(), options).unwrap();
        events.iter().for_each(|event| state.apply(Seq(next), event));
        let word = |event: &Event| match event {
            Event::Channel(_, ChannelEvent::Produced { .. }) => "produced",
            Event::Channel(_, event) if event.is_element() => "element",
            Event::Values { .. } => "values",
            other => panic!("{other:?}"),
        };
        (events.iter().map(word).collect(), answer)
    }

    fn by(number: u64) -> AppendOptions {
        let name = ProducerName::new("p").unwrap();
        let producer = Some(ProducedBy { name, number, from: None });
        AppendOptions { producer, ..AppendOptions::default() }
    }

    fn bare(count: u8) -> Vec<(Headers, Element)> {
        (0..count).map(|n| (Headers::new(), Element::Value(Payload::raw(vec![n])))).collect()
    }

    #[test]
    fn only_the_first_record_says_whose_it_is_and_the_others_are_one_event() {
        let mut state = with_channel();
        let mut appended = |elements: Vec<_>, number| append(&mut state, 60, elements, by(number)).0;
        assert_eq!(appended((0..16).flat_map(|_| bare(250)).collect(), 7), ["produced", "values"]);
        assert_eq!(appended(bare(1), 8), ["produced"]);
        let headed = |element| ([("k", "v")].into_iter().collect::<Headers>(), element);
        let all = bare(2).into_iter().map(|(_, element)| headed(element));
        assert_eq!(appended(all.collect(), 9), ["produced", "element"]);
    }

    #[test]
    fn a_number_brings_what_it_brought_and_an_older_one_nothing() {
        let mut state = with_channel();
        append(&mut state, 40, bare(2), AppendOptions::default());
        // A start is the newest when something is appended.
        let first = append(&mut state, 45, bare(3), by(10)).1;
        assert_eq!(
            first,
            Answer::Appended {
                first: 2,
                count: 3,
                seq: Seq(45),
                epoch: Epoch(4),
                durability: Durability::Fsynced
            }
        );
        let before = state.clone();
        // The commit was of an earlier start.
        let again = Answer::Appended {
            first: 2,
            count: 3,
            seq: Seq(45),
            epoch: Epoch(3),
            durability: Durability::Fsynced,
        };
        assert_eq!(append(&mut state, 60, bare(1), by(10)), (vec![], again));
        assert_eq!(append(&mut state, 60, bare(1), by(9)), (vec![], Answer::AppendedBefore { newest: 10 }));
        assert_eq!(state, before);
        let next = append(&mut state, 60, bare(1), by(12)).1;
        assert_eq!(
            next,
            Answer::Appended {
                first: 5,
                count: 1,
                seq: Seq(60),
                epoch: Epoch(4),
                durability: Durability::Fsynced
            }
        );
    }

    #[test]
    fn what_was_appended_before_is_told_whatever_would_be_refused_now() {
        let mut state = with_channel();
        let expecting = |expect| AppendOptions { expect: Some(expect), ..by(1) };
        append(&mut state, 1, bare(1), expecting(0));
        // Its own element is there now.
        assert_eq!(append(&mut state, 2, bare(1), expecting(0)).0, [""; 0]);
        state.channels.get_mut(&LOG).unwrap().stopped = true;
        assert_eq!(append(&mut state, 3, bare(1), expecting(0)).0, [""; 0]);
        assert_eq!(append(&mut state, 3, bare(1), by(0)).1, Answer::AppendedBefore { newest: 1 });
    }

    #[test]
    fn each_bound_is_the_last_that_is_taken() {
        let value = |bytes| (Headers::new(), Element::Value(Payload::raw(vec![0; bytes])));
        let whole = APPEND_BYTES_MAX / PAYLOAD_BYTES_MAX;
        let rest = APPEND_BYTES_MAX - whole * PAYLOAD_BYTES_MAX;
        let together = |rest| [vec![value(PAYLOAD_BYTES_MAX); whole], vec![value(rest)]].concat();
        for (good, bad, told) in [
            (
                vec![value(PAYLOAD_BYTES_MAX)],
                vec![value(1), value(PAYLOAD_BYTES_MAX + 1)],
                "the value is 61441, over the limit of 61440: append a path or a key to where the data lie",
            ),
            (
                vec![value(1); ELEMENTS_PER_APPEND_MAX],
                vec![value(1); ELEMENTS_PER_APPEND_MAX + 1],
                "the number of elements is 4097, over the limit of 4096: append fewer at a time",
            ),
            (
                together(rest),
                together(rest + 1),
                "all values together is 1048577, over the limit of 1048576: append fewer at a time",
            ),
        ] {
            assert_eq!(check_sizes(&good.into()), Ok(()));
            assert_eq!(check_sizes(&bad.into()).unwrap_err().to_string(), told);
        }
        let told = check_sizes(&Vec::<(Headers, Element)>::new().into()).unwrap_err().to_string();
        assert_eq!(told, "an append needs at least one element");
    }
}

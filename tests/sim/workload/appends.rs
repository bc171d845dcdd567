//! The appends of a client: values and futures, with headers and without, some of which expect an offset, or are a named
//! producer's: of a few that all clients share, and those that come in their place, which know of nothing.

use fastrand::Rng;
use headwater::protocol::channel::Durability;
use headwater::protocol::command::{Answer, AppendOptions, Command, Rejection};
use headwater::protocol::producer::{ProducedBy, ProducerName};
use headwater::protocol::{Element, Headers, LogId, Payload, TimeMs};

use super::{Client, is_of_room};
use crate::shadow::{Commit, Shadow, mark};

/// The named producers that all clients share.
const PRODUCERS: [&str; 2] = ["p", "q"];

/// None as a rule, else one or two.
pub(super) fn some_headers(rng: &mut Rng) -> Headers {
    (0..rng.u8(..6).saturating_sub(3)).map(|n| (format!("key-{n}"), rng.u8(..10).to_string())).collect()
}

/// Any.
pub(super) fn some_durability(rng: &mut Rng) -> Durability {
    match rng.u8(..4) {
        0 => Durability::Fsynced,
        _ => Durability::Buffered { flush_ms: rng.choice([1, 30, 500]).expect("there are some") },
    }
}

impl Client {
    /// Does something that has nothing flushed: appends, most of them buffered, and reads.
    pub fn act_quietly(&mut self, rng: &mut Rng) {
        let Some(log) = self.some_log(rng) else { return };
        if rng.u8(..8) == 0 {
            return self.reading.begin(&mut self.link, rng, log, 6);
        }
        let (elements, flush_ms) = (self.some_values(rng), rng.choice([30, 2000]).expect("there are some"));
        let durability = Some(match rng.u8(..60) {
            0 => Durability::Fsynced,
            _ => Durability::Buffered { flush_ms },
        });
        let options = AppendOptions { durability, ..AppendOptions::default() };
        self.ask(Command::Append { log, elements: elements.into(), options });
    }

    pub(super) fn append_values(&mut self, rng: &mut Rng, log: LogId) {
        let elements = self.some_values(rng);
        let options = self.some_options(rng, log);
        self.append(log, elements, options);
    }

    /// Values that are like no others.
    pub(super) fn some_values(&mut self, rng: &mut Rng) -> Vec<(Headers, Element)> {
        let count = rng.usize(1..4);
        let values = (0..count).map(|_| {
            self.values += 1;
            let payload = Payload::raw([&self.session.0[..], &self.values.to_be_bytes()].concat());
            (some_headers(rng), Element::Value(payload))
        });
        values.collect()
    }

    /// How an append is made.
    pub(super) fn some_options(&mut self, rng: &mut Rng, log: LogId) -> AppendOptions {
        // As the channel has it, as a rule.
        let durability = (rng.u8(..4) == 0).then(|| some_durability(rng));
        AppendOptions {
            expect: self.some_offset(rng, log),
            producer: self.some_producer(rng, log),
            durability,
        }
    }

    /// As whose it is made, if it is a producer's: as a rule the next number behind the last, or one that was before.
    fn some_producer(&mut self, rng: &mut Rng, log: LogId) -> Option<ProducedBy> {
        let name = ProducerName::new(PRODUCERS.get(rng.usize(..5))?).expect("a good name");
        if rng.u8(..30) == 0 {
            self.link.command(Command::ForgetProducer { log, name });
            return None;
        }
        let last = self.numbers.entry((log, name.clone())).or_default();
        let (number, from) = match rng.u8(..6) {
            0..3 => (*last + rng.u64(1..3), Some(*last)),
            3 => (*last + rng.u64(1..3), None),
            4 => (last.saturating_sub(rng.u64(..3)), None),
            _ => (*last, None),
        };
        *last = number.max(*last);
        Some(ProducedBy { name, number, from })
    }

    /// What an append expects, if it does: behind its own last append as a rule, where others may have written since.
    pub(super) fn some_offset(&self, rng: &mut Rng, log: LogId) -> Option<u64> {
        let last = self.acked.get(&log).copied().unwrap_or(0);
        match rng.u8(..8) {
            0..2 => Some(last),
            2 => Some(rng.u64(..last + 4)),
            _ => None,
        }
    }

    pub(super) fn append(&mut self, log: LogId, elements: Vec<(Headers, Element)>, options: AppendOptions) {
        self.ask(Command::Append { log, elements: elements.into(), options });
    }

    /// Asks for an append, which may join one that waits to be sent.
    pub(super) fn ask_append(
        &mut self,
        log: LogId,
        elements: Vec<(Headers, Element)>,
        options: AppendOptions,
    ) {
        let number = self.link.append(log, elements.clone().into(), options.clone());
        if !options.is_default() {
            let before = self.options.insert(number, options.clone());
            assert!(before.is_none() && !self.appends.contains_key(&number), "it joined another");
        }
        let (_, all) = self.appends.entry(number).or_insert((log, Vec::new()));
        all.extend(elements);
        self.asked.insert(number, Command::Append { log, elements: all.clone().into(), options });
    }

    /// It has heard of a producer's newest number.
    fn came_to(&mut self, log: LogId, name: ProducerName, number: u64) {
        self.numbers.insert((log, name), number);
    }

    pub(super) fn append_answered(
        &mut self,
        number: u64,
        answer: Result<Answer, Rejection>,
        shadow: &mut Shadow,
        now: TimeMs,
    ) {
        let Some((log, elements)) = self.appends.remove(&number) else { return };
        let AppendOptions { expect: expected, producer, .. } =
            self.options.remove(&number).unwrap_or_default();
        let values = elements.iter().map(|(_, element)| element);
        let values = values.filter(|element| matches!(element, Element::Value(_))).map(mark);
        match answer {
            Ok(Answer::Appended { first, count, seq, epoch, durability }) if let Some(by) = &producer => {
                // It may have been made by another client, of other elements.
                let commit = (seq, epoch);
                shadow.acknowledged(commit, durability, now);
                shadow.commits.insert((log, first), commit);
                shadow.produced.insert((log, by.name.clone(), by.number, first, count, commit));
            }
            Ok(Answer::AppendedBefore { newest }) => {
                let by = producer.expect("a producer's append");
                assert!(newest > by.number, "{newest} is not above {}", by.number);
                shadow.produced_before.insert((log, by.name.clone(), newest));
                shadow.refused.extend(values);
                self.came_to(log, by.name, newest);
            }
            Err(Rejection::ProducerMoved { name, at, from }) => {
                let by = producer.expect("a producer's append");
                assert_eq!((&name, Some(from)), (&by.name, by.from), "it asked for nothing of this");
                assert_ne!(at, from);
                shadow.refused.extend(values);
                self.came_to(log, name, at);
            }
            Ok(Answer::Appended { first, count, seq, epoch, durability }) => {
                assert_eq!(count as usize, elements.len());
                let commit = (seq, epoch);
                shadow.acknowledged(commit, durability, now);
                shadow.expected.extend(expected.map(|expected| (log, expected, first, commit)));
                if durability == Durability::Fsynced {
                    self.acked.insert(log, first + u64::from(count));
                }
                self.appended(log, first, &elements, commit, shadow);
            }
            Err(Rejection::Conflict { expected: named, head, .. }) => {
                assert_eq!(Some(named), expected, "what it did not expect");
                shadow.conflicts.push((log, named, head));
                shadow.refused.extend(values);
            }
            Err(Rejection::ChannelStopped(..) | Rejection::UnknownTask(_)) => shadow.refused.extend(values),
            Err(Rejection::UnknownChannel(_)) => {
                shadow.refused.extend(values);
                self.logs.retain(|_, known| *known != log);
            }
            Err(refused) if is_of_room(&refused) => shadow.refused.extend(values),
            other => panic!("an append was answered with {other:?}"),
        }
    }

    /// These elements are in the log, from this offset on.
    pub(super) fn appended(
        &self,
        log: LogId,
        first: u64,
        elements: &[(Headers, Element)],
        commit: Commit,
        shadow: &mut Shadow,
    ) {
        let values = elements.iter().filter(|(_, element)| matches!(element, Element::Value(_)));
        let marks = values.map(|(_, element)| (mark(element), commit));
        shadow.order.entry((self.session, log)).or_default().extend(marks);
        shadow.appended(log, first, elements, commit);
    }
}

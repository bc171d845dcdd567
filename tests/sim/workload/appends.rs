//! The appends of a client: values and futures, with headers and without, some of which expect an offset.

use fastrand::Rng;
use headwater::protocol::channel::Durability;
use headwater::protocol::command::{Answer, AppendOptions, Command, Rejection};
use headwater::protocol::{Element, Headers, LogId, Payload, TimeMs};

use super::{Client, is_of_room};
use crate::shadow::{Shadow, mark};

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
        let expect = self.some_offset(rng, log);
        self.append(rng, log, elements, expect);
    }

    fn some_values(&mut self, rng: &mut Rng) -> Vec<(Headers, Element)> {
        let count = rng.usize(1..4);
        let elements = (0..count).map(|_| {
            self.values += 1;
            let payload = Payload::raw([&self.session.0[..], &self.values.to_be_bytes()].concat());
            (some_headers(rng), Element::Value(payload))
        });
        elements.collect()
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

    pub(super) fn append(
        &mut self,
        rng: &mut Rng,
        log: LogId,
        elements: Vec<(Headers, Element)>,
        expect: Option<u64>,
    ) {
        // As the channel has it, as a rule.
        let durability = (rng.u8(..4) == 0).then(|| some_durability(rng));
        self.ask(Command::Append {
            log,
            elements: elements.into(),
            options: AppendOptions { expect, durability },
        });
    }

    /// Asks for an append, which may join one that waits to be sent.
    pub(super) fn ask_append(
        &mut self,
        log: LogId,
        elements: Vec<(Headers, Element)>,
        options: AppendOptions,
    ) {
        let number = self.link.append(log, elements.clone().into(), options.clone());
        if let Some(expected) = options.expect {
            let before = self.expects.insert(number, expected);
            assert!(before.is_none() && !self.appends.contains_key(&number), "it joined another");
        }
        let (_, all) = self.appends.entry(number).or_insert((log, Vec::new()));
        all.extend(elements);
        self.asked.insert(number, Command::Append { log, elements: all.clone().into(), options });
    }

    pub(super) fn append_answered(
        &mut self,
        number: u64,
        answer: Result<Answer, Rejection>,
        shadow: &mut Shadow,
        now: TimeMs,
    ) {
        let Some((log, elements)) = self.appends.remove(&number) else { return };
        let expected = self.expects.remove(&number);
        let values = elements.iter().map(|(_, element)| element);
        let values = values.filter(|element| matches!(element, Element::Value(_))).map(mark);
        match answer {
            Ok(Answer::Appended { first, count, seq, epoch, durability }) => {
                assert_eq!(count as usize, elements.len());
                let commit = (seq, epoch);
                match durability {
                    Durability::Fsynced => _ = self.acked.insert(log, first + u64::from(count)),
                    // It was written before this.
                    Durability::Buffered { flush_ms } => {
                        shadow.buffered.entry(commit).or_insert(now + TimeMs::from(flush_ms));
                    }
                }
                shadow.expected.extend(expected.map(|expected| (log, expected, first, commit)));
                let values = values.map(|value| (value, commit));
                shadow.order.entry((self.session, log)).or_default().extend(values);
                shadow.appended(log, first, &elements, commit);
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
}

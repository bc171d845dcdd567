//! The appends of a client: values and futures, with headers and without, some of which expect an offset.

use fastrand::Rng;
use headwater::protocol::command::{Answer, AppendOptions, Command, Rejection};
use headwater::protocol::{Element, Headers, LogId, Payload};

use super::{Client, is_of_room};
use crate::shadow::{Shadow, mark};

/// None as a rule, else one or two.
pub(super) fn some_headers(rng: &mut Rng) -> Headers {
    (0..rng.u8(..6).saturating_sub(3)).map(|n| (format!("key-{n}"), rng.u8(..10).to_string())).collect()
}

impl Client {
    pub(super) fn append_values(&mut self, rng: &mut Rng, log: LogId) {
        let count = rng.usize(1..4);
        let elements = (0..count).map(|_| {
            self.values += 1;
            let payload = Payload::raw([&self.session.0[..], &self.values.to_be_bytes()].concat());
            (some_headers(rng), Element::Value(payload))
        });
        let elements = elements.collect();
        let expect = self.some_offset(rng, log);
        self.append(log, elements, expect);
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

    pub(super) fn append(&mut self, log: LogId, elements: Vec<(Headers, Element)>, expect: Option<u64>) {
        self.ask(Command::Append {
            log,
            elements: elements.into(),
            options: AppendOptions { expect, ..AppendOptions::default() },
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
    ) {
        let Some((log, elements)) = self.appends.remove(&number) else { return };
        let expected = self.expects.remove(&number);
        let values = elements.iter().map(|(_, element)| element);
        let values = values.filter(|element| matches!(element, Element::Value(_))).map(mark);
        match answer {
            Ok(Answer::Appended { first, count, seq, epoch }) => {
                assert_eq!(count as usize, elements.len());
                self.acked.insert(log, first + u64::from(count));
                shadow.commits.insert((log, first), (seq, epoch));
                shadow.expected.extend(expected.map(|expected| (log, expected, first)));
                shadow.order.entry((self.session, log)).or_default().extend(values);
                for (offset, (headers, element)) in (first..).zip(&elements) {
                    let before = shadow.acked.insert((log, offset), (mark(element), headers.clone()));
                    assert_eq!(before, None, "offset {offset} of log {log} was given twice");
                }
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

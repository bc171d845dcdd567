//! The transactions of a client: values for several channels, and a cursor that moves with them.

use fastrand::Rng;
use headwater::protocol::LogId;
use headwater::protocol::command::{Answer, Command, Rejection};
use headwater::protocol::cursor::CursorMove;
use headwater::protocol::transaction::{Part, Transaction};

use super::{CHANNELS, Client, is_of_room};
use crate::shadow::{Shadow, mark};
use crate::transactions::cursor;

impl Client {
    /// Appends to channels that clients share, and moves a cursor of one from where it believes it to be.
    pub(super) fn transact(&mut self, rng: &mut Rng, log: LogId) {
        let shared = CHANNELS[..2].iter().filter_map(|name| self.logs.get(name).copied());
        let logs: Vec<LogId> = shared.filter(|_| rng.u8(..4) > 0).collect();
        let parts = logs.into_iter().map(|log| {
            let (elements, expect) = (self.some_values(rng), self.some_offset(rng, log));
            Part { log, elements: elements.into(), expect }
        });
        let mut transaction = Transaction { appends: parts.collect(), ..Transaction::default() };
        let at = self.cursors.get(&log).copied().unwrap_or_default();
        let known = self.acked.get(&log).copied().unwrap_or_default();
        if at < known {
            let (name, offset) = (cursor(), rng.u64(at + 1..=known));
            transaction.cursors.push(CursorMove { log, name, offset, from: Some(at), pin_ms: 0 });
        }
        let number = self.link.command(Command::Transact(transaction.clone()));
        self.transactions.insert(number, transaction);
    }

    pub(super) fn transacted(
        &mut self,
        transaction: Transaction,
        answer: Result<Answer, Rejection>,
        shadow: &mut Shadow,
    ) {
        let Transaction { mut appends, cursors, .. } = transaction;
        match answer {
            Ok(Answer::Transacted { seq, epoch, appended }) => {
                appends.sort_by_key(|part| part.log);
                assert_eq!(appended.len(), appends.len());
                for (part, at) in appends.iter().zip(appended) {
                    assert_eq!((at.log, at.count as usize), (part.log, part.elements.len()));
                    let (commit, elements) = ((seq, epoch), part.elements.iter().collect::<Vec<_>>());
                    shadow
                        .expected
                        .extend(part.expect.map(|expected| (part.log, expected, at.first, commit)));
                    self.acked.insert(part.log, at.first + elements.len() as u64);
                    self.appended(part.log, at.first, &elements, commit, shadow);
                }
                for CursorMove { log, offset, from, .. } in cursors {
                    self.cursors.insert(log, offset);
                    shadow.moved.insert((seq, log, offset), from.expect("each is moved from somewhere"));
                }
                return;
            }
            Err(Rejection::CursorMoved { at, .. }) => {
                self.cursors.extend(cursors.iter().map(|to| (to.log, at)));
            }
            Err(Rejection::UnknownChannel(_)) => {
                let written = |log: &LogId| appends.iter().any(|part| part.log == *log);
                self.logs.retain(|_, known| !written(known) && cursors.iter().all(|to| to.log != *known));
            }
            Err(Rejection::Conflict { .. } | Rejection::ChannelStopped(..)) => {}
            Err(Rejection::Invalid(why)) if why.contains("needs something to do") => {}
            Err(refused) if is_of_room(&refused) => {}
            other => panic!("a transaction was answered with {other:?}"),
        }
        let elements = appends.iter().flat_map(|part| part.elements.iter());
        shadow.refused.extend(elements.map(|(_, element)| mark(&element)));
    }
}

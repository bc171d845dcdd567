//! What is asked ahead of its turn while the scheduler recovers: the log of a channel.
//!
//! ```text
//!   reading   FindLog ──▶  … ◀── Log: the channel is there, and the request is answered with that
//!   up        Command, Query ──▶ ◀── what has no answer by then has its turn, and an answer of its own
//! ```
//!
//! A channel that is there has one log for good, so an answer ahead says the same as the one in turn. There is none
//! that says that it is *not* there: a command before it might make it.

use super::{Delivery, Link, ProtocolError, Request};
use crate::protocol::command::{Answer, Command};
use crate::protocol::{ChannelName, LogId};

impl Request {
    /// The channel whose log is all that is wanted, if it is there. One that is the scheduler's own is found, and
    /// not opened: that is refused in its turn.
    pub(super) fn channel(&self) -> Option<&ChannelName> {
        match self {
            Request::FindChannel(name) => Some(name),
            Request::Command(Command::OpenChannel { name }) if !name.is_reserved() => Some(name),
            _ => None,
        }
    }
}

impl Link {
    /// Takes the log of a channel, which was asked for ahead of its turn.
    pub(super) fn receive_log(&mut self, number: u64, log: LogId) -> Result<(), ProtocolError> {
        match self.requests.get(&number) {
            // Its turn has come meanwhile, and has an answer of its own.
            Some(request) if request.channel().is_some() && number < self.next_to_send => {}
            Some(request) if request.channel().is_some() => {
                self.requests.remove(&number);
                self.deliveries.push_back(Delivery::Answer { number, answer: Ok(Answer::Log(log)) });
            }
            Some(_) => {
                return Err(ProtocolError::Unexpected { what: "a log", when: "where no channel was opened" });
            }
            None if number == 0 || number > self.last_number => {
                return Err(ProtocolError::UnknownNumber(number));
            }
            None => {}
        }
        Ok(())
    }
}

//! Values that wait to be sent to one channel become one command.
//!
//! ```text
//!    sent once: frozen │ never sent
//!   ───────────────────┼─────────────────────────────────────────▶ number
//!     a: 1, 2    b: 1  │ a: 3, 4, 5   b: 2, 3   release   a: 6 …
//!                        └ another value for a would join 6, one for b begins a command of its own
//! ```
//!
//! So the values of one channel keep their order, and a request of any other kind keeps its place between those
//! before and behind it. Appends to different channels may change places.
//!
//! Only values are gathered. Whatever a command of values is refused for, it is refused for as a whole: the channel
//! is stopped, the disk is low, the session is over. A future is refused for itself, when its task is not known, and
//! so is what expects an offset, when the channel has gone on; so these have commands of their own, and no caller fails
//! for another one's mistake.

use std::collections::HashMap;

use super::{Link, Request};
use crate::protocol::command::{AppendOptions, Command};
use crate::protocol::limits::{APPEND_BYTES_MAX, ELEMENTS_PER_APPEND_MAX};
use crate::protocol::{Elements, LogId};

/// The commands that still take values.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// The newest of each channel; none behind which another request was made.
    newest: HashMap<LogId, Gathered>,
    /// The first number that was never sent, on any connection.
    pub unsent: u64,
}

#[derive(Debug)]
struct Gathered {
    number: u64,
    elements: usize,
    bytes: usize,
}

impl Gathering {
    /// Another request is made: nothing that comes behind it may go before it.
    pub fn end(&mut self) {
        self.newest.clear();
    }

    /// The command that takes so many values more, if there is one.
    fn take(&mut self, log: LogId, elements: usize, bytes: usize) -> Option<u64> {
        let gathered = self.newest.get_mut(&log).filter(|gathered| gathered.number >= self.unsent)?;
        let (elements, bytes) = (gathered.elements + elements, gathered.bytes + bytes);
        if elements > ELEMENTS_PER_APPEND_MAX || bytes > APPEND_BYTES_MAX {
            return None;
        }
        (gathered.elements, gathered.bytes) = (elements, bytes);
        Some(gathered.number)
    }
}

impl Link {
    /// Asks for these elements to be appended, within the bounds of one command, and gives the command's number: of
    /// one that waits to be sent and holds values, if these are values and fit in, else of a new one. They stand next to
    /// each other in it, behind what is in it already. It is answered once, by a [`Delivery::Answer`](super::Delivery)
    /// for all that it holds. One with options has a command of its own: it is refused for itself.
    pub fn append(&mut self, log: LogId, elements: Elements, options: AppendOptions) -> u64 {
        if !elements.are_values() || !options.is_default() {
            self.gathering.newest.remove(&log);
            return self.enter(Request::Command(Command::Append { log, elements, options }));
        }
        let bytes = elements.content_bytes();
        if let Some(number) = self.gathering.take(log, elements.len(), bytes)
            && let Some(Request::Command(Command::Append { elements: gathered, .. })) =
                self.requests.get_mut(&number)
        {
            gathered.append(&elements);
            return number;
        }
        let gathered = Gathered { number: self.last_number + 1, elements: elements.len(), bytes };
        let number = self.enter(Request::Command(Command::append(log, elements)));
        self.gathering.newest.insert(log, gathered);
        number
    }
}

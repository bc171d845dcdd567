//! What has come of one subscription, and how much more may come.
//!
//! ```text
//!      consumed, credited │ consumed │ unconsumed │ may still come
//!   ──────────────────────┼──────────┼────────────┼───────────────▶ bytes
//!                          returnable              └ of CREDIT_BYTES
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::sight::Sight;
use super::{Delivery, ProtocolError};
use crate::protocol::batch::Batch;
use crate::protocol::limits::FRAME_BYTES_MAX;
use crate::protocol::message::{ClientMessage, Position, Reads, ServerMessage};
use crate::protocol::{LogId, Seq};

/// How many bytes of batches may be under way or unconsumed in one subscription: 1 MiB, so that a
/// reader is busy while the next batches travel, and one that stops costs no more than that.
pub const CREDIT_BYTES: u64 = 1024 * 1024;

/// Credit goes back in steps of half a window: one small message for many batches.
const CREDIT_STEP_BYTES: u64 = CREDIT_BYTES / 2;

/// A server may go over the credit by what it read at once, which fits a frame.
const UNCONSUMED_BYTES_MAX: u64 = CREDIT_BYTES + FRAME_BYTES_MAX as u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Intake {
    log: LogId,
    asked: Position,
    reads: Reads,
    /// The offset of the record that is to come next, once it is known.
    next: Option<u64>,
    has_begun: bool,
    has_caught_up: bool,
    unconsumed_bytes: u64,
    returnable_bytes: u64,
}

impl Intake {
    pub(super) fn new(log: LogId, asked: Position, reads: Reads) -> Self {
        let next = if let Position::Offset(offset) = asked { Some(offset) } else { None };
        Intake {
            log,
            asked,
            reads,
            next,
            has_begun: false,
            has_caught_up: false,
            unconsumed_bytes: 0,
            returnable_bytes: 0,
        }
    }

    /// The message that opens it on a new connection, with all the credit there is.
    pub(super) fn open<C>(&mut self) -> ClientMessage<C> {
        self.returnable_bytes = 0;
        ClientMessage::Subscribe {
            log: self.log,
            from: match (self.next, self.asked) {
                (None, asked) => asked,
                (Some(next), Position::Stored(_)) => Position::Stored(next),
                (Some(next), _) => Position::Offset(next),
            },
            credit_bytes: CREDIT_BYTES.saturating_sub(self.unconsumed_bytes),
            reads: self.reads,
        }
    }

    /// There is a commit. One that may not be durable is no sight of the store's, but this subscription's alone: that it
    /// is still there is asked when it goes on.
    pub(super) fn see(&mut self, seq: Seq, sight: &mut Sight) {
        match &mut self.reads {
            Reads::Durable => sight.see(seq),
            Reads::Appended { seen } => *seen = sight.of_running(seq).or(*seen),
        }
    }

    /// Whether it is time to give credit back.
    pub(super) fn consume(&mut self, bytes: u64) -> bool {
        let bytes = bytes.min(self.unconsumed_bytes);
        self.unconsumed_bytes -= bytes;
        self.returnable_bytes += bytes;
        self.returnable_bytes >= CREDIT_STEP_BYTES
    }

    pub(super) fn take_credit(&mut self) -> u64 {
        std::mem::take(&mut self.returnable_bytes)
    }

    pub(super) fn begin(&mut self, subscription: u64, from: u64, deliveries: &mut VecDeque<Delivery>) {
        let from = *self.next.get_or_insert(from);
        if !std::mem::replace(&mut self.has_begun, true) {
            deliveries.push_back(Delivery::Subscribed { subscription, from });
        }
    }

    pub(super) fn skip_to(
        &mut self,
        subscription: u64,
        first: u64,
        deliveries: &mut VecDeque<Delivery>,
    ) -> Result<(), ProtocolError> {
        let from = self.next_offset(&ServerMessage::Trimmed { from: first, first })?;
        if from < first {
            self.next = Some(first);
            deliveries.push_back(Delivery::Trimmed { subscription, from, first });
        }
        Ok(())
    }

    /// One marker in the whole of a subscription: a reconnect is not seen by the reader.
    pub(super) fn caught_up(
        &mut self,
        subscription: u64,
        head: u64,
        deliveries: &mut VecDeque<Delivery>,
    ) -> Result<(), ProtocolError> {
        let next = self.next_offset(&ServerMessage::CaughtUp { head })?;
        if head > next {
            return Err(ProtocolError::Gap { subscription, log: self.log, expected: next, found: head });
        }
        if !std::mem::replace(&mut self.has_caught_up, true) {
            deliveries.push_back(Delivery::CaughtUp { subscription, head });
        }
        Ok(())
    }

    /// Checks and cuts what came, and delivers what is new in it. Says whether it is time to give
    /// credit back: batches that came already are consumed here.
    pub(super) fn take_batches(
        &mut self,
        subscription: u64,
        mut bytes: Bytes,
        sight: &mut Sight,
        deliveries: &mut VecDeque<Delivery>,
    ) -> Result<bool, ProtocolError> {
        let mut next = self.next_offset(&ServerMessage::Records)?;
        let mut is_credit_due = false;
        while !bytes.is_empty() {
            let batch = Batch::take(&mut bytes).map_err(|why| ProtocolError::Batch { subscription, why })?;
            let header = *batch.header();
            if header.log != self.log {
                let (log, found) = (self.log, header.log);
                return Err(ProtocolError::WrongLog { subscription, log, found });
            }
            self.unconsumed_bytes += batch.bytes().len() as u64;
            if self.unconsumed_bytes > UNCONSUMED_BYTES_MAX {
                let (log, bytes) = (self.log, self.unconsumed_bytes);
                return Err(ProtocolError::OverCredit { subscription, log, bytes });
            }
            if header.end_offset() <= next {
                is_credit_due |= self.consume(batch.bytes().len() as u64);
                continue;
            }
            if header.base_offset > next {
                let found = header.base_offset;
                return Err(ProtocolError::Gap { subscription, log: self.log, expected: next, found });
            }
            self.see(header.seq, sight);
            deliveries.push_back(Delivery::Records { subscription, batch, from: next });
            next = header.end_offset();
            self.next = Some(next);
        }
        Ok(is_credit_due)
    }

    fn next_offset(&self, message: &ServerMessage) -> Result<u64, ProtocolError> {
        match self.next {
            Some(next) if self.has_begun => Ok(next),
            _ => Err(ProtocolError::unexpected(message, "before its subscription began")),
        }
    }
}

//! The subscriptions of a link: their place among its requests, and what comes of them.

use bytes::Bytes;

use super::intake::Intake;
use super::{Delivery, Link, ProtocolError, Request};
use crate::protocol::LogId;
use crate::protocol::command::Rejection;
use crate::protocol::message::{Position, Reads, ServerMessage};

impl Link {
    /// Begins to read a log, and gives the subscription's number.
    pub fn subscribe(&mut self, log: LogId, from: Position) -> u64 {
        self.subscribe_to(log, from, Reads::Durable)
    }

    /// As [`Self::subscribe`], of these records.
    pub fn subscribe_to(&mut self, log: LogId, from: Position, reads: Reads) -> u64 {
        let number = self.request(Request::Subscribe);
        self.intakes.insert(number, Intake::new(log, from, reads));
        number
    }

    /// Says that this many bytes of a subscription's batches are done with, so that as many may follow.
    pub fn consumed(&mut self, subscription: u64, bytes: u64) {
        if let Some(intake) = self.intakes.get_mut(&subscription)
            && intake.consume(bytes)
            && subscription < self.next_to_send.max(self.next_to_read)
        {
            self.credit_due.insert(subscription);
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, subscription: u64) {
        if self.forget_subscription(subscription) && subscription < self.next_to_send.max(self.next_to_read) {
            self.unsubscribed.push_back(subscription);
        }
    }

    /// Takes a message of a subscription.
    pub(super) fn receive_of_subscription(
        &mut self,
        subscription: u64,
        message: ServerMessage,
        batches: Bytes,
    ) -> Result<(), ProtocolError> {
        let Some(intake) = self.intakes.get_mut(&subscription) else {
            // It was unsubscribed while this was on its way.
            let was_used = subscription != 0 && subscription <= self.last_number;
            return if was_used { Ok(()) } else { Err(ProtocolError::UnknownNumber(subscription)) };
        };
        let deliveries = &mut self.deliveries;
        match message {
            ServerMessage::Subscribed { from, seq } => {
                // Where a log ends is something that was seen, too.
                intake.see(seq, &mut self.sight);
                intake.begin(subscription, from, deliveries);
            }
            ServerMessage::Trimmed { first, .. } => intake.skip_to(subscription, first, deliveries)?,
            ServerMessage::CaughtUp { head } => intake.caught_up(subscription, head, deliveries)?,
            ServerMessage::Records => {
                if intake.take_batches(subscription, batches, &mut self.sight, deliveries)? {
                    self.credit_due.insert(subscription);
                }
            }
            ServerMessage::SubscriptionRefused(Rejection::ShuttingDown) => {}
            ServerMessage::SubscriptionRefused(rejection) => {
                self.forget_subscription(subscription);
                self.deliveries.push_back(Delivery::SubscriptionRefused { subscription, rejection });
            }
            message => return Err(ProtocolError::unexpected(&message, "for a subscription")),
        }
        Ok(())
    }

    /// Ends a subscription that is broken.
    pub(super) fn end_broken(&mut self, received: Result<(), ProtocolError>) -> Result<(), ProtocolError> {
        if let Err(error) = &received
            && let Some(subscription) = error.subscription()
        {
            self.unsubscribe(subscription);
        }
        received
    }

    fn forget_subscription(&mut self, subscription: u64) -> bool {
        self.credit_due.remove(&subscription);
        self.requests.remove(&subscription);
        self.intakes.remove(&subscription).is_some()
    }
}

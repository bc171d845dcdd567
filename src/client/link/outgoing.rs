//! What a link sends next.

use super::{Link, Request, State};
use crate::protocol::command::{Command, Query};
use crate::protocol::limits::{IN_FLIGHT_MAX, TASKS_PER_COMMAND_MAX};
use crate::protocol::message::{ClientMessage, Hello};

impl Link {
    /// What to send next, with the number of its frame. `None`: nothing for now.
    pub fn next_outgoing(&mut self) -> Option<(u64, ClientMessage<&Command>)> {
        match self.state {
            State::HelloDue => {
                self.state = State::HelloSent;
                let hello = Hello {
                    token: self.token.clone(),
                    session: self.session,
                    resume: self.was_welcomed,
                    role: self.role.clone(),
                    seen: self.sight.seen(),
                };
                Some((0, ClientMessage::Hello(hello)))
            }
            State::Up => self.next_while_up(),
            State::Reading => self.next_of_reading(),
            State::Down | State::HelloSent | State::Left | State::Over => None,
        }
    }

    fn next_while_up(&mut self) -> Option<(u64, ClientMessage<&Command>)> {
        if std::mem::take(&mut self.is_ping_due) {
            return Some((0, ClientMessage::Ping));
        }
        if let Some(message) = self.next_of_subscriptions() {
            return Some(message);
        }
        while let Some((number, Request::Subscribe)) = self.requests.range(self.next_to_send..).next()
            && *number < self.next_to_read
        {
            self.next_to_send = number + 1;
        }
        match self.requests.range(self.next_to_send..).next() {
            Some((&number, _)) => self.send_request(number).map(|message| (number, message)),
            None if self.is_leaving && self.commands_in_flight == 0 => {
                self.state = State::Left;
                Some((0, ClientMessage::Goodbye))
            }
            None => None,
        }
    }

    /// What goes out while only logs can be found and read.
    fn next_of_reading(&mut self) -> Option<(u64, ClientMessage<&Command>)> {
        if let Some(message) = self.next_of_subscriptions() {
            return Some(message);
        }
        for (&number, request) in self.requests.range(self.next_to_read..) {
            self.next_to_read = number + 1;
            if let Some(name) = request.channel() {
                return Some((number, ClientMessage::FindLog { name: name.clone() }));
            }
            if let Some(intake) = self.intakes.get_mut(&number) {
                return Some((number, intake.open()));
            }
        }
        // What a session holds ends by its goodbye also when that waits to be heard.
        if self.is_leaving && !self.requests.values().any(|request| matches!(request, Request::Command(_))) {
            self.state = State::Left;
            return Some((0, ClientMessage::Goodbye));
        }
        None
    }

    /// What is to be said of subscriptions that are open.
    fn next_of_subscriptions<C>(&mut self) -> Option<(u64, ClientMessage<C>)> {
        while let Some(subscription) = self.credit_due.pop_first() {
            if let Some(intake) = self.intakes.get_mut(&subscription) {
                return Some((subscription, ClientMessage::Credit { bytes: intake.take_credit() }));
            }
        }
        self.unsubscribed.pop_front().map(|subscription| (subscription, ClientMessage::Unsubscribe))
    }

    fn send_request(&mut self, number: u64) -> Option<ClientMessage<&Command>> {
        if let Request::Watch(_) = self.requests.get(&number)? {
            return Some(self.send_watches(number));
        }
        let message = match self.requests.get(&number)? {
            Request::Command(_) if self.commands_in_flight == IN_FLIGHT_MAX => return None,
            Request::Command(command) => {
                self.commands_in_flight += 1;
                ClientMessage::Command(command)
            }
            Request::Query(query) => ClientMessage::Query(query.clone()),
            Request::FindChannel(name) => ClientMessage::Query(Query::Channel { name: name.clone() }),
            Request::Watch(_) | Request::Subscribe => self.intakes.get_mut(&number)?.open(),
        };
        self.next_to_send = number + 1;
        // Sent once, it is what it is.
        self.gathering.unsent = self.gathering.unsent.max(self.next_to_send);
        Some(message)
    }

    /// Watches that follow each other go out as one message.
    fn send_watches<C>(&mut self, first: u64) -> ClientMessage<C> {
        let mut tasks = Vec::new();
        for (&number, request) in self.requests.range(first..).take(TASKS_PER_COMMAND_MAX) {
            let Request::Watch(task) = request else { break };
            tasks.push(*task);
            self.next_to_send = number + 1;
        }
        ClientMessage::Watch { tasks }
    }
}

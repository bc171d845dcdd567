//! Attempts that are clients: a *counter* reads how far the channel `counts` has got and goes on from there, one element at a
//! time, so that two attempts that both write would be seen.

use fastrand::Rng;
use headwater::client::link::{Delivery, Link};
use headwater::protocol::command::{Answer, Command, Query, Rejection};
use headwater::protocol::message::{Closing, ServerMessage};
use headwater::protocol::session::{HeldAttempt, Role};
use headwater::protocol::{ChannelName, Element, LogId, Payload, SessionId};

use crate::network::{Heard, Network, Wire};
use crate::workload::give_up_connection;

/// How far counters count.
pub const COUNT_TO: u64 = 25;

/// An attempt that is a client.
pub struct Counter {
    link: Link,
    pub wire: Option<Wire>,
    log: Option<LogId>,
    next: u64,
    waiting: bool,
    fenced: bool,
    is_lost: bool,
}

impl Counter {
    /// One that begins, as the attempt that is held.
    pub fn new(held: HeldAttempt, rng: &mut Rng) -> Self {
        let role = Role::Attempt { task: held.task, attempt: held.attempt };
        let link = Link::new(SessionId(rng.u128(..).to_be_bytes()), role, None);
        let (next, waiting) = (0, true);
        let mut counter =
            Counter { link, wire: None, log: None, next, waiting, fenced: false, is_lost: false };
        counter.open();
        counter
    }

    fn open(&mut self) {
        self.link.command(Command::OpenChannel { name: counted() });
    }

    /// Connects.
    pub fn connect(&mut self, wire: Wire) {
        self.wire = Some(wire);
        self.link.connected();
    }

    /// Whether it is over for it.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Whether it has counted to the end.
    pub fn is_done(&self) -> bool {
        self.next >= COUNT_TO
    }

    /// Whether the store does not have what it wrote: then it gives up.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Sends what waits.
    pub fn send(&mut self, network: &mut Network) {
        send(&mut self.link, self.wire, network);
    }

    /// Believes that its connection is gone.
    pub fn give_up_connection(&mut self, network: &mut Network) {
        give_up_connection(&mut self.link, &mut self.wire, network);
    }

    /// Hears what arrived next, and goes on if it has its slot.
    pub fn hear(&mut self, network: &mut Network, computes: bool) {
        hear(&mut self.link, &mut self.wire, network);
        self.take();
        if let (Some(log), false, false, true) = (self.log, self.waiting, self.is_done(), computes) {
            let element = Element::Value(Payload::encode(&self.next).expect("a number encodes"));
            self.link.command(Command::append(log, vec![element].into()));
            self.waiting = true;
        }
    }

    fn take(&mut self) {
        while let Some(delivery) = self.link.next_delivery() {
            match delivery {
                Delivery::Answer { answer: Ok(Answer::Channel(info)), .. } => {
                    (self.log, self.next, self.waiting) = (Some(info.log), info.elements, false);
                }
                // How many elements it has, only the state knows.
                Delivery::Answer { answer: Ok(Answer::Log(_)), .. } => {
                    self.link.query(Query::Channel { name: counted() });
                }
                Delivery::Answer { answer: Ok(Answer::Appended { .. }), .. } => {
                    self.next += 1;
                    self.waiting = false;
                }
                Delivery::Answer { answer: Err(Rejection::DiskLow { .. }), .. } => match self.log {
                    None => self.open(),
                    Some(_) => self.waiting = false,
                },
                Delivery::Answer { answer, .. } => {
                    assert!(answer.is_err(), "{answer:?}");
                    self.fenced = true;
                }
                Delivery::Closed(why) => {
                    self.fenced = true;
                    self.is_lost = matches!(why, Closing::Regressed(_));
                }
                _ => {}
            }
        }
    }
}

/// The channel that counters count on.
fn counted() -> ChannelName {
    ChannelName::new("counts").expect("a good name")
}

/// Sends what waits in a link.
pub fn send(link: &mut Link, wire: Option<Wire>, network: &mut Network) {
    let Some(wire) = wire else { return };
    while let Some((number, message)) = link.next_outgoing() {
        network.send_to_server(wire, number, &message);
    }
}

/// A link hears what arrived next.
pub fn hear(link: &mut Link, wire: &mut Option<Wire>, network: &mut Network) {
    let Some(on) = *wire else { return };
    match network.hear_as_client::<ServerMessage>(on) {
        Heard::Nothing => {}
        Heard::Cut => {
            link.disconnected();
            network.leave_as_client(on);
            *wire = None;
        }
        Heard::Message(number, message, behind) => {
            link.receive(number, message, behind).expect("the server keeps to the protocol");
        }
    }
}

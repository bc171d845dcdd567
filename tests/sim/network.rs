//! A network that delays, and cuts connections at any moment with whatever is on its way. What arrives
//! arrives whole and in order, as TCP has it; both ends learn of a cut at a time of their own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headwater::protocol::frame::{self, FrameReader};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A connection's number.
pub type Wire = u64;

/// All connections.
#[derive(Default)]
pub struct Network {
    wires: BTreeMap<Wire, Ends>,
    last: Wire,
}

#[derive(Default)]
struct Ends {
    to_server: VecDeque<Vec<u8>>,
    to_client: VecDeque<Vec<u8>>,
    cut: bool,
    left_by_client: bool,
    left_by_server: bool,
}

/// What an end hears.
pub enum Heard<M> {
    /// A message, its number and what stood behind it.
    Message(u64, M, Bytes),
    /// Nothing yet.
    Nothing,
    /// The connection is gone.
    Cut,
}

impl Network {
    /// Opens a connection.
    pub fn open(&mut self) -> Wire {
        self.last += 1;
        self.wires.insert(self.last, Ends::default());
        self.last
    }

    /// All connections that some end still knows of.
    pub fn wires(&self) -> Vec<Wire> {
        self.wires.keys().copied().collect()
    }

    /// Cuts a connection; what is on its way is lost.
    pub fn cut(&mut self, wire: Wire) {
        if let Some(ends) = self.wires.get_mut(&wire) {
            ends.cut = true;
            ends.to_server.clear();
            ends.to_client.clear();
        }
    }

    pub fn send_to_server<M: Serialize>(&mut self, wire: Wire, number: u64, message: &M) {
        if let Some(ends) = self.wires.get_mut(&wire).filter(|ends| !ends.cut) {
            ends.to_server.push_back(encode(number, message, &[]));
        }
    }

    pub fn send_to_client<M: Serialize>(&mut self, wire: Wire, number: u64, message: &M, behind: &[Bytes]) {
        if let Some(ends) = self.wires.get_mut(&wire).filter(|ends| !ends.cut) {
            ends.to_client.push_back(encode(number, message, behind));
        }
    }

    pub fn hear_as_server<M: DeserializeOwned>(&mut self, wire: Wire) -> Heard<M> {
        let Some(ends) = self.wires.get_mut(&wire) else { return Heard::Cut };
        match ends.to_server.pop_front() {
            Some(bytes) => decode(&bytes),
            // What was sent before the end arrives before the end.
            None if ends.cut || ends.left_by_client => Heard::Cut,
            None => Heard::Nothing,
        }
    }

    pub fn hear_as_client<M: DeserializeOwned>(&mut self, wire: Wire) -> Heard<M> {
        let Some(ends) = self.wires.get_mut(&wire) else { return Heard::Cut };
        match ends.to_client.pop_front() {
            Some(bytes) => decode(&bytes),
            None if ends.cut || ends.left_by_server => Heard::Cut,
            None => Heard::Nothing,
        }
    }

    /// An end is done with a connection.
    pub fn leave_as_server(&mut self, wire: Wire) {
        if let Some(ends) = self.wires.get_mut(&wire) {
            ends.left_by_server = true;
        }
        self.forget(wire);
    }

    pub fn leave_as_client(&mut self, wire: Wire) {
        if let Some(ends) = self.wires.get_mut(&wire) {
            ends.left_by_client = true;
        }
        self.forget(wire);
    }

    fn forget(&mut self, wire: Wire) {
        if self.wires.get(&wire).is_some_and(|ends| ends.left_by_client && ends.left_by_server) {
            self.wires.remove(&wire);
        }
    }
}

fn encode<M: Serialize>(number: u64, message: &M, behind: &[Bytes]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode_with(&mut bytes, number, message, behind).expect("small enough");
    bytes
}

fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Heard<M> {
    let mut reader = FrameReader::default();
    reader.buffer().extend_from_slice(bytes);
    let frame = reader.next_frame().expect("a good frame").expect("a whole frame");
    let (message, behind) = frame.decode().expect("a good message");
    Heard::Message(frame.number, message, behind)
}

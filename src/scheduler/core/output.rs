//! What a step of the core brings.

use super::{Effect, Event};

/// An event and the place in its log that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The offset in its log; of several values, of the first.
    pub offset: u64,
    /// The elements in its log before it.
    pub index: u64,
    /// The event.
    pub event: Event,
}

/// What one step of the core brought, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// Facts to be made durable together.
    pub events: Vec<Placed>,
    /// What is to be done once they are.
    pub effects: Vec<Effect>,
}

/// How many events and effects there is room for from one step to the next: few steps bring more, and those that bring
/// many more are rare.
const ROOM: usize = 64;

impl Output {
    /// Forgets what one step brought, and keeps room for that of the next.
    pub fn clear(&mut self) {
        self.events.clear();
        self.events.shrink_to(ROOM);
        self.effects.clear();
        self.effects.shrink_to(ROOM);
    }
}

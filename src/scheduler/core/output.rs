//! What a step of the core brings.

use super::{Effect, Placed};

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

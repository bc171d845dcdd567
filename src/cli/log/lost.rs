//! Records that are lost, as programs read of them.

use serde::Serialize;

use crate::protocol::LogId;
use crate::protocol::batch::Damage;

/// A range of a log.
#[derive(Debug, Serialize)]
pub struct Lost<'a> {
    log: LogId,
    from: u64,
    to: u64,
    why: &'a str,
}

impl<'a> Lost<'a> {
    pub fn of(log: LogId, damage: &'a Damage) -> Self {
        Lost { log, from: damage.from, to: damage.to, why: &damage.why }
    }
}

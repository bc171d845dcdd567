//! What a client changes of what channels keep, and its cursors.

use std::time::Duration;

use fastrand::Rng;
use headwater::protocol::LogId;
use headwater::protocol::channel::Retention;
use headwater::protocol::command::Command;
use headwater::protocol::cursor::{CursorMove, CursorName};

use super::Client;
use super::appends::some_durability;

impl Client {
    /// Changes what a channel keeps.
    pub(super) fn keep(&mut self, rng: &mut Rng, log: LogId) {
        let retention = match rng.u8(..4) {
            0 => Retention::ALL.with_elements(rng.u64(1..9)),
            1 => Retention::ALL.with_age(Duration::from_millis(rng.u64(1..300))),
            2 => Retention::ALL.with_bytes(rng.u64(1..400)),
            _ => Retention::ALL,
        };
        let name = CursorName::new("c").expect("a good name");
        let known = self.acked.get(&log).copied().unwrap_or_default();
        self.link.command(match rng.u8(..32) {
            24.. => Command::SetDurability { log, durability: some_durability(rng) },
            21.. => {
                let pin_ms = *rng.choice(&[0, 20, 400]).expect("there are some");
                let from = (rng.u8(..3) == 0).then(|| rng.u64(..known + 1));
                Command::SetCursor(CursorMove { log, name, offset: rng.u64(..known + 2), from, pin_ms })
            }
            20 => Command::DeleteCursor { log, name },
            0..7 => Command::Retain { log, retention },
            7..13 => {
                // It may be past the head.
                Command::Trim { log, before: (rng.u8(..4) > 0).then(|| rng.u64(..known + 3)) }
            }
            13..19 => Command::Resume { log },
            19 => Command::Delete { log },
        });
    }
}

//! Trunks: one connection that carries many, so that thousands of sessions of one process cost one socket.
//!
//! ```text
//!   session ── strand ──┐                              ┌── strand ── session
//!   session ── strand ──┤ client ──── socket ──── server ├── strand ── session
//!   session ── strand ──┘                              └── strand ── session
//! ```
//!
//! A [`Strand`] is to a session what a socket is: bytes in order, both ways, with an end of each way. How a trunk is
//! asked for is in [`crate::protocol::message`]; this module begins behind that. It is *not* where anything of a session
//! is known.
//!
//! What runs over the socket is HTTP/2, by the crate `h2`: each strand is a request of the method CONNECT (RFC 9113, 8.5)
//! and its answer. It has what is wanted here: credit for each strand and frames in turn. What servers of the web do
//! against strangers would take neighbours down for what one strand does, and is off: who is here has shown the
//! token.
//!
//! Invariants:
//! - A strand whose reader takes nothing holds up no other: [`STRAND_WINDOW_BYTES`] of it are on their way or wait here at
//!   most, and all strands of a trunk together have less than the credit of the trunk itself.
//! - A strand that is dropped ends for the other side, too, and no other does.
//! - A trunk whose peer is gone ends within [`SILENT_MAX`] and a quarter of it, and its strands with it, whether or not they say anything.
//! - One side asks whether the other is there, the client. h2 does not read while such a question or its answer waits to be
//!   written: if both asked, both could wait for the other to read.
//!
//! The crate is named in this folder only. Imports `protocol` alone.

mod client;
mod heard;
mod server;
mod strand;
#[cfg(test)]
mod tests;

use std::time::Duration;

use h2::Error;

pub use self::client::{Carrier, Opener, open};
pub use self::server::{Acceptor, Wanted, accept};
pub use self::strand::{Reading, Strand, Writing};
use crate::protocol::limits::STRANDS_PER_TRUNK_MAX;

/// How much of a strand may have been sent and not been read: 256 KiB, one write of a session's; 5 MB a second over 50 ms of
/// network.
pub const STRAND_WINDOW_BYTES: u32 = 256 * 1024;

/// As much of all strands: the most that HTTP/2 knows. It never comes to it.
const TRUNK_WINDOW_BYTES: u32 = (1 << 31) - 1;

const _: () =
    assert!(STRANDS_PER_TRUNK_MAX as u64 * (STRAND_WINDOW_BYTES as u64) < TRUNK_WINDOW_BYTES as u64);

/// How often the client asks whether the server is there.
const ASK_EVERY: Duration = Duration::from_millis(2_500);

/// How long a side that is there may say nothing at all: 10 s, as a worker's lease is.
pub const SILENT_MAX: Duration = Duration::from_secs(10);

/// What goes wrong with a trunk, as what goes wrong with a socket.
fn broken(error: Error) -> std::io::Error {
    match error.is_io() {
        true => error.into_io().expect("it is one"),
        false => std::io::Error::other(error),
    }
}

//! A running checksum of what a log holds.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A 64-bit XXH3 chained over the pieces of a log: each piece is hashed with the digest so far as the
/// seed, so two logs have the same digest only if they hold the same pieces in the same order. It
/// finds accidents (a restored backup, a lost tail), not attackers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Digest(pub u64);

impl Digest {
    /// The digest with one more piece.
    #[must_use]
    pub fn with(self, piece: &[u8]) -> Digest {
        Digest(xxh3_64_with_seed(piece, self.0))
    }

    /// The digest with more pieces.
    #[must_use]
    pub fn with_all<'a>(self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        pieces.into_iter().fold(self, Digest::with)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

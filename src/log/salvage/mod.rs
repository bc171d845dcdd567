//! Salvage: from the raw files of a damaged store to a whole one, in which what is lost is named.
//!
//! ```text
//!   store (damaged)  ──scan──▶ intact batches ──choose──▶ one per place, and the gaps ──▶ store.salvaged
//!        └──rename──▶ store.damaged-N, kept                                store ◀──rename──┘
//! ```
//!
//! The engine's own index is not asked where a batch is: every batch says of itself which it is, and has
//! its checksum. What is assumed:
//!
//! - A batch lies in one piece: without compression, and under the size at which the engine splits or moves
//!   values elsewhere, it does.
//! - Bytes whose checksum fits are a batch of this store. That finds accidents, not attackers: a batch of
//!   another store that someone appended as a value is skipped with the batch around it, but is taken for
//!   one of this store where that one is damaged.
//! - Where an engine can still be asked (on a copy) where trimmed logs begin, that is believed. Where it
//!   cannot, nothing tells a trimmed record from a lost one, and a log begins at offset 0 with what is lost.
//! - The end of a log that lost its last batches is where the last intact one ends. Nothing tells of more
//!   but the `head` file, and numbers of commits of which no batch is left.
//!
//! This module names no engine: the new store is built by the engine's own part.

mod choose;
mod place;
mod repair;
mod scan;

pub(super) use choose::{Chosen, choose};
pub(super) use place::{begin_again, finish, salvaged, unfinished, with_asked};
pub use repair::{LostRange, Repair};
pub(super) use scan::{Source, batches_in};

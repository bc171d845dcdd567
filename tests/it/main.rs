//! Tests of Headwater from the outside, in one binary.

mod conformance;
mod engines;
mod sled_store;

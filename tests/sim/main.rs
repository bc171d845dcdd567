//! The whole system without a socket, a clock or a disk.

mod scenarios;
mod transcript;

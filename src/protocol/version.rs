//! The versions of what is stored and of what is sent. One number each; every change has a story.
//!
//! | format | version | since | what changed |
//! |---|---|---|---|
//! | store | 1 | 0.1 | the first: see `migrations/0001/` |
//! | store | 2 | 0.1 | snapshots in files beside the store; batches that stand for lost records: see `migrations/0002/` |
//! | wire | 1 | 0.1 | the first |
//! | wire | 2 | 0.1 | batches of store version 2 |
//! | wire | 3 | 0.1 | hello and welcome show what was seen of the store, and what there is; news of a start that still recovers |
//! | store | 3 | 0.1 | records of results that workers keep, and of attempts that were given back: see `migrations/0003/` |
//! | store | 4 | 0.1 | a write-ahead log before sled: see `migrations/0004/` |
//! | wire | 4 | 0.1 | results that workers keep, and how they are fetched; workers that are given tasks ahead; channels found by name during a recovery |
//! | wire | 5 | 0.1 | batches of store version 4 |
//! | wire | 6 | 0.1 | the elements of an append as one run of bytes |
//! | store | 5 | 0.1 | channels that keep less than all, cursors, elements with headers, the commits of appends: see `migrations/0005/` |
//! | wire | 7 | 0.1 | what a channel keeps, cursors, headers, appends that expect an offset, their commits; positions by time and from the end |
//! | wire | 8 | 0.1 | transactions, groups, named producers |
//! | store | 6 | 0.1 | transactions, groups, named producers, durability by choice, cancellations, terms of tasks: see `migrations/0006/` |
//! | wire | 9 | 0.1 | durability by choice, elements of groups that are tried, tasks that are cancelled, terms of tasks |
//! | store | 7 | 0.1 | what tasks need of workers and where they may run, futures inside arguments, values that were scattered: see `migrations/0007/` |
//! | wire | 10 | 0.1 | what workers have and tasks need of them, slots that clients take again, futures inside arguments, values that are scattered, replicas, explanations |
//! | wire | 11 | 0.1 | trunks: connections that many sessions share |

/// The version of the store that this build writes. Older ones are upgraded, newer ones refused.
pub const STORE_VERSION: u16 = 7;

/// Since this version of the store a task that has failed or was cancelled keeps how to call it, and what it needs.
pub const FAILED_KEEP_CALLS_SINCE: u16 = 6;

/// The version of the wire protocol. Both sides must speak the same one.
pub const WIRE_VERSION: u16 = 11;

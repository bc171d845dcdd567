//! The bound on everything that arrives from outside, with the reason for each number.

use std::fmt::Display;

/// Most bytes of one stored batch, header included: 64 KiB. Above it sled (0.34) leaves its fast path.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of one encoded record: what fits a batch beside its header, with room to spare.
pub const RECORD_BYTES_MAX: usize = BATCH_BYTES_MAX - 1024;

/// Most bytes of one payload (a value, an argument, a result that is kept in the log): 60 KiB, so that
/// a record always has room for what goes around it.
pub const PAYLOAD_BYTES_MAX: usize = 60 * 1024;

/// Most bytes of a result: 4 GiB less one byte, as far as the lengths of MessagePack count. One over
/// [`PAYLOAD_BYTES_MAX`] is kept by workers, not in the log.
pub const RESULT_BYTES_MAX: u64 = u32::MAX as u64;

/// Most bytes of a value that is scattered: 64 MiB. It is in the log and, as long as it is kept, in the scheduler's memory
/// and its snapshots, in pieces of [`PAYLOAD_BYTES_MAX`].
pub const SCATTERED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most bytes of a stored result that one frame brings: 256 KiB, as of a subscription's records.
pub const RESULT_PIECE_BYTES: usize = 256 * 1024;

/// Most bytes of all arguments of one task together: a submission is one record.
pub const ARGUMENTS_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

/// Most arguments of one task, and most futures in all of them: 64, so that an attempt with all their results fits its
/// frame. A client puts longer lists of futures together by tasks of their own.
pub const ARGUMENTS_MAX: usize = 64;

/// How deep arrays and maps may be in each other in an argument with futures in it.
pub const NESTED_DEPTH_MAX: usize = 128;

/// Most elements of one append command, so that one command cannot hold up a commit.
pub const ELEMENTS_PER_APPEND_MAX: usize = 4096;

/// Most headers of one element: 16.
pub const HEADERS_MAX: usize = 16;

/// Most bytes of a header's key: 64.
pub const HEADER_KEY_BYTES_MAX: usize = 64;

/// Most bytes of a header's value: 1 KiB.
pub const HEADER_VALUE_BYTES_MAX: usize = 1024;

/// Most bytes of all keys and values of one element's headers: 2 KiB, so that they fit a record with the largest value.
pub const HEADERS_BYTES_MAX: usize = 2 * 1024;

/// Most bytes of the payloads and headers of one append command: 1 MiB.
pub const APPEND_BYTES_MAX: usize = 1024 * 1024;

/// Longest piece of a line of a program's output that is one element, in bytes: 16 KiB. What is not UTF-8 in it takes up to
/// three times as much as text, and is within a payload.
pub const OUTPUT_LINE_BYTES_MAX: usize = 16 * 1024;

/// Most channels that one transaction appends to, and most that it moves a cursor of: 64, of which a session
/// remembers 1 KiB, until its answer is old.
pub const TRANSACTION_CHANNELS_MAX: usize = 64;

/// Most tasks named by one release or watch command.
pub const TASKS_PER_COMMAND_MAX: usize = 1024;

/// Most bytes of one frame's body: an append command and what goes around it.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most bytes of a frame that is over [`FRAME_BYTES_MAX`] and yet read to its end, so that the
/// connection can go on behind it: 64 MiB. A longer one closes the connection.
pub const FRAME_BYTES_SKIPPED_MAX: usize = 64 * 1024 * 1024;

/// Most commands of one session that are not answered yet. It also bounds how many answers the
/// scheduler remembers for each session, so that a command that is sent again finds its first answer.
pub const IN_FLIGHT_MAX: u64 = 1024;

/// How many forgotten tasks the scheduler remembers the attempts of, so that they are counted on when
/// the task is submitted again: 131,072, about 10 MB, and what 10,000 tasks a second forget while a
/// worker's lease runs.
pub const RETIRED_TASKS_MAX: usize = 131_072;

/// Longest name of a channel, worker, function or key, in bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// Longest address, `host:port`, in bytes: the longest name of a host, 253, a colon and a port.
pub const ADDRESS_BYTES_MAX: usize = 259;

/// Longest error message, and longest cause, that is kept, in bytes; the rest is cut off and said so.
pub const ERROR_BYTES_MAX: usize = 2 * 1024;

/// Most causes of one error that are kept.
pub const ERROR_CAUSES_MAX: usize = 16;

/// Most functions that one worker may offer.
pub const FUNCTIONS_PER_WORKER_MAX: usize = 10_000;

/// Most channels, deleted ones counted too, since their offsets are remembered: 262,144, about 100 MB.
pub const CHANNELS_MAX: usize = 262_144;

/// Most cursors of one channel: 1,024.
pub const CURSORS_PER_CHANNEL_MAX: usize = 1024;

/// Most named producers of one channel: 1,024.
pub const PRODUCERS_PER_CHANNEL_MAX: usize = 1024;

/// Longest time for which a cursor may keep elements after it was set, in ms: 30 days.
pub const PIN_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;

/// Most groups of a channel: 1,024. Each append looks at all of them.
pub const GROUPS_PER_CHANNEL_MAX: usize = 1024;

/// Shortest lease of an element: 100 ms, some round trips on a busy machine.
pub const LEASE_MS_MIN: u64 = 100;

/// Longest lease of an element: a day. What takes longer extends it.
pub const LEASE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Most elements that are leased to a member at a time: 4,096, as many as one append brings.
pub const LEASED_PER_MEMBER_MAX: u32 = 4096;

/// Most members that are shown of a group: 100.
pub const MEMBERS_SHOWN_MAX: usize = 100;

/// Longest time, in ms, for which what is acknowledged as buffered may not be on the disk: a minute. As much as a
/// power failure takes away.
pub const FLUSH_MS_MAX: u32 = 60_000;

/// Most tags of one task.
pub const TAGS_MAX: usize = 16;

/// Most bytes of all tags of one task: 1 KiB, so that a submission fits its record.
pub const TAGS_BYTES_MAX: usize = 1024;

/// Longest time that a term of a task may name: a year of 365 days, in ms.
pub const TERM_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;

/// Most times as long as the one before that a wait between attempts may be.
pub const BACKOFF_FACTOR_MAX: u64 = 100;

/// Most labels of one worker.
pub const LABELS_MAX: usize = 64;
/// Most kinds of resources of one worker.
pub const RESOURCES_MAX: usize = 64;
/// Most resources of one worker that are told apart: 256, each with a name, so that what is granted fits a record.
pub const GRANTED_PARTS_MAX: usize = 256;
/// Most of one resource: 100 tera, as of bytes of memory. Sums of some thousands stay within 64 bits.
pub const AMOUNT_MAX: u64 = 100_000_000_000_000;
/// Most kinds of resources that one task needs.
pub const NEEDS_MAX: usize = 8;
/// Most workers, hosts and labels by which one task says where it may run or is to: 8.
pub const TARGETS_MAX: usize = 8;
/// Most bytes of all these names of one task, those of what it needs included: 256, so that a submission fits its record.
pub const DEMAND_BYTES_MAX: usize = 256;
/// Most workers or tasks of which an explanation says something: 32, a screen.
pub const POINTS_MAX: usize = 32;
/// Longest message of an attempt that says how far it has come: 256 bytes; what is over is cut.
pub const ADVANCE_BYTES_MAX: usize = 256;

/// Most slots of one worker.
pub const SLOTS_PER_WORKER_MAX: u32 = 65_536;

/// Most attempts that wait for their turn on a worker: 1,024, as many as reports of them may be in flight.
pub const WINDOW_MAX: u32 = 1_024;

/// Most subscriptions of one connection.
pub const SUBSCRIPTIONS_PER_CONNECTION_MAX: usize = 10_000;

/// Most strands of one trunk at a time: 8,000, each with up to 256 KiB that were sent and not read, which is what one
/// connection can give credit for. Whoever needs more opens another trunk.
pub const STRANDS_PER_TRUNK_MAX: u32 = 8_000;

/// Most workers that a client may ask to keep a result: 64, more than protects from anything.
pub const REPLICAS_MAX: u32 = 64;

/// Most rows that one listing answers.
pub const LISTING_ROWS_MAX: usize = 10_000;

/// Most attempts that the listing of workers names for each: 16, enough to see what it is busy with.
pub const RUNS_SHOWN_MAX: usize = 16;

/// Most bytes of the rows that one listing answers, so that it fits a frame: 2 MiB.
pub const LISTING_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most bytes of a snapshot that one answer brings, when it is more than one piece: 256 KiB, as of a
/// subscription's records.
pub const SNAPSHOT_BYTES_MAX: usize = 256 * 1024;

/// Why a thing of the user's is refused for its size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{what} is {size}, over the limit of {max}: {hint}")]
pub struct TooLarge {
    /// What is too large, in words: `argument 2`, `value`, `frame`.
    pub what: String,
    /// Its size, in the unit of the limit (bytes unless `what` says otherwise).
    pub size: u64,
    /// The limit.
    pub max: u64,
    /// What to do instead.
    pub hint: String,
}

impl TooLarge {
    /// Refuses `size` if it is over `max`.
    ///
    /// # Errors
    /// A [`TooLarge`] that names all of it.
    pub fn check(what: impl Display, size: usize, max: usize, hint: &str) -> Result<(), Self> {
        if size <= max {
            return Ok(());
        }
        Err(TooLarge { what: what.to_string(), size: size as u64, max: max as u64, hint: hint.to_owned() })
    }
}

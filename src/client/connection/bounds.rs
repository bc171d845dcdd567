//! The bounds on what a client sends, checked before it is sent: the caller hears of it at once, and
//! every message fits its frame.

use crate::protocol::command::{Command, Query, Rejection};
use crate::protocol::limits::{self, TooLarge};
use crate::protocol::result::StoredResult;
use crate::protocol::session::Role;
use crate::protocol::transaction::Transaction;
use crate::protocol::{Elements, Payload};

const APPEND_LESS: &str = "append them in several calls";

pub(super) fn check_command(command: &Command) -> Result<(), TooLarge> {
    match command {
        // What makes no sense is refused by the scheduler.
        Command::Submit(submission) | Command::SubmitUnder { submission, .. } => submission.check(),
        Command::Append { elements, .. } => check_elements(elements),
        Command::Transact(transaction) => check_transaction(transaction),
        Command::Scatter { value, .. } => check_payload("the value", value),
        Command::Finish { result, .. } => check_payload("the result", result),
        Command::Store { result, .. } => check_result(result),
        Command::Release { tasks } => TooLarge::check(
            "the number of tasks to release",
            tasks.len(),
            limits::TASKS_PER_COMMAND_MAX,
            "release them in several commands",
        ),
        Command::Hold { .. }
        | Command::OpenChannel { .. }
        | Command::CreateChannel { .. }
        | Command::Retain { .. }
        | Command::Trim { .. }
        | Command::Stop { .. }
        | Command::Resume { .. }
        | Command::Delete { .. }
        | Command::SetDurability { .. }
        | Command::SetCursor(_)
        | Command::DeleteCursor { .. }
        | Command::OpenGroup { .. }
        | Command::Join { .. }
        | Command::Leave { .. }
        | Command::Acknowledge(_)
        | Command::Try(_)
        | Command::GiveBack(_)
        | Command::Extend(_)
        | Command::DeleteGroup { .. }
        | Command::ForgetProducer { .. }
        | Command::Cancel { .. }
        | Command::Retry { .. }
        | Command::Replicate { .. }
        | Command::Advance { .. }
        | Command::Fail { .. }
        | Command::Copied { .. }
        | Command::Lack { .. }
        | Command::Defer { .. }
        | Command::Window { .. }
        | Command::Occupy { .. }
        | Command::Return { .. }
        | Command::Retire
        | Command::RetireWorker { .. } => Ok(()),
    }
}

pub(super) fn check_query(query: &Query) -> Result<(), TooLarge> {
    let Query::Unwanted { results } = query else { return Ok(()) };
    let hint = "ask for them in several queries";
    TooLarge::check("the number of results", results.len(), limits::LISTING_ROWS_MAX, hint)
}

fn check_result(result: &StoredResult) -> Result<(), TooLarge> {
    let (size, max) = (result.bytes, limits::RESULT_BYTES_MAX);
    if size <= max {
        return Ok(());
    }
    let hint = "write the data elsewhere, and return a path or a key".to_owned();
    Err(TooLarge { what: "the result".to_owned(), size, max, hint })
}

pub(super) fn check_elements(elements: &Elements) -> Result<(), TooLarge> {
    let max = limits::ELEMENTS_PER_APPEND_MAX;
    TooLarge::check("the number of elements", elements.len(), max, APPEND_LESS)?;
    // One that is over its own bound is so only together with all the others.
    if elements.payload_bytes() > limits::PAYLOAD_BYTES_MAX {
        for (_, payload) in elements.encoded() {
            check_bytes("the value", payload.map_or(0, <[u8]>::len))?;
        }
    }
    if elements.have_headers() {
        elements.iter().try_for_each(|(headers, _)| headers.check())?;
    }
    TooLarge::check("all values together", elements.content_bytes(), limits::APPEND_BYTES_MAX, APPEND_LESS)
}

/// What makes no sense is refused by the scheduler.
fn check_transaction(transaction: &Transaction) -> Result<(), TooLarge> {
    transaction.appends.iter().try_for_each(|part| check_elements(&part.elements))?;
    match transaction.check() {
        Err(Rejection::TooLarge(error)) => Err(error),
        _ => Ok(()),
    }
}

fn check_payload(what: &str, payload: &Payload) -> Result<(), TooLarge> {
    check_bytes(what, payload.bytes.len())
}

fn check_bytes(what: &str, bytes: usize) -> Result<(), TooLarge> {
    let hint = "keep it elsewhere, and pass a path or a key to it";
    TooLarge::check(what, bytes, limits::PAYLOAD_BYTES_MAX, hint)
}

pub(super) fn check_role(role: &Role) -> Result<(), TooLarge> {
    let Role::Worker(offer) = role else { return Ok(()) };
    TooLarge::check("the worker's name", offer.name.len(), limits::NAME_BYTES_MAX, "shorten it")?;
    let (bytes, hint) = (offer.results_at.len(), "give a shorter one with --results-at");
    TooLarge::check("the address of the worker's results", bytes, limits::ADDRESS_BYTES_MAX, hint)?;
    let (slots, slots_max) = (offer.slots as usize, limits::SLOTS_PER_WORKER_MAX as usize);
    TooLarge::check("the number of slots", slots, slots_max, "start more workers")?;
    let max = limits::FUNCTIONS_PER_WORKER_MAX;
    TooLarge::check("the number of functions", offer.functions.len(), max, "offer fewer")?;
    for function in &offer.functions {
        TooLarge::check("a function's name", function.name.len(), limits::NAME_BYTES_MAX, "shorten it")?;
    }
    Ok(())
}

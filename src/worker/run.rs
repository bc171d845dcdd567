//! Runs one attempt at a task to its end: a result or an error, whatever the function does.
//!
//! It knows nothing of slots, leases and reports. A function that panics fails its own attempt and
//! nothing else; one that aborts the process, or overflows its stack, takes the worker with it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use super::context::Context;
use crate::client::blob::Content;
use crate::client::function::{Registered, Run};
use crate::protocol::TaskError;
use crate::protocol::task::ErrorKind;

/// A function that keeps its thread until it is done.
pub(super) type PlainFn = fn(Vec<Content>) -> Result<Content, TaskError>;

/// Calls a plain function on this thread.
///
/// # Errors
/// Why the attempt failed.
pub(super) fn call(
    function: PlainFn,
    arguments: Vec<Content>,
    context: Option<Context>,
) -> Result<Content, TaskError> {
    notice_panics();
    let outcome = caught(|| Context::enter(context.clone(), || function(arguments))).flatten();
    outcome.map_err(|error| failing(context.as_ref(), error))
}

/// An attempt's error, with the end of its log.
fn failing(context: Option<&Context>, error: TaskError) -> TaskError {
    match context {
        Some(context) => context.failing(error),
        None => error,
    }
}

/// Runs a function once. Async ones run where this is polled; the others on a thread of tokio's for
/// blocking work, where they go on to their end even when this is dropped.
///
/// # Errors
/// Why the attempt failed.
pub async fn run(registered: &Registered, arguments: Vec<Content>) -> Result<Content, TaskError> {
    match registered.run {
        Run::Blocking(function) => {
            let context = Context::current();
            let attempt = tokio::task::spawn_blocking(move || call(function, arguments, context));
            match attempt.await {
                Ok(outcome) => outcome,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is shutting down and never began it: there is no outcome to tell, and
                    // the task goes to another worker when this one's session ends.
                    Err(_) => std::future::pending().await,
                },
            }
        }
        Run::Async(function) => {
            notice_panics();
            let mut running = function(arguments);
            let code = std::future::poll_fn(move |context| match caught(|| running.as_mut().poll(context)) {
                Ok(poll) => poll,
                Err(panicked) => std::task::Poll::Ready(Err(panicked)),
            });
            let Some(context) = Context::current() else { return code.await };
            let outcome = context.clone().pausing(code).await;
            outcome.map_err(|error| context.failing(error))
        }
    }
}

thread_local! {
    /// Where this thread panicked last, since `caught` began.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has every panic leave its place behind for [`caught`]; only the hook is told it. What was done
/// about panics before is still done.
fn notice_panics() {
    static NOTICED: Once = Once::new();
    NOTICED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
            let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
            // A thread that is being taken down runs no task.
            let _ = PLACE.try_with(|last| last.replace(place));
            previous(panic);
        }));
    });
}

/// Does some work of a user's; its panic becomes an error.
fn caught<R>(work: impl FnOnce() -> R) -> Result<R, TaskError> {
    PLACE.take();
    // Nothing that the work could leave broken is used again: it owns what it works on.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let place = PLACE.take().unwrap_or_else(|| "an unknown place".to_owned());
        let message = format!("panicked at {place}: {}", message_of(panic));
        TaskError::new(ErrorKind::Panicked, &message, Vec::new())
    })
}

fn message_of(panic: Box<dyn Any + Send>) -> String {
    let panic = match panic.downcast::<String>() {
        Ok(message) => return *message,
        Err(panic) => panic,
    };
    match panic.downcast::<&'static str>() {
        Ok(message) => (*message).to_owned(),
        Err(panic) => {
            // Some user's type, whose drop could panic in turn.
            std::mem::forget(panic);
            "with a value that is not text".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::function::registered_of;
    use crate::protocol::Payload;

    #[crate::task]
    fn add(a: f64, b: f64) -> f64 {
        a + b
    }

    #[crate::task]
    async fn add_later(a: f64, b: f64) -> std::io::Result<f64> {
        tokio::task::yield_now().await;
        if a < 0.0 { Err(std::io::Error::other("negative")) } else { Ok(a + b) }
    }

    #[crate::task]
    fn index(list: Vec<u8>, at: usize) -> u8 {
        list[at]
    }

    #[crate::task]
    async fn panic_later(message: String) {
        tokio::task::yield_now().await;
        panic!("{message}");
    }

    #[crate::task]
    fn panic_with(what: u8) {
        match what {
            0 => panic!("static"),
            1 => std::panic::panic_any(PanicsAgain),
            _ => std::panic::resume_unwind(Box::new("resumed")),
        }
    }

    struct PanicsAgain;

    impl Drop for PanicsAgain {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    async fn call<F: 'static>(function: F, arguments: Vec<Payload>) -> Result<Payload, TaskError> {
        let arguments = arguments.into_iter().map(Content::from).collect();
        let content = run(registered_of(&function).unwrap(), arguments).await?;
        Ok(content.into_payload().unwrap())
    }

    fn encoded<T: serde::Serialize>(value: T) -> Payload {
        Payload::encode(&value).unwrap()
    }

    /// The place of a panic in this file, cut off a message.
    fn without_place(error: &TaskError) -> &str {
        assert_eq!(error.kind, ErrorKind::Panicked);
        let rest = error.message.strip_prefix("panicked at src/worker/run.rs:").expect(&error.message);
        let (line, message) = rest.split_once(": ").unwrap();
        assert!(line.parse::<u32>().unwrap() > 100);
        message
    }

    #[tokio::test]
    async fn functions_of_both_kinds_bring_their_results() {
        assert_eq!(call(add, vec![encoded(1.0), encoded(2.0)]).await, Ok(encoded(3.0)));
        assert_eq!(call(add_later, vec![encoded(1.0), encoded(2.0)]).await, Ok(encoded(3.0)));
        let error = call(add_later, vec![encoded(-1.0), encoded(2.0)]).await.unwrap_err();
        assert_eq!((error.kind, &*error.message), (ErrorKind::Returned, "negative"));
    }

    #[tokio::test]
    async fn an_async_functions_arguments_are_checked_too() {
        let error = call(add_later, vec![encoded("x"), encoded(2.0)]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadArguments);
        assert!(error.message.starts_with("argument 1 of add_later: \"x\" is not a f64: "), "{error}");
        let error = call(add_later, vec![]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadArguments);
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_attempt_with_message_and_place() {
        let error = call(index, vec![encoded([1, 2]), encoded(5)]).await.unwrap_err();
        assert_eq!(without_place(&error), "index out of bounds: the len is 2 but the index is 5");
        let error = call(panic_later, vec![encoded("too late")]).await.unwrap_err();
        assert_eq!(without_place(&error), "too late");
        let error = call(panic_with, vec![encoded(0)]).await.unwrap_err();
        assert_eq!(without_place(&error), "static");
        assert_eq!(call(add, vec![encoded(1.0), encoded(2.0)]).await, Ok(encoded(3.0)));
    }

    #[tokio::test]
    async fn an_odd_panic_is_caught_as_well() {
        let error = call(panic_with, vec![encoded(1)]).await.unwrap_err();
        assert_eq!(without_place(&error), "with a value that is not text");
    }

    #[test]
    fn the_place_of_an_older_panic_is_not_told_for_a_newer_one() {
        notice_panics();
        let Run::Blocking(function) = registered_of(&panic_with).unwrap().run else { panic!() };
        let error = caught(|| function(vec![encoded(0).into()])).unwrap_err();
        assert_eq!(without_place(&error), "static");
        let _ = catch_unwind(|| panic!("somewhere else on this thread"));
        // Goes on with a panic without a hook's being told.
        let error = caught(|| function(vec![encoded(2).into()])).unwrap_err();
        assert_eq!(error.message, "panicked at an unknown place: resumed");
    }

    #[tokio::test]
    async fn many_attempts_panic_side_by_side() {
        let calls = (0..50).map(|n: u32| async move {
            let error = call(panic_later, vec![encoded(n.to_string())]).await.unwrap_err();
            assert_eq!(without_place(&error), n.to_string());
        });
        futures_util::future::join_all(calls).await;
    }
}

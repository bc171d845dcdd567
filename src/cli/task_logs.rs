//! What tasks say by `tracing`, for the error of one that fails.

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer;

use crate::Context;

/// A layer that notes for each attempt what it says by [`tracing`], from `INFO` up, as [`Context::log`](crate::Context::log)
/// does. Workers that this command starts have it. A program with a subscriber of its own adds it:
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let subscriber = tracing_subscriber::registry().with(tracing_subscriber::fmt::layer()).with(headwater::cli::TaskLogs);
/// # let _ = subscriber;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TaskLogs;

impl<S: Subscriber> Layer<S> for TaskLogs {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return;
        }
        let Some(attempt) = Context::current() else { return };
        let mut line = format!("{} {}: ", metadata.level(), metadata.target());
        // What cannot be formatted is left out.
        let _ = DefaultFields::new().format_fields(Writer::new(&mut line), event);
        attempt.log(&line);
    }
}

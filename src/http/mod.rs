//! The HTTP door: JSON and server-sent events for programs in any language, and a page for browsers.
//!
//! ```text
//!   socket ──▶ door: listen, serve ──▶ guard ──▶ routes ──▶ channels, records, append, tasks, submit, workers, health
//!                                         │         └──▶ client, over loopback ──▶ the scheduler's port
//!                                         └──▶ assets: the page, which asks all this
//! ```
//!
//! It asks and reads as a client of the scheduler does, and holds no state that matters: what it says is in the logs, and
//! if it ends, nothing does. Its client connects when it is first needed, so that a door which nobody uses is in no log.
//! What there is to ask, and what comes back, is in `docs/openapi.json`, which it gives at `/openapi.json`.
//!
//! The token is that of the scheduler's port. Where there is none, what a browser sends on behalf of a page from elsewhere
//! is refused: see `guard`.

mod append;
mod as_of;
mod assets;
mod body;
mod channels;
mod door;
mod guard;
mod health;
mod login;
mod metrics;
mod opening;
mod overview;
mod problem;
mod records;
mod recovering;
mod routes;
mod submit;
mod tasks;
mod tries;
mod workers;

pub use door::{Http, LISTEN, Open, Options};

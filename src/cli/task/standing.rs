//! A task and where it stands, as a line.

use serde_json::json;

use crate::cli::output::Output;
use crate::protocol::TaskKey;
use crate::protocol::task::TaskStatus;

pub struct Standing<'a> {
    pub key: &'a TaskKey,
    pub status: TaskStatus,
}

impl Standing<'_> {
    /// Prints it at once: others may take long.
    pub fn print(&self, output: &mut Output, is_json: bool) -> anyhow::Result<()> {
        let Standing { key, status } = self;
        match is_json {
            true => output.json(&json!({ "key": key.to_string(), "status": status.to_string() }))?,
            false => output.line(format!("{key}  {status}"))?,
        }
        output.flush()
    }
}

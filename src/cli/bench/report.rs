//! What was measured, as it is printed; and, in the end, beside an earlier run.

use std::path::Path;

use serde::Serialize;

use super::compare::{Line, changes};
use super::figures::Measured;
use crate::cli::output::Output;

/// Prints each variant at once, and remembers it.
pub struct Report {
    output: Output,
    json: bool,
    earlier: Option<Vec<Line>>,
    measured: Vec<Line>,
}

impl Report {
    /// Reads the earlier run, where there is one to compare with.
    pub fn open(json: bool, compare: Option<&Path>) -> anyhow::Result<Report> {
        let earlier = compare.map(Line::read_all).transpose()?;
        Ok(Report { output: Output::new(), json, earlier, measured: Vec::new() })
    }

    /// Prints what was measured of a variant.
    pub fn add(&mut self, measured: &Measured) -> anyhow::Result<()> {
        self.measured.push(Line::of(measured)?);
        match self.json {
            true => self.output.json(measured)?,
            false => measured.print(&mut self.output)?,
        }
        self.output.flush()
    }

    /// Prints what was seen on the way.
    pub fn sample(&mut self, sample: &(impl Serialize + ToString)) -> anyhow::Result<()> {
        match self.json {
            true => self.output.json(sample)?,
            false => self.output.line(sample.to_string())?,
        }
        self.output.flush()
    }

    /// Prints the comparison.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let Some(earlier) = &self.earlier else { return Ok(()) };
        let changes = changes(earlier, &self.measured);
        match self.json {
            true => changes.iter().try_for_each(|change| self.output.json(change))?,
            false => {
                let header = ["SCENARIO", "VARIANT", "WHAT", "NAME", "BEFORE", "AFTER", "CHANGE", "VERDICT"];
                self.output.table(header, changes.iter().map(|change| change.row()))?;
            }
        }
        self.output.flush()
    }
}

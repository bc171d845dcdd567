//! What a scenario measured: figures over several runs, and what they were measured on.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::cli::output::Output;

/// A variant of a scenario, as one line of JSON has it.
#[derive(Debug, Default, Serialize)]
pub struct Measured {
    pub scenario: &'static str,
    pub variant: String,
    pub params: BTreeMap<&'static str, Value>,
    pub figures: Figures,
    /// What the machine can do, measured in the same runs: see `limits`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: Figures,
    /// Figures by the limits that bound them: these travel between machines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ratios: BTreeMap<&'static str, f64>,
    /// When what is acknowledged is on the disk.
    pub durability: &'static str,
    pub hardware: String,
    pub commit: &'static str,
}

/// Quantities by name, and what each run saw of them.
#[derive(Debug, Default)]
pub struct Runs(BTreeMap<&'static str, (Vec<f64>, &'static str)>);

impl Runs {
    /// One more run saw this.
    pub fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.0.entry(name).or_insert_with(|| (Vec::new(), unit)).0.push(value);
    }

    /// One more run saw so many bytes, where the system says so.
    pub fn add_bytes(&mut self, name: &'static str, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.add(name, bytes as f64, "bytes");
        }
    }

    /// One more run saw commands that took so long, in microseconds.
    pub fn add_times(&mut self, mut times: Vec<f64>) {
        times.sort_unstable_by(f64::total_cmp);
        self.add("p50_us", quantile(&times, 0.5), "us");
        self.add("p99_us", quantile(&times, 0.99), "us");
    }

    /// Over all runs.
    pub fn figures(self) -> Figures {
        self.0.into_iter().map(|(name, (runs, unit))| (name, Figure::of(runs, unit))).collect()
    }
}

/// Figures by name.
pub type Figures = BTreeMap<&'static str, Figure>;

/// One quantity over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub unit: &'static str,
}

impl Figure {
    /// Of at least one run.
    pub fn of(mut runs: Vec<f64>, unit: &'static str) -> Figure {
        runs.sort_unstable_by(f64::total_cmp);
        let (min, max) = (runs[0], runs[runs.len() - 1]);
        let middle = runs.len() / 2;
        let median = if runs.len() % 2 == 1 { runs[middle] } else { (runs[middle - 1] + runs[middle]) / 2.0 };
        Figure { median, min, max, unit }
    }
}

impl Measured {
    /// Of a scenario, with nothing measured yet.
    pub fn of(scenario: &'static str) -> Measured {
        // There is no other: a scheduler answers once its commit is fsynced.
        let durability = "fsynced";
        Measured { scenario, durability, hardware: hardware(), commit: commit(), ..Measured::default() }
    }

    /// Prints it for people.
    pub fn print(&self, output: &mut Output) -> anyhow::Result<()> {
        output.line(format!(
            "{} {} ({}, {}, {})",
            self.scenario, self.variant, self.hardware, self.commit, self.durability
        ))?;
        for (name, Figure { median, min, max, unit }) in self.figures.iter().chain(&self.limits) {
            let what = if self.limits.contains_key(name) { "limit  " } else { "" };
            output
                .line(format!("  {what}{name:<24} {median:>16.3} {unit:<8} (min {min:.3}, max {max:.3})"))?;
        }
        for (name, ratio) in &self.ratios {
            output.line(format!("  ratio  {name:<24} {ratio:>16.3}"))?;
        }
        Ok(())
    }
}

/// The processor and how many of its cores there are, in words.
fn hardware() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    format!("{model}, {cores} cores")
}

/// The commit that this binary was built from, when the build knew it (`HEADWATER_COMMIT`), or the version.
fn commit() -> &'static str {
    option_env!("HEADWATER_COMMIT").unwrap_or(concat!("v", env!("CARGO_PKG_VERSION")))
}

/// The value below which this part of all values lies, from 0 to 1; of at least one value, in order.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted[at.min(sorted.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_its_middle_and_its_ends() {
        let figure = Figure::of(vec![3.0, 1.0, 2.0], "s");
        assert_eq!(figure, Figure { median: 2.0, min: 1.0, max: 3.0, unit: "s" });
        assert_eq!(Figure::of(vec![4.0, 1.0, 2.0, 3.0], "s").median, 2.5);
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let at = |part| quantile(&values, part);
        assert_eq!((at(0.0), at(0.5), at(0.99), at(1.0)), (1.0, 51.0, 100.0, 100.0));
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }
}

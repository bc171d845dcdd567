//! A run beside an earlier one: ratio by ratio, and figure by figure where there is no ratio.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::figures::Measured;

/// What changes less is called the same. Two runs of one commit on the machine that the first figures are
/// from (2 cores, shared) differed by up to this.
const NOISE: f64 = 0.1;

/// What a line of a run's JSON says, as far as it is compared.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    scenario: String,
    variant: String,
    params: BTreeMap<String, Value>,
    figures: BTreeMap<String, Median>,
    #[serde(default)]
    ratios: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Median {
    median: f64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Comparison {
    Ratio,
    Figure,
    Params,
    Variant,
    Scenario,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Better,
    Same,
    Worse,
    /// They are not the same, and neither is better.
    Differs,
    /// The earlier run does not have it.
    New,
    /// This run does not have it.
    Missing,
}

/// How something has changed.
#[derive(Debug, PartialEq, Serialize)]
pub struct Change {
    comparison: Comparison,
    scenario: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    before: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    after: Value,
    /// The later by the earlier, less 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<f64>,
    verdict: Verdict,
}

impl Line {
    /// Reads what a run printed with `--json`. What is no measurement in it (samples, comparisons) is left out.
    pub fn read_all(file: &Path) -> anyhow::Result<Vec<Line>> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the earlier run in {}", file.display()))?;
        let mut lines = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let value: Value = serde_json::from_str(line)
                .with_context(|| format!("line {} of {} is no JSON", at + 1, file.display()))?;
            if value.get("figures").is_some() {
                lines.push(serde_json::from_value(value)?);
            }
        }
        anyhow::ensure!(
            !lines.is_empty(),
            "{} holds no measurement: give --compare what `headwater bench … --json` printed",
            file.display()
        );
        Ok(lines)
    }

    /// What a line of this would say.
    pub fn of(measured: &Measured) -> anyhow::Result<Line> {
        Ok(serde_json::from_value(serde_json::to_value(measured)?)?)
    }

    fn is_of(&self, other: &Line) -> bool {
        self.scenario == other.scenario && self.variant == other.variant
    }

    fn change(&self, comparison: Comparison, name: &str, verdict: Verdict) -> Change {
        Change {
            comparison,
            scenario: self.scenario.clone(),
            variant: self.variant.clone(),
            name: name.to_owned(),
            before: Value::Null,
            after: Value::Null,
            change: None,
            verdict,
        }
    }

    fn medians(&self) -> BTreeMap<String, f64> {
        self.figures.iter().map(|(name, figure)| (name.clone(), figure.median)).collect()
    }
}

/// All that can be said of a run beside an earlier one, in the later one's order.
pub fn changes(earlier: &[Line], later: &[Line]) -> Vec<Change> {
    let mut changes = Vec::new();
    for line in later {
        match earlier.iter().find(|before| before.is_of(line)) {
            Some(before) => changes.extend(changes_of(before, line)),
            None => changes.push(line.change(Comparison::Variant, "", Verdict::New)),
        }
    }
    let mut scenarios = BTreeSet::new();
    for before in earlier.iter().filter(|before| !later.iter().any(|line| line.is_of(before))) {
        if later.iter().any(|line| line.scenario == before.scenario) {
            changes.push(before.change(Comparison::Variant, "", Verdict::Missing));
        } else if scenarios.insert(&before.scenario) {
            let missing = before.change(Comparison::Scenario, "", Verdict::Missing);
            changes.push(Change { variant: String::new(), ..missing });
        }
    }
    changes
}

fn changes_of(before: &Line, after: &Line) -> Vec<Change> {
    let mut changes = Vec::new();
    let names: BTreeSet<&String> = before.params.keys().chain(after.params.keys()).collect();
    for name in names.into_iter().filter(|name| !is_outcome(name)) {
        let (before, after_value) = (before.params.get(name), after.params.get(name));
        if before != after_value {
            let differs = after.change(Comparison::Params, name, Verdict::Differs);
            let value = |value: Option<&Value>| value.cloned().unwrap_or_default();
            changes.push(Change { before: value(before), after: value(after_value), ..differs });
        }
    }
    compare(&mut changes, after, Comparison::Ratio, &before.ratios, &after.ratios);
    let without_ratio = |line: &Line| {
        let mut medians = line.medians();
        medians.retain(|name, _| !before.ratios.contains_key(name) && !after.ratios.contains_key(name));
        medians
    };
    compare(&mut changes, after, Comparison::Figure, &without_ratio(before), &without_ratio(after));
    changes
}

fn compare(
    changes: &mut Vec<Change>,
    line: &Line,
    comparison: Comparison,
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        let change = old.zip(new).map(|(old, new)| new / old - 1.0);
        let verdict = match change {
            Some(change) => judged(name, change),
            None if old.is_none() => Verdict::New,
            None => Verdict::Missing,
        };
        let value = |value: Option<&f64>| value.map_or(Value::Null, |value| (*value).into());
        let (before, after) = (value(old), value(new));
        changes.push(Change { before, after, change, ..line.change(comparison, name, verdict) });
    }
}

/// What a run finds out is no parameter that was given to it.
fn is_outcome(param: &str) -> bool {
    param == "records_per_commit"
}

fn judged(name: &str, change: f64) -> Verdict {
    let more_is_better = name.ends_with("_per_s") || name.ends_with("_cpu_aside");
    match change {
        change if change.abs() <= NOISE => Verdict::Same,
        change if (change > 0.0) == more_is_better => Verdict::Better,
        _ => Verdict::Worse,
    }
}

impl Change {
    /// The cells of its row, for people.
    pub fn row(&self) -> [String; 8] {
        let number = |value: &Value| match value {
            Value::Null => String::new(),
            Value::Number(number) if number.is_f64() => {
                number.as_f64().map_or_else(String::new, |number| format!("{number:.3}"))
            }
            other => other.to_string(),
        };
        [
            self.scenario.clone(),
            self.variant.clone(),
            word(self.comparison),
            self.name.clone(),
            number(&self.before),
            number(&self.after),
            self.change.map_or_else(String::new, |change| format!("{:+.1} %", change * 100.0)),
            word(self.verdict),
        ]
    }
}

/// A variant's name as JSON has it.
fn word(variant: impl Serialize) -> String {
    let value = serde_json::to_value(variant).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(scenario: &str, variant: &str, rest: Value) -> Line {
        let mut line = json!({ "scenario": scenario, "variant": variant, "params": {}, "figures": {} });
        line.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(line).unwrap()
    }

    /// What is compared, its name, and the verdict.
    fn verdicts(earlier: &[Line], later: &[Line]) -> Vec<(Comparison, String, Verdict)> {
        let changes = changes(earlier, later).into_iter();
        changes.map(|change| (change.comparison, change.scenario + &change.name, change.verdict)).collect()
    }

    #[test]
    fn more_a_second_is_better_and_longer_is_worse() {
        let of = |rate: f64, p50: f64, bytes: f64| {
            let ratios = json!({ "records_per_s": rate, "p50_us": p50 });
            let figures = json!({ "records_per_s": { "median": 9.0 }, "rss_bytes": { "median": bytes } });
            line("s.", "v", json!({ "ratios": ratios, "figures": figures }))
        };
        let seen = verdicts(&[of(0.5, 2.0, 100.0)], &[of(0.6, 2.3, 105.0)]);
        let expected = [
            (Comparison::Ratio, "s.p50_us".to_owned(), Verdict::Worse),
            (Comparison::Ratio, "s.records_per_s".to_owned(), Verdict::Better),
            (Comparison::Figure, "s.rss_bytes".to_owned(), Verdict::Same),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_only_one_of_them_has_is_said() {
        let figure = |name: &str| json!({ "figures": { name: { "median": 1.0 } } });
        let earlier = [
            line("a.", "v", figure("x")),
            line("a.", "gone", json!({})),
            line("b.", "v", json!({})),
            line("b.", "w", json!({})),
        ];
        let later = [line("a.", "v", figure("y")), line("a.", "added", json!({}))];
        let expected = [
            (Comparison::Figure, "a.x".to_owned(), Verdict::Missing),
            (Comparison::Figure, "a.y".to_owned(), Verdict::New),
            (Comparison::Variant, "a.".to_owned(), Verdict::New),
            (Comparison::Variant, "a.".to_owned(), Verdict::Missing),
            (Comparison::Scenario, "b.".to_owned(), Verdict::Missing),
        ];
        assert_eq!(verdicts(&earlier, &later), expected);
    }

    #[test]
    fn other_parameters_are_said_and_outcomes_are_none() {
        let of = |records: u64, found: u64| {
            line("a.", "v", json!({ "params": { "records": records, "records_per_commit": found } }))
        };
        let changes = changes(&[of(1, 7)], &[of(2, 8)]);
        assert_eq!(changes[0].row(), ["a.", "v", "params", "records", "1", "2", "", "differs"]);
        assert_eq!(changes.len(), 1);
    }
}

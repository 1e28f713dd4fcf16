//! A figure: what was measured, against what, round by round.

use std::fmt;

use serde_json::{Value, json};

/// What was measured, and what it is measured against in the same rounds.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// What it is measured against.
    pub floor: String,
    /// The two of each round, one after the other.
    pub rounds: Vec<(f64, f64)>,
}

/// How some values are spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// A quarter is below.
    pub lower: f64,
    /// Half is below.
    pub median: f64,
    /// A quarter is above.
    pub upper: f64,
    /// The largest.
    pub max: f64,
}

/// The value below which a share of the samples lies.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
    let index = ((samples.len() - 1) as f64 * share).round() as usize;
    samples[index]
}

/// A count as a factor.
#[allow(clippy::cast_precision_loss, reason = "nothing that is counted here is that large")]
pub fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

impl Spread {
    /// Of some values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        let mut at = |share| percentile(&mut values, share);
        Self { min: at(0.0), lower: at(0.25), median: at(0.5), upper: at(0.75), max: at(1.0) }
    }
}

impl Figure {
    /// One that was measured in rounds.
    pub fn measured(
        name: impl Into<String>,
        unit: &'static str,
        floor: impl Into<String>,
        rounds: Vec<(f64, f64)>,
    ) -> Self {
        Self { name: name.into(), unit, floor: floor.into(), rounds }
    }

    /// One that is counted, or computed, and the same each time.
    pub fn counted(
        name: impl Into<String>,
        unit: &'static str,
        value: f64,
        floor: impl Into<String>,
        floor_value: f64,
    ) -> Self {
        Self::measured(name, unit, floor, vec![(value, floor_value)])
    }

    fn values(&self) -> (Spread, Spread, Spread) {
        let of = |value: fn(&(f64, f64)) -> f64| Spread::of(self.rounds.iter().map(value));
        (of(|round| round.0), of(|round| round.1), of(|round| round.0 / round.1))
    }

    /// The figure for programs.
    pub fn to_json(&self) -> Value {
        let (value, floor, ratio) = self.values();
        let spread = |of: Spread| json!({ "min": of.min, "lower": of.lower, "median": of.median, "upper": of.upper, "max": of.max });
        json!({
            "name": self.name, "unit": self.unit, "value": spread(value), "ratio": spread(ratio),
            "floor": { "name": self.floor, "value": spread(floor) }, "rounds": self.rounds,
        })
    }
}

/// About three digits.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The head of the table whose rows figures are.
pub const HEAD: &str = "| figure | median | floor or peer | ratio | quartiles | rounds |\n|---|---|---|---|---|---|";

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, floor, ratio) = self.values();
        let Self { name, unit, floor: against, .. } = self;
        write!(f, "| {name} | {} {unit} | {against}: {} {unit} ", short(value.median), short(floor.median))?;
        write!(f, "| {:.2} ", ratio.median)?;
        match self.rounds.len() {
            1 => write!(f, "| | 1 |"),
            rounds => write!(f, "| {:.2} … {:.2} | {rounds} |", ratio.lower, ratio.upper),
        }
    }
}

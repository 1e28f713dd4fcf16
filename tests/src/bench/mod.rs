//! Benchmarks. Machines are noisy: read the ratios.

pub mod check;
pub mod effective;
pub mod emergency;
pub mod functions;
pub mod settle;
pub mod sign_out;
pub mod whole_check;

use std::fmt;

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much it was.
    pub value: String,
    /// What it is measured against.
    pub floor: String,
    /// How they compare.
    pub ratio: String,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} | {} |", self.name, self.value, self.floor, self.ratio)
    }
}

/// The value below which a share of the samples lies.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
    let index = ((samples.len() - 1) as f64 * share).round() as usize;
    samples[index]
}

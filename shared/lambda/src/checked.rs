//! What every function notes of a check, in one place, so that one alarm counts them all.

use domain::inspect::Inspected;
use domain::time::Clock;

use crate::metrics::{self, Unit};

/// Logs a refusal; logs and counts a decision that was reached the slow way (`[CHECK-3]`).
pub fn report(clock: &dyn Clock, inspected: &Inspected) {
    if let Some(degraded) = &inspected.degraded {
        tracing::warn!(?degraded, "the denylist was asked the slow way");
        metrics::emit(clock, "DegradedChecks", Unit::Count, 1, &[]);
    }
    if let Err(why) = &inspected.verdict {
        tracing::info!(?why, "a token was refused");
    }
}

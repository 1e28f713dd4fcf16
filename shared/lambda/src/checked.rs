//! What every function notes of a check, in one place, so that one alarm counts them all.

use domain::cutoff::Scope;
use domain::decision::Refusal;
use domain::inspect::{Inactive, Inspected};
use domain::time::Clock;

use crate::metrics::{self, Unit};

/// Logs a refusal; logs and counts a decision that was reached the slow way (`[CHECK-3]`).
pub fn report(clock: &dyn Clock, inspected: &Inspected) {
    if let Some(degraded) = &inspected.degraded {
        tracing::warn!(?degraded, "the denylist was asked the slow way");
        metrics::emit(clock, "DegradedChecks", Unit::Count, 1, &[]);
    }
    if let Err(why) = &inspected.verdict {
        let (reason, job) = reason(why);
        tracing::info!(reason, job, "a token was refused");
    }
}

/// Why a token is not good, without the ids of sessions.
fn reason(why: &Inactive) -> (&'static str, Option<&str>) {
    match why {
        Inactive::Unknown => ("nobody knows it", None),
        Inactive::Invalid(why) => (why, None),
        Inactive::Disowned(_) => ("the issuer says no", None),
        Inactive::Refused(Refusal::Expired) => ("expired", None),
        Inactive::Refused(Refusal::SignInTooOld) => ("its sign-in is too old", None),
        Inactive::Refused(Refusal::TokenRevoked) => ("revoked by itself", None),
        Inactive::Refused(Refusal::CutOff(cutoff)) => (cut_off(&cutoff.scope), Some(cutoff.job.as_str())),
    }
}

fn cut_off(scope: &Scope) -> &'static str {
    match scope {
        Scope::Everything => "everything is cut off",
        Scope::Client(_) => "its client is cut off",
        Scope::User(_) => "its user is cut off",
        Scope::UserClient(..) => "its user is cut off at its client",
        Scope::Session(_) => "its sign-in is cut off",
    }
}

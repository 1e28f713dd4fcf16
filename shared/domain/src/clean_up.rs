//! The every-day clean-up (spec §12): old and unused tokens end by ordinary time-based jobs, made through the same
//! door as an admin's.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

use crate::accept::{Accepted, Acceptor, By, Refused, Request};
use crate::conditions::Conditions;
use crate::cutoff::Kinds;
use crate::ids::JobId;
use crate::job::Priority;
use crate::settings::CleanUp;

/// Makes the day's jobs, or finds those that were made before: one for tokens that are too old, one for those unused
/// for too long. A token that is either has to go, and the conditions of one job must all hold.
pub async fn clean_up(acceptor: &Acceptor, policy: CleanUp) -> Result<Vec<JobId>, Refused> {
    // Counted from midnight, so that the same day always asks for the same.
    let today = acceptor.effector.clock.now().date_naive().and_time(NaiveTime::MIN).and_utc();
    let before = |days: Option<u32>| days.map(|days| today - TimeDelta::days(i64::from(days)));
    let too_old = before(policy.max_token_age_days).map(|time| {
        let reason = format!("Daily clean-up: issued before {}", time.format("%Y-%m-%d"));
        ("age", reason, time_based(Some(time), None))
    });
    let unused = before(policy.inactive_days).map(|time| {
        let reason = format!("Daily clean-up: not used since {}", time.format("%Y-%m-%d"));
        ("use", reason, time_based(None, Some(time)))
    });
    let mut jobs = Vec::new();
    for (name, reason, conditions) in [too_old, unused].into_iter().flatten() {
        let idempotency_key = Some(format!("clean-up-{name}-{}", today.format("%Y-%m-%d")));
        let request = Request { reason, idempotency_key, ..Request::of(conditions, Priority::Normal) };
        match acceptor.accept(By::Schedule, request).await?.accepted {
            Accepted::Started { job, .. } | Accepted::Counted { job, .. } => jobs.push(job.id),
        }
    }
    Ok(jobs)
}

fn time_based(created_before: Option<DateTime<Utc>>, last_used_before: Option<DateTime<Utc>>) -> Conditions {
    Conditions::TimeBased { created_before, last_used_before, token_types: Kinds::Both }
}

//! CloudWatch metrics in the embedded metric format: one JSON line in the log is one data point.
//!
//! Source: "Embedded metric format specification", Amazon CloudWatch user guide.

use serde_json::json;

use domain::accounts::refresh::Run;
use domain::close::Closed;
use domain::guard::Guarded;
use domain::ids::JobId;
use domain::notify::{Delivery, Round};
use domain::redrive::Redriven;
use domain::report::Mailed;
use domain::siem::Exported;
use domain::time::Clock;

use crate::config;

const NAMESPACE: &str = "BatchLogout";

/// All metrics that are written. A test holds them to the alarms and the dashboard of `template.yaml`.
pub const NAMES: [&str; 21] = [
    "AccountRefreshFailed",
    "AlertsFailed",
    "AlertsSent",
    "AuditBroken",
    "AuthorizerUnavailable",
    "CacheComplete",
    "CacheEntriesRebuilt",
    "CacheNotSafe",
    "DegradedChecks",
    "EventsExported",
    "EventsSetAside",
    "MailFailed",
    "MailReturned",
    "MailSent",
    "MailStalled",
    "MailUnknown",
    "OpenJobs",
    "StuckJobs",
    "TimeToEffective",
    "TimeToSettled",
    "TokensRevoked",
];

/// What a number counts.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Things.
    Count,
    /// Time.
    Milliseconds,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

/// Writes one data point. Ids are properties, never dimensions: every dimension value is a metric of its own.
pub fn emit(clock: &dyn Clock, name: &str, unit: Unit, value: u64, properties: &[(&str, &str)]) {
    debug_assert!(NAMES.contains(&name), "{name} is not among the metrics");
    println!("{}", line(clock.now().timestamp_millis(), &config::service(), name, unit, value, properties));
}

/// Writes what a job that ended is measured by.
pub fn job_ended(clock: &dyn Clock, closed: &Closed) {
    let job = [("job_id", closed.id.as_str())];
    emit(clock, "TimeToSettled", Unit::Milliseconds, closed.settled_millis, &job);
    if let Some(millis) = closed.effective_millis {
        emit(clock, "TimeToEffective", Unit::Milliseconds, millis, &job);
    }
    emit(clock, "TokensRevoked", Unit::Count, closed.tokens_revoked, &job);
}

/// Writes how many users were told and how many could not be.
pub fn users_told(clock: &dyn Clock, job: &JobId, round: &Round) {
    let job = [("job_id", job.as_str())];
    for (name, value) in told(round) {
        if value > 0 {
            emit(clock, name, Unit::Count, value, &job);
        }
    }
}

/// `[RUN-5]`: mail sent and failed. Users without an address are the directory's business, not the mail's.
fn told(round: &Round) -> [(&'static str, u64); 4] {
    let counted = round.counted;
    [
        ("MailSent", counted.sent),
        ("MailFailed", counted.rejected),
        ("MailUnknown", counted.unknown),
        ("MailStalled", u64::from(round.stalled)),
    ]
}

/// Writes how many auditors were told of a report and how many could not be.
pub fn auditors_told(clock: &dyn Clock, month: &str, mailed: Mailed) {
    let Mailed { sent, rejected, unknown, .. } = mailed;
    for (name, value) in [("MailSent", sent), ("MailFailed", rejected), ("MailUnknown", unknown)] {
        if value > 0 {
            emit(clock, name, Unit::Count, value as u64, &[("report", month)]);
        }
    }
}

/// Writes that a mail did not arrive as it should.
pub fn mail_returned(clock: &dyn Clock, delivery: &Delivery) {
    emit(clock, "MailReturned", Unit::Count, 1, &[("job_id", delivery.mark.job.as_str())]);
}

/// Writes in how many ways the cache cannot be trusted.
pub fn cache_not_safe(clock: &dyn Clock, concerns: usize) {
    emit(clock, "CacheNotSafe", Unit::Count, concerns as u64, &[]);
}

/// Writes how many places of the audit trail were found to be tampered with.
pub fn audit_broken(clock: &dyn Clock, places: usize) {
    emit(clock, "AuditBroken", Unit::Count, places as u64, &[]);
}

/// Writes how many accounts could not be refreshed, for now or for good.
pub fn accounts_refreshed(clock: &dyn Clock, run: &Run) {
    let value = (run.failed + run.refused) as u64;
    if value > 0 {
        emit(clock, "AccountRefreshFailed", Unit::Count, value, &[]);
    }
}

/// Writes how many entries of the audit trail others were told of.
pub fn exported(clock: &dyn Clock, exported: Exported) {
    emit(clock, "EventsExported", Unit::Count, exported.events as u64, &[]);
    emit(clock, "EventsSetAside", Unit::Count, exported.set_aside as u64, &[]);
}

/// Writes whether the security team's mail was sent, or could not be.
pub fn alerted(clock: &dyn Clock, sent: bool, failed: bool) {
    emit(clock, "AlertsSent", Unit::Count, u64::from(sent), &[]);
    emit(clock, "AlertsFailed", Unit::Count, u64::from(failed), &[]);
}

/// Writes how many jobs are open, and how many of them had to be given a push.
pub fn redriven(clock: &dyn Clock, redriven: &Redriven) {
    emit(clock, "OpenJobs", Unit::Count, redriven.looked_at as u64, &[]);
    emit(clock, "StuckJobs", Unit::Count, redriven.stuck as u64, &[]);
}

/// Writes whether the cache was found complete, and what a rebuild wrote.
pub fn cache_guarded(clock: &dyn Clock, guarded: &Guarded) {
    emit(clock, "CacheComplete", Unit::Count, u64::from(*guarded == Guarded::Complete), &[]);
    if let Guarded::Rebuilt { entries } = guarded {
        emit(clock, "CacheEntriesRebuilt", Unit::Count, *entries, &[]);
    }
}

fn line(at: i64, service: &str, name: &str, unit: Unit, value: u64, properties: &[(&str, &str)]) -> serde_json::Value {
    let mut line = json!({
        "_aws": {
            "Timestamp": at,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [[]],
                "Metrics": [{ "Name": name, "Unit": unit.as_str() }],
            }],
        },
        "service": service,
    });
    line[name] = value.into();
    for (property, text) in properties {
        line[*property] = (*text).into();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_5_sent_failed_unknown_and_stalled_are_metrics_of_their_own() {
        let counted = domain::notify::NoticeCounts { sent: 3, rejected: 2, unknown: 1, unaddressed: 9 };
        let round = Round { counted, finished: false, stalled: true };
        assert_eq!(told(&round), [("MailSent", 3), ("MailFailed", 2), ("MailUnknown", 1), ("MailStalled", 1)]);
    }

    #[test]
    fn a_data_point_is_one_line_that_names_its_metric_and_keeps_ids_out_of_the_dimensions() {
        let line = line(7, "auth-api", "DegradedChecks", Unit::Count, 1, &[("job_id", "j1")]);
        let metric = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(metric["Dimensions"], json!([[]]));
        assert_eq!(metric["Metrics"], json!([{ "Name": "DegradedChecks", "Unit": "Count" }]));
        assert_eq!((&line["DegradedChecks"], &line["job_id"]), (&json!(1), &json!("j1")));
    }
}

//! CloudWatch metrics in the embedded metric format: one JSON line in the log is one data point.
//!
//! Source: "Embedded metric format specification", Amazon CloudWatch user guide.

use serde_json::json;

use domain::close::Closed;
use domain::time::Clock;

use crate::config;

const NAMESPACE: &str = "BatchLogout";

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
    println!("{}", line(clock.now().timestamp_millis(), &config::service(), name, unit, value, properties));
}

/// Writes what a job that ended is measured by.
pub fn job_ended(clock: &dyn Clock, closed: &Closed) {
    let job = [("job_id", closed.id.as_str())];
    emit(clock, "TimeToSettled", Unit::Milliseconds, closed.settled_millis, &job);
    emit(clock, "TokensRevoked", Unit::Count, closed.tokens_revoked, &job);
}

/// Writes how many places of the audit trail were found to be tampered with.
pub fn audit_broken(clock: &dyn Clock, places: usize) {
    emit(clock, "AuditBroken", Unit::Count, places as u64, &[]);
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
    fn a_data_point_is_one_line_that_names_its_metric_and_keeps_ids_out_of_the_dimensions() {
        let line = line(7, "auth-api", "DegradedChecks", Unit::Count, 1, &[("job_id", "j1")]);
        let metric = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(metric["Dimensions"], json!([[]]));
        assert_eq!(metric["Metrics"], json!([{ "Name": "DegradedChecks", "Unit": "Count" }]));
        assert_eq!((&line["DegradedChecks"], &line["job_id"]), (&json!(1), &json!("j1")));
    }
}

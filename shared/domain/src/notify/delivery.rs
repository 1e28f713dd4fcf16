//! What the mail service tells of a mail later: that it bounced, was complained about, or was not sent after all.
//!
//! Source: "Contents of event data that Amazon SES publishes to Amazon SNS", Amazon SES developer guide. Only what is
//! needed of it is read; addresses are not.

use serde::Deserialize;

use super::standing::{Mark, Trouble};
use crate::error::WorkError;
use crate::ids::JobId;
use crate::json;

/// The names of a mark's parts, as the mail carries them.
pub const MARK_NAMES: [&str; 3] = ["job", "chunk", "claim"];
/// What SES writes to a topic, once, to see whether it may.
const GREETING: &str = "Successfully validated SNS topic";

/// Something that happened to a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which mail.
    pub mark: Mark,
    /// What happened.
    pub trouble: Trouble,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_type: String,
    mail: Mailed,
}

#[derive(Deserialize)]
struct Mailed {
    #[serde(default)]
    tags: std::collections::HashMap<String, Vec<String>>,
}

impl Mark {
    /// The mark as names and values. A job's and a claim's names are UUIDs: letters, digits and dashes.
    pub fn tags(&self) -> [(&'static str, String); 3] {
        let [job, chunk, claim] = MARK_NAMES;
        [(job, self.job.to_string()), (chunk, self.chunk.to_string()), (claim, self.claim.clone())]
    }
}

impl Delivery {
    /// Whether a message is one of the mail service's.
    pub fn is_one(body: &str) -> bool {
        body.starts_with(GREETING) || body.contains("\"eventType\"")
    }

    /// Reads a message of the mail service.
    pub fn parse(body: &str) -> Result<Self, WorkError> {
        if body.starts_with(GREETING) {
            return Err(WorkError::Drop("the mail service has found its way here".to_owned()));
        }
        let event: Event =
            json::object(body.as_bytes()).map_err(|cause| WorkError::Retry(format!("unreadable event: {cause}")))?;
        let trouble = match event.event_type.as_str() {
            "Bounce" => Trouble::Bounced,
            "Complaint" => Trouble::Complained,
            "Reject" => Trouble::Refused,
            other => return Err(WorkError::Drop(format!("nothing is to be done for the event {other:?}"))),
        };
        let value = |name| event.mail.tags.get(name).and_then(|values| values.first()).cloned();
        let [job, chunk, claim] = MARK_NAMES.map(value);
        let mark =
            job.and_then(|job| JobId::parse(job).ok()).zip(chunk.and_then(|chunk| chunk.parse().ok())).zip(claim);
        let ((job, chunk), claim) =
            mark.ok_or_else(|| WorkError::Drop("the event is of no notice of ours".to_owned()))?;
        Ok(Self { mark: Mark { job, chunk, claim }, trouble })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::collections::HashMap;

    use super::*;

    fn event(kind: &str, tags: &serde_json::Value) -> String {
        let destination = ["kim@example.com"];
        serde_json::json!({ "eventType": kind, "mail": { "messageId": "m", "destination": destination, "tags": tags } })
            .to_string()
    }

    #[test]
    fn mail_3_an_event_names_its_notice_by_what_the_mail_carried() {
        let mark = Mark { job: JobId::parse("j-1").unwrap(), chunk: 7, claim: "c-9".to_owned() };
        let tags =
            serde_json::json!(mark.tags().map(|(name, value)| (name, [value])).into_iter().collect::<HashMap<_, _>>());
        for (kind, trouble) in
            [("Bounce", Trouble::Bounced), ("Complaint", Trouble::Complained), ("Reject", Trouble::Refused)]
        {
            let body = event(kind, &tags);
            assert!(Delivery::is_one(&body));
            assert_eq!(Delivery::parse(&body).unwrap(), Delivery { mark: mark.clone(), trouble });
        }
    }

    #[test]
    fn what_is_no_trouble_of_a_notice_is_dropped_and_what_cannot_be_read_is_kept() {
        let ours = serde_json::json!({ "job": ["j"], "chunk": ["0"], "claim": ["c"] });
        for body in [
            event("Delivery", &ours),
            event("Bounce", &serde_json::json!({})),
            event("Bounce", &serde_json::json!({ "job": ["j"], "chunk": ["x"], "claim": ["c"] })),
            event("Bounce", &serde_json::json!({ "job": [], "chunk": ["0"], "claim": ["c"] })),
            format!("{GREETING} for Amazon SES event publishing."),
        ] {
            assert!(Delivery::is_one(&body), "{body}");
            assert!(matches!(Delivery::parse(&body), Err(WorkError::Drop(_))), "{body}");
        }
        assert!(matches!(Delivery::parse("{\"eventType\": 1}"), Err(WorkError::Retry(_))));
        assert!(!Delivery::is_one("{\"v\":1,\"job_id\":\"j\",\"chunk\":0}"));
    }
}

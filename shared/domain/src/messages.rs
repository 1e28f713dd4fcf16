//! What the queues carry.

use serde::{Deserialize, Serialize};

use crate::audit::Entry;
use crate::error::WorkError;
use crate::ids::{JobId, SignInId};
use crate::job::{ChunkRef, NoticeRef};
use crate::json;

/// The version that is written; older ones stay readable.
const VERSION: u8 = 1;

/// A job to plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanMessage {
    v: u8,
    /// The job.
    pub job_id: JobId,
}

/// A chunk to settle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkMessage {
    v: u8,
    /// The chunk.
    pub chunk: ChunkRef,
}

/// Affected users of a chunk to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeMessage {
    v: u8,
    /// Which.
    pub notice: NoticeRef,
}

/// A sign-in of an account whose code is to be exchanged. Nothing secret: the code is kept sealed with the sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeMessage {
    v: u8,
    /// Which.
    pub sign_in: SignInId,
}

/// An entry of the audit that the security team gets by mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertMessage {
    v: u8,
    /// The entry.
    pub entry: Entry,
}

fn parse<M: serde::de::DeserializeOwned>(body: &str, version: impl Fn(&M) -> u8) -> Result<M, WorkError> {
    // What cannot be read ends among the dead letters, where somebody sees it.
    let message: M =
        json::object(body.as_bytes()).map_err(|cause| WorkError::Retry(format!("unreadable message: {cause}")))?;
    match version(&message) {
        VERSION => Ok(message),
        other => Err(WorkError::Retry(format!("message version {other} is not known"))),
    }
}

impl PlanMessage {
    /// A message in the current version.
    pub fn new(job_id: JobId) -> Self {
        Self { v: VERSION, job_id }
    }

    /// Reads a message body.
    pub fn parse(body: &str) -> Result<Self, WorkError> {
        parse(body, |message: &Self| message.v)
    }
}

impl ChunkMessage {
    /// A message in the current version.
    pub fn new(chunk: ChunkRef) -> Self {
        Self { v: VERSION, chunk }
    }

    /// Reads a message body.
    pub fn parse(body: &str) -> Result<Self, WorkError> {
        parse(body, |message: &Self| message.v)
    }
}

impl NoticeMessage {
    /// A message in the current version.
    pub fn new(notice: NoticeRef) -> Self {
        Self { v: VERSION, notice }
    }

    /// Reads a message body.
    pub fn parse(body: &str) -> Result<Self, WorkError> {
        parse(body, |message: &Self| message.v)
    }
}

impl ExchangeMessage {
    /// A message in the current version.
    pub fn new(sign_in: SignInId) -> Self {
        Self { v: VERSION, sign_in }
    }

    /// Reads a message body.
    pub fn parse(body: &str) -> Result<Self, WorkError> {
        parse(body, |message: &Self| message.v)
    }
}

impl AlertMessage {
    /// A message in the current version.
    pub fn new(entry: Entry) -> Self {
        Self { v: VERSION, entry }
    }

    /// Reads a message body.
    pub fn parse(body: &str) -> Result<Self, WorkError> {
        parse(body, |message: &Self| message.v)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use chrono::Utc;

    use super::*;
    use crate::audit::{Action, Level, Origin};
    use crate::directory::Actor;

    fn check<M: Serialize + PartialEq + std::fmt::Debug>(message: &M, parse: fn(&str) -> Result<M, WorkError>) {
        let text = serde_json::to_string(message).unwrap();
        assert_eq!(&parse(&text).unwrap(), message);
        let later = text.replacen("\"v\":1", "\"v\":2", 1);
        assert_ne!(later, text, "the version is in it");
        for other in [&later, &text.replacen('{', "{\"more\":0,", 1), "{}", "", &text[1..]] {
            assert!(matches!(parse(other), Err(WorkError::Retry(_))), "{other}");
        }
    }

    #[test]
    fn what_is_sent_can_be_read_and_what_a_later_version_sends_waits_for_it() {
        let (job_id, first_user) = (JobId::parse("작업").unwrap(), None);
        check(&PlanMessage::new(job_id.clone()), PlanMessage::parse);
        let chunk = ChunkRef { job_id: job_id.clone(), number: 7, first_user };
        check(&ChunkMessage::new(chunk), ChunkMessage::parse);
        let notice = NoticeRef { job_id: job_id.clone(), chunk: 7, after: None };
        check(&NoticeMessage::new(notice), NoticeMessage::parse);
        check(&ExchangeMessage::new(SignInId::parse("s").unwrap()), ExchangeMessage::parse);
        let entry = Entry {
            id: "e".to_owned(),
            at: chrono::DateTime::<Utc>::UNIX_EPOCH,
            action: Action::AuditChainBroken,
            level: Level::Critical,
            actor: Actor::schedule(),
            job_id: Some(job_id),
            success: false,
            metadata: serde_json::Value::Null,
            origin: Origin::default(),
        };
        check(&AlertMessage::new(entry), AlertMessage::parse);
    }
}

//! The security team's mail (`[AUDIT-3]`, `[EKEY-2]`): one for each critical entry.
//!
//! A missed alert is worse than a second one: a mail whose fate is not known is sent again. What comes again although
//! it was sent, as the stream or the queue may deliver twice, is not.

use std::sync::Arc;

use chrono::TimeDelta;

use crate::audit::{Action, Entry};
use crate::conditions::Conditions;
use crate::error::{PortError, WorkError};
use crate::ids::JobId;
use crate::mail::{Mail, Mailer};
use crate::notice::Notice;
use crate::ports::{JobStore, PortResult};
use crate::settings::SecurityTeam;

/// How long a mail is held back, so that the request that starts an emergency can make it effective and the mail can
/// say so.
pub const HELD_BACK: TimeDelta = TimeDelta::seconds(5);

/// Tells the security team.
#[derive(Clone)]
pub struct Alerter {
    /// Jobs, and which entries were told.
    pub jobs: Arc<dyn JobStore>,
    /// Mail.
    pub mailer: Arc<dyn Mailer>,
    /// Who is told, if anybody is.
    pub team: Option<SecurityTeam>,
}

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alerted {
    /// It was sent.
    Sent,
    /// It was sent before.
    Before,
    /// There is no security team.
    Nobody,
}

impl Alerter {
    /// Mails one entry.
    pub async fn tell(&self, entry: &Entry) -> Result<Alerted, WorkError> {
        let Some(team) = &self.team else {
            tracing::warn!(entry = entry.id, action = entry.action.as_str(), "no security team is configured");
            return Ok(Alerted::Nobody);
        };
        let corrupt = |cause: crate::ids::InvalidId| PortError::Corrupt { service: "alerts", cause: cause.to_string() };
        let mark = JobId::parse(format!("alert-{}", entry.id)).map_err(corrupt)?;
        if self.jobs.checkpoint(&mark, 0).await?.is_some() {
            return Ok(Alerted::Before);
        }
        let mail = self.mail(entry, team).await?;
        self.mailer.send(&mail).await?;
        // From here on nothing may fail: the message would come again, and the mail with it.
        if let Err(error) = self.jobs.save_checkpoint(&mark, 0, "sent").await {
            tracing::warn!(entry = entry.id, %error, "it could not be noted that an alert was mailed");
        }
        Ok(Alerted::Sent)
    }

    async fn mail(&self, entry: &Entry, team: &SecurityTeam) -> PortResult<Mail> {
        let job = match &entry.job_id {
            Some(id) if entry.action == Action::BatchLogoutInitiated => self.jobs.get(id).await?,
            _ => None,
        };
        let locale = team.locale.as_deref();
        if let Some(job) = &job
            && let Conditions::Emergency { authorized_by, .. } = &job.conditions
        {
            let notice = Notice::SecurityAlert {
                job: &job.id,
                actor: &job.initiated_by,
                reason: &job.reason,
                authorized_by,
                at: job.created_at,
                effective: job.effective_at.is_some(),
            };
            return Ok(notice.mail(&team.address, locale));
        }
        let details = entry.metadata.as_object().map(|details| {
            let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            details.iter().map(|(name, value)| (name.clone(), text(value))).collect::<Vec<_>>()
        });
        let notice = Notice::SecurityEvent {
            action: entry.action,
            entry: &entry.id,
            job: entry.job_id.as_ref(),
            actor: &entry.actor,
            at: entry.at,
            details: &details.unwrap_or_default(),
        };
        Ok(notice.mail(&team.address, locale))
    }
}

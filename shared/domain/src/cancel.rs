//! Cancelling a job (`[API-7]`): after the answer no further chunk starts, and every row is accounted for.
//!
//! A worker reads the job's state before each page, so that a page that begins after the cancel is left alone; what is
//! left is counted by the same workers, until what was revoked and what was not add up to what was planned.

use std::sync::Arc;

use crate::accept::validate::{self, REASON_CHARS};
use crate::accept::{FieldError, Refused};
use crate::audit::{Action, Auditor, Entry, Level, Origin};
use crate::close;
use crate::directory::User;
use crate::error::PortError;
use crate::ids::JobId;
use crate::job::{Cancelled, Job, Tally};
use crate::permissions::Permission;
use crate::ports::{JobStore, Step};
use crate::time::Clock;

/// How often a cancel that lost a race with the job's own progress is tried again: a job has two open states.
const TRIES: usize = 4;

/// What cancelling needs.
#[derive(Clone)]
pub struct Canceller {
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// The audit trail.
    pub auditor: Auditor,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Why a job was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum NotCancelled {
    /// The caller may not, or the reason is too short.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is no such job.
    #[error("there is no such job")]
    Unknown,
    /// It has ended already.
    #[error("the job is {0} already; only pending and processing jobs can be cancelled")]
    Ended(&'static str),
}

impl From<PortError> for NotCancelled {
    fn from(error: PortError) -> Self {
        Self::Refused(error.into())
    }
}

impl Canceller {
    /// Stops a job, and says what it had done by then.
    pub async fn cancel(
        &self,
        caller: &User,
        id: &JobId,
        reason: &str,
        origin: &Origin,
    ) -> Result<(Job, Tally), NotCancelled> {
        let wanted = Permission::Cancel;
        if !caller.may(wanted) {
            let metadata = serde_json::json!({ "asked_for": "cancel" });
            self.auditor.refused(Action::PermissionDenied, caller, Some(id), origin, metadata).await;
            return Err(Refused::Forbidden(wanted.as_str()).into());
        }
        let invalid = |error: FieldError| Refused::Invalid(vec![error]);
        validate::reason(reason, &REASON_CHARS).map_err(invalid)?;
        for _ in 0..TRIES {
            let job = self.jobs.get(id).await?.ok_or(NotCancelled::Unknown)?;
            if !job.status.is_open() {
                return Err(NotCancelled::Ended(job.status.as_str()));
            }
            let by = caller.into();
            let cancelled = Cancelled { at: self.clock.now(), by, reason: reason.to_owned() };
            let entry = self.auditor.entry(Action::BatchLogoutCancelled, caller.into(), Some(id.clone()), origin);
            let level = Level::of(&job, Some(job.plan.users));
            let entry = Entry { level, metadata: serde_json::json!({ "reason": reason }), ..entry };
            if self.jobs.cancel(id, job.status, &cancelled, &entry).await? == Step::Lost {
                continue;
            }
            close::try_close(self.jobs.as_ref(), self.clock.as_ref(), id).await?;
            let job = self.jobs.get(id).await?.ok_or(NotCancelled::Unknown)?;
            return Ok((job, self.jobs.tally(id).await?));
        }
        let cause = "the job kept changing its state".to_owned();
        Err(PortError::Unavailable { service: "jobs", cause }.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::ids::{GroupId, UserId};
    use crate::ports::NewJob;
    use crate::testing::{Memory, SeededIds, TestClock, contract};
    use crate::time::from_millis;

    #[tokio::test]
    async fn api_7_a_job_is_cancelled_once_and_never_while_its_store_is_silent() {
        let (store, clock) = (Arc::new(Memory::default()), Arc::new(TestClock::at(from_millis(0))));
        let auditor = Auditor { log: store.clone(), clock: clock.clone(), ids: Arc::new(SeededIds::new(1)) };
        let canceller = Canceller { jobs: store.clone(), auditor, clock: clock.clone() };
        let admin = UserId::parse("admin").unwrap();
        let admin = User { permissions: vec!["batch_logout:cancel".to_owned()], ..User::unknown(admin) };
        let job = contract::job("job", &GroupId::parse("g").unwrap(), clock.now());
        store.create(NewJob::plain(&job)).await.unwrap();
        let (origin, reason) = (Origin::default(), "잘못된 그룹을 골랐습니다");
        let cancel = async |id: &str| canceller.cancel(&admin, &JobId::parse(id).unwrap(), reason, &origin).await;

        store.set_down(true);
        assert!(matches!(cancel("job").await, Err(NotCancelled::Refused(Refused::Port(_)))));
        store.set_down(false);
        assert!(matches!(cancel("another").await, Err(NotCancelled::Unknown)));
        assert_eq!(cancel("job").await.unwrap().0.cancelled.unwrap().reason, reason);
        assert!(matches!(cancel("job").await, Err(NotCancelled::Ended("cancelled"))));
        assert_eq!(store.audit_size(), 1);
    }
}

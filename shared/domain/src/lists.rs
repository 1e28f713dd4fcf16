//! Lists of jobs, of affected users and of a job's audit entries, page by page (`[API-9]`). Cursors are sealed, so that nobody can forge one or
//! take it to another list.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use crate::audit::{JobTrail, TrailLine};
use crate::conditions::JobType;
use crate::directory::User;
use crate::error::PortError;
use crate::ids::{JobId, UserId};
use crate::job::{Facts, Job, Status, Tally};
use crate::permissions::Permission;
use crate::ports::{Affected, JobStore, PortResult};
use crate::time::Clock;
use crate::vault::Vault;

/// How long a cursor is good, in seconds.
const CURSOR_SECONDS: i64 = 24 * 3_600;
/// Jobs looked at, and chunks, before a page is handed out shorter than asked for: a rare filter must not take the
/// request's time.
const LOOKED_AT: usize = 500;
/// Jobs read at a time.
const STEP: usize = 100;
const TALLIES_AT_ONCE: usize = 16;

/// Which jobs are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// In this state.
    pub status: Option<Status>,
    /// Of this kind.
    pub job_type: Option<JobType>,
    /// Of this actor.
    pub initiated_by: Option<UserId>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum NoPage {
    /// The cursor is not one of this list, or is too old.
    #[error("is no cursor of this list, or older than a day; begin without one")]
    Cursor,
    /// There is no such job, or it is not the caller's to see.
    #[error("there is no such job, or it is not yours to see")]
    Unknown,
    /// The caller may not see such a list.
    #[error("{} is required", .0.as_str())]
    Forbidden(Permission),
    /// A store did not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// Asks for the next page; none on the last.
    pub next_cursor: Option<String>,
}

/// A line of the list of affected users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AffectedLine {
    /// A user.
    User(Affected),
    /// All service tokens together (`[SCOPE-7]`).
    Service(Facts),
}

#[derive(Debug, Serialize, Deserialize)]
struct Cursor<T> {
    at: T,
    expires_at: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct AffectedPlace {
    chunk: u32,
    after: Option<UserId>,
}

/// Reads lists.
#[derive(Clone)]
pub struct Lister {
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// What was written down of them.
    pub trail: Arc<dyn JobTrail>,
    /// Seals cursors.
    pub vault: Arc<dyn Vault>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Lister {
    /// A job and its numbers, for those with `batch_logout:view` and for whoever made it; another's job looks like one
    /// that is not there.
    pub async fn job(&self, caller: &User, id: &JobId) -> Result<(Job, Tally), NoPage> {
        let job = self.jobs.get(id).await?.ok_or(NoPage::Unknown)?;
        if !caller.may(Permission::View) && job.initiated_by.id != caller.id {
            return Err(NoPage::Unknown);
        }
        let tally = self.jobs.tally(id).await?;
        Ok((job, tally))
    }

    /// Jobs, newest first; without `batch_logout:view` only the caller's own.
    pub async fn jobs(
        &self,
        caller: &User,
        mut filter: Filter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Listed<(Job, Tally)>, NoPage> {
        if !caller.may(Permission::View) {
            if filter.initiated_by.as_ref().is_some_and(|wanted| wanted != &caller.id) {
                return Ok(Listed { items: Vec::new(), next_cursor: None });
            }
            filter.initiated_by = Some(caller.id.clone());
        }
        let purpose = purpose("jobs", &(&caller.id, &filter))?;
        let mut after: Option<(i64, JobId)> = self.open(&purpose, cursor).await?;
        // Without a condition that the index does not know, one more than wanted tells whether there are more.
        let unconditional = filter.status.is_none() && filter.job_type.is_none();
        let step = if unconditional { limit + 1 } else { STEP };
        let (mut items, mut looked_at, mut more) = (Vec::new(), 0, true);
        while more && items.len() < limit && looked_at < LOOKED_AT {
            let page = self.jobs.jobs_by_time(filter.initiated_by.as_ref(), after.as_ref(), step).await?;
            more = page.len() == step;
            for job in page {
                if items.len() == limit {
                    more = true;
                    break;
                }
                looked_at += 1;
                after = Some((job.created_at.timestamp_millis(), job.id.clone()));
                let wanted = filter.status.is_none_or(|status| job.status == status)
                    && filter.job_type.is_none_or(|job_type| job.conditions.job_type() == job_type);
                if wanted {
                    items.push(job);
                }
            }
        }
        let items: Vec<(Job, Tally)> = stream::iter(items)
            .map(|job| async move {
                let tally = self.jobs.tally(&job.id).await?;
                Ok::<_, PortError>((job, tally))
            })
            .buffered(TALLIES_AT_ONCE)
            .try_collect()
            .await?;
        let next_cursor = match after {
            Some(after) if more => Some(self.seal(&purpose, after).await?),
            _ => None,
        };
        Ok(Listed { items, next_cursor })
    }

    /// Who lost what to a job: users chunk by chunk, then all service tokens in one line.
    pub async fn affected(
        &self,
        caller: &User,
        id: &JobId,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Listed<AffectedLine>, NoPage> {
        let (job, tally) = self.job(caller, id).await?;
        let purpose = purpose("affected", &(&caller.id, id))?;
        let mut place: AffectedPlace = self.open(&purpose, cursor).await?.unwrap_or_default();
        let mut items = Vec::new();
        let mut looked_at = 0;
        while place.chunk < job.plan.chunks {
            let wanted = limit - items.len();
            if wanted == 0 || looked_at == LOOKED_AT {
                return Ok(Listed { items, next_cursor: Some(self.seal(&purpose, place).await?) });
            }
            looked_at += 1;
            let found = self.jobs.affected_users(id, place.chunk, place.after.as_ref(), wanted).await?;
            if found.len() < wanted {
                place = AffectedPlace { chunk: place.chunk + 1, after: None };
            } else {
                place.after = found.last().map(|last| last.user.clone());
            }
            items.extend(found.into_iter().map(AffectedLine::User));
        }
        let service = tally.statistics.service;
        if !service.is_nothing() && !job.dry_run {
            if items.len() == limit {
                return Ok(Listed { items, next_cursor: Some(self.seal(&purpose, place).await?) });
            }
            items.push(AffectedLine::Service(service));
        }
        Ok(Listed { items, next_cursor: None })
    }

    /// What was written down of a job, newest first.
    pub async fn trail(
        &self,
        caller: &User,
        id: &JobId,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Listed<TrailLine>, NoPage> {
        if !caller.may(Permission::View) {
            return Err(NoPage::Forbidden(Permission::View));
        }
        self.jobs.get(id).await?.ok_or(NoPage::Unknown)?;
        let purpose = purpose("trail", &(&caller.id, id))?;
        let from: Option<String> = self.open(&purpose, cursor).await?;
        let page = self.trail.of_job(id, from.as_deref(), limit).await?;
        let mut items: Vec<TrailLine> = page.items.into_iter().map(Into::into).collect();
        // The two writings of one entry have the same time, and so stand side by side.
        items.dedup_by(|later, earlier| later.id().is_some() && later.id() == earlier.id());
        let next_cursor = match page.next {
            Some(next) => Some(self.seal(&purpose, next).await?),
            None => None,
        };
        Ok(Listed { items, next_cursor })
    }

    async fn open<T: serde::de::DeserializeOwned>(
        &self,
        purpose: &str,
        cursor: Option<&str>,
    ) -> Result<Option<T>, NoPage> {
        let Some(cursor) = cursor else { return Ok(None) };
        let opened = self.vault.open(purpose, cursor).await?.ok_or(NoPage::Cursor)?;
        let cursor: Cursor<T> = serde_json::from_slice(&opened.plain).map_err(|_| NoPage::Cursor)?;
        if cursor.expires_at <= self.clock.now().timestamp() {
            return Err(NoPage::Cursor);
        }
        Ok(Some(cursor.at))
    }

    async fn seal<T: Serialize>(&self, purpose: &str, at: T) -> PortResult<String> {
        let cursor = Cursor { at, expires_at: self.clock.now().timestamp() + CURSOR_SECONDS };
        self.vault.seal(purpose, &json(&cursor)?).await
    }
}

/// What a cursor is sealed for: one list of one caller.
fn purpose(list: &str, of: &impl Serialize) -> PortResult<String> {
    Ok(format!("cursor:{list}:{}", String::from_utf8_lossy(&json(of)?)))
}

fn json(value: &impl Serialize) -> PortResult<Vec<u8>> {
    serde_json::to_vec(value).map_err(|cause| PortError::Corrupt { service: "cursor", cause: cause.to_string() })
}

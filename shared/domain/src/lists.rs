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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::audit::{Action, AuditLog, Entry, Level, Origin};
    use crate::directory::Actor;
    use crate::ids::GroupId;
    use crate::job::{ChunkResult, Fate, PlanCursor, Statistics};
    use crate::ports::NewJob;
    use crate::testing::{Memory, MemoryVault, TestClock, contract};
    use crate::token::Owner;

    const LOST: Facts = Facts { access_tokens: 1, refresh_tokens: 1, sessions: 1 };

    fn now() -> DateTime<Utc> {
        crate::time::from_millis(1_900_000_000_000)
    }

    fn viewer(name: &str) -> User {
        User { permissions: vec!["batch_logout:view".to_owned()], ..nobody(name) }
    }

    fn nobody(name: &str) -> User {
        User::unknown(UserId::parse(name).unwrap())
    }

    fn id(name: &str) -> JobId {
        JobId::parse(name).unwrap()
    }

    struct Scene {
        store: Arc<Memory>,
        clock: Arc<TestClock>,
        lister: Lister,
    }

    impl Scene {
        fn new() -> Self {
            let (store, clock) = (Arc::new(Memory::default()), Arc::new(TestClock::at(now())));
            let lister = Lister {
                jobs: store.clone(),
                trail: store.clone(),
                vault: Arc::new(MemoryVault::default()),
                clock: clock.clone(),
            };
            Self { store, clock, lister }
        }

        /// A job of so many chunks; these users of these chunks lost something, and so did service tokens.
        async fn job(&self, name: &str, by: &str, chunks: u32, lost: &[(u32, &str)], is_dry: bool) {
            let job = contract::job(name, &GroupId::parse("g").unwrap(), now());
            let by = Actor { id: UserId::parse(by).unwrap(), ..job.initiated_by.clone() };
            let plan = PlanCursor { chunks, frozen: true, ..PlanCursor::default() };
            let job = Job { initiated_by: by, plan, dry_run: is_dry, ..job };
            self.store.create(NewJob::plain(&job)).await.unwrap();
            for (chunk, user) in lost {
                let owner = Owner::User(UserId::parse(*user).unwrap());
                self.store.record_affected(&job.id, *chunk, Fate::Lost, &[(owner, LOST)], now()).await.unwrap();
            }
            let result = ChunkResult::done(Statistics { service: LOST, ..Statistics::default() });
            self.store.commit_chunk(&job.id, 0, None, result).await.unwrap();
        }

        async fn affected(&self, limit: usize, cursor: Option<&str>) -> Result<Listed<AffectedLine>, NoPage> {
            self.lister.affected(&viewer("v"), &id("job"), limit, cursor).await
        }
    }

    #[tokio::test]
    async fn api_9_every_affected_user_comes_once_whatever_the_pages_and_all_service_tokens_come_last() {
        let scene = Scene::new();
        scene.job("job", "admin", 4, &[(0, "a"), (0, "b"), (0, "c"), (2, "d")], false).await;
        for limit in 1..7 {
            let (mut lines, mut cursor) = (Vec::new(), None);
            loop {
                let page = scene.affected(limit, cursor.as_deref()).await.unwrap();
                assert!(page.items.len() <= limit);
                lines.extend(page.items.into_iter().map(|line| match line {
                    AffectedLine::User(affected) => affected.user.to_string(),
                    AffectedLine::Service(facts) => format!("{facts:?}"),
                }));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(lines, ["a", "b", "c", "d", &format!("{LOST:?}")], "{limit} at a time");
        }
        scene.job("dry", "admin", 1, &[], true).await;
        let dry = scene.lister.affected(&viewer("v"), &id("dry"), 9, None).await.unwrap();
        assert!(dry.items.is_empty(), "a dry run takes no service tokens, either");
    }

    #[tokio::test]
    async fn api_9_a_request_looks_at_so_many_chunks_and_no_more() {
        let scene = Scene::new();
        let many = u32::try_from(LOOKED_AT).unwrap();
        scene.job("job", "admin", many + 1, &[(many, "last")], false).await;
        let first = scene.affected(10, None).await.unwrap();
        assert!(first.items.is_empty() && first.next_cursor.is_some(), "an empty page, and not the last");
        let second = scene.affected(10, first.next_cursor.as_deref()).await.unwrap();
        assert!(second.items.len() == 2 && second.next_cursor.is_none());
    }

    #[tokio::test]
    async fn api_9_a_cursor_is_good_for_its_own_list_its_own_caller_and_a_day() {
        let scene = Scene::new();
        scene.job("job", "admin", 1, &[(0, "a"), (0, "b")], false).await;
        scene.job("other", "admin", 1, &[(0, "a"), (0, "b")], false).await;
        let cursor = scene.affected(1, None).await.unwrap().next_cursor.unwrap();
        let cursor = Some(cursor.as_str());
        let lister = &scene.lister;
        assert!(matches!(lister.affected(&viewer("v"), &id("other"), 1, cursor).await, Err(NoPage::Cursor)));
        assert!(matches!(lister.affected(&viewer("w"), &id("job"), 1, cursor).await, Err(NoPage::Cursor)));
        assert!(matches!(lister.trail(&viewer("v"), &id("job"), 1, cursor).await, Err(NoPage::Cursor)));
        assert!(matches!(lister.jobs(&viewer("v"), Filter::default(), 1, cursor).await, Err(NoPage::Cursor)));
        assert!(matches!(scene.affected(1, Some("made up")).await, Err(NoPage::Cursor)));
        scene.clock.advance(TimeDelta::seconds(CURSOR_SECONDS - 1));
        assert!(scene.affected(1, cursor).await.is_ok());
        scene.clock.advance(TimeDelta::seconds(1));
        assert!(matches!(scene.affected(1, cursor).await, Err(NoPage::Cursor)), "a day old");
    }

    #[tokio::test]
    async fn api_9_without_the_permission_to_view_only_ones_own_jobs_are_there() {
        let scene = Scene::new();
        scene.job("mine", "me", 1, &[], false).await;
        scene.job("theirs", "them", 1, &[], false).await;
        let lister = &scene.lister;
        assert!(matches!(lister.job(&nobody("me"), &id("theirs")).await, Err(NoPage::Unknown)));
        assert!(matches!(lister.job(&nobody("me"), &id("none")).await, Err(NoPage::Unknown)));
        assert_eq!(lister.job(&nobody("me"), &id("mine")).await.unwrap().0.id, id("mine"));
        assert_eq!(lister.job(&viewer("me"), &id("theirs")).await.unwrap().1.done, 1, "with its numbers");
        let found = async |caller: User, by: Option<&str>| {
            let filter = Filter { initiated_by: by.map(|by| UserId::parse(by).unwrap()), ..Filter::default() };
            let page = lister.jobs(&caller, filter, 10, None).await.unwrap();
            page.items.into_iter().map(|(job, _)| job.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found(nobody("me"), None).await, ["mine"]);
        assert_eq!(found(nobody("me"), Some("me")).await, ["mine"]);
        assert_eq!(found(nobody("me"), Some("them")).await, [""; 0]);
        assert_eq!(found(viewer("me"), Some("them")).await, ["theirs"]);
        assert_eq!(found(viewer("me"), None).await.len(), 2);
        let trail = lister.trail(&nobody("me"), &id("mine"), 10, None).await;
        assert!(matches!(trail, Err(NoPage::Forbidden(Permission::View))), "who looked is not shown to everybody");
    }

    #[tokio::test]
    async fn audit_1_a_jobs_trail_comes_newest_first_and_an_entry_that_was_written_twice_once() {
        let scene = Scene::new();
        scene.job("job", "admin", 1, &[], false).await;
        let entry = |n: i64| Entry {
            id: format!("e{n}"),
            at: now() + TimeDelta::seconds(n),
            action: Action::BatchLogoutInitiated,
            level: Level::Info,
            actor: Actor::schedule(),
            job_id: Some(id("job")),
            success: true,
            metadata: serde_json::Value::Null,
            origin: Origin::default(),
        };
        for n in [1, 2, 2, 3] {
            scene.store.append(&entry(n)).await.unwrap();
        }
        let page = async |cursor: Option<&str>| {
            let page = scene.lister.trail(&viewer("v"), &id("job"), 3, cursor).await.unwrap();
            let ids: Vec<String> = page.items.iter().map(|line| line.id().unwrap().to_owned()).collect();
            (ids, page.next_cursor)
        };
        let (ids, next) = page(None).await;
        assert_eq!(ids, ["e3", "e2"]);
        let (ids, next) = page(Some(&next.unwrap())).await;
        assert_eq!((ids, next), (vec!["e1".to_owned()], None));
        assert!(matches!(scene.lister.trail(&viewer("v"), &id("none"), 3, None).await, Err(NoPage::Unknown)));
    }
}

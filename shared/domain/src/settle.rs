//! Settling: bringing token rows and sessions in line with the cutoffs, and counting what changed (`[CUT-6]`).
//!
//! Everything here may happen twice, late, in any order, or stop half-way. The numbers stay right because they are
//! read off the rows ("revoked by this job"), not added up on the way: a row that this job revoked in an earlier try
//! counts as much as one it revokes now, and a row that somebody else revoked does not count at all.
//!
//! After a job is cancelled, what is left of its chunks comes through here, too: counted, and left alone (`[API-7]`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use futures::{FutureExt as _, try_join};
use serde::{Deserialize, Serialize};

use crate::close::{self, Closed};
use crate::cutoff::KEPT_SECONDS;
use crate::error::{PortError, WorkError};
use crate::guard;
use crate::ids::{TokenId, UserId};
use crate::job::{ChunkOutcome, ChunkRef, ChunkResult, Facts, Fate, Job, NoticeRef, Statistics, Status};
use crate::ports::{
    CLIENT_SHARDS, DenylistCache, DenylistStore, Frozen, JobStore, Page, PortResult, Step, TokenStore, WorkQueue,
};
use crate::selector::{Reach, Selector, Source, is_spared};
use crate::source::IdSource;
use crate::time::{Clock, Epoch};
use crate::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenKind, TokenRow};

/// Owners of one page that are read at the same time.
const OWNERS_AT_ONCE: usize = 16;
/// Rows of one page that are written at the same time, whosever they are.
const ROWS_AT_ONCE: usize = 32;
/// How often a commit that lost a race is tried again before the message is left to the queue.
const COMMIT_TRIES: usize = 8;

/// What a settling worker needs.
#[derive(Clone)]
pub struct Settler {
    /// Token rows and sessions.
    pub tokens: Arc<dyn TokenStore>,
    /// Jobs and results.
    pub jobs: Arc<dyn JobStore>,
    /// The durable denylist: frozen chunks, and single tokens where no cutoff says what the job means.
    pub denylist: Arc<dyn DenylistStore>,
    /// Redis, for those single tokens.
    pub cache: Arc<dyn DenylistCache>,
    /// The workers' queues, for what is left of a part of a table when time runs out.
    pub queue: Arc<dyn WorkQueue>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// New generations.
    pub ids: Arc<dyn IdSource>,
}

/// Which delivery of its message a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// The first.
    First,
    /// A later one: whoever had the message before may have died at any moment.
    Again,
    /// The last that the queue makes.
    Last,
}

impl Try {
    /// By how often the message was delivered, this time included, and how often it can be.
    pub fn of(receives: u32, most: u32) -> Self {
        match receives {
            last if last >= most => Self::Last,
            0 | 1 => Self::First,
            _ => Self::Again,
        }
    }
}

/// How a worker left a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// All of it is settled, and what that ended.
    Through(Option<Closed>),
    /// The same, but nobody could be asked to tell the affected users: the message should come again for that.
    Untold(Option<Closed>, PortError),
    /// Time ran out; a message to go on was sent.
    ToBeContinued,
}

/// What happens to what a job covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is ended.
    End,
    /// It is counted, by a dry run.
    Count,
    /// What is left of it is counted: the job is cancelled.
    Leave,
    /// What it lost is counted once more: another worker has settled it meanwhile.
    Recount,
}

/// Where a worker is in a chunk that is a part of a table or index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Which of the job's clients, in order.
    client: usize,
    /// Where the store goes on.
    from: Option<String>,
    /// Whether something of it was left alone.
    left: bool,
    /// Whether this is another look at a part that is settled.
    #[serde(default)]
    recount: bool,
}

impl Place {
    fn read(stored: Option<String>) -> Result<Self, WorkError> {
        let Some(stored) = stored else { return Ok(Self::default()) };
        serde_json::from_str(&stored).map_err(|cause| WorkError::Retry(format!("a checkpoint: {cause}")))
    }
}

/// A chunk under work.
struct Work<'a> {
    job: &'a Job,
    number: u32,
    selector: Selector,
    spared: BTreeSet<UserId>,
    /// Whether another worker has settled it.
    settled: bool,
    at: Try,
}

/// A row to be ended.
enum Row<'a> {
    Token(&'a TokenRow),
    Session(&'a SessionRow),
}

impl Settler {
    /// Settles a chunk, or as much of it as can be done before `deadline`. With the last try it is given up. Says
    /// whether that ended the job.
    pub async fn settle(&self, chunk: &ChunkRef, at: Try, deadline: DateTime<Utc>) -> Result<Settled, WorkError> {
        let job = self.jobs.get(&chunk.job_id).await?;
        let job = job.ok_or_else(|| WorkError::Drop(format!("job {} is not known", chunk.job_id)))?;
        if job.dry_run && job.status == Status::Cancelled {
            return Ok(Settled::Through(None));
        }
        let settled = self.settle_known(&job, chunk, at, deadline).await;
        if settled.is_err() && at == Try::Last {
            self.give_up(&job, chunk).await?;
        }
        settled
    }

    async fn settle_known(
        &self,
        job: &Job,
        chunk: &ChunkRef,
        at: Try,
        deadline: DateTime<Utc>,
    ) -> Result<Settled, WorkError> {
        let before = self.jobs.chunk_result(&job.id, chunk.number).await?;
        let through = before.filter(|result| result.outcome != ChunkOutcome::Failed);
        // Whoever had the message before may have died after they revoked a row that had just come, and before they
        // noted it, while another worker settled the rest. So all rows of a chunk that is settled are looked at again,
        // whatever is said of how often the message came: a dead letter that is sent back comes for the first time.
        let selector = Selector::of(job);
        let listed = selector.spares_people() && !matches!(selector.source(), Source::People(_));
        let spared = if listed { self.jobs.frozen_people(&job.id, Frozen::Spared).await? } else { BTreeSet::new() };
        let work = Work { job, number: chunk.number, selector, spared, settled: through.is_some(), at };
        let left = match work.selector.source() {
            Source::People(_) => Some(self.settle_people(&work, chunk).await?),
            Source::Clients(_) | Source::Everyone => self.settle_part(&work, deadline).await?,
        };
        let Some(left) = left else {
            self.queue.send_chunks(std::slice::from_ref(chunk), job.priority).await?;
            return Ok(Settled::ToBeContinued);
        };
        let outcome = match through {
            Some(result) => result.outcome,
            None if left => ChunkOutcome::Cancelled,
            None => ChunkOutcome::Done,
        };
        let (statistics, left) = self.recorded(job, chunk.number).await?;
        self.commit(job, chunk.number, before, ChunkResult { outcome, statistics, left }).await?;
        // Mail comes after everything else, and nothing waits for it.
        let told = self.have_told(job, chunk.number, &statistics).await;
        let closed = close::try_close(self.jobs.as_ref(), self.clock.as_ref(), &job.id).await?;
        Ok(match told {
            Ok(()) => Settled::Through(closed),
            Err(error) => Settled::Untold(closed, error),
        })
    }

    /// Asks for the affected users to be told, if the job wants it. Asking twice does no harm.
    async fn have_told(&self, job: &Job, chunk: u32, lost: &Statistics) -> PortResult<()> {
        if job.dry_run || !job.notify_users || lost.total_users_affected == 0 {
            return Ok(());
        }
        let notice = NoticeRef { job_id: job.id.clone(), chunk, after: None };
        self.queue.send_notice(&notice, TimeDelta::zero()).await
    }

    /// What is to be done now. A page that begins after the job was cancelled is left alone.
    async fn mode(&self, work: &Work<'_>) -> Result<Mode, WorkError> {
        let job = work.job;
        let now = self.jobs.get(&job.id).await?;
        let now = now.ok_or_else(|| WorkError::Drop(format!("job {} is not known any more", job.id)))?;
        Ok(match now.status {
            _ if work.settled => Mode::Recount,
            _ if job.dry_run => Mode::Count,
            Status::Cancelled => Mode::Leave,
            _ => Mode::End,
        })
    }

    /// Works through a chunk of frozen users. True if it was left alone.
    async fn settle_people(&self, work: &Work<'_>, chunk: &ChunkRef) -> Result<bool, WorkError> {
        let mode = self.mode(work).await?;
        let frozen = self.denylist.chunk(chunk).await?;
        let frozen =
            frozen.ok_or_else(|| WorkError::Drop(format!("job {} has no chunk {}", chunk.job_id, chunk.number)))?;
        let page = self.load(frozen.users.into_iter().map(Owner::User).collect()).await?;
        self.settle_page(work, mode, page).await?;
        Ok(mode == Mode::Leave)
    }

    /// Works through a part of a table or index, page by page. True if some of it was left alone; `None` if time ran
    /// out.
    async fn settle_part(&self, work: &Work<'_>, deadline: DateTime<Utc>) -> Result<Option<bool>, WorkError> {
        let mut place = Place::read(self.jobs.checkpoint(&work.job.id, work.number).await?)?;
        if work.at != Try::First || (work.settled && !place.recount) {
            place = Place { left: place.left, recount: work.settled, ..Place::default() };
        }
        loop {
            let Some(page) = self.page(work, &place).await? else {
                if place.recount {
                    // Whoever comes next looks from the beginning, too.
                    self.save(work, &Place { left: place.left, ..Place::default() }).await?;
                }
                return Ok(Some(place.left));
            };
            if self.clock.now() >= deadline {
                return Ok(None);
            }
            let mode = self.mode(work).await?;
            self.settle_page(work, mode, page.items).await?;
            place.left |= mode == Mode::Leave;
            place.client += usize::from(page.next.is_none());
            place.from = page.next;
            self.save(work, &place).await?;
        }
    }

    async fn save(&self, work: &Work<'_>, place: &Place) -> Result<(), WorkError> {
        let place = serde_json::to_string(place).map_err(|cause| WorkError::Retry(format!("checkpoint: {cause}")))?;
        Ok(self.jobs.save_checkpoint(&work.job.id, work.number, &place).await?)
    }

    /// The next page of a part; none at its end.
    async fn page(&self, work: &Work<'_>, place: &Place) -> PortResult<Option<Page<(Owner, Holdings)>>> {
        let from = place.from.as_deref();
        match work.selector.source() {
            Source::Clients(clients) => {
                let Some(client) = clients.iter().nth(place.client) else { return Ok(None) };
                let page = self.tokens.owners_at(client, work.number % CLIENT_SHARDS, from).await?;
                let owners: BTreeSet<Owner> = page.items.into_iter().collect();
                Ok(Some(Page { items: self.load(owners.into_iter().collect()).await?, next: page.next }))
            }
            // A whole table has one turn.
            Source::Everyone if place.client == 0 => {
                Ok(Some(self.tokens.segment(work.number, work.job.plan.chunks, from).await?))
            }
            Source::Everyone | Source::People(_) => Ok(None),
        }
    }

    async fn load(&self, owners: Vec<Owner>) -> PortResult<Vec<(Owner, Holdings)>> {
        stream::iter(owners)
            .map(|owner| async move {
                let holdings = self.tokens.holdings(&owner).await?;
                Ok((owner, holdings))
            })
            .buffer_unordered(OWNERS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn settle_page(&self, work: &Work<'_>, mode: Mode, page: Vec<(Owner, Holdings)>) -> PortResult<()> {
        let mut page: Vec<_> = page.into_iter().filter(|(owner, _)| !is_spared(owner, &work.spared)).collect();
        if mode == Mode::End && work.selector.reach() == Reach::PerToken {
            self.deny_page(work, &mut page).await?;
        }
        if mode == Mode::End {
            return self.end_page(work, page).await;
        }
        let counted = |(owner, holdings): &(Owner, Holdings)| {
            let covered = work.selector.covered(holdings);
            let lost = if mode == Mode::Count { covered.facts() } else { covered.lost() };
            ((owner.clone(), lost), (owner.clone(), covered.left()))
        };
        let (lost, left) = page.iter().map(counted).unzip();
        self.record(work, Fate::Lost, lost).await?;
        if mode == Mode::Leave {
            self.record(work, Fate::Left, left).await?;
        }
        Ok(())
    }

    /// Puts what no cutoff can say on the denylist, token by token, before any row says revoked. A refresh under way writes
    /// its rows before it asks about its own token: who is read again afterwards either shows the new ones, which are denied
    /// in turn, or brings none any more.
    async fn deny_page(&self, work: &Work<'_>, page: &mut [(Owner, Holdings)]) -> PortResult<()> {
        let mut denied: BTreeSet<(Owner, TokenId)> = BTreeSet::new();
        loop {
            let mut found = Vec::new();
            for (owner, holdings) in page.iter() {
                let denied = work.selector.denied(holdings);
                found.extend(denied.map(|token| (owner.clone(), token.id.clone(), token.expires_at)));
            }
            found.retain(|(owner, id, _)| !denied.contains(&(owner.clone(), id.clone())));
            if found.is_empty() {
                return Ok(());
            }
            self.deny_tokens(found.iter().map(|(_, id, expires_at)| (id.clone(), *expires_at))).await?;
            let owners: BTreeSet<Owner> = found.iter().map(|(owner, ..)| owner.clone()).collect();
            denied.extend(found.into_iter().map(|(owner, id, _)| (owner, id)));
            let mut again: HashMap<Owner, Holdings> =
                self.load(owners.into_iter().collect()).await?.into_iter().collect();
            for (owner, holdings) in page.iter_mut() {
                if let Some(now) = again.remove(owner) {
                    *holdings = now;
                }
            }
        }
    }

    async fn deny_tokens(&self, tokens: impl Iterator<Item = (TokenId, Epoch)>) -> PortResult<()> {
        let tokens: Vec<_> = tokens.map(|(id, expires_at)| (id, expires_at.plus(KEPT_SECONDS))).collect();
        self.denylist.put_tokens(&tokens).await?;
        if let Err(error) = self.cache.put_tokens(&tokens).await {
            guard::distrust(self.denylist.as_ref(), self.cache.as_ref(), self.ids.as_ref()).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Ends all rows of a page, whosever they are, and notes what their owners lost. If that stops half-way, what has
    /// been ended until then is noted.
    async fn end_page(&self, work: &Work<'_>, page: Vec<(Owner, Holdings)>) -> PortResult<()> {
        let revoked = Revoked { at: self.clock.now().into(), by: RevokedBy::Job(work.job.id.clone()) };
        let mut rows = Vec::new();
        for (number, (_, holdings)) in page.iter().enumerate() {
            let covered = work.selector.covered(holdings);
            rows.extend(covered.tokens.into_iter().map(|token| (number, Row::Token(token))));
            rows.extend(covered.sessions.into_iter().map(|session| (number, Row::Session(session))));
        }
        let mut lost = vec![Facts::default(); page.len()];
        let ends = rows.into_iter().map(|(number, row)| {
            let ended = self.end_row(row, &revoked);
            async move { PortResult::Ok((number, ended.await?)) }.boxed()
        });
        let mut ended = stream::iter(ends).buffer_unordered(ROWS_AT_ONCE);
        let mut failed = None;
        while let Some(row) = ended.next().await {
            match row {
                Ok((number, facts)) => lost[number] += facts,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(ended);
        let lost = page.into_iter().map(|(owner, _)| owner).zip(lost).collect();
        self.record(work, Fate::Lost, lost).await?;
        failed.map_or(Ok(()), Err)
    }

    /// Ends a row, unless that has been done, and says what its owner lost by this job.
    async fn end_row(&self, row: Row<'_>, revoked: &Revoked) -> PortResult<Facts> {
        let mut facts = Facts::default();
        match row {
            Row::Token(token) => {
                let by = match &token.revoked {
                    Some(before) => Some(before.by.clone()),
                    None => self.tokens.revoke(&token.owner, &token.id, revoked).await?,
                };
                let ours = u64::from(by.as_ref() == Some(&revoked.by));
                match token.kind {
                    TokenKind::Access => facts.access_tokens = ours,
                    TokenKind::Refresh => facts.refresh_tokens = ours,
                }
            }
            Row::Session(session) => {
                let ours =
                    session.ended_by.is_some() || self.tokens.end_session(&session.user, &session.id, revoked).await?;
                facts.sessions = u64::from(ours);
            }
        }
        Ok(facts)
    }

    async fn record(&self, work: &Work<'_>, fate: Fate, mut owners: Vec<(Owner, Facts)>) -> PortResult<()> {
        owners.retain(|(_, facts)| !facts.is_nothing());
        if owners.is_empty() {
            return Ok(());
        }
        self.jobs.record_affected(&work.job.id, work.number, fate, &owners, self.clock.now()).await
    }

    /// The sums over the chunk's owners: lost and left. Taken from what is stored, so that two workers who each ended
    /// a part of a chunk arrive at the whole.
    async fn recorded(&self, job: &Job, chunk: u32) -> PortResult<(Statistics, Statistics)> {
        let sum = |owners: &HashMap<Owner, Facts>| owners.iter().map(|(owner, facts)| (owner, *facts)).collect();
        let (lost, left) =
            try_join!(self.jobs.affected(&job.id, chunk, Fate::Lost), self.jobs.affected(&job.id, chunk, Fate::Left))?;
        let statistics = if job.dry_run {
            let admins = self.jobs.frozen_people(&job.id, Frozen::Admins).await?;
            let mut statistics = Statistics::default();
            for (owner, facts) in &lost {
                statistics.add_counted(owner, *facts, &job.initiated_by.id, &admins);
            }
            statistics
        } else {
            sum(&lost)
        };
        Ok((statistics, sum(&left)))
    }

    /// Replaces the chunk's result, known as `before`, by a later view of it. Numbers only grow, and a settled chunk
    /// stays settled.
    async fn commit(
        &self,
        job: &Job,
        chunk: u32,
        mut before: Option<ChunkResult>,
        seen: ChunkResult,
    ) -> Result<(), WorkError> {
        for _ in 0..COMMIT_TRIES {
            let after = before.map_or(seen, |before| later(before, seen));
            if before == Some(after) || self.jobs.commit_chunk(&job.id, chunk, before, after).await? == Step::Taken {
                return Ok(());
            }
            before = self.jobs.chunk_result(&job.id, chunk).await?;
        }
        Err(WorkError::Retry(format!("chunk {chunk} of job {} is contended", job.id)))
    }

    async fn give_up(&self, job: &Job, chunk: &ChunkRef) -> Result<(), PortError> {
        let (statistics, left) = self.recorded(job, chunk.number).await?;
        let statistics = Statistics { errors: 1, ..statistics };
        let given_up = ChunkResult { outcome: ChunkOutcome::Failed, statistics, left };
        let before = self.jobs.chunk_result(&job.id, chunk.number).await?;
        if let Err(error) = self.commit(job, chunk.number, before, given_up).await {
            tracing::error!(job_id = %job.id, chunk = chunk.number, %error, "a chunk could not even be given up");
        }
        close::try_close(self.jobs.as_ref(), self.clock.as_ref(), &job.id).await?;
        Ok(())
    }
}

/// Of two views of a chunk the later one.
fn later(before: ChunkResult, seen: ChunkResult) -> ChunkResult {
    let either = |outcome| before.outcome == outcome || seen.outcome == outcome;
    let outcome = if either(ChunkOutcome::Done) {
        ChunkOutcome::Done
    } else if either(ChunkOutcome::Cancelled) {
        ChunkOutcome::Cancelled
    } else {
        ChunkOutcome::Failed
    };
    let mut statistics = before.statistics.zip(seen.statistics, u64::max);
    if outcome != ChunkOutcome::Failed {
        statistics.errors = 0;
    }
    // What one worker counted as left, the one that settled the chunk has ended after all.
    let left = if outcome == ChunkOutcome::Done { Statistics::default() } else { before.left.zip(seen.left, u64::max) };
    ChunkResult { outcome, statistics, left }
}

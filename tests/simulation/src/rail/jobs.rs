//! The ports of the job engine by rail: with them every step of a batch logout can fail, be lost, or be the last one.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::audit::chain::Sealed;
use domain::audit::check::AuditReader;
use domain::audit::verify::Found;
use domain::audit::{AuditLog, Entry, JobTrail};
use domain::directory::{Client, Group, User};
use domain::emergency::{KeyStore, StoredKey};
use domain::ids::{ChainId, ClientId, GroupId, JobId, UserId};
use domain::job::{
    Cancelled, Chunk, ChunkRef, ChunkResult, Facts, Fate, Job, NoticeRef, PlanCursor, Priority, Status, Tally,
};
use domain::mail::{Mail, NotSent, Post};
use domain::notify::{Mark, NoticeCounts, NoticeStore, Outcome, Recipient, Trouble};
use domain::ports::{
    Affected, Applied, Created, Directory, Frozen, JobStore, NewJob, Page, PortResult, RecordStore, Step, WorkQueue,
};
use domain::rate::{SlotChange, Slots};
use domain::records::Record;
use domain::testing::{Memory, MemoryPost, MemoryQueue};
use domain::time::Epoch;
use domain::token::Owner;

use super::{Rail, step};

#[async_trait]
impl Directory for Rail<Memory> {
    async fn user(&self, id: &UserId) -> PortResult<Option<User>> {
        step!(self, user(id))
    }
    async fn users(&self, ids: &[UserId]) -> PortResult<Vec<User>> {
        step!(self, users(ids))
    }
    async fn groups(&self) -> PortResult<Vec<Group>> {
        step!(self, groups())
    }
    async fn members(&self, group: &GroupId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<UserId>> {
        step!(self, members(group, after, limit))
    }
    async fn client(&self, id: &ClientId) -> PortResult<Option<Client>> {
        step!(self, client(id))
    }
    async fn admins(&self) -> PortResult<Vec<UserId>> {
        step!(self, admins())
    }
    async fn known_names(&self, texts: &[String]) -> PortResult<BTreeSet<String>> {
        step!(self, known_names(texts))
    }
}

#[async_trait]
impl RecordStore for Rail<Memory> {
    async fn apply(&self, record: &Record) -> PortResult<Applied> {
        step!(self, apply(record))
    }
}

impl Rail<Memory> {
    /// Makes a write that an audit entry belongs to, which takes its place in the process's chain if the write was made. As
    /// with the real store, a place is taken, free, or, after an answer that never came, left to be.
    async fn audited<T: Send>(
        &self,
        entry: Option<&Entry>,
        write: impl FnOnce(Option<Sealed>) -> PortResult<T> + Send,
        is_written: impl Fn(&T) -> bool + Send,
    ) -> PortResult<T> {
        let (Some(pen), Some(entry)) = (&self.pen, entry) else {
            self.weather.port().await?;
            let outcome = write(None);
            self.weather.port().await?;
            return outcome;
        };
        let (sealed, turn) = pen.seal(entry).await?;
        if let Err(error) = self.weather.port().await {
            turn.unknown();
            return Err(error);
        }
        let outcome = write(Some(sealed));
        if let Err(error) = self.weather.port().await {
            turn.unknown();
            return Err(error);
        }
        match &outcome {
            Ok(outcome) if is_written(outcome) => turn.written(),
            Ok(_) => turn.unwritten(),
            Err(_) => turn.unknown(),
        }
        outcome
    }
}

#[async_trait]
impl JobStore for Rail<Memory> {
    async fn create(&self, new: NewJob<'_>) -> PortResult<Created> {
        let written = |created: &Created| matches!(created, Created::Written);
        self.audited(new.audit, |place| self.inner.create_at(new, place), written).await
    }
    async fn get(&self, id: &JobId) -> PortResult<Option<Job>> {
        step!(self, get(id))
    }
    async fn start(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<Step> {
        step!(self, start(id, at))
    }
    async fn freeze(
        &self,
        id: &JobId,
        from: &PlanCursor,
        to: &PlanCursor,
        chunks: &[Chunk],
        retires_at: Epoch,
    ) -> PortResult<Step> {
        step!(self, freeze(id, from, to, chunks, retires_at))
    }
    async fn mark_effective(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()> {
        step!(self, mark_effective(id, at))
    }
    async fn mark_emitted(&self, id: &JobId) -> PortResult<()> {
        step!(self, mark_emitted(id))
    }
    async fn mark_redriven(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()> {
        step!(self, mark_redriven(id, at))
    }
    async fn record_affected(
        &self,
        id: &JobId,
        chunk: u32,
        fate: Fate,
        owners: &[(Owner, Facts)],
        at: DateTime<Utc>,
    ) -> PortResult<()> {
        step!(self, record_affected(id, chunk, fate, owners, at))
    }
    async fn affected(&self, id: &JobId, chunk: u32, fate: Fate) -> PortResult<HashMap<Owner, Facts>> {
        step!(self, affected(id, chunk, fate))
    }
    async fn affected_users(
        &self,
        id: &JobId,
        chunk: u32,
        after: Option<&UserId>,
        limit: usize,
    ) -> PortResult<Vec<Affected>> {
        step!(self, affected_users(id, chunk, after, limit))
    }
    async fn checkpoint(&self, id: &JobId, chunk: u32) -> PortResult<Option<String>> {
        step!(self, checkpoint(id, chunk))
    }
    async fn save_checkpoint(&self, id: &JobId, chunk: u32, at: &str) -> PortResult<()> {
        step!(self, save_checkpoint(id, chunk, at))
    }
    async fn freeze_people(&self, id: &JobId, list: Frozen, users: &BTreeSet<UserId>) -> PortResult<()> {
        step!(self, freeze_people(id, list, users))
    }
    async fn frozen_people(&self, id: &JobId, list: Frozen) -> PortResult<BTreeSet<UserId>> {
        step!(self, frozen_people(id, list))
    }
    async fn chunk_result(&self, id: &JobId, chunk: u32) -> PortResult<Option<ChunkResult>> {
        step!(self, chunk_result(id, chunk))
    }
    async fn commit_chunk(
        &self,
        id: &JobId,
        chunk: u32,
        before: Option<ChunkResult>,
        after: ChunkResult,
    ) -> PortResult<Step> {
        step!(self, commit_chunk(id, chunk, before, after))
    }
    async fn tally(&self, id: &JobId) -> PortResult<Tally> {
        step!(self, tally(id))
    }
    async fn finish(&self, id: &JobId, from: Status, to: Status, at: DateTime<Utc>, audit: &Entry) -> PortResult<Step> {
        let finish = |place| self.inner.finish_at(id, (from, to), at, audit, place);
        self.audited(Some(audit), finish, |step| *step == Step::Taken).await
    }
    async fn cancel(&self, id: &JobId, from: Status, cancelled: &Cancelled, audit: &Entry) -> PortResult<Step> {
        let cancel = |place| self.inner.cancel_at(id, from, cancelled, audit, place);
        self.audited(Some(audit), cancel, |step| *step == Step::Taken).await
    }
    async fn retire(&self, id: &JobId) -> PortResult<()> {
        step!(self, retire(id))
    }
    async fn open_jobs(&self) -> PortResult<Vec<JobId>> {
        step!(self, open_jobs())
    }
    async fn jobs_by_time(
        &self,
        initiated_by: Option<&UserId>,
        after: Option<&(i64, JobId)>,
        limit: usize,
    ) -> PortResult<Vec<Job>> {
        step!(self, jobs_by_time(initiated_by, after, limit))
    }
    async fn slots(&self, actor: &UserId, name: &str) -> PortResult<Slots> {
        step!(self, slots(actor, name))
    }
    async fn repeated(&self, actor: &UserId, key: &str, now: Epoch) -> PortResult<Option<(JobId, String)>> {
        step!(self, repeated(actor, key, now))
    }
}

#[async_trait]
impl NoticeStore for Rail<Memory> {
    async fn claim(&self, of: Recipient<'_>, claim: &str, at: DateTime<Utc>) -> PortResult<Step> {
        step!(self, claim(of, claim, at))
    }
    async fn release(&self, of: Recipient<'_>, claim: &str) -> PortResult<()> {
        step!(self, release(of, claim))
    }
    async fn conclude(&self, of: Recipient<'_>, claim: &str, outcome: &Outcome, at: DateTime<Utc>) -> PortResult<()> {
        step!(self, conclude(of, claim, outcome, at))
    }
    async fn note_trouble(&self, mark: &Mark, trouble: Trouble, at: DateTime<Utc>) -> PortResult<bool> {
        step!(self, note_trouble(mark, trouble, at))
    }
    async fn notice_counts(&self, job: &JobId, chunk: u32) -> PortResult<NoticeCounts> {
        step!(self, notice_counts(job, chunk))
    }
    async fn commit_notices(
        &self,
        job: &JobId,
        chunk: u32,
        before: NoticeCounts,
        after: NoticeCounts,
    ) -> PortResult<Step> {
        step!(self, commit_notices(job, chunk, before, after))
    }
}

#[async_trait]
impl KeyStore for Rail<Memory> {
    async fn put_key(&self, actor: &UserId, key: &StoredKey, slot: &SlotChange) -> PortResult<Step> {
        step!(self, put_key(actor, key, slot))
    }
    async fn try_key(&self, actor: &UserId, now: Epoch) -> PortResult<Option<StoredKey>> {
        step!(self, try_key(actor, now))
    }
}

#[async_trait]
impl AuditLog for Rail<Memory> {
    async fn append(&self, entry: &Entry) -> PortResult<()> {
        self.audited(Some(entry), |place| self.inner.append_at(entry, place), |()| true).await
    }
}

#[async_trait]
impl AuditReader for Rail<Memory> {
    async fn chains(&self, from: Option<&str>) -> PortResult<Page<Result<ChainId, String>>> {
        step!(self, chains(from))
    }
    async fn chain(&self, chain: &ChainId, from: Option<&str>) -> PortResult<Page<Found>> {
        step!(self, chain(chain, from))
    }
    async fn last(&self, chain: &ChainId) -> PortResult<Option<Found>> {
        step!(self, last(chain))
    }
    async fn between(&self, since: DateTime<Utc>, until: DateTime<Utc>, from: Option<&str>) -> PortResult<Page<Found>> {
        step!(self, between(since, until, from))
    }
}

#[async_trait]
impl JobTrail for Rail<Memory> {
    async fn of_job(&self, job: &JobId, from: Option<&str>, limit: usize) -> PortResult<Page<Found>> {
        step!(self, of_job(job, from, limit))
    }
}

#[async_trait]
impl WorkQueue for Rail<MemoryQueue> {
    async fn send_plan(&self, job: &JobId, priority: Priority) -> PortResult<()> {
        step!(self, send_plan(job, priority))
    }
    async fn send_chunks(&self, chunks: &[ChunkRef], priority: Priority) -> PortResult<()> {
        // Ten to a batch, each of which may be the last that is sent, or be sent in part.
        for batch in chunks.chunks(10) {
            self.in_part(batch, |part| self.inner.send_chunks(part, priority)).await?;
        }
        Ok(())
    }
    async fn send_notice(&self, notice: &NoticeRef, delay: TimeDelta) -> PortResult<()> {
        step!(self, send_notice(notice, delay))
    }
}

#[async_trait]
impl Post for Rail<MemoryPost> {
    async fn turn(&self, deadline: DateTime<Utc>) -> bool {
        self.inner.turn(deadline).await
    }
    async fn post(&self, mail: &Mail, mark: &Mark) -> Result<(), NotSent> {
        self.weather.port().await.map_err(|error| NotSent::Later(error.to_string()))?;
        let posted = self.inner.post(mail, mark).await;
        self.weather.port().await.map_err(|error| NotSent::Unknown(error.to_string()))?;
        posted
    }
}

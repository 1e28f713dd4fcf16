//! All ports in one process's memory: what a store must do, in the fewest words.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::trail::Trail;
use crate::audit::chain::Sealed;
use crate::audit::check::AuditReader;
use crate::audit::verify::Found;
use crate::audit::{AuditLog, Entry as AuditEntry, JobTrail};
use crate::cutoff::{Cutoff, CutoffSet, Scope};
use crate::decision::{Answer, TokenFacts};
use crate::directory::{Client, Group, User};
use crate::emergency::{KEY_TRIES, KeyStore, StoredKey};
use crate::error::PortError;
use crate::guard::NO_EVICTION;
use crate::ids::{ChainId, ClientId, GroupId, JobId, SessionId, TokenId, UserId};
use crate::job::{
    Cancelled, Chunk, ChunkRef, ChunkResult, Facts, Fate, Job, NoticeRef, PlanCursor, Priority, Status, Tally,
};
use crate::notice::name_key;
use crate::notify::{Mark, NoticeCounts, NoticeStore, Outcome, Recipient, Told, Trouble};
use crate::ports::{
    Affected, Applied, CLIENT_SHARDS, CacheAnswer, Created, DenylistCache, DenylistStore, Directory, Entry, Frozen,
    FrozenJob, Idempotency, JobStore, NewJob, Page, PortResult, RecordStore, ServerMemory, SignInStore, Step,
    TokenStore, WorkQueue,
};
use crate::rate::{SlotChange, Slots};
use crate::records::{Change, Entity, Key, Record};
use crate::time::Epoch;
use crate::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenRow};

/// What was noted of a chunk's owners, and when.
type Noted = BTreeMap<Owner, (Facts, DateTime<Utc>)>;

#[derive(Default, Clone)]
pub(super) struct State {
    pub(super) book: super::book::Book,
    users: BTreeMap<UserId, User>,
    groups: BTreeMap<GroupId, Group>,
    members: BTreeMap<GroupId, BTreeSet<UserId>>,
    clients: BTreeMap<ClientId, Client>,
    tokens: BTreeMap<Owner, BTreeMap<TokenId, TokenRow>>,
    sessions: BTreeMap<UserId, BTreeMap<SessionId, SessionRow>>,
    /// The sessions of tokens that were issued through us.
    own_sessions: HashMap<TokenId, SessionId>,
    /// Tokens that their issuer ended before they were ever written here.
    ended_early: HashMap<TokenId, Revoked>,
    versions: HashMap<String, i64>,
    jobs: BTreeMap<JobId, Job>,
    chunks: BTreeMap<(JobId, UserId), Chunk>,
    results: BTreeMap<(JobId, u32), ChunkResult>,
    affected: BTreeMap<(JobId, u32, Fate), Noted>,
    /// The claim of each notice, and where it stands.
    notices: BTreeMap<(JobId, u32, UserId), (String, Told)>,
    notice_counts: BTreeMap<(JobId, u32), NoticeCounts>,
    /// Names users have or had.
    names: BTreeSet<String>,
    checkpoints: HashMap<(JobId, u32), String>,
    people: BTreeMap<(JobId, Frozen), BTreeSet<UserId>>,
    retired: BTreeSet<JobId>,
    slots: HashMap<(UserId, String), Slots>,
    idempotency: HashMap<(UserId, String), (Idempotency, JobId)>,
    keys: HashMap<UserId, (StoredKey, u32, bool)>,
    audit: Trail,
    cutoffs: Vec<Cutoff>,
    denied: BTreeMap<TokenId, Epoch>,
    spared: BTreeMap<(JobId, UserId), Epoch>,
    active: Vec<FrozenJob>,
    generation: String,
    marker: Option<String>,
    rebuild: Option<String>,
    eviction_policy: Option<String>,
    evicted_keys: u64,
    down: bool,
}

/// Stores and cache in memory. Each port of it is its own clone of nothing: use one `Memory` as store and another
/// as cache to see them disagree.
#[derive(Default)]
pub struct Memory(Mutex<State>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn up(&self) -> PortResult<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.down {
            return Err(PortError::Unavailable { service: "memory", cause: "switched off".to_owned() });
        }
        Ok(state)
    }

    /// Makes every call fail, or work again.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// A store that holds the same.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }

    /// Looks at the jobs, by their ids.
    pub fn jobs<T>(&self, look: impl FnOnce(&BTreeMap<JobId, Job>) -> T) -> T {
        look(&self.lock().jobs)
    }

    /// How much there is on the denylist, kind by kind. It only ever grows, until something retires.
    pub fn denylist_size(&self) -> [usize; 5] {
        let state = self.lock();
        [state.cutoffs.len(), state.denied.len(), state.spared.len(), state.active.len(), state.chunks.len()]
    }

    /// How many audit entries there are.
    pub fn audit_size(&self) -> usize {
        self.lock().audit.len()
    }

    /// [`JobStore::create`], with the entry's place in its writer's chain.
    pub fn create_at(&self, new: NewJob<'_>, place: Option<Sealed>) -> PortResult<Created> {
        let mut state = self.up()?;
        create(&mut state, new, place)
    }

    /// [`JobStore::finish`], with the entry's place in its writer's chain.
    pub fn finish_at(
        &self,
        id: &JobId,
        (from, to): (Status, Status),
        at: DateTime<Utc>,
        audit: &AuditEntry,
        place: Option<Sealed>,
    ) -> PortResult<Step> {
        let mut state = self.up()?;
        match state.jobs.get_mut(id) {
            Some(job) if job.status == from => {
                (job.status, job.completed_at) = (to, Some(at));
                state.audit.add(audit, place)?;
                Ok(Step::Taken)
            }
            _ => Ok(Step::Lost),
        }
    }

    /// [`JobStore::cancel`], with the entry's place in its writer's chain.
    pub fn cancel_at(
        &self,
        id: &JobId,
        from: Status,
        cancelled: &Cancelled,
        audit: &AuditEntry,
        place: Option<Sealed>,
    ) -> PortResult<Step> {
        let mut state = self.up()?;
        match state.jobs.get_mut(id) {
            Some(job) if job.status == from => {
                (job.status, job.cancelled) = (Status::Cancelled, Some(cancelled.clone()));
                state.audit.add(audit, place)?;
                Ok(Step::Taken)
            }
            _ => Ok(Step::Lost),
        }
    }

    /// [`AuditLog::append`], with the entry's place in its writer's chain.
    pub fn append_at(&self, entry: &AuditEntry, place: Option<Sealed>) -> PortResult<()> {
        self.up()?.audit.add(entry, place)
    }

    /// The audit entries, in the order they came.
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.lock().audit.entries()
    }

    /// Takes another `maxmemory-policy`: `noeviction` until then.
    pub fn set_eviction_policy(&self, policy: &str) {
        self.lock().eviction_policy = Some(policy.to_owned());
    }

    /// Throws cutoffs out, as a full cache does that is allowed to; the marker stands.
    pub fn evict(&self) {
        let mut state = self.lock();
        state.evicted_keys += state.cutoffs.len() as u64;
        state.cutoffs.clear();
    }

    /// Forgets the denylist and its marker, as a cache that lost its memory does.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.cutoffs.clear();
        state.denied.clear();
        state.spared.clear();
        state.marker = None;
        state.rebuild = None;
    }
}

fn answer(state: &State, token: &TokenFacts) -> Answer {
    let scopes = token.scopes();
    let chunk_cutoffs = token.user.iter().flat_map(|user| {
        let in_job = move |job: &&FrozenJob| {
            let key = (job.job.clone(), user.clone());
            let candidate = state.chunks.range(..=key).next_back();
            candidate.is_some_and(|((id, _), chunk)| id == &job.job && chunk.users.contains(user))
        };
        state.active.iter().filter(in_job).flat_map(|job| job.cutoffs(user))
    });
    let cutoffs: CutoffSet =
        state.cutoffs.iter().filter(|cutoff| scopes.contains(&cutoff.scope)).cloned().chain(chunk_cutoffs).collect();
    let spared = state.spared.keys().filter(|(_, user)| Some(user) == token.user.as_ref());
    Answer {
        cutoffs,
        token_revoked: state.denied.contains_key(&token.id),
        spared_by: spared.map(|(job, _)| job.clone()).collect(),
    }
}

#[async_trait]
impl Directory for Memory {
    async fn user(&self, id: &UserId) -> PortResult<Option<User>> {
        Ok(self.up()?.users.get(id).cloned())
    }
    async fn users(&self, ids: &[UserId]) -> PortResult<Vec<User>> {
        let state = self.up()?;
        Ok(ids.iter().filter_map(|id| state.users.get(id).cloned()).collect())
    }
    async fn groups(&self) -> PortResult<Vec<Group>> {
        Ok(self.up()?.groups.values().cloned().collect())
    }
    async fn members(&self, group: &GroupId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<UserId>> {
        let state = self.up()?;
        let members = state.members.get(group).into_iter().flatten();
        Ok(members.filter(|user| after.is_none_or(|after| *user > after)).take(limit).cloned().collect())
    }
    async fn client(&self, id: &ClientId) -> PortResult<Option<Client>> {
        Ok(self.up()?.clients.get(id).cloned())
    }
    async fn admins(&self) -> PortResult<Vec<UserId>> {
        let state = self.up()?;
        Ok(state.users.values().filter(|user| user.is_admin()).map(|user| user.id.clone()).collect())
    }
    async fn known_names(&self, texts: &[String]) -> PortResult<BTreeSet<String>> {
        let state = self.up()?;
        Ok(texts.iter().filter(|text| state.names.contains(*text)).cloned().collect())
    }
}

/// Small pages, so that every test turns some.
const PAGE: usize = 3;

/// A number of a text that stays the same from run to run (FNV-1a).
fn number_of(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn owners(state: &State) -> BTreeSet<Owner> {
    let users = state.sessions.keys().cloned().map(Owner::User);
    state.tokens.keys().cloned().chain(users).collect()
}

fn holdings_of(state: &State, owner: &Owner) -> Holdings {
    let sessions = owner.user().and_then(|user| state.sessions.get(user));
    Holdings {
        tokens: state.tokens.get(owner).into_iter().flat_map(|rows| rows.values().cloned()).collect(),
        sessions: sessions.into_iter().flat_map(|rows| rows.values().cloned()).collect(),
    }
}

/// A page of owners that fulfil a condition, after one.
fn page_of(state: &State, from: Option<&str>, wanted: impl Fn(&Owner) -> bool) -> Page<Owner> {
    let after = from.and_then(|from| from.parse::<usize>().ok()).unwrap_or_default();
    let all: Vec<Owner> = owners(state).into_iter().filter(|owner| wanted(owner)).collect();
    let items: Vec<Owner> = all.iter().skip(after).take(PAGE).cloned().collect();
    let next = (after + items.len() < all.len()).then(|| (after + items.len()).to_string());
    Page { items, next }
}

#[async_trait]
impl TokenStore for Memory {
    async fn holdings(&self, owner: &Owner) -> PortResult<Holdings> {
        Ok(holdings_of(&*self.up()?, owner))
    }
    async fn segment(&self, part: u32, of: u32, from: Option<&str>) -> PortResult<Page<(Owner, Holdings)>> {
        let state = self.up()?;
        let page = page_of(&state, from, |owner| number_of(&format!("{owner:?}")) % of == part);
        let with_holdings = page.items.into_iter().map(|owner| {
            let holdings = holdings_of(&state, &owner);
            (owner, holdings)
        });
        Ok(Page { items: with_holdings.collect(), next: page.next })
    }
    async fn owners_at(&self, client: &ClientId, shard: u32, from: Option<&str>) -> PortResult<Page<Owner>> {
        let state = self.up()?;
        let at = |owner: &Owner| {
            let rows = state.tokens.get(owner);
            rows.is_some_and(|rows| rows.values().any(|row| &row.client == client))
        };
        Ok(page_of(&state, from, |owner| number_of(&format!("{owner:?}")) % CLIENT_SHARDS == shard && at(owner)))
    }
    async fn rows(&self) -> PortResult<u64> {
        Ok(self.up()?.tokens.values().map(|rows| rows.len() as u64).sum())
    }
    async fn token(&self, owner: &Owner, id: &TokenId) -> PortResult<Option<TokenRow>> {
        Ok(self.up()?.tokens.get(owner).and_then(|rows| rows.get(id)).cloned())
    }
    async fn opaque(&self, id: &TokenId) -> PortResult<Option<TokenRow>> {
        let state = self.up()?;
        Ok(state.tokens.values().filter_map(|rows| rows.get(id)).find(|row| row.opaque).cloned())
    }
    async fn session(&self, user: &UserId, id: &SessionId) -> PortResult<Option<SessionRow>> {
        Ok(self.up()?.sessions.get(user).and_then(|rows| rows.get(id)).cloned())
    }
    async fn revoke(&self, owner: &Owner, id: &TokenId, revoked: &Revoked) -> PortResult<Option<RevokedBy>> {
        let mut state = self.up()?;
        let row = state.tokens.get_mut(owner).and_then(|rows| rows.get_mut(id));
        Ok(row.map(|row| row.revoked.get_or_insert_with(|| revoked.clone()).by.clone()))
    }
    async fn end_session(&self, user: &UserId, id: &SessionId, revoked: &Revoked) -> PortResult<bool> {
        let mut state = self.up()?;
        let row = state.sessions.get_mut(user).and_then(|rows| rows.get_mut(id));
        Ok(row.is_some_and(|row| {
            (row.client, row.ip_address, row.sealed) = (None, None, None);
            row.ended_by.get_or_insert_with(|| revoked.by.clone()) == &revoked.by
        }))
    }
}

#[async_trait]
impl SignInStore for Memory {
    async fn add_tokens(&self, tokens: &[TokenRow]) -> PortResult<()> {
        let mut state = self.up()?;
        for token in tokens {
            let mut row = token.clone();
            state.own_sessions.extend(row.session.clone().map(|session| (row.id.clone(), session)));
            let early = state.ended_early.get(&row.id).cloned();
            let rows = state.tokens.entry(row.owner.clone()).or_default();
            row.revoked = rows.get(&row.id).and_then(|before| before.revoked.clone()).or(early);
            rows.insert(row.id.clone(), row);
        }
        Ok(())
    }
    async fn touch_token(&self, owner: &Owner, id: &TokenId, at: Epoch) -> PortResult<()> {
        let mut state = self.up()?;
        if let Some(row) = state.tokens.get_mut(owner).and_then(|rows| rows.get_mut(id)) {
            row.last_used_at = Some(at);
        }
        Ok(())
    }
    async fn add_session(&self, session: &SessionRow, _: Epoch) -> PortResult<()> {
        let mut state = self.up()?;
        state.sessions.entry(session.user.clone()).or_default().insert(session.id.clone(), session.clone());
        Ok(())
    }
    async fn sessions(&self, user: &UserId) -> PortResult<Vec<SessionRow>> {
        Ok(self.up()?.sessions.get(user).into_iter().flat_map(BTreeMap::values).cloned().collect())
    }
    async fn touch_session(&self, session: &SessionRow, _: Epoch) -> PortResult<bool> {
        let mut state = self.up()?;
        let row = state.sessions.get_mut(&session.user).and_then(|rows| rows.get_mut(&session.id));
        let live = row.filter(|row| row.ended_by.is_none());
        Ok(live.is_some_and(|row| {
            row.sealed.clone_from(&session.sealed);
            row.expires_at = session.expires_at;
            true
        }))
    }
}

#[async_trait]
impl RecordStore for Memory {
    async fn apply(&self, record: &Record) -> PortResult<Applied> {
        let mut state = self.up()?;
        let name = match &record.change {
            Change::Upsert(Entity::User(user)) => format!("user {}", user.id),
            Change::Upsert(Entity::Group(group)) => format!("group {}", group.id),
            Change::Upsert(Entity::Client(client)) => format!("client {}", client.id),
            Change::Upsert(Entity::Token(token)) => format!("token {}", token.id),
            Change::Upsert(Entity::Session(session)) => format!("session {}", session.id),
            Change::Upsert(Entity::Membership(key)) | Change::Delete(Key::Membership(key)) => {
                format!("membership {} {}", key.group_id, key.user_id)
            }
            Change::Delete(Key::User(key)) => format!("user {}", key.id),
            Change::Delete(Key::Group(key)) => format!("group {}", key.id),
            Change::Delete(Key::Client(key)) => format!("client {}", key.id),
            Change::Delete(Key::Token(key)) => format!("token {}", key.id),
            Change::Delete(Key::Session(key)) => format!("session {}", key.id),
        };
        if state.versions.get(&name).is_some_and(|stored| *stored >= record.at) {
            return Ok(Applied::Stale);
        }
        state.versions.insert(name, record.at);
        match &record.change {
            Change::Upsert(entity) => upsert(&mut state, entity),
            Change::Delete(key) => delete(&mut state, key, Epoch(record.at / 1_000)),
        }
        Ok(Applied::Written)
    }
}

fn upsert(state: &mut State, entity: &Entity) {
    match entity.clone() {
        Entity::User(user) => {
            state.names.extend(user.name.as_deref().and_then(name_key));
            state.users.insert(user.id.clone(), user.into());
        }
        Entity::Group(group) => {
            state.groups.insert(group.id.clone(), group.into());
        }
        Entity::Client(client) => {
            state.clients.insert(client.id.clone(), client.into());
        }
        Entity::Membership(key) => {
            state.members.entry(key.group_id).or_default().insert(key.user_id);
        }
        Entity::Token(token) => {
            let mut row = TokenRow::from(token);
            row.session = state.own_sessions.get(&row.id).cloned().or(row.session);
            let early = state.ended_early.get(&row.id).cloned();
            let rows = state.tokens.entry(row.owner.clone()).or_default();
            if let Some(ours) = rows.get(&row.id).and_then(|before| before.revoked.clone()).or(early) {
                row.revoked = Some(ours);
            }
            rows.insert(row.id.clone(), row);
        }
        Entity::Session(session) => {
            let mut row = SessionRow::from(session);
            let rows = state.sessions.entry(row.user.clone()).or_default();
            row.ended_by = rows.get(&row.id).and_then(|before| before.ended_by.clone());
            rows.insert(row.id.clone(), row);
        }
    }
}

fn delete(state: &mut State, key: &Key, at: Epoch) {
    match key {
        Key::User(key) => {
            state.users.remove(&key.id);
        }
        Key::Group(key) => {
            state.groups.remove(&key.id);
        }
        Key::Client(key) => {
            state.clients.remove(&key.id);
        }
        Key::Membership(key) => {
            state.members.entry(key.group_id.clone()).or_default().remove(&key.user_id);
        }
        Key::Token(key) => {
            let revoked = Revoked { at, by: RevokedBy::Issuer };
            match state.tokens.get_mut(&key.owner()).and_then(|rows| rows.get_mut(&key.id)) {
                Some(row) => _ = row.revoked.get_or_insert(revoked),
                None => _ = state.ended_early.insert(key.id.clone(), revoked),
            }
        }
        Key::Session(key) => {
            if let Some(row) = state.sessions.get_mut(&key.user_id).and_then(|rows| rows.get_mut(&key.id)) {
                row.ended_by.get_or_insert(RevokedBy::Issuer);
            }
        }
    }
}

#[async_trait]
impl JobStore for Memory {
    async fn create(&self, new: NewJob<'_>) -> PortResult<Created> {
        self.create_at(new, None)
    }
    async fn get(&self, id: &JobId) -> PortResult<Option<Job>> {
        Ok(self.up()?.jobs.get(id).cloned())
    }
    async fn start(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<Step> {
        let mut state = self.up()?;
        match state.jobs.get_mut(id) {
            Some(job) if job.status == Status::Pending => {
                (job.status, job.started_at) = (Status::Processing, Some(at));
                Ok(Step::Taken)
            }
            _ => Ok(Step::Lost),
        }
    }
    async fn freeze(
        &self,
        id: &JobId,
        from: &PlanCursor,
        to: &PlanCursor,
        chunks: &[Chunk],
        _retires_at: Epoch,
    ) -> PortResult<Step> {
        let mut state = self.up()?;
        match state.jobs.get_mut(id) {
            Some(job) if &job.plan == from && job.status == Status::Processing => job.plan = to.clone(),
            _ => return Ok(Step::Lost),
        }
        for chunk in chunks {
            if let Some(first) = chunk.first_user() {
                state.chunks.insert((id.clone(), first.clone()), chunk.clone());
            }
        }
        Ok(Step::Taken)
    }
    async fn mark_effective(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()> {
        if let Some(job) = self.up()?.jobs.get_mut(id) {
            job.effective_at.get_or_insert(at);
        }
        Ok(())
    }
    async fn mark_emitted(&self, id: &JobId) -> PortResult<()> {
        if let Some(job) = self.up()?.jobs.get_mut(id) {
            job.emitted = true;
        }
        Ok(())
    }
    async fn mark_redriven(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()> {
        if let Some(job) = self.up()?.jobs.get_mut(id) {
            job.redriven_at = Some(at);
        }
        Ok(())
    }
    async fn record_affected(
        &self,
        id: &JobId,
        chunk: u32,
        fate: Fate,
        owners: &[(Owner, Facts)],
        at: DateTime<Utc>,
    ) -> PortResult<()> {
        let mut state = self.up()?;
        let noted = state.affected.entry((id.clone(), chunk, fate)).or_default();
        for (owner, facts) in owners {
            let stored = noted.entry(owner.clone()).or_insert((Facts::default(), at));
            *stored = (stored.0.max(*facts), at);
        }
        Ok(())
    }
    async fn affected(&self, id: &JobId, chunk: u32, fate: Fate) -> PortResult<HashMap<Owner, Facts>> {
        let state = self.up()?;
        let noted = state.affected.get(&(id.clone(), chunk, fate)).into_iter().flatten();
        Ok(noted.map(|(owner, (facts, _))| (owner.clone(), *facts)).collect())
    }
    async fn affected_users(
        &self,
        id: &JobId,
        chunk: u32,
        after: Option<&UserId>,
        limit: usize,
    ) -> PortResult<Vec<Affected>> {
        let state = self.up()?;
        let noted = state.affected.get(&(id.clone(), chunk, Fate::Lost)).into_iter().flatten();
        let users = noted.filter_map(|(owner, (facts, at))| {
            let user = owner.user()?.clone();
            let notice = state.notices.get(&(id.clone(), chunk, user.clone())).map(|(_, told)| told.clone());
            Some(Affected { user, facts: *facts, processed_at: *at, notice })
        });
        Ok(users.filter(|line| after.is_none_or(|after| &line.user > after)).take(limit).collect())
    }
    async fn checkpoint(&self, id: &JobId, chunk: u32) -> PortResult<Option<String>> {
        Ok(self.up()?.checkpoints.get(&(id.clone(), chunk)).cloned())
    }
    async fn save_checkpoint(&self, id: &JobId, chunk: u32, at: &str) -> PortResult<()> {
        self.up()?.checkpoints.insert((id.clone(), chunk), at.to_owned());
        Ok(())
    }
    async fn freeze_people(&self, id: &JobId, list: Frozen, users: &BTreeSet<UserId>) -> PortResult<()> {
        self.up()?.people.insert((id.clone(), list), users.clone());
        Ok(())
    }
    async fn frozen_people(&self, id: &JobId, list: Frozen) -> PortResult<BTreeSet<UserId>> {
        Ok(self.up()?.people.get(&(id.clone(), list)).cloned().unwrap_or_default())
    }
    async fn chunk_result(&self, id: &JobId, chunk: u32) -> PortResult<Option<ChunkResult>> {
        Ok(self.up()?.results.get(&(id.clone(), chunk)).copied())
    }
    async fn commit_chunk(
        &self,
        id: &JobId,
        chunk: u32,
        before: Option<ChunkResult>,
        after: ChunkResult,
    ) -> PortResult<Step> {
        let mut state = self.up()?;
        let key = (id.clone(), chunk);
        if state.results.get(&key).copied() != before {
            return Ok(Step::Lost);
        }
        state.results.insert(key, after);
        Ok(Step::Taken)
    }
    async fn tally(&self, id: &JobId) -> PortResult<Tally> {
        let state = self.up()?;
        let mut tally = Tally::default();
        for (_, result) in state.results.range((id.clone(), 0)..=(id.clone(), u32::MAX)) {
            tally.add(result);
        }
        for (_, counts) in state.notice_counts.range((id.clone(), 0)..=(id.clone(), u32::MAX)) {
            tally.notices += *counts;
        }
        Ok(tally)
    }
    async fn finish(
        &self,
        id: &JobId,
        from: Status,
        to: Status,
        at: DateTime<Utc>,
        audit: &AuditEntry,
    ) -> PortResult<Step> {
        self.finish_at(id, (from, to), at, audit, None)
    }
    async fn cancel(&self, id: &JobId, from: Status, cancelled: &Cancelled, audit: &AuditEntry) -> PortResult<Step> {
        self.cancel_at(id, from, cancelled, audit, None)
    }
    async fn retire(&self, id: &JobId) -> PortResult<()> {
        self.up()?.retired.insert(id.clone());
        Ok(())
    }
    async fn open_jobs(&self) -> PortResult<Vec<JobId>> {
        let state = self.up()?;
        let is_open =
            |job: &&Job| job.status.is_open() || (job.status == Status::Cancelled && !state.retired.contains(&job.id));
        let mut open: Vec<&Job> = state.jobs.values().filter(is_open).collect();
        open.sort_by_key(|job| job.created_at);
        Ok(open.into_iter().take(100).map(|job| job.id.clone()).collect())
    }
    async fn jobs_by_time(
        &self,
        initiated_by: Option<&UserId>,
        after: Option<&(i64, JobId)>,
        limit: usize,
    ) -> PortResult<Vec<Job>> {
        let state = self.up()?;
        let at = |job: &Job| (job.created_at.timestamp_millis(), job.id.clone());
        let wanted = |job: &&Job| {
            initiated_by.is_none_or(|actor| &job.initiated_by.id == actor) && after.is_none_or(|after| at(job) < *after)
        };
        let mut jobs: Vec<Job> = state.jobs.values().filter(wanted).cloned().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(at(job)));
        jobs.truncate(limit);
        Ok(jobs)
    }
    async fn slots(&self, actor: &UserId, name: &str) -> PortResult<Slots> {
        Ok(self.up()?.slots.get(&(actor.clone(), name.to_owned())).cloned().unwrap_or_default())
    }
    async fn repeated(&self, actor: &UserId, key: &str, now: Epoch) -> PortResult<Option<(JobId, String)>> {
        let state = self.up()?;
        let stored = state.idempotency.get(&(actor.clone(), key.to_owned()));
        let fresh = stored.filter(|(asked, _)| asked.expires_at > now.0);
        Ok(fresh.map(|(asked, job)| (job.clone(), asked.request.clone())))
    }
}

fn create(state: &mut State, new: NewJob<'_>, place: Option<Sealed>) -> PortResult<Created> {
    if state.jobs.contains_key(&new.job.id) {
        return Err(PortError::Corrupt { service: "memory", cause: format!("job {} exists", new.job.id) });
    }
    if let Some(asked) = new.idempotency {
        let stored = state.idempotency.get(&(asked.actor.clone(), asked.key.clone()));
        if stored.is_some_and(|(stored, _)| stored.expires_at > new.job.created_at.timestamp()) {
            return Ok(Created::Repeated);
        }
    }
    if let Some(used) = new.key {
        let stored = state.keys.get(&used.actor);
        if stored.is_none_or(|(key, _, is_used)| key.id != used.id || *is_used) {
            return Ok(Created::KeyUsed);
        }
    }
    if let Some(slot) = new.slot
        && !take(state, slot)
    {
        return Ok(Created::SlotsMoved);
    }
    if let Some(asked) = new.idempotency {
        let value = (asked.clone(), new.job.id.clone());
        state.idempotency.insert((asked.actor.clone(), asked.key.clone()), value);
    }
    if let Some((_, _, is_used)) = new.key.and_then(|used| state.keys.get_mut(&used.actor)) {
        *is_used = true;
    }
    state.cutoffs.extend_from_slice(new.cutoffs);
    new.audit.map(|entry| state.audit.add(entry, place)).transpose()?;
    state.jobs.insert(new.job.id.clone(), new.job.clone());
    Ok(Created::Written)
}

/// Takes a slot if the stored ones are still what was read.
fn take(state: &mut State, slot: &SlotChange) -> bool {
    let stored = state.slots.entry((slot.actor.clone(), slot.name.to_owned())).or_default();
    let unmoved = *stored == slot.before;
    if unmoved {
        *stored = slot.after.clone();
    }
    unmoved
}

#[async_trait]
impl NoticeStore for Memory {
    async fn claim(&self, of: Recipient<'_>, claim: &str, at: DateTime<Utc>) -> PortResult<Step> {
        let mut state = self.up()?;
        let noted = state.affected.get(&(of.job.clone(), of.chunk, Fate::Lost));
        if !noted.is_some_and(|noted| noted.contains_key(&Owner::User(of.user.clone()))) {
            return Ok(Step::Lost);
        }
        let told = Told { at, outcome: None, trouble: None };
        let stored = state.notices.entry((of.job.clone(), of.chunk, of.user.clone()));
        let (holder, told) = stored.or_insert_with(|| (claim.to_owned(), told));
        Ok(if holder == claim && told.outcome.is_none() { Step::Taken } else { Step::Lost })
    }
    async fn release(&self, of: Recipient<'_>, claim: &str) -> PortResult<()> {
        let mut state = self.up()?;
        let key = (of.job.clone(), of.chunk, of.user.clone());
        if state.notices.get(&key).is_some_and(|(holder, told)| holder == claim && told.outcome.is_none()) {
            state.notices.remove(&key);
        }
        Ok(())
    }
    async fn conclude(&self, of: Recipient<'_>, claim: &str, outcome: &Outcome, at: DateTime<Utc>) -> PortResult<()> {
        let mut state = self.up()?;
        let stored = state.notices.get_mut(&(of.job.clone(), of.chunk, of.user.clone()));
        if let Some((_, told)) = stored.filter(|(holder, _)| holder == claim) {
            (told.at, told.outcome) = (at, Some(outcome.clone()));
        }
        Ok(())
    }
    async fn note_trouble(&self, mark: &Mark, trouble: Trouble, _at: DateTime<Utc>) -> PortResult<bool> {
        let mut state = self.up()?;
        let of_chunk = |(job, chunk, _): &(JobId, u32, UserId)| job == &mark.job && *chunk == mark.chunk;
        let mut notices = state.notices.iter_mut().filter(|(key, _)| of_chunk(key));
        let found = notices.find(|(_, (holder, _))| holder == &mark.claim);
        Ok(found.is_some_and(|(_, (_, told))| {
            told.trouble = Some(trouble);
            true
        }))
    }
    async fn notice_counts(&self, job: &JobId, chunk: u32) -> PortResult<NoticeCounts> {
        Ok(self.up()?.notice_counts.get(&(job.clone(), chunk)).copied().unwrap_or_default())
    }
    async fn commit_notices(
        &self,
        job: &JobId,
        chunk: u32,
        before: NoticeCounts,
        after: NoticeCounts,
    ) -> PortResult<Step> {
        let mut state = self.up()?;
        let stored = state.notice_counts.entry((job.clone(), chunk)).or_default();
        if *stored != before {
            return Ok(Step::Lost);
        }
        *stored = after;
        Ok(Step::Taken)
    }
}

#[async_trait]
impl KeyStore for Memory {
    async fn put_key(&self, actor: &UserId, key: &StoredKey, slot: &SlotChange) -> PortResult<Step> {
        let mut state = self.up()?;
        if !take(&mut state, slot) {
            return Ok(Step::Lost);
        }
        state.keys.insert(actor.clone(), (key.clone(), 0, false));
        Ok(Step::Taken)
    }
    async fn try_key(&self, actor: &UserId, now: Epoch) -> PortResult<Option<StoredKey>> {
        let mut state = self.up()?;
        match state.keys.get_mut(actor) {
            Some((key, tries, false)) if *tries < KEY_TRIES && key.expires_at > now => {
                *tries += 1;
                Ok(Some(key.clone()))
            }
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl AuditLog for Memory {
    async fn append(&self, entry: &AuditEntry) -> PortResult<()> {
        self.append_at(entry, None)
    }
}

#[async_trait]
impl AuditReader for Memory {
    async fn chains(&self, from: Option<&str>) -> PortResult<Page<Result<ChainId, String>>> {
        Ok(self.up()?.audit.chains(from))
    }
    async fn chain(&self, chain: &ChainId, from: Option<&str>) -> PortResult<Page<Found>> {
        Ok(self.up()?.audit.chain(chain, from))
    }
    async fn last(&self, chain: &ChainId) -> PortResult<Option<Found>> {
        Ok(self.up()?.audit.last(chain))
    }
    async fn between(&self, since: DateTime<Utc>, until: DateTime<Utc>, from: Option<&str>) -> PortResult<Page<Found>> {
        Ok(self.up()?.audit.between(since, until, from))
    }
}

#[async_trait]
impl JobTrail for Memory {
    async fn of_job(&self, job: &JobId, from: Option<&str>, limit: usize) -> PortResult<Page<Found>> {
        Ok(self.up()?.audit.of_job(job, from, limit))
    }
}

#[async_trait]
impl DenylistStore for Memory {
    async fn ask(&self, token: &TokenFacts) -> PortResult<Answer> {
        Ok(answer(&*self.up()?, token))
    }
    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        self.up()?.cutoffs.extend_from_slice(cutoffs);
        Ok(())
    }
    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        self.up()?.denied.extend(tokens.iter().cloned());
        Ok(())
    }
    async fn put_spared(&self, job: &JobId, users: &BTreeSet<UserId>, retires_at: Epoch) -> PortResult<()> {
        let mut state = self.up()?;
        state.spared.extend(users.iter().map(|user| ((job.clone(), user.clone()), retires_at)));
        Ok(())
    }
    async fn activate(&self, job: &FrozenJob) -> PortResult<()> {
        let mut state = self.up()?;
        if !state.active.contains(job) {
            state.active.push(job.clone());
        }
        Ok(())
    }
    async fn active(&self) -> PortResult<Vec<FrozenJob>> {
        Ok(self.up()?.active.clone())
    }
    async fn chunk(&self, chunk: &ChunkRef) -> PortResult<Option<Chunk>> {
        let Some(first) = chunk.first_user.clone() else { return Ok(None) };
        Ok(self.up()?.chunks.get(&(chunk.job_id.clone(), first)).cloned())
    }
    async fn chunks(&self, job: &JobId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Chunk>> {
        let state = self.up()?;
        let of_job = state.chunks.iter().filter(|((id, _), _)| id == job);
        let later = of_job.filter(|((_, first), _)| after.is_none_or(|after| first > after));
        Ok(later.take(limit).map(|(_, chunk)| chunk.clone()).collect())
    }
    async fn entries(&self, _from: Option<&str>) -> PortResult<Page<Entry>> {
        let state = self.up()?;
        // A table says it in an order of its own: what is older must not win because it comes later.
        let cutoffs = state.cutoffs.iter().rev().cloned().map(Entry::Cutoff);
        let tokens = state.denied.iter().map(|(token, until)| Entry::Token(token.clone(), *until));
        let spared = state.spared.iter().map(|((job, user), until)| Entry::Spared(job.clone(), user.clone(), *until));
        let chunks = state.chunks.iter().map(|((job, _), chunk)| Entry::Chunk(job.clone(), chunk.clone()));
        Ok(Page { items: cutoffs.chain(tokens).chain(spared).chain(chunks).collect(), next: None })
    }
    async fn generation(&self) -> PortResult<String> {
        Ok(self.up()?.generation.clone())
    }
    async fn renew_generation(&self, generation: &str) -> PortResult<()> {
        generation.clone_into(&mut self.up()?.generation);
        Ok(())
    }
    async fn forget_retired(&self, until: Epoch) -> PortResult<u64> {
        let mut state = self.up()?;
        let before = state.cutoffs.len() + state.active.len();
        state.cutoffs.retain(|cutoff| cutoff.scope != Scope::Everything || cutoff.retires_at > until);
        state.active.retain(|job| job.retires_at > until);
        Ok((before - state.cutoffs.len() - state.active.len()) as u64)
    }
}

#[async_trait]
impl DenylistCache for Memory {
    async fn memory(&self) -> PortResult<ServerMemory> {
        let state = self.up()?;
        let eviction_policy = state.eviction_policy.clone().unwrap_or_else(|| NO_EVICTION.to_owned());
        Ok(ServerMemory { eviction_policy, evicted_keys: state.evicted_keys })
    }
    async fn ask(&self, token: &TokenFacts) -> PortResult<CacheAnswer> {
        let state = self.up()?;
        Ok(if state.marker.is_some() { CacheAnswer::Complete(answer(&state, token)) } else { CacheAnswer::Incomplete })
    }
    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        self.up()?.cutoffs.extend_from_slice(cutoffs);
        Ok(())
    }
    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        self.up()?.denied.extend(tokens.iter().cloned());
        Ok(())
    }
    async fn put_spared(&self, spared: &[(JobId, UserId, Epoch)]) -> PortResult<()> {
        let entries = spared.iter().map(|(job, user, until)| ((job.clone(), user.clone()), *until));
        self.up()?.spared.extend(entries);
        Ok(())
    }
    async fn renew(&self, generation: &str) -> PortResult<bool> {
        Ok(self.up()?.marker.as_deref() == Some(generation))
    }
    async fn begin_rebuild(&self, rebuild: &str) -> PortResult<()> {
        let mut state = self.up()?;
        (state.rebuild, state.marker) = (Some(rebuild.to_owned()), None);
        Ok(())
    }
    async fn finish_rebuild(&self, rebuild: &str, generation: &str) -> PortResult<bool> {
        let mut state = self.up()?;
        let same = state.rebuild.as_deref() == Some(rebuild);
        if same {
            state.marker = Some(generation.to_owned());
        }
        Ok(same)
    }
    async fn void(&self) -> PortResult<()> {
        self.up()?.marker = None;
        Ok(())
    }
}

/// A queue that keeps what it is given, for a test to deliver as it pleases.
#[derive(Default)]
pub struct MemoryQueue {
    plans: Mutex<Vec<(JobId, Priority)>>,
    chunks: Mutex<Vec<(ChunkRef, Priority)>>,
    notices: Mutex<Vec<(NoticeRef, TimeDelta)>>,
    notices_down: Mutex<bool>,
}

impl MemoryQueue {
    /// Takes the planning messages out.
    pub fn take_plans(&self) -> Vec<JobId> {
        let taken = std::mem::take(&mut *self.plans.lock().unwrap_or_else(PoisonError::into_inner));
        taken.into_iter().map(|(job, _)| job).collect()
    }

    /// Takes the chunk messages out.
    pub fn take_chunks(&self) -> Vec<ChunkRef> {
        self.take_chunks_with_priority().into_iter().map(|(chunk, _)| chunk).collect()
    }

    /// Takes the messages about users to be told out, with the delay of each.
    pub fn take_notices(&self) -> Vec<(NoticeRef, TimeDelta)> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the queue of users to be told fail, or work again.
    pub fn set_notices_down(&self, down: bool) {
        *self.notices_down.lock().unwrap_or_else(PoisonError::into_inner) = down;
    }

    /// Takes the chunk messages out, and says which queue each was in.
    pub fn take_chunks_with_priority(&self) -> Vec<(ChunkRef, Priority)> {
        std::mem::take(&mut *self.chunks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl WorkQueue for MemoryQueue {
    async fn send_plan(&self, job: &JobId, priority: Priority) -> PortResult<()> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).push((job.clone(), priority));
        Ok(())
    }
    async fn send_chunks(&self, chunks: &[ChunkRef], priority: Priority) -> PortResult<()> {
        let messages = chunks.iter().map(|chunk| (chunk.clone(), priority));
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
        Ok(())
    }
    async fn send_notice(&self, notice: &NoticeRef, delay: TimeDelta) -> PortResult<()> {
        if *self.notices_down.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(PortError::Unavailable { service: "queue", cause: "switched off".to_owned() });
        }
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push((notice.clone(), delay));
        Ok(())
    }
}

//! What the rules need from the outside world, in the rules' own words.
//!
//! One contract suite ([`crate::testing::contract`]) holds every implementation to what is written here.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use crate::audit::Entry as AuditEntry;
use crate::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use crate::decision::{Answer, TokenFacts};
use crate::directory::{Client, Group, User};
use crate::error::PortError;
use crate::identity::Profile;
use crate::ids::{ClientId, GroupId, JobId, RawToken, SessionId, TokenId, UserId};
use crate::job::{
    Cancelled, Chunk, ChunkRef, ChunkResult, Facts, Fate, Job, NoticeRef, PlanCursor, Priority, Status, Tally,
};
use crate::notify::Told;
use crate::rate::{SlotChange, Slots};
use crate::records::Record;
use crate::time::Epoch;
use crate::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenRow};

/// What every port answers.
pub type PortResult<T> = Result<T, PortError>;

/// Users, groups, memberships and clients. Reads see every acknowledged write.
#[async_trait]
pub trait Directory: Send + Sync {
    /// One user.
    async fn user(&self, id: &UserId) -> PortResult<Option<User>>;
    /// Those of at most 100 users that exist, in no particular order.
    async fn users(&self, ids: &[UserId]) -> PortResult<Vec<User>>;
    /// All groups.
    async fn groups(&self) -> PortResult<Vec<Group>>;
    /// Up to `limit` direct members after a user, in the byte order of their ids. An empty page is the end.
    async fn members(&self, group: &GroupId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<UserId>>;
    /// One client.
    async fn client(&self, id: &ClientId) -> PortResult<Option<Client>>;
    /// The users who are admins, found without looking at the others.
    async fn admins(&self) -> PortResult<Vec<UserId>>;
    /// Those of some texts that are a user's name, or were once, as [`name_key`](crate::notice::name_key) writes it.
    async fn known_names(&self, texts: &[String]) -> PortResult<BTreeSet<String>>;
}

/// Partitions over which each client's tokens are spread in the index that finds them (no hot key). All tokens of one
/// owner are in the same one, whatever the client.
pub const CLIENT_SHARDS: u32 = 16;

/// Token and session rows.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Everything of one owner.
    async fn holdings(&self, owner: &Owner) -> PortResult<Holdings>;
    /// A page of one of `of` parts of everything there is: owners, each with all it holds. An owner may come again on
    /// the next page, but never in another part.
    async fn segment(&self, part: u32, of: u32, from: Option<&str>) -> PortResult<Page<(Owner, Holdings)>>;
    /// A page of the owners of a client's tokens in one of [`CLIENT_SHARDS`] shards. An owner may come again.
    async fn owners_at(&self, client: &ClientId, shard: u32, from: Option<&str>) -> PortResult<Page<Owner>>;
    /// About how many rows there are. It may be hours old.
    async fn rows(&self) -> PortResult<u64>;
    /// One token of a known owner.
    async fn token(&self, owner: &Owner, id: &TokenId) -> PortResult<Option<TokenRow>>;
    /// One opaque token, by its id alone.
    async fn opaque(&self, id: &TokenId) -> PortResult<Option<TokenRow>>;
    /// One session of a user.
    async fn session(&self, user: &UserId, id: &SessionId) -> PortResult<Option<SessionRow>>;
    /// Revokes a token unless it is revoked already, and says who revoked it; `None` if there is no such row.
    async fn revoke(&self, owner: &Owner, id: &TokenId, revoked: &Revoked) -> PortResult<Option<RevokedBy>>;
    /// Ends a session unless something else did, and says whether it was ended by `revoked.by`, now or earlier. Its
    /// data goes at once; the empty row stays until it expires, so that no late record brings the session back.
    async fn end_session(&self, user: &UserId, id: &SessionId, revoked: &Revoked) -> PortResult<bool>;
}

/// Whether a change from elsewhere was newer than what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was written.
    Written,
    /// Something at least as new is stored already.
    Stale,
}

/// Takes records of tokens, sessions, users, groups, memberships and clients from elsewhere.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Writes a record unless a newer one of the same thing was written before. A revocation of ours is never undone.
    async fn apply(&self, record: &Record) -> PortResult<Applied>;
}

/// Whether a step that only one worker may take was taken by this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Taken.
    Taken,
    /// Somebody else was there first.
    Lost,
}

/// What a repeated request is recognised by (`[API-5]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Whose request.
    pub actor: UserId,
    /// Hash of the `Idempotency-Key`.
    pub key: String,
    /// Hash of what was asked for.
    pub request: String,
    /// When the key may be used for something else, in seconds since 1970.
    pub expires_at: i64,
}

/// Which key an emergency consumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Whose key.
    pub actor: UserId,
    /// Which of the actor's keys.
    pub id: String,
}

/// A job to be written, with everything that happens with it or not at all.
#[derive(Debug, Clone, Copy)]
pub struct NewJob<'a> {
    /// The job. Its id must be new.
    pub job: &'a Job,
    /// The cutoffs that make it effective at once, at most fifty.
    pub cutoffs: &'a [Cutoff],
    /// The slot of its rate limit.
    pub slot: Option<&'a SlotChange>,
    /// What a repetition is recognised by.
    pub idempotency: Option<&'a Idempotency>,
    /// The emergency key it consumes.
    pub key: Option<&'a KeyUse>,
    /// The audit entry.
    pub audit: Option<&'a AuditEntry>,
}

impl<'a> NewJob<'a> {
    /// Just the job.
    pub fn plain(job: &'a Job) -> Self {
        Self { job, cutoffs: &[], slot: None, idempotency: None, key: None, audit: None }
    }
}

/// What became of a new job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is written.
    Written,
    /// The actor's slots have changed in the meantime: look at them again.
    SlotsMoved,
    /// The `Idempotency-Key` was used in the meantime.
    Repeated,
    /// The emergency key was used or replaced in the meantime.
    KeyUsed,
}

/// A list of users that is frozen when its job is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Frozen {
    /// Users the job spares.
    Spared,
    /// Users who were admins then: a dry run says whether any of them is hit.
    Admins,
}

/// A user in the list of those a job affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// The user.
    pub user: UserId,
    /// What was lost.
    pub facts: Facts,
    /// When that was noted.
    pub processed_at: DateTime<Utc>,
    /// Where the notice stands; none if nobody has begun to send one.
    pub notice: Option<Told>,
}

/// Jobs, their chunks' results and the users they affected.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Writes a new job with all that belongs to it, or nothing.
    async fn create(&self, new: NewJob<'_>) -> PortResult<Created>;
    /// Reads a job.
    async fn get(&self, id: &JobId) -> PortResult<Option<Job>>;
    /// `pending` → `processing`.
    async fn start(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<Step>;
    /// Adds chunks and moves the plan from one cursor to the next, all or nothing. Lost if the cursor has moved.
    /// The chunks are kept until `retires_at`: they are the durable form of their users' cutoffs.
    async fn freeze(
        &self,
        id: &JobId,
        from: &PlanCursor,
        to: &PlanCursor,
        chunks: &[Chunk],
        retires_at: Epoch,
    ) -> PortResult<Step>;
    /// Notes, once, from when on every verifier refuses what the job covers.
    async fn mark_effective(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()>;
    /// Notes that every chunk has been handed to the queue.
    async fn mark_emitted(&self, id: &JobId) -> PortResult<()>;
    /// Notes that the job's messages were sent again.
    async fn mark_redriven(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()>;
    /// Notes what became of owners' holdings in a chunk; each owner's numbers only grow.
    async fn record_affected(
        &self,
        id: &JobId,
        chunk: u32,
        fate: Fate,
        owners: &[(Owner, Facts)],
        at: DateTime<Utc>,
    ) -> PortResult<()>;
    /// What was noted of a chunk's owners so far.
    async fn affected(&self, id: &JobId, chunk: u32, fate: Fate) -> PortResult<HashMap<Owner, Facts>>;
    /// Up to `limit` of the users who lost something in a chunk, after one of them, in the byte order of their ids.
    async fn affected_users(
        &self,
        id: &JobId,
        chunk: u32,
        after: Option<&UserId>,
        limit: usize,
    ) -> PortResult<Vec<Affected>>;
    /// Where the last worker at a part of a table left off.
    async fn checkpoint(&self, id: &JobId, chunk: u32) -> PortResult<Option<String>>;
    /// Notes where to go on. Going back to an earlier place does no harm.
    async fn save_checkpoint(&self, id: &JobId, chunk: u32, at: &str) -> PortResult<()>;
    /// Keeps a list of users with the job. Keeping it again changes nothing.
    async fn freeze_people(&self, id: &JobId, list: Frozen, users: &BTreeSet<UserId>) -> PortResult<()>;
    /// Reads a list of users that was kept with the job.
    async fn frozen_people(&self, id: &JobId, list: Frozen) -> PortResult<BTreeSet<UserId>>;
    /// How a chunk ended, if it did.
    async fn chunk_result(&self, id: &JobId, chunk: u32) -> PortResult<Option<ChunkResult>>;
    /// Replaces a chunk's result and adds the difference to the job's tally, all or nothing. Lost if the stored
    /// result is no longer `before`.
    async fn commit_chunk(
        &self,
        id: &JobId,
        chunk: u32,
        before: Option<ChunkResult>,
        after: ChunkResult,
    ) -> PortResult<Step>;
    /// The sum over the chunks' results.
    async fn tally(&self, id: &JobId) -> PortResult<Tally>;
    /// Ends a job and adds the audit entry, all or nothing. Lost if it is not in state `from` any more.
    async fn finish(
        &self,
        id: &JobId,
        from: Status,
        to: Status,
        at: DateTime<Utc>,
        audit: &AuditEntry,
    ) -> PortResult<Step>;
    /// Stops a job and adds the audit entry, all or nothing. Lost if it is not in state `from` any more. It stays among
    /// the open jobs until it is retired.
    async fn cancel(&self, id: &JobId, from: Status, cancelled: &Cancelled, audit: &AuditEntry) -> PortResult<Step>;
    /// Takes a cancelled job, all of whose chunks are counted, from the open jobs.
    async fn retire(&self, id: &JobId) -> PortResult<()>;
    /// Jobs with work left, oldest first, at most 100.
    async fn open_jobs(&self) -> PortResult<Vec<JobId>>;
    /// Up to `limit` jobs, newest first, of everybody or of one actor, that come after one that was accepted at a time
    /// (in milliseconds since 1970).
    async fn jobs_by_time(
        &self,
        initiated_by: Option<&UserId>,
        after: Option<&(i64, JobId)>,
        limit: usize,
    ) -> PortResult<Vec<Job>>;
    /// The slots of a limit that an actor has taken.
    async fn slots(&self, actor: &UserId, name: &str) -> PortResult<Slots>;
    /// The job that an `Idempotency-Key` made, and the hash of what was asked for, unless that is too long ago.
    async fn repeated(&self, actor: &UserId, key: &str, now: Epoch) -> PortResult<Option<(JobId, String)>>;
}

/// The durable form of a job's many user cutoffs: what each of its frozen users is cut off by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenJob {
    /// The job.
    pub job: JobId,
    /// The clients whose tokens are meant; empty means all.
    pub clients: BTreeSet<ClientId>,
    /// The time its cutoffs compare.
    pub basis: Basis,
    /// The tokens they mean.
    pub kinds: Kinds,
    /// Refused is what is at or before this.
    pub at: Epoch,
    /// When the last token they can hit has expired.
    pub retires_at: Epoch,
}

impl FrozenJob {
    /// What [`Selector::cutoffs`](crate::selector::Selector::cutoffs) says of each of the job's people.
    pub fn of(pattern: &[Cutoff]) -> Option<Self> {
        let first = pattern.first()?;
        let client = |cutoff: &Cutoff| match &cutoff.scope {
            Scope::Client(client) => Some(client.clone()),
            _ => None,
        };
        Some(Self {
            job: first.job.clone(),
            clients: pattern.iter().filter_map(client).collect(),
            basis: first.basis,
            kinds: first.kinds,
            at: first.at,
            retires_at: first.retires_at,
        })
    }

    /// The cutoffs of one of its users.
    pub fn cutoffs(&self, user: &UserId) -> Vec<Cutoff> {
        let cutoff = |scope| Cutoff {
            scope,
            basis: self.basis,
            kinds: self.kinds,
            spares: Spares::default(),
            at: self.at,
            job: self.job.clone(),
            retires_at: self.retires_at,
        };
        if self.clients.is_empty() {
            return vec![cutoff(Scope::User(user.clone()))];
        }
        self.clients.iter().map(|client| cutoff(Scope::UserClient(user.clone(), client.clone()))).collect()
    }
}

/// One thing the durable denylist holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A cutoff of its own.
    Cutoff(Cutoff),
    /// A revoked token and when it has expired.
    Token(TokenId, Epoch),
    /// A user whom a job spares, and until when that matters.
    Spared(JobId, UserId, Epoch),
    /// A chunk of a job's frozen users; they are cut off if the job is a [`FrozenJob`].
    Chunk(JobId, Chunk),
}

/// A part of a longer list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next part begins; none at the end.
    pub next: Option<String>,
}

/// The denylist's truth (DynamoDB). Reads see every acknowledged write.
#[async_trait]
pub trait DenylistStore: Send + Sync {
    /// Everything that may refuse this token.
    async fn ask(&self, token: &TokenFacts) -> PortResult<Answer>;
    /// Adds cutoffs. Nothing is ever replaced, so none can move back.
    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()>;
    /// Adds revoked tokens.
    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()>;
    /// Adds users whom a job spares.
    async fn put_spared(&self, job: &JobId, users: &BTreeSet<UserId>, retires_at: Epoch) -> PortResult<()>;
    /// From now on the job's frozen users are cut off.
    async fn activate(&self, job: &FrozenJob) -> PortResult<()>;
    /// The jobs whose frozen users are cut off.
    async fn active(&self) -> PortResult<Vec<FrozenJob>>;
    /// One frozen chunk.
    async fn chunk(&self, chunk: &ChunkRef) -> PortResult<Option<Chunk>>;
    /// A job's frozen chunks after the one that begins with a user.
    async fn chunks(&self, job: &JobId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Chunk>>;
    /// Everything there is, page by page, to rebuild the cache from.
    async fn entries(&self, from: Option<&str>) -> PortResult<Page<Entry>>;
    /// The generation that a complete cache carries.
    async fn generation(&self) -> PortResult<String>;
    /// Replaces the generation: no cache of an older one counts as complete.
    async fn renew_generation(&self, generation: &str) -> PortResult<()>;
    /// Forgets what every question reads (cutoffs of everything, and the jobs whose frozen users are cut off) if it
    /// retired at or before a time. Says how many there were.
    async fn forget_retired(&self, until: Epoch) -> PortResult<u64>;
}

/// What the cache says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheAnswer {
    /// The cache holds everything, and this is what it has on the token.
    Complete(Answer),
    /// The cache has lost its marker: what it does not list may still be revoked.
    Incomplete,
}

/// What a cache's server says of how it forgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMemory {
    /// What it does when it is full: `maxmemory-policy`.
    pub eviction_policy: String,
    /// Keys it threw out because it was full, since it started.
    pub evicted_keys: u64,
}

/// The denylist's projection (Redis): fast, and trusted only while its marker stands (`[CUT-5]`).
#[async_trait]
pub trait DenylistCache: Send + Sync {
    /// How the server forgets.
    async fn memory(&self) -> PortResult<ServerMemory>;
    /// Everything that may refuse this token, in one wait (`[CHECK-2]`).
    async fn ask(&self, token: &TokenFacts) -> PortResult<CacheAnswer>;
    /// Adds cutoffs, keeping per scope and variety the latest. Answers once the replicas have them.
    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()>;
    /// Adds revoked tokens. Answers once the replicas have them.
    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()>;
    /// Adds spared users. Answers once the replicas have them.
    async fn put_spared(&self, spared: &[(JobId, UserId, Epoch)]) -> PortResult<()>;
    /// Extends the marker's lease if it is of this generation and was set on this very server.
    async fn renew(&self, generation: &str) -> PortResult<bool>;
    /// Notes on the server that a rebuild has begun.
    async fn begin_rebuild(&self, rebuild: &str) -> PortResult<()>;
    /// Sets the marker if the server is still the one on which this rebuild began and has forgotten nothing since.
    async fn finish_rebuild(&self, rebuild: &str, generation: &str) -> PortResult<bool>;
    /// Takes the marker away.
    async fn void(&self) -> PortResult<()>;
}

/// Hands work to the workers. Each priority has queues of its own, so that an emergency waits for nobody.
#[async_trait]
pub trait WorkQueue: Send + Sync {
    /// A job to plan.
    async fn send_plan(&self, job: &JobId, priority: Priority) -> PortResult<()>;
    /// Chunks to settle.
    async fn send_chunks(&self, chunks: &[ChunkRef], priority: Priority) -> PortResult<()>;
    /// Affected users to be told, not before `delay` (at most fifteen minutes) has passed. No priority: no token waits
    /// for a mail.
    async fn send_notice(&self, notice: &NoticeRef, delay: TimeDelta) -> PortResult<()>;
}

/// What a verified access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The denylist's view of it.
    pub facts: TokenFacts,
    /// Whether `facts.signed_in_at` is the token's own `auth_time` rather than its `iat`.
    pub has_auth_time: bool,
    /// `iss`.
    pub issuer: String,
    /// `aud`, if any.
    pub audience: Vec<String>,
    /// `scope`, space-separated.
    pub scope: Option<String>,
    /// `username` or `preferred_username`.
    pub username: Option<String>,
    /// What it says of its user; roles are those of the claim that configuration maps to roles.
    pub profile: Profile,
}

/// Why a token could not be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is not a token of our issuer, or not one that is valid now.
    #[error("{0}")]
    Invalid(&'static str),
    /// Its time has passed.
    #[error("expired")]
    Expired,
    /// It is an ID token, which opens nothing (OpenID Connect Core §2).
    #[error("an ID token is no access token")]
    IdToken,
    /// The issuer's keys cannot be had.
    #[error("the issuer's keys cannot be had: {0}")]
    NoKeys(String),
}

/// Reads and verifies JWT access tokens (`[CHECK-1]`).
#[async_trait]
pub trait TokenVerifier: Send + Sync {
    /// Reads a JWT and checks all but its signature: algorithm, issuer, audience, times, and that it is an access
    /// token. What it says may still be invented; the denylist can be asked about it first.
    fn peek(&self, token: &RawToken) -> Result<Claims, VerifyError>;
    /// Checks the signature, too.
    async fn verify(&self, token: &RawToken) -> Result<Claims, VerifyError>;
    /// The same for whoever wants to end the token: it has not expired before it is [over](crate::cutoff::is_over).
    async fn verify_to_end(&self, token: &RawToken) -> Result<Claims, VerifyError>;
}

/// What a verifier has to look up of a token that does not say it itself. Answers may be remembered: none of this
/// changes while the token lives, and revocation is asked elsewhere (`[CHECK-5]`). "Not there" is never remembered.
#[async_trait]
pub trait TokenLookup: Send + Sync {
    /// The row of an opaque token, by its id alone.
    async fn opaque_row(&self, id: &TokenId) -> PortResult<Option<TokenRow>>;
    /// When the sign-in was from which a user's token stems: by the token's own row, else by the session that it names,
    /// else by that of its row. A session may hold several sign-ins.
    async fn sign_in_of(
        &self,
        user: &UserId,
        session: Option<&SessionId>,
        token: &TokenId,
    ) -> PortResult<Option<Epoch>>;
}

#[async_trait]
impl<T: TokenStore> TokenLookup for T {
    async fn opaque_row(&self, id: &TokenId) -> PortResult<Option<TokenRow>> {
        self.opaque(id).await
    }

    async fn sign_in_of(
        &self,
        user: &UserId,
        session: Option<&SessionId>,
        token: &TokenId,
    ) -> PortResult<Option<Epoch>> {
        let row = self.token(&Owner::User(user.clone()), token).await?;
        if let Some(at) = row.as_ref().and_then(|row| row.signed_in_at) {
            return Ok(Some(at));
        }
        for name in session.into_iter().chain(row.as_ref().and_then(|row| row.session.as_ref())) {
            if let Some(session) = self.session(user, name).await? {
                return Ok(Some(session.started_at));
            }
        }
        Ok(None)
    }
}

/// Sessions and tokens of sign-ins through our own token endpoint.
#[async_trait]
pub trait SignInStore: Send + Sync {
    /// Writes tokens that were just issued. Writing them again changes nothing, and nothing that has been revoked
    /// comes back.
    async fn add_tokens(&self, tokens: &[TokenRow]) -> PortResult<()>;
    /// Notes that a token was used.
    async fn touch_token(&self, owner: &Owner, id: &TokenId, at: Epoch) -> PortResult<()>;
    /// Writes a new session. Its id must be new. It is kept at least until a moment, as its tokens may live longer than it.
    async fn add_session(&self, session: &SessionRow, kept_until: Epoch) -> PortResult<()>;
    /// All sessions of a user, ended ones included.
    async fn sessions(&self, user: &UserId) -> PortResult<Vec<SessionRow>>;
    /// Puts off a session's end and replaces what is sealed, unless it has been ended: whether it was there.
    async fn touch_session(&self, session: &SessionRow, kept_until: Epoch) -> PortResult<bool>;
}

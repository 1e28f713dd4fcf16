//! A fault layer over the ports: every call to a store, to the cache or to the issuer is a step of its own, which a
//! seeded scheduler takes when it likes, and any of them may fail, before it does anything or after. The same seed takes
//! the same steps.

mod accounts;
mod jobs;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use domain::audit::chain::Pen;
use domain::cutoff::Cutoff;
use domain::decision::{Answer, TokenFacts};
use domain::error::PortError;
use domain::identity::{Profile, VerificationSource};
use domain::ids::{ClientId, JobId, RawToken, SessionId, TokenId, UserId};
use domain::job::{Chunk, ChunkRef};
use domain::ports::{
    CacheAnswer, DenylistCache, DenylistStore, Entry, FrozenJob, Page, PortResult, ServerMemory, SignInStore,
    TokenStore,
};
use domain::testing::{FakeIssuer, Memory};
use domain::time::Epoch;
use domain::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenRow};
use domain::upstream::{Authority, Form, Issued, Upstream, UpstreamError};

/// Numbers that depend on nothing but their seed (splitmix64).
#[derive(Debug)]
pub struct Dice(Mutex<u64>);

impl Dice {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A number below `sides`.
    pub fn roll(&self, sides: u64) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Lets the others go first, once.
struct Pause(bool);

impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Something to do.
pub type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs tasks to their end, a step of one at a time, as the dice say; `between` is called before every step.
pub fn interleave(dice: &Dice, mut tasks: Vec<Task<'_>>, mut between: impl FnMut()) {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if tasks.is_empty() {
            return;
        }
        between();
        let next = usize::try_from(dice.roll(tasks.len() as u64)).unwrap();
        if tasks[next].as_mut().poll(&mut context).is_ready() {
            drop(tasks.swap_remove(next));
        }
    }
    panic!("the tasks do not come to an end");
}

/// What decides whether a step fails.
#[derive(Debug)]
pub struct Weather {
    /// The dice.
    pub dice: Arc<Dice>,
    /// One step in so many fails; 0 for none.
    one_in: Mutex<u64>,
    /// Steps taken so far.
    taken: AtomicU64,
    /// The step that is never taken: whoever comes to it is dead. 0 for none.
    last: u64,
    dead: AtomicBool,
}

impl Weather {
    /// Weather in which one step in so many fails; 0 for none.
    pub fn new(dice: Arc<Dice>, one_in: u64) -> Self {
        Self::deadly(dice, one_in, 0)
    }

    /// The same, and whoever comes to this step dies there; 0 for none.
    pub fn deadly(dice: Arc<Dice>, one_in: u64, last: u64) -> Self {
        Self { dice, one_in: Mutex::new(one_in), taken: AtomicU64::new(0), last, dead: AtomicBool::new(false) }
    }

    /// Steps taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether whoever was out in it has died.
    pub fn has_killed(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Waits for the next step, for ever if it is the one that kills.
    async fn step(&self) {
        Pause(false).await;
        if self.taken.fetch_add(1, Ordering::Relaxed) + 1 == self.last {
            self.dead.store(true, Ordering::Relaxed);
        }
        // What a process has begun side by side dies with it.
        if self.has_killed() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets nothing fail any more.
    pub fn calm(&self) {
        *self.one_in.lock().unwrap_or_else(PoisonError::into_inner) = 0;
    }

    /// Whether nothing fails.
    pub fn is_calm(&self) -> bool {
        *self.one_in.lock().unwrap_or_else(PoisonError::into_inner) == 0
    }

    fn strikes(&self) -> bool {
        let one_in = *self.one_in.lock().unwrap_or_else(PoisonError::into_inner);
        one_in > 0 && self.dice.roll(one_in) == 0
    }

    /// How many of so many things are done by one call: all of them, unless it fails half-way.
    fn part(&self, of: usize) -> usize {
        if of > 1 && self.strikes() { usize::try_from(self.dice.roll(of as u64)).unwrap() } else { of }
    }

    async fn port(&self) -> PortResult<()> {
        self.step().await;
        if self.strikes() {
            return Err(PortError::Unavailable { service: "weather", cause: "struck".to_owned() });
        }
        Ok(())
    }

    async fn upstream(&self) -> Result<(), UpstreamError> {
        self.step().await;
        if self.strikes() { Err(UpstreamError::TimedOut("struck".to_owned())) } else { Ok(()) }
    }
}

/// Ports that are reached by rail.
pub struct Rail<P> {
    /// What lies at its end.
    pub inner: Arc<P>,
    /// What may happen on the way.
    pub weather: Arc<Weather>,
    /// What the process writes its audit entries with, if it has a chain of its own.
    pub pen: Option<Pen>,
}

impl<P> Rail<P> {
    /// A rail to ports.
    pub fn new(inner: Arc<P>, weather: Arc<Weather>) -> Self {
        Self { inner, weather, pen: None }
    }

    /// Writes many things with one call, of which any part may be done when it fails.
    async fn in_part<'a, T, F>(&self, things: &'a [T], write: impl FnOnce(&'a [T]) -> F) -> PortResult<()>
    where
        F: Future<Output = PortResult<()>> + Send,
    {
        self.weather.port().await?;
        let done = self.weather.part(things.len());
        write(&things[..done]).await?;
        if done < things.len() {
            return Err(PortError::Unavailable { service: "weather", cause: "struck half-way".to_owned() });
        }
        self.weather.port().await
    }
}

macro_rules! step {
    ($rail:ident, $call:ident($($argument:expr),*)) => {{
        $rail.weather.port().await?;
        let outcome = $rail.inner.$call($($argument),*).await;
        // It was done, but nobody hears of it.
        $rail.weather.port().await?;
        outcome
    }};
}

pub(crate) use step;

#[async_trait]
impl TokenStore for Rail<Memory> {
    async fn holdings(&self, owner: &Owner) -> PortResult<Holdings> {
        step!(self, holdings(owner))
    }
    async fn segment(&self, part: u32, of: u32, from: Option<&str>) -> PortResult<Page<(Owner, Holdings)>> {
        step!(self, segment(part, of, from))
    }
    async fn owners_at(&self, client: &ClientId, shard: u32, from: Option<&str>) -> PortResult<Page<Owner>> {
        step!(self, owners_at(client, shard, from))
    }
    async fn rows(&self) -> PortResult<u64> {
        step!(self, rows())
    }
    async fn token(&self, owner: &Owner, id: &TokenId) -> PortResult<Option<TokenRow>> {
        step!(self, token(owner, id))
    }
    async fn opaque(&self, id: &TokenId) -> PortResult<Option<TokenRow>> {
        step!(self, opaque(id))
    }
    async fn session(&self, user: &UserId, id: &SessionId) -> PortResult<Option<SessionRow>> {
        step!(self, session(user, id))
    }
    async fn revoke(&self, owner: &Owner, id: &TokenId, revoked: &Revoked) -> PortResult<Option<RevokedBy>> {
        step!(self, revoke(owner, id, revoked))
    }
    async fn end_session(&self, user: &UserId, id: &SessionId, revoked: &Revoked) -> PortResult<bool> {
        step!(self, end_session(user, id, revoked))
    }
}

#[async_trait]
impl SignInStore for Rail<Memory> {
    async fn add_tokens(&self, tokens: &[TokenRow]) -> PortResult<()> {
        // Rows are written one by one.
        for token in tokens {
            step!(self, add_tokens(std::slice::from_ref(token)))?;
        }
        Ok(())
    }
    async fn touch_token(&self, owner: &Owner, id: &TokenId, at: Epoch) -> PortResult<()> {
        step!(self, touch_token(owner, id, at))
    }
    async fn add_session(&self, session: &SessionRow, kept_until: Epoch) -> PortResult<()> {
        step!(self, add_session(session, kept_until))
    }
    async fn sessions(&self, user: &UserId) -> PortResult<Vec<SessionRow>> {
        step!(self, sessions(user))
    }
    async fn touch_session(&self, session: &SessionRow, kept_until: Epoch) -> PortResult<bool> {
        step!(self, touch_session(session, kept_until))
    }
}

#[async_trait]
impl DenylistStore for Rail<Memory> {
    async fn ask(&self, token: &TokenFacts) -> PortResult<Answer> {
        self.weather.port().await?;
        let answer = DenylistStore::ask(self.inner.as_ref(), token).await;
        self.weather.port().await?;
        answer
    }
    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        for cutoff in cutoffs {
            self.weather.port().await?;
            DenylistStore::put_cutoffs(self.inner.as_ref(), std::slice::from_ref(cutoff)).await?;
            self.weather.port().await?;
        }
        Ok(())
    }
    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        for token in tokens {
            self.weather.port().await?;
            DenylistStore::put_tokens(self.inner.as_ref(), std::slice::from_ref(token)).await?;
            self.weather.port().await?;
        }
        Ok(())
    }
    async fn put_spared(&self, job: &JobId, users: &BTreeSet<UserId>, retires_at: Epoch) -> PortResult<()> {
        for user in users {
            self.weather.port().await?;
            let one = BTreeSet::from([user.clone()]);
            DenylistStore::put_spared(self.inner.as_ref(), job, &one, retires_at).await?;
            self.weather.port().await?;
        }
        Ok(())
    }
    async fn activate(&self, job: &FrozenJob) -> PortResult<()> {
        step!(self, activate(job))
    }
    async fn active(&self) -> PortResult<Vec<FrozenJob>> {
        step!(self, active())
    }
    async fn chunk(&self, chunk: &ChunkRef) -> PortResult<Option<Chunk>> {
        step!(self, chunk(chunk))
    }
    async fn chunks(&self, job: &JobId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Chunk>> {
        step!(self, chunks(job, after, limit))
    }
    async fn entries(&self, from: Option<&str>) -> PortResult<Page<Entry>> {
        step!(self, entries(from))
    }
    async fn generation(&self) -> PortResult<String> {
        step!(self, generation())
    }
    async fn renew_generation(&self, generation: &str) -> PortResult<()> {
        step!(self, renew_generation(generation))
    }
    async fn forget_retired(&self, until: Epoch) -> PortResult<u64> {
        step!(self, forget_retired(until))
    }
}

#[async_trait]
impl<C: DenylistCache> DenylistCache for Rail<C> {
    async fn memory(&self) -> PortResult<ServerMemory> {
        step!(self, memory())
    }
    async fn ask(&self, token: &TokenFacts) -> PortResult<CacheAnswer> {
        step!(self, ask(token))
    }
    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        self.in_part(cutoffs, |part| self.inner.put_cutoffs(part)).await
    }
    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        self.in_part(tokens, |part| self.inner.put_tokens(part)).await
    }
    async fn put_spared(&self, spared: &[(JobId, UserId, Epoch)]) -> PortResult<()> {
        self.in_part(spared, |part| self.inner.put_spared(part)).await
    }
    async fn renew(&self, generation: &str) -> PortResult<bool> {
        step!(self, renew(generation))
    }
    async fn begin_rebuild(&self, rebuild: &str) -> PortResult<()> {
        step!(self, begin_rebuild(rebuild))
    }
    async fn finish_rebuild(&self, rebuild: &str, generation: &str) -> PortResult<bool> {
        step!(self, finish_rebuild(rebuild, generation))
    }
    async fn void(&self) -> PortResult<()> {
        step!(self, void())
    }
}

#[async_trait]
impl Upstream for Rail<FakeIssuer> {
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError> {
        self.inner.authorization_endpoint().await
    }
    async fn token(&self, grant: &Form) -> Result<Issued, UpstreamError> {
        self.weather.upstream().await?;
        let issued = self.inner.token(grant).await;
        self.weather.upstream().await?;
        issued
    }
    async fn revoke(&self, form: &Form) -> Result<(), UpstreamError> {
        self.weather.upstream().await?;
        let outcome = self.inner.revoke(form).await;
        self.weather.upstream().await?;
        outcome
    }
    async fn reachable(&self) -> Result<(), UpstreamError> {
        self.inner.reachable().await
    }
}

#[async_trait]
impl Authority for Rail<FakeIssuer> {
    fn source(&self) -> VerificationSource {
        self.inner.source()
    }
    async fn vouch(&self, token: &RawToken) -> Result<(UserId, Profile), UpstreamError> {
        self.weather.upstream().await?;
        let vouched = self.inner.vouch(token).await;
        self.weather.upstream().await?;
        vouched
    }
}

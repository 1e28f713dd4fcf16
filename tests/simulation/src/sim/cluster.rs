//! Redis as it really is: a primary with replicas that follow it, late or not at all, and take over with what they have.
//!
//! A write reaches the primary at once and its replicas when they get to it; `WAIT` has those that are in touch catch up,
//! and fails unless all that there should be have. After a failover the old primary may follow the new one, with what it
//! had until the new one's copy has come, may be gone, or may be apart: out of the others' sight, and still answering
//! whoever is connected to it. A replica can be replaced, too, and go on answering. Clients connect to whoever is the
//! primary, and stay connected for as long as somebody answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::cutoff::{Cutoff, CutoffSet, Scope};
use domain::decision::{Answer, TokenFacts};
use domain::error::PortError;
use domain::guard::{LEASE_SECONDS, NO_EVICTION};
use domain::ids::{JobId, TokenId, UserId};
use domain::ports::{CacheAnswer, DenylistCache, PortResult, ServerMemory};
use domain::testing::TestClock;
use domain::time::{Clock as _, Epoch};

/// What a write does.
#[derive(Debug, Clone)]
enum Change {
    Cutoffs(Vec<Cutoff>),
    Tokens(Vec<(TokenId, Epoch)>),
    Spared(Vec<(JobId, UserId, Epoch)>),
    Marker(Option<(String, Epoch)>),
    Rebuild(Option<String>),
    Nothing,
}

/// What a server holds.
#[derive(Debug, Clone, Default)]
struct Held {
    cutoffs: BTreeMap<Scope, CutoffSet>,
    denied: BTreeMap<TokenId, Epoch>,
    spared: BTreeMap<UserId, BTreeMap<JobId, Epoch>>,
    marker: Option<(String, Epoch)>,
    rebuild: Option<String>,
}

impl Held {
    fn take(&mut self, change: Change) {
        match change {
            Change::Cutoffs(cutoffs) => {
                for cutoff in cutoffs {
                    self.cutoffs.entry(cutoff.scope.clone()).or_default().add(cutoff);
                }
            }
            Change::Tokens(tokens) => self.denied.extend(tokens),
            Change::Spared(spared) => {
                for (job, user, until) in spared {
                    self.spared.entry(user).or_default().insert(job, until);
                }
            }
            Change::Marker(marker) => self.marker = marker,
            Change::Rebuild(rebuild) => self.rebuild = rebuild,
            Change::Nothing => *self = Self::default(),
        }
    }

    fn answer(&self, token: &TokenFacts, now: Epoch) -> Answer {
        let cutoffs = token.scopes().into_iter().filter_map(|scope| self.cutoffs.get(&scope));
        let cutoffs = cutoffs.flat_map(CutoffSet::iter).filter(|cutoff| cutoff.retires_at > now).cloned().collect();
        let spared = token.user.iter().filter_map(|user| self.spared.get(user)).flatten();
        Answer {
            cutoffs,
            token_revoked: self.denied.get(&token.id).is_some_and(|until| *until > now),
            spared_by: spared.filter(|(_, until)| **until > now).map(|(job, _)| job.clone()).collect(),
        }
    }
}

/// How a replica stands to its primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// In touch.
    Up,
    /// Nothing arrives until they are in touch again.
    Cut,
    /// It waits for a copy of everything.
    Copying,
}

#[derive(Debug)]
enum Role {
    Primary,
    Replica {
        of: usize,
        link: Link,
        /// What it has not got yet.
        behind: Vec<Change>,
    },
    Gone,
}

#[derive(Debug)]
struct Server {
    /// Its replication id: a replica has its primary's once it has a copy.
    name: u64,
    role: Role,
    held: Held,
    /// How often what it holds has changed.
    changes: u64,
}

impl Server {
    fn take(&mut self, change: Change) {
        self.changes += 1;
        self.held.take(change);
    }

    fn marks(&self, generation: &str) -> String {
        format!("{generation}@{}", self.name)
    }

    /// Whether its marker stands and names it: by the name that it had as a primary when somebody connected to it, or that
    /// it has as a primary now.
    fn is_believed(&self, known: u64, now: Epoch) -> bool {
        let Some((marker, until)) = &self.held.marker else { return false };
        let names = |name: u64| marker.strip_suffix(&name.to_string()).is_some_and(|rest| rest.ends_with('@'));
        *until > now && (names(known) || (matches!(self.role, Role::Primary) && names(self.name)))
    }
}

#[derive(Debug)]
struct Servers {
    all: Vec<Server>,
    primary: usize,
    names: u64,
    down: bool,
}

/// What becomes of a server that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It follows the new primary.
    Follows,
    /// Nobody hears of it again.
    Gone,
    /// The others do not hear of it again, but who is connected to it does.
    Apart,
}

/// A primary and so many replicas.
#[derive(Debug)]
pub struct Cluster {
    clock: Arc<TestClock>,
    replicas: usize,
    servers: Mutex<Servers>,
}

fn away(cause: &str) -> PortError {
    PortError::Unavailable { service: "Redis", cause: cause.to_owned() }
}

impl Servers {
    fn add(&mut self, role: Role) {
        self.names += 1;
        self.all.push(Server { name: self.names, role, held: Held::default(), changes: 0 });
    }

    /// Those that follow a server.
    fn followers(&self, of: usize) -> Vec<usize> {
        let follows = |at: &usize| matches!(&self.all[*at].role, Role::Replica { of: it, .. } if *it == of);
        (0..self.all.len()).filter(follows).collect()
    }

    /// Has a replica that is in touch catch up. Whether it is.
    fn catch_up(&mut self, replica: usize) -> bool {
        let Role::Replica { link: Link::Up, behind, .. } = &mut self.all[replica].role else { return false };
        for change in std::mem::take(behind) {
            self.all[replica].take(change);
        }
        true
    }

    fn write(&mut self, at: usize, change: Change) -> PortResult<()> {
        if self.down {
            return Err(away("switched off"));
        }
        match self.all[at].role {
            Role::Primary => {}
            Role::Replica { .. } => return Err(away("READONLY")),
            Role::Gone => return Err(away("no answer")),
        }
        for follower in self.followers(at) {
            if let Role::Replica { behind, .. } = &mut self.all[follower].role {
                behind.push(change.clone());
            }
        }
        self.all[at].take(change);
        Ok(())
    }
}

impl Cluster {
    /// A cluster that holds nothing.
    pub fn new(clock: Arc<TestClock>, replicas: usize) -> Self {
        let mut servers = Servers { all: Vec::new(), primary: 0, names: 0, down: false };
        servers.add(Role::Primary);
        for _ in 0..replicas {
            servers.add(Role::Replica { of: 0, link: Link::Copying, behind: Vec::new() });
        }
        let cluster = Self { clock, replicas, servers: Mutex::new(servers) };
        cluster.copy();
        cluster
    }

    fn lock(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Epoch {
        self.clock.now().into()
    }

    /// Lets nobody reach any server, or everybody again.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// The primary forgets everything, as by `FLUSHALL`.
    pub fn flush(&self) {
        let mut servers = self.lock();
        let primary = servers.primary;
        let down = std::mem::take(&mut servers.down);
        servers.write(primary, Change::Nothing).unwrap_or_else(|_| unreachable!("there is always a primary"));
        servers.down = down;
    }

    /// The primary starts anew, with nothing, before anybody could take over. Its replicas copy that.
    pub fn restart(&self) {
        let mut servers = self.lock();
        servers.names += 1;
        let (primary, name) = (servers.primary, servers.names);
        servers.all[primary].take(Change::Nothing);
        servers.all[primary].name = name;
        for follower in servers.followers(primary) {
            servers.all[follower].role = Role::Replica { of: primary, link: Link::Copying, behind: Vec::new() };
        }
    }

    /// Cuts one of the replicas off its primary.
    pub fn cut(&self, which: usize) {
        let mut servers = self.lock();
        let followers = servers.followers(servers.primary);
        if let Some(at) = pick(&followers, which)
            && let Role::Replica { link, .. } = &mut servers.all[at].role
            && *link == Link::Up
        {
            *link = Link::Cut;
        }
    }

    /// Mends what is cut, and lets those that are in touch catch up.
    pub fn mend(&self) {
        let mut servers = self.lock();
        for follower in servers.followers(servers.primary) {
            if let Role::Replica { link, .. } = &mut servers.all[follower].role
                && *link == Link::Cut
            {
                *link = Link::Up;
            }
            servers.catch_up(follower);
        }
    }

    /// Brings those that wait for a copy of the primary one.
    pub fn copy(&self) {
        let mut servers = self.lock();
        let primary = servers.primary;
        for follower in servers.followers(primary) {
            if matches!(servers.all[follower].role, Role::Replica { link: Link::Copying, .. }) {
                let (name, held) = (servers.all[primary].name, servers.all[primary].held.clone());
                let server = &mut servers.all[follower];
                (server.name, server.held, server.changes) = (name, held, server.changes + 1);
                server.role = Role::Replica { of: primary, link: Link::Up, behind: Vec::new() };
            }
        }
    }

    /// One of the replicas takes over, with what it has.
    pub fn fail_over(&self, which: usize, fate: Fate) {
        let mut servers = self.lock();
        let old = servers.primary;
        let followers = servers.followers(old);
        let Some(new) = pick(&followers, which) else { return };
        servers.names += 1;
        (servers.all[new].role, servers.all[new].name) = (Role::Primary, servers.names);
        servers.all[new].changes += 1;
        servers.primary = new;
        let follow = || Role::Replica { of: new, link: Link::Copying, behind: Vec::new() };
        for follower in followers.into_iter().filter(|follower| *follower != new) {
            servers.all[follower].role = follow();
        }
        match fate {
            Fate::Follows => servers.all[old].role = follow(),
            Fate::Gone => servers.all[old].role = Role::Gone,
            Fate::Apart => {}
        }
        if fate != Fate::Follows {
            servers.add(follow());
        }
    }

    /// One of the replicas is replaced by a new one.
    pub fn replace(&self, which: usize, fate: Fate) {
        let mut servers = self.lock();
        let primary = servers.primary;
        let followers = servers.followers(primary);
        let Some(at) = pick(&followers, which) else { return };
        let was_primary = matches!(servers.all[at].role, Role::Replica { link: Link::Copying, .. });
        servers.all[at].role = match fate {
            Fate::Apart if !was_primary => Role::Replica { of: usize::MAX, link: Link::Cut, behind: Vec::new() },
            _ => Role::Gone,
        };
        servers.add(Role::Replica { of: primary, link: Link::Copying, behind: Vec::new() });
    }

    /// Switches off whoever is apart from the others.
    pub fn bury(&self) {
        let mut servers = self.lock();
        let primary = servers.primary;
        for at in 0..servers.all.len() {
            let apart = match servers.all[at].role {
                Role::Primary => at != primary,
                Role::Replica { of, .. } => of != primary,
                Role::Gone => false,
            };
            if apart {
                servers.all[at].role = Role::Gone;
            }
        }
    }
}

fn pick(from: &[usize], which: usize) -> Option<usize> {
    from.get(which % from.len().max(1)).copied()
}

/// A connection to one of the servers.
#[derive(Debug)]
pub struct Seat {
    cluster: Arc<Cluster>,
    server: AtomicUsize,
    /// The name that the server had when the connection was opened.
    known: AtomicU64,
}

impl Seat {
    /// A connection to whoever is the primary now.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let seat = Self { cluster, server: AtomicUsize::default(), known: AtomicU64::default() };
        seat.leave();
        seat
    }

    /// Leaves for whoever is the primary now.
    pub fn leave(&self) {
        let servers = self.cluster.lock();
        self.server.store(servers.primary, Ordering::Relaxed);
        self.known.store(servers.all[servers.primary].name, Ordering::Relaxed);
    }

    /// What one sees from here: which server, and how often that has changed. Nothing if it is not believed.
    pub fn view(&self) -> Option<(usize, u64)> {
        let (servers, at) = (self.cluster.lock(), self.at());
        let server = &servers.all[at];
        let answers = !servers.down && !matches!(server.role, Role::Gone);
        (answers && server.is_believed(self.known(), self.cluster.now())).then_some((at, server.changes))
    }

    fn at(&self) -> usize {
        self.server.load(Ordering::Relaxed)
    }

    fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// Whether there is an answer at all. One that is gone is left for the primary.
    fn reached(&self) -> PortResult<()> {
        let (down, gone) = {
            let servers = self.cluster.lock();
            (servers.down, matches!(servers.all[self.at()].role, Role::Gone))
        };
        if gone {
            self.leave();
        }
        if down || gone { Err(away("no answer")) } else { Ok(()) }
    }

    /// Makes changes on the server. One that takes none is left for the primary.
    fn change(&self, changes: impl IntoIterator<Item = Change>) -> PortResult<()> {
        let written = {
            let mut servers = self.cluster.lock();
            changes.into_iter().try_for_each(|change| servers.write(self.at(), change))
        };
        if written.is_err() {
            self.leave();
        }
        written
    }

    /// The same, and waits for the replicas.
    fn change_everywhere(&self, change: Change) -> PortResult<()> {
        self.change([change])?;
        let mut servers = self.cluster.lock();
        let followers = servers.followers(self.at());
        let acknowledged = followers.into_iter().filter(|follower| servers.catch_up(*follower)).count();
        if acknowledged < self.cluster.replicas {
            return Err(away(&format!("{acknowledged} of {} replicas have it", self.cluster.replicas)));
        }
        Ok(())
    }
}

#[async_trait]
impl DenylistCache for Seat {
    async fn memory(&self) -> PortResult<ServerMemory> {
        self.reached()?;
        Ok(ServerMemory { eviction_policy: NO_EVICTION.to_owned(), evicted_keys: 0 })
    }
    async fn ask(&self, token: &TokenFacts) -> PortResult<CacheAnswer> {
        self.reached()?;
        let (servers, now) = (self.cluster.lock(), self.cluster.now());
        let server = &servers.all[self.at()];
        Ok(if server.is_believed(self.known(), now) {
            CacheAnswer::Complete(server.held.answer(token, now))
        } else {
            CacheAnswer::Incomplete
        })
    }
    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        if cutoffs.is_empty() {
            return Ok(());
        }
        self.change_everywhere(Change::Cutoffs(cutoffs.to_vec()))
    }
    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        if tokens.is_empty() {
            return Ok(());
        }
        self.change_everywhere(Change::Tokens(tokens.to_vec()))
    }
    async fn put_spared(&self, spared: &[(JobId, UserId, Epoch)]) -> PortResult<()> {
        if spared.is_empty() {
            return Ok(());
        }
        self.change_everywhere(Change::Spared(spared.to_vec()))
    }
    async fn renew(&self, generation: &str) -> PortResult<bool> {
        self.reached()?;
        let (marker, is_ours) = {
            let (servers, now) = (self.cluster.lock(), self.cluster.now());
            let server = &servers.all[self.at()];
            let marker = server.marks(generation);
            let held = server.held.marker.as_ref().filter(|(_, until)| *until > now);
            (marker.clone(), held.is_some_and(|(held, _)| *held == marker))
        };
        if is_ours {
            self.change([Change::Marker(Some((marker, self.lease())))])?;
        }
        Ok(is_ours)
    }
    async fn begin_rebuild(&self, rebuild: &str) -> PortResult<()> {
        let note = self.cluster.lock().all[self.at()].marks(rebuild);
        self.change([Change::Marker(None), Change::Rebuild(Some(note))])
    }
    async fn finish_rebuild(&self, rebuild: &str, generation: &str) -> PortResult<bool> {
        self.reached()?;
        let (note, marker, held) = {
            let servers = self.cluster.lock();
            let server = &servers.all[self.at()];
            (server.marks(rebuild), server.marks(generation), server.held.rebuild.clone())
        };
        if held.as_ref() != Some(&note) {
            return Ok(false);
        }
        self.change([Change::Rebuild(None), Change::Marker(Some((marker, self.lease())))])?;
        Ok(true)
    }
    async fn void(&self) -> PortResult<()> {
        self.change([Change::Marker(None)])
    }
}

impl Seat {
    fn lease(&self) -> Epoch {
        self.cluster.now().plus(i64::try_from(LEASE_SECONDS).unwrap())
    }
}

//! What a job covers: one predicate over users, tokens and sessions behind all kinds of job (spec §4).
//!
//! The dry run, the plan and the settling all ask here, and the cutoffs are made here from the same fields, so that
//! none of them can disagree with another.

use std::collections::BTreeSet;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::conditions::{Conditions, Filter};
use crate::cutoff::{Basis, Cutoff, KEPT_SECONDS, Kinds, Scope, Spares, is_over};
use crate::ids::{ClientId, GroupId, JobId, UserId};
use crate::job::{Facts, Job};
use crate::time::Epoch;
use crate::token::{Holdings, Owner, RevokedBy, SessionRow, TokenKind, TokenRow};

/// The people a job names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// Members of these groups; empty means that no group is named.
    pub groups: BTreeSet<GroupId>,
    /// Members of their descendants, too.
    pub include_subgroups: bool,
    /// These users; empty means that no user is named. With groups, both must hold.
    pub users: BTreeSet<UserId>,
}

/// Where the rows of a job are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// With the people it names: chunks of at most a hundred frozen users.
    People(&'a People),
    /// With the clients it names: shards of their index.
    Clients(&'a BTreeSet<ClientId>),
    /// Anywhere: segments of the whole table.
    Everyone,
}

/// How a job becomes effective (`[CUT-1]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// By a cutoff or a few, written inside the request, whatever the number of users and tokens.
    AtOnce,
    /// By one cutoff per user, written by the planner.
    PerPerson,
    /// By single token ids, chunk by chunk: no cutoff can say what it means.
    PerToken,
}

/// Which sessions a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sessions {
    /// All of its people's.
    OfPeople,
    /// Those whose last live token it takes (`[SCOPE-3]`).
    WithLastToken,
    /// None.
    Kept,
}

/// A job's predicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    job: JobId,
    /// The second of the job: what was unexpired and unrevoked then can be covered.
    start: Epoch,
    people: Option<People>,
    clients: BTreeSet<ClientId>,
    kinds: Kinds,
    basis: Basis,
    /// Covered is what the basis puts at or before this.
    until: Epoch,
    issued_after: Option<Epoch>,
    unused_since: Option<Epoch>,
    networks: Vec<IpNet>,
    service_tokens: bool,
    sessions: Sessions,
    spares_people: bool,
}

/// The first whole second that is not before a moment: "before T" is "before this" for times in whole seconds.
fn ceil(time: DateTime<Utc>) -> Epoch {
    Epoch(time.timestamp() + i64::from(time.timestamp_subsec_nanos() > 0))
}

impl Selector {
    /// The predicate of a job.
    pub fn of(job: &Job) -> Self {
        let spares_people = job.conditions.spares_admins() || !job.conditions.excluded_users().is_empty();
        let base = Self {
            job: job.id.clone(),
            start: job.cutoff_at(),
            people: None,
            clients: BTreeSet::new(),
            kinds: Kinds::Both,
            basis: Basis::SignIn,
            until: job.cutoff_at(),
            issued_after: None,
            unused_since: None,
            networks: Vec::new(),
            service_tokens: true,
            sessions: Sessions::WithLastToken,
            spares_people,
        };
        match &job.conditions {
            Conditions::GroupBased { group_id, include_subgroups, .. } => Self {
                people: Some(People {
                    groups: BTreeSet::from([group_id.clone()]),
                    include_subgroups: *include_subgroups,
                    users: BTreeSet::new(),
                }),
                service_tokens: false,
                sessions: Sessions::OfPeople,
                ..base
            },
            Conditions::ClientBased { client_id, revoke_refresh_tokens, created_before } => Self {
                clients: BTreeSet::from([client_id.clone()]),
                kinds: if *revoke_refresh_tokens { Kinds::Both } else { Kinds::AccessOnly },
                sessions: if *revoke_refresh_tokens { Sessions::WithLastToken } else { Sessions::Kept },
                ..base
            }
            .issued_before(*created_before),
            Conditions::TimeBased { created_before, last_used_before, token_types } => {
                Self { kinds: *token_types, unused_since: last_used_before.map(ceil), ..base }
                    .issued_before(*created_before)
            }
            Conditions::Conditional(filter) => base.filtered(filter),
            Conditions::Emergency { preserve_service_tokens, .. } => {
                Self { service_tokens: !preserve_service_tokens, sessions: Sessions::OfPeople, ..base }
            }
        }
    }

    fn filtered(self, filter: &Filter) -> Self {
        let named = !filter.groups.is_empty() || !filter.users.is_empty();
        let people = named.then(|| People {
            groups: filter.groups.clone(),
            include_subgroups: filter.include_subgroups,
            users: filter.users.clone(),
        });
        let by_people_alone = filter.clients.is_empty()
            && filter.ip_ranges.is_empty()
            && filter.created_after.is_none()
            && filter.created_before.is_none()
            && filter.last_used_before.is_none();
        Self {
            people,
            clients: filter.clients.clone(),
            issued_after: filter.created_after.map(|time| Epoch(time.timestamp())),
            unused_since: filter.last_used_before.map(ceil),
            networks: filter.ip_ranges.iter().copied().collect(),
            // Service tokens have neither a person nor a session with an address.
            service_tokens: !named && filter.ip_ranges.is_empty(),
            sessions: if by_people_alone { Sessions::OfPeople } else { Sessions::WithLastToken },
            ..self
        }
        .issued_before(filter.created_before)
    }

    /// Sets the time that is compared (`[CUT-4]`): the issue for jobs that name a time of it or spare refresh tokens,
    /// else the sign-in, so that a token refreshed from an old sign-in is covered, too.
    fn issued_before(self, created_before: Option<DateTime<Utc>>) -> Self {
        match created_before {
            Some(time) => Self { basis: Basis::Issued, until: ceil(time).plus(-1).min(self.start), ..self },
            None if self.kinds != Kinds::Both => Self { basis: Basis::Issued, ..self },
            None => self,
        }
    }

    /// Where its rows are found.
    pub fn source(&self) -> Source<'_> {
        match &self.people {
            Some(people) => Source::People(people),
            None if self.clients.is_empty() => Source::Everyone,
            None => Source::Clients(&self.clients),
        }
    }

    /// How it becomes effective.
    pub fn reach(&self) -> Reach {
        if self.issued_after.is_some() || self.unused_since.is_some() || !self.networks.is_empty() {
            Reach::PerToken
        } else if self.people.is_some() {
            Reach::PerPerson
        } else {
            Reach::AtOnce
        }
    }

    /// Whether some users are spared by a list that is frozen at the job's start.
    pub fn spares_people(&self) -> bool {
        self.spares_people
    }

    /// The cutoffs that say what this job means, each for everything or for a client; of a job that names people, the
    /// pattern for each of them ([`Reach::PerPerson`]). `max_sign_in_age` is the age in seconds at which verifiers
    /// refuse any sign-in, so that nothing outlives a cutoff (`[CUT-5]`).
    pub fn cutoffs(&self, max_sign_in_age: i64) -> Vec<Cutoff> {
        let cutoff = |scope| Cutoff {
            scope,
            basis: self.basis,
            kinds: self.kinds,
            spares: match self.people {
                // Who is spared was never frozen into a chunk.
                Some(_) => Spares::default(),
                None => Spares { service_tokens: !self.service_tokens, listed_users: self.spares_people },
            },
            at: self.until,
            job: self.job.clone(),
            retires_at: self.retires_at(max_sign_in_age),
        };
        if self.clients.is_empty() {
            return vec![cutoff(Scope::Everything)];
        }
        self.clients.iter().cloned().map(Scope::Client).map(cutoff).collect()
    }

    /// When no token it can cover is valid any more, whatever a verifier's clock says.
    pub fn retires_at(&self, max_sign_in_age: i64) -> Epoch {
        self.until.plus(max_sign_in_age).plus(KEPT_SECONDS)
    }

    /// Whether a token is in scope, leaving aside whether it is alive and whose it is.
    fn hits(&self, token: &TokenRow, session: Option<&SessionRow>) -> bool {
        let time = match self.basis {
            Basis::SignIn => token.sign_in(session.map(|session| session.started_at)),
            Basis::Issued => token.issued_at,
        };
        let last_used = token.last_used_at.unwrap_or(token.issued_at);
        let from_network = || {
            let address = session.and_then(|session| session.ip_address.as_deref()).and_then(address);
            address.is_some_and(|address| self.networks.iter().any(|network| network.contains(&address)))
        };
        self.kinds.includes(token.kind)
            && time <= self.until
            && (self.clients.is_empty() || self.clients.contains(&token.client))
            && (self.service_tokens || token.owner.user().is_some())
            && self.issued_after.is_none_or(|after| token.issued_at > after)
            && self.unused_since.is_none_or(|since| last_used < since)
            && (self.networks.is_empty() || from_network())
    }

    /// What the job covers of one owner's holdings: unexpired when it started, and unrevoked but by this very job.
    ///
    /// What this job ended in an earlier try is covered whatever its row still says: an ended session, for one, has
    /// lost its address.
    pub fn covered<'a>(&self, holdings: &'a Holdings) -> Covered<'a> {
        let ours = RevokedBy::Job(self.job.clone());
        let alive = |token: &&TokenRow| token.expires_at > self.start && token.revoked.is_none();
        let hit = |token: &TokenRow| self.hits(token, holdings.session_of(token));
        let tokens: Vec<&TokenRow> = holdings
            .tokens
            .iter()
            .filter(|token| match &token.revoked {
                Some(revoked) => revoked.by == ours,
                None => alive(token) && hit(token),
            })
            .collect();
        let of = |token: &TokenRow, session: &SessionRow| token.session.as_ref() == Some(&session.id);
        let ends = |session: &SessionRow| match self.sessions {
            Sessions::Kept => false,
            Sessions::OfPeople => session.started_at <= self.start,
            Sessions::WithLastToken => {
                tokens.iter().any(|token| of(token, session))
                    && !holdings.tokens.iter().any(|token| of(token, session) && alive(&token) && !hit(token))
            }
        };
        let sessions = holdings.sessions.iter().filter(|session| match &session.ended_by {
            Some(by) => by == &ours,
            None => session.expires_at > self.start && ends(session),
        });
        Covered { sessions: sessions.collect(), tokens }
    }

    /// The tokens to be denied where no cutoff says what the job means: those it covers, and those that had expired when
    /// it started but that some verifier may still have taken. The latter are not covered: they are denied, as a cutoff
    /// would refuse them, too, but neither counted nor marked.
    pub fn denied<'a>(&self, holdings: &'a Holdings) -> impl Iterator<Item = &'a TokenRow> {
        let is_good = |token: &&TokenRow| token.revoked.is_none() && !is_over(token.expires_at, self.start);
        holdings.tokens.iter().filter(move |token| is_good(token) && self.hits(token, holdings.session_of(token)))
    }
}

/// An address as an issuer reports it; an IPv4 address in IPv6's clothes is one of IPv4.
fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The part of an owner's holdings that a job covers.
pub struct Covered<'a> {
    /// Tokens.
    pub tokens: Vec<&'a TokenRow>,
    /// Sessions.
    pub sessions: Vec<&'a SessionRow>,
}

impl Covered<'_> {
    /// What ending all of it takes from the owner.
    pub fn facts(&self) -> Facts {
        Facts::of(self.tokens.iter().copied(), self.sessions.len())
    }

    /// What of it is still there: unrevoked tokens, sessions not ended.
    pub fn left(&self) -> Facts {
        let tokens = self.tokens.iter().copied().filter(|token| token.revoked.is_none());
        Facts::of(tokens, self.sessions.iter().filter(|session| session.ended_by.is_none()).count())
    }

    /// What of it this job has ended.
    pub fn lost(&self) -> Facts {
        let tokens = self.tokens.iter().copied().filter(|token| token.revoked.is_some());
        Facts::of(tokens, self.sessions.iter().filter(|session| session.ended_by.is_some()).count())
    }
}

impl Facts {
    fn of<'a>(tokens: impl Iterator<Item = &'a TokenRow>, sessions: usize) -> Self {
        let mut facts = Self { sessions: sessions as u64, ..Self::default() };
        for token in tokens {
            match token.kind {
                TokenKind::Access => facts.access_tokens += 1,
                TokenKind::Refresh => facts.refresh_tokens += 1,
            }
        }
        facts
    }
}

/// Whether an owner is on a job's list of spared users.
pub fn is_spared(owner: &Owner, spared: &BTreeSet<UserId>) -> bool {
    owner.user().is_some_and(|user| spared.contains(user))
}

#[cfg(test)]
mod tests;

//! Cutoffs: "nothing issued at or before T is valid", for one scope (`[CUT-3]`, `[CUT-4]`).
//!
//! [`CutoffSet::refuses`] is the one function that every verifier uses. It looks at all applicable cutoffs and
//! refuses if any of them hits, so that neither an older cutoff of another scope nor a newer but narrower one of
//! the same scope can hide it.

use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, JobId, SessionId, UserId};
use crate::time::Epoch;
use crate::token::TokenKind;

/// Seconds that a verifier goes on taking a token after its `exp`, as its issuer's clock may be behind (`[CHECK-1]`: at most
/// 60).
pub const LEEWAY_SECONDS: i64 = 60;

/// Seconds that denylist entries outlive the last token they can hit (`[CUT-5]`): a verifier's leeway, and as much again
/// because its clock may be behind that of whoever forgets the entry.
pub const KEPT_SECONDS: i64 = 2 * LEEWAY_SECONDS;

/// Whether no verifier takes a token of this expiry any more, whatever its clock says. Until then whoever ends the token
/// has to deny it, although it may have expired by their own clock.
pub fn is_over(expires_at: Epoch, now: Epoch) -> bool {
    expires_at.plus(KEPT_SECONDS) <= now
}

/// What a cutoff applies to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Every token there is.
    Everything,
    /// All tokens of one client.
    Client(ClientId),
    /// All tokens of one user.
    User(UserId),
    /// One user's tokens at one client.
    UserClient(UserId, ClientId),
    /// All tokens of one sign-in.
    Session(SessionId),
}

impl Scope {
    /// The key under which stores keep this scope's cutoffs. A length in front keeps two ids in one key apart,
    /// whatever they hold.
    pub fn key(&self) -> String {
        match self {
            Self::Everything => "ALL".to_owned(),
            Self::User(user) => ["U#", user.as_str()].concat(),
            Self::Client(client) => ["C#", client.as_str()].concat(),
            Self::UserClient(user, client) => {
                ["UC#", &user.as_str().len().to_string(), "#", user.as_str(), client.as_str()].concat()
            }
            Self::Session(session) => ["S#", session.as_str()].concat(),
        }
    }
}

/// Which time of a token a cutoff compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Basis {
    /// The sign-in, so that a token refreshed from an old sign-in dies too.
    SignIn,
    /// The token's own `iat`.
    Issued,
}

/// Which kinds of token a cutoff means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kinds {
    /// Access and refresh tokens.
    Both,
    /// Access tokens only.
    AccessOnly,
    /// Refresh tokens only.
    RefreshOnly,
}

/// Whom a cutoff spares, frozen at the job's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Spares {
    /// Tokens without a user.
    pub service_tokens: bool,
    /// The users that the job's own list of spared users names ([`Subject::spared_by`]).
    pub listed_users: bool,
}

/// One cutoff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutoff {
    /// What it applies to.
    pub scope: Scope,
    /// The time it compares.
    pub basis: Basis,
    /// The tokens it means.
    pub kinds: Kinds,
    /// Whom it spares.
    pub spares: Spares,
    /// Refused is what is at or before this.
    pub at: Epoch,
    /// The job that set it.
    pub job: JobId,
    /// From here on no token it could hit is valid any more, leeway included (`[CUT-5]`).
    pub retires_at: Epoch,
}

/// A token as a cutoff sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Access or refresh.
    pub kind: TokenKind,
    /// Its user; none for a service token.
    pub user: Option<UserId>,
    /// Its client.
    pub client: Option<ClientId>,
    /// Its sign-in.
    pub session: Option<SessionId>,
    /// `iat`.
    pub issued_at: Epoch,
    /// `auth_time`, else the session's start, else `iat`.
    pub signed_in_at: Epoch,
    /// The jobs whose frozen lists spare this user.
    pub spared_by: Vec<JobId>,
}

/// How two cutoffs of one scope compare: only cutoffs of the same variety may replace each other.
///
/// A cutoff that spares listed users is a variety of its own for each job, since each job's list is its own.
pub type Variety = (Basis, Kinds, Spares, Option<JobId>);

impl Cutoff {
    /// The variety: basis × kinds × what it spares.
    pub fn variety(&self) -> Variety {
        let listed_by = self.spares.listed_users.then(|| self.job.clone());
        (self.basis, self.kinds, self.spares, listed_by)
    }

    /// Whether this cutoff refuses the token (`[CUT-4]`: `time <= cutoff`).
    pub fn hits(&self, subject: &Subject) -> bool {
        let in_scope = match &self.scope {
            Scope::Everything => true,
            Scope::Client(client) => subject.client.as_ref() == Some(client),
            Scope::User(user) => subject.user.as_ref() == Some(user),
            Scope::UserClient(user, client) => {
                subject.user.as_ref() == Some(user) && subject.client.as_ref() == Some(client)
            }
            Scope::Session(session) => subject.session.as_ref() == Some(session),
        };
        let time = match self.basis {
            Basis::SignIn => subject.signed_in_at,
            Basis::Issued => subject.issued_at,
        };
        let spared = (self.spares.service_tokens && subject.user.is_none())
            || (self.spares.listed_users && subject.spared_by.contains(&self.job));
        in_scope && self.kinds.includes(subject.kind) && time <= self.at && !spared
    }
}

/// The cutoffs that matter to one token or scope: per variety the latest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CutoffSet(Vec<Cutoff>);

impl CutoffSet {
    /// Adds a cutoff; one of the same scope and variety is kept at the later of both times, and lives as long as
    /// the longer-lived of both. A cutoff never moves back.
    pub fn add(&mut self, new: Cutoff) {
        match self.0.iter_mut().find(|old| old.scope == new.scope && old.variety() == new.variety()) {
            Some(old) => {
                old.retires_at = old.retires_at.max(new.retires_at);
                if new.at > old.at {
                    old.at = new.at;
                    old.job = new.job;
                }
            }
            None => self.0.push(new),
        }
    }

    /// The cutoff that refuses the token, if any does (`[CUT-3]`). Of several the latest is named.
    pub fn refuses(&self, subject: &Subject) -> Option<&Cutoff> {
        self.0.iter().filter(|cutoff| cutoff.hits(subject)).max_by_key(|cutoff| cutoff.at)
    }

    /// The cutoffs in it.
    pub fn iter(&self) -> impl Iterator<Item = &Cutoff> {
        self.0.iter()
    }
}

impl FromIterator<Cutoff> for CutoffSet {
    fn from_iter<I: IntoIterator<Item = Cutoff>>(cutoffs: I) -> Self {
        let mut set = Self::default();
        cutoffs.into_iter().for_each(|cutoff| set.add(cutoff));
        set
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use proptest::prelude::*;

    fn user(n: u8) -> UserId {
        UserId::parse(format!("u{n}")).unwrap()
    }
    fn client(n: u8) -> ClientId {
        ClientId::parse(format!("c{n}")).unwrap()
    }
    fn job(n: u8) -> JobId {
        JobId::parse(format!("j{n}")).unwrap()
    }
    fn session(n: u8) -> SessionId {
        SessionId::parse(format!("s{n}")).unwrap()
    }

    prop_compose! {
        fn scopes()(which in 0..5u8, u in 0..3u8, c in 0..3u8) -> Scope {
            match which {
                0 => Scope::Everything,
                1 => Scope::Client(client(c)),
                2 => Scope::User(user(u)),
                3 => Scope::UserClient(user(u), client(c)),
                _ => Scope::Session(session(u)),
            }
        }
    }
    prop_compose! {
        fn cutoffs()(scope in scopes(), basis: bool, kinds in 0..3u8, service: bool, listed: bool,
                     at in 0..20i64, life in 0..9i64, by in 0..3u8) -> Cutoff {
            Cutoff {
                scope,
                basis: if basis { Basis::SignIn } else { Basis::Issued },
                kinds: [Kinds::Both, Kinds::AccessOnly, Kinds::RefreshOnly][usize::from(kinds)],
                spares: Spares { service_tokens: service, listed_users: listed },
                at: Epoch(at), job: job(by), retires_at: Epoch(at + life),
            }
        }
    }
    prop_compose! {
        fn subjects()(access: bool, u in prop::option::of(0..3u8), c in prop::option::of(0..3u8),
                      s in prop::option::of(0..3u8), issued in 0..22i64, signed_in in 0..22i64,
                      spared in prop::collection::vec(0..3u8, 0..2)) -> Subject {
            Subject {
                kind: if access { TokenKind::Access } else { TokenKind::Refresh },
                user: u.map(user), client: c.map(client), session: s.map(session),
                issued_at: Epoch(issued), signed_in_at: Epoch(signed_in),
                spared_by: spared.into_iter().map(job).collect(),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The oracle keeps every cutoff there ever was and asks each of them.
        #[test]
        fn cut_3_keeping_only_the_latest_of_each_variety_refuses_exactly_what_all_cutoffs_together_refuse(
            all in prop::collection::vec(cutoffs(), 0..14), subject in subjects()
        ) {
            let kept: CutoffSet = all.iter().cloned().collect();
            let naive = all.iter().any(|cutoff| cutoff.hits(&subject));
            prop_assert_eq!(kept.refuses(&subject).is_some(), naive);
        }

        #[test]
        fn cut_3_a_cutoff_never_moves_back_whatever_the_order(
            mut all in prop::collection::vec(cutoffs(), 0..10), subject in subjects()
        ) {
            let forward: CutoffSet = all.iter().cloned().collect();
            all.reverse();
            let backward: CutoffSet = all.into_iter().collect();
            prop_assert_eq!(forward.refuses(&subject).is_some(), backward.refuses(&subject).is_some());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Of each scope and variety one is kept: the latest time, under the job that set it, for as long as any of them.
        #[test]
        fn cut_5_what_is_kept_of_several_cutoffs_lives_as_long_as_the_longest_lived_of_them(
            all in prop::collection::vec(cutoffs(), 1..14)
        ) {
            let kept: CutoffSet = all.iter().cloned().collect();
            for cutoff in kept.iter() {
                let same = || all.iter().filter(|other| other.scope == cutoff.scope && other.variety() == cutoff.variety());
                prop_assert_eq!(Some(cutoff.at), same().map(|other| other.at).max());
                prop_assert_eq!(Some(cutoff.retires_at), same().map(|other| other.retires_at).max());
                prop_assert!(same().any(|other| other.at == cutoff.at && other.job == cutoff.job));
            }
            let kinds: std::collections::HashSet<_> =
                all.iter().map(|cutoff| (cutoff.scope.clone(), cutoff.variety())).collect();
            prop_assert_eq!(kept.iter().count(), kinds.len());
        }
    }

    #[test]
    fn cut_3_of_several_cutoffs_that_refuse_a_token_the_latest_is_named() {
        let at = |at, by| Cutoff {
            scope: if by == 1 { Scope::Everything } else { Scope::User(user(1)) },
            basis: Basis::SignIn,
            kinds: Kinds::Both,
            spares: Spares::default(),
            at: Epoch(at),
            job: job(by),
            retires_at: Epoch(1_000),
        };
        let subject = Subject {
            kind: TokenKind::Access,
            user: Some(user(1)),
            client: None,
            session: None,
            issued_at: Epoch(10),
            signed_in_at: Epoch(10),
            spared_by: vec![],
        };
        for cutoffs in [[at(20, 1), at(30, 2)], [at(30, 2), at(20, 1)]] {
            let set: CutoffSet = cutoffs.into_iter().collect();
            assert_eq!(set.refuses(&subject).map(|cutoff| &cutoff.job), Some(&job(2)));
        }
    }

    #[test]
    fn cut_3_a_cutoff_that_says_nothing_new_does_not_take_the_name_of_the_one_that_is_there() {
        let cutoff = |by, retires_at| Cutoff {
            scope: Scope::Everything,
            basis: Basis::SignIn,
            kinds: Kinds::Both,
            spares: Spares::default(),
            at: Epoch(20),
            job: job(by),
            retires_at: Epoch(retires_at),
        };
        let set: CutoffSet = [cutoff(1, 900), cutoff(2, 1_000)].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [&cutoff(1, 1_000)]);
    }

    #[test]
    fn cut_3_no_two_scopes_share_a_key_whatever_their_ids_hold() {
        let user = |text: &str| UserId::parse(text).unwrap();
        let client = |text: &str| ClientId::parse(text).unwrap();
        let scopes = [
            Scope::Everything,
            Scope::User(user("ab")),
            Scope::Client(client("ab")),
            Scope::Session(SessionId::parse("ab").unwrap()),
            Scope::UserClient(user("a"), client("b")),
            Scope::UserClient(user("ab"), client("c")),
            Scope::UserClient(user("a"), client("bc")),
            Scope::User(user("1#ab")),
        ];
        let keys: std::collections::HashSet<String> = scopes.iter().map(Scope::key).collect();
        assert_eq!(keys.len(), scopes.len(), "{keys:?}");
    }

    #[test]
    fn cut_4_a_time_equal_to_the_cutoff_is_refused_and_one_second_later_is_not() {
        for basis in [Basis::SignIn, Basis::Issued] {
            let cutoff = Cutoff {
                scope: Scope::User(user(1)),
                basis,
                kinds: Kinds::Both,
                spares: Spares::default(),
                at: Epoch(100),
                job: job(1),
                retires_at: Epoch(1_000),
            };
            let at = |time| Subject {
                kind: TokenKind::Access,
                user: Some(user(1)),
                client: None,
                session: None,
                issued_at: Epoch(if basis == Basis::Issued { time } else { 500 }),
                signed_in_at: Epoch(if basis == Basis::SignIn { time } else { 500 }),
                spared_by: vec![],
            };
            assert!(cutoff.hits(&at(99)));
            assert!(cutoff.hits(&at(100)));
            assert!(!cutoff.hits(&at(101)));
        }
    }
}

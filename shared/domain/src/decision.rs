//! Is this token good? The decision, from the token's facts and the denylist's answer (`[CHECK-2]`, `[CHECK-3]`).

use crate::cutoff::{Cutoff, CutoffSet, KEPT_SECONDS, LEEWAY_SECONDS, Scope, Subject};
use crate::ids::{ClientId, JobId, SessionId, TokenId, UserId};
use crate::time::Epoch;
use crate::token::{Owner, TokenKind};

/// A token whose form is known: what the denylist is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// Its id.
    pub id: TokenId,
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
    /// `exp`.
    pub expires_at: Epoch,
}

impl TokenFacts {
    /// Whose rows it belongs to; unknown if it names neither a user nor a client.
    pub fn owner(&self) -> Option<Owner> {
        let service = || self.client.clone().map(Owner::Service);
        self.user.clone().map(Owner::User).or_else(service)
    }

    /// The token as the verifier sees it whose clock is furthest behind: what has expired here may be good there, for as
    /// long as it is not [over](crate::cutoff::is_over).
    #[must_use]
    pub fn seen_last(self) -> Self {
        Self { expires_at: self.expires_at.plus(KEPT_SECONDS - LEEWAY_SECONDS), ..self }
    }

    /// The scopes whose cutoffs apply to this token: all of them are asked in one round trip.
    pub fn scopes(&self) -> Vec<Scope> {
        let mut scopes = vec![Scope::Everything];
        scopes.extend(self.user.clone().map(Scope::User));
        scopes.extend(self.client.clone().map(Scope::Client));
        if let (Some(user), Some(client)) = (&self.user, &self.client) {
            scopes.push(Scope::UserClient(user.clone(), client.clone()));
        }
        scopes.extend(self.session.clone().map(Scope::Session));
        scopes
    }
}

/// What a denylist (Redis or DynamoDB) says about one token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The cutoffs of every scope asked about.
    pub cutoffs: CutoffSet,
    /// Whether this very token is revoked.
    pub token_revoked: bool,
    /// The jobs whose frozen lists spare this user.
    pub spared_by: Vec<JobId>,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Its `exp` has passed.
    Expired,
    /// Its sign-in is older than any sign-in may be.
    SignInTooOld,
    /// It is revoked by itself.
    TokenRevoked,
    /// A cutoff hits it.
    CutOff(Cutoff),
}

/// The limits a verifier applies.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Seconds after which a sign-in is refused whatever the token says. Denylist entries are kept that long, so
    /// that no token can outlive the entry that refuses it (`[CUT-5]`).
    pub max_sign_in_age: i64,
}

/// Decides. `None` means the denylist has nothing against the token; its signature is another question.
pub fn decide(token: &TokenFacts, answer: &Answer, limits: Limits, now: Epoch) -> Option<Refusal> {
    if token.expires_at.plus(LEEWAY_SECONDS) <= now {
        return Some(Refusal::Expired);
    }
    if token.signed_in_at.plus(limits.max_sign_in_age).plus(LEEWAY_SECONDS) <= now {
        return Some(Refusal::SignInTooOld);
    }
    if answer.token_revoked {
        return Some(Refusal::TokenRevoked);
    }
    let subject = Subject {
        kind: token.kind,
        user: token.user.clone(),
        client: token.client.clone(),
        session: token.session.clone(),
        issued_at: token.issued_at,
        signed_in_at: token.signed_in_at,
        spared_by: answer.spared_by.clone(),
    };
    answer.cutoffs.refuses(&subject).cloned().map(Refusal::CutOff)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::cutoff::{Basis, KEPT_SECONDS, Kinds, Spares, is_over};

    const LIMITS: Limits = Limits { max_sign_in_age: 1_000 };

    fn token() -> TokenFacts {
        TokenFacts {
            id: TokenId::parse("t").unwrap(),
            kind: TokenKind::Access,
            user: Some(UserId::parse("u").unwrap()),
            client: None,
            session: None,
            issued_at: Epoch(5_000),
            signed_in_at: Epoch(4_500),
            expires_at: Epoch(5_300),
        }
    }

    #[test]
    fn check_1_leeway_is_at_most_a_minute_and_the_last_second_is_refused() {
        let decide_at = |now| decide(&token(), &Answer::default(), LIMITS, Epoch(now));
        assert_eq!(decide_at(5_359), None);
        assert_eq!(decide_at(5_360), Some(Refusal::Expired));
    }

    #[test]
    fn cut_5_a_token_is_over_once_the_verifier_whose_clock_is_a_minute_behind_refuses_it() {
        let expires_at = token().expires_at;
        for ago in [-1, 0, 59, 60, 61, 118, 119, 120, 121, 1_000] {
            let now = expires_at.plus(ago);
            let refused = |token: &TokenFacts, now| decide(token, &Answer::default(), LIMITS, now).is_some();
            assert_eq!(is_over(expires_at, now), refused(&token(), now.plus(-60)), "{ago} s after it expired");
            assert_eq!(is_over(expires_at, now), refused(&token().seen_last(), now), "{ago} s after it expired");
        }
    }

    #[test]
    fn cut_5_no_token_outlives_the_cutoff_that_refuses_it() {
        let long_lived = TokenFacts { expires_at: Epoch(i64::MAX), ..token() };
        let cutoff = Cutoff {
            scope: Scope::User(UserId::parse("u").unwrap()),
            basis: Basis::SignIn,
            kinds: Kinds::Both,
            spares: Spares::default(),
            at: Epoch(4_500),
            job: JobId::parse("j").unwrap(),
            retires_at: Epoch(4_500).plus(LIMITS.max_sign_in_age).plus(LEEWAY_SECONDS),
        };
        for now in 4_500..7_000 {
            let still_listed = Epoch(now) < cutoff.retires_at;
            let cutoffs = still_listed.then(|| cutoff.clone()).into_iter().collect();
            let answer = Answer { cutoffs, ..Answer::default() };
            assert!(decide(&long_lived, &answer, LIMITS, Epoch(now)).is_some(), "accepted at {now}");
        }
    }

    /// Whoever forgets the entry may be a leeway ahead of the verifier.
    #[test]
    fn cut_5_a_denied_tokens_entry_is_kept_until_a_verifier_that_is_behind_refuses_it_by_itself() {
        let decided = |verifiers_now| decide(&token(), &Answer::default(), LIMITS, Epoch(verifiers_now));
        let kept_until = token().expires_at.plus(KEPT_SECONDS).0;
        assert_eq!(decided(kept_until - LEEWAY_SECONDS), Some(Refusal::Expired));
        assert_eq!(decided(kept_until - LEEWAY_SECONDS - 1), None, "a second earlier it is still needed");
    }

    #[test]
    fn check_2_every_scope_that_can_apply_is_asked_about() {
        let full = TokenFacts {
            client: Some(ClientId::parse("c").unwrap()),
            session: Some(SessionId::parse("s").unwrap()),
            ..token()
        };
        assert_eq!(full.scopes().len(), 5);
        assert_eq!(TokenFacts { user: None, ..full }.scopes().len(), 3);
    }
}

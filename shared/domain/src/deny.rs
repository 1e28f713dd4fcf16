//! Ending tokens and sign-ins at once, outside of jobs: the durable denylist first, then Redis.

use std::sync::Arc;

use crate::cutoff::{Basis, Cutoff, KEPT_SECONDS, Kinds, Scope, Spares};
use crate::decision::Limits;
use crate::error::PortError;
use crate::guard;
use crate::ids::{JobId, TokenId};
use crate::ports::{DenylistCache, DenylistStore};
use crate::source::IdSource;
use crate::time::Epoch;
use crate::token::RevokedBy;

/// Puts things on the denylist. A success means that every verifier refuses them from now on. After a failure they may
/// be denied already; doing it again does no harm.
#[derive(Clone)]
pub struct Denier {
    /// The durable denylist.
    pub denylist: Arc<dyn DenylistStore>,
    /// Redis.
    pub cache: Arc<dyn DenylistCache>,
    /// New generations.
    pub ids: Arc<dyn IdSource>,
    /// The verifiers' limits.
    pub limits: Limits,
}

impl Denier {
    /// Denies tokens by their ids until they have expired, given when that is.
    pub async fn tokens(&self, tokens: impl IntoIterator<Item = (TokenId, Epoch)>) -> Result<(), PortError> {
        let until = |(id, expires_at): (TokenId, Epoch)| (id, expires_at.plus(KEPT_SECONDS));
        let denied: Vec<_> = tokens.into_iter().map(until).collect();
        if denied.is_empty() {
            return Ok(());
        }
        self.denylist.put_tokens(&denied).await?;
        self.projected(self.cache.put_tokens(&denied).await).await
    }

    /// Denies whatever stems from a sign-in of a scope at or before a moment.
    pub async fn sign_ins(
        &self,
        scopes: impl IntoIterator<Item = Scope>,
        at: Epoch,
        by: &RevokedBy,
    ) -> Result<(), PortError> {
        // A cutoff names the job that set it; where there is none, whoever ended the sign-in.
        let by = JobId::parse(by.as_str()).unwrap_or_else(|_| unreachable!("it is an id or a word"));
        let cutoff = |scope| Cutoff {
            scope,
            basis: Basis::SignIn,
            kinds: Kinds::Both,
            spares: Spares::default(),
            at,
            job: by.clone(),
            retires_at: at.plus(self.limits.max_sign_in_age).plus(KEPT_SECONDS),
        };
        let cutoffs: Vec<Cutoff> = scopes.into_iter().map(cutoff).collect();
        self.denylist.put_cutoffs(&cutoffs).await?;
        self.projected(self.cache.put_cutoffs(&cutoffs).await).await
    }

    /// A cache that could not be told is not to be trusted by anybody (`[CUT-1]`).
    async fn projected(&self, outcome: Result<(), PortError>) -> Result<(), PortError> {
        if outcome.is_err() {
            guard::distrust(self.denylist.as_ref(), self.cache.as_ref(), self.ids.as_ref()).await?;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::guard::{Guarded, guard};
    use crate::ids::UserId;
    use crate::ports::{CacheAnswer, Entry};
    use crate::testing::{Memory, SeededIds, TestClock};
    use crate::time::from_millis;

    const LIMITS: Limits = Limits { max_sign_in_age: 1_000 };

    fn denier() -> (Arc<Memory>, Arc<Memory>, Denier) {
        let (denylist, cache) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
        let ids = Arc::new(SeededIds::new(1));
        let denier = Denier { denylist: denylist.clone(), cache: cache.clone(), ids, limits: LIMITS };
        (denylist, cache, denier)
    }

    fn token() -> (TokenId, Epoch) {
        (TokenId::parse("t").unwrap(), Epoch(500))
    }

    async fn entries(denylist: &Memory) -> Vec<Entry> {
        denylist.entries(None).await.unwrap().items
    }

    #[tokio::test]
    async fn cut_5_a_denied_token_stays_on_the_list_until_it_has_expired_and_leeway_is_over() {
        let (denylist, cache, denier) = denier();
        denier.tokens([token()]).await.unwrap();
        let kept = [Entry::Token(token().0, Epoch(500 + KEPT_SECONDS))];
        assert_eq!(entries(&denylist).await, kept);
        assert_eq!(entries(&cache).await, kept);
    }

    #[tokio::test]
    async fn cut_5_a_cutoff_of_sign_ins_lives_until_the_last_of_them_is_too_old() {
        let (denylist, cache, denier) = denier();
        let scope = Scope::User(UserId::parse("u").unwrap());
        denier.sign_ins([scope.clone()], Epoch(100), &RevokedBy::User).await.unwrap();
        let cutoff = Cutoff {
            scope,
            basis: Basis::SignIn,
            kinds: Kinds::Both,
            spares: Spares::default(),
            at: Epoch(100),
            job: JobId::parse("user").unwrap(),
            retires_at: Epoch(100 + 1_000 + KEPT_SECONDS),
        };
        assert_eq!(entries(&denylist).await, [Entry::Cutoff(cutoff.clone())]);
        assert_eq!(entries(&cache).await, [Entry::Cutoff(cutoff)]);
    }

    #[tokio::test]
    async fn denying_nothing_asks_nobody() {
        let (denylist, cache, denier) = denier();
        denylist.set_down(true);
        cache.set_down(true);
        denier.tokens([]).await.unwrap();
    }

    #[tokio::test]
    async fn cut_1_what_the_cache_cannot_take_is_durable_an_error_and_the_end_of_its_marker() {
        let (denylist, cache, denier) = denier();
        let clock = TestClock::at(from_millis(0));
        let guarded = async || guard(denylist.as_ref(), cache.as_ref(), &clock, &SeededIds::new(9)).await.unwrap();
        guarded().await;
        let generation = denylist.generation().await.unwrap();
        cache.set_down(true);
        let by = RevokedBy::User;
        assert!(denier.tokens([token()]).await.is_err());
        assert!(denier.sign_ins([Scope::Everything], Epoch(100), &by).await.is_err());
        assert_ne!(denylist.generation().await.unwrap(), generation, "no lease of the old one is renewed");
        assert_eq!(entries(&denylist).await.len(), 2, "and who asks there is told");
        cache.set_down(false);
        assert_eq!(guarded().await, Guarded::Rebuilt { entries: 2 });

        // Nothing that could not be made durable is told to the cache, or called done.
        denylist.set_down(true);
        let facts = crate::decision::TokenFacts {
            id: TokenId::parse("other").unwrap(),
            kind: crate::token::TokenKind::Access,
            user: None,
            client: None,
            session: None,
            issued_at: Epoch(200),
            signed_in_at: Epoch(200),
            expires_at: Epoch(500),
        };
        assert!(denier.tokens([(facts.id.clone(), Epoch(500))]).await.is_err());
        let Ok(CacheAnswer::Complete(answer)) = DenylistCache::ask(cache.as_ref(), &facts).await else {
            panic!("it is complete")
        };
        assert!(!answer.token_revoked);
    }
}

//! Asking the denylist: Redis first, DynamoDB when Redis cannot be trusted, and never "yes" out of ignorance.

use std::sync::Arc;

use crate::decision::{Answer, Limits, Refusal, TokenFacts, decide};
use crate::error::PortError;
use crate::ports::{CacheAnswer, DenylistCache, DenylistStore};
use crate::time::{Clock, Epoch};

/// Every verifier's way to the decision.
#[derive(Clone)]
pub struct Checker {
    cache: Arc<dyn DenylistCache>,
    store: Arc<dyn DenylistStore>,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

/// A decision and how it was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Why the token is refused; `None` if the denylist has nothing against it.
    pub refusal: Option<Refusal>,
    /// Why the cache was not enough, if it was not. Such decisions are counted and alarmed on (`[CHECK-3]`).
    pub degraded: Option<Degraded>,
}

/// Why the durable denylist had to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Degraded {
    /// The cache answered, but has lost its marker.
    Incomplete,
    /// The cache did not answer.
    Unavailable(String),
}

impl Checker {
    /// Puts a verifier together.
    pub fn new(
        cache: Arc<dyn DenylistCache>,
        store: Arc<dyn DenylistStore>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        Self { cache, store, clock, limits }
    }

    /// Whether the denylist refuses a token. An error means that nobody could tell: the caller refuses with 503.
    pub async fn check(&self, token: &TokenFacts) -> Result<Checked, PortError> {
        let now = Epoch::from(self.clock.now());
        // What the token says against itself needs no look-up.
        if let Some(refusal) = decide(token, &Answer::default(), self.limits, now) {
            return Ok(Checked { refusal: Some(refusal), degraded: None });
        }
        let degraded = match self.cache.ask(token).await {
            Ok(CacheAnswer::Complete(answer)) => {
                return Ok(Checked { refusal: decide(token, &answer, self.limits, now), degraded: None });
            }
            Ok(CacheAnswer::Incomplete) => Degraded::Incomplete,
            Err(error) => Degraded::Unavailable(error.to_string()),
        };
        let answer = self.store.ask(token).await?;
        Ok(Checked { refusal: decide(token, &answer, self.limits, now), degraded: Some(degraded) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::cutoff::LEEWAY_SECONDS;
    use crate::guard;
    use crate::ids::TokenId;
    use crate::testing::{Memory, SeededIds, TestClock};
    use crate::token::TokenKind;

    const LIMITS: Limits = Limits { max_sign_in_age: 1_000 };
    const NOW: i64 = 1_900_000_000;

    fn now() -> DateTime<Utc> {
        crate::time::from_millis(NOW * 1_000)
    }

    fn token(id: &str) -> TokenFacts {
        TokenFacts {
            id: TokenId::parse(id).unwrap(),
            kind: TokenKind::Access,
            user: None,
            client: None,
            session: None,
            issued_at: Epoch(NOW - 10),
            signed_in_at: Epoch(NOW - 10),
            expires_at: Epoch(NOW + 10),
        }
    }

    /// A cache that is complete, a store that knows that "denied" is revoked, and who asks them.
    async fn scene() -> (Arc<Memory>, Arc<Memory>, Checker) {
        let (cache, store) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
        let clock = Arc::new(TestClock::at(now()));
        let denied = [(TokenId::parse("denied").unwrap(), Epoch(NOW + 100))];
        DenylistStore::put_tokens(store.as_ref(), &denied).await.unwrap();
        guard::guard(store.as_ref(), cache.as_ref(), clock.as_ref(), &SeededIds::new(1)).await.unwrap();
        let checker = Checker::new(cache.clone(), store.clone(), clock, LIMITS);
        (cache, store, checker)
    }

    #[tokio::test]
    async fn check_3_a_complete_cache_is_believed_and_nobody_else_is_asked() {
        let (_, store, checker) = scene().await;
        store.set_down(true);
        let refused = checker.check(&token("denied")).await.unwrap();
        assert_eq!(refused, Checked { refusal: Some(Refusal::TokenRevoked), degraded: None });
        assert_eq!(checker.check(&token("good")).await.unwrap(), Checked { refusal: None, degraded: None });
    }

    #[tokio::test]
    async fn check_3_a_cache_without_its_marker_or_without_an_answer_is_not_believed_and_the_store_decides() {
        let (cache, _, checker) = scene().await;
        for silent in [false, true] {
            cache.void().await.unwrap();
            cache.set_down(silent);
            for (id, refusal) in [("denied", Some(Refusal::TokenRevoked)), ("good", None)] {
                let outcome = checker.check(&token(id)).await.unwrap();
                assert_eq!(outcome.refusal, refusal);
                match outcome.degraded {
                    Some(Degraded::Incomplete) => assert!(!silent),
                    Some(Degraded::Unavailable(why)) => assert!(silent && !why.is_empty()),
                    None => panic!("it was reached the slow way"),
                }
            }
        }
    }

    #[tokio::test]
    async fn check_3_without_either_nobody_can_tell_and_a_token_that_is_over_by_itself_is_refused_all_the_same() {
        let (cache, store, checker) = scene().await;
        cache.set_down(true);
        store.set_down(true);
        assert!(checker.check(&token("good")).await.is_err(), "never an allow");
        for (expires_at, refusal) in [
            (NOW - LEEWAY_SECONDS - 1, Some(Refusal::Expired)),
            (NOW - LEEWAY_SECONDS, Some(Refusal::Expired)),
            (NOW - LEEWAY_SECONDS + 1, None),
        ] {
            let over = TokenFacts { expires_at: Epoch(expires_at), ..token("over") };
            let told = checker.check(&over).await.ok().map(|told| (told.refusal, told.degraded));
            assert_eq!(told, refusal.map(|refusal| (Some(refusal), None)), "expires at {expires_at}");
        }
    }
}

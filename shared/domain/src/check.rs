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

//! Ending tokens and sign-ins at once, outside of jobs: the durable denylist first, then Redis.

use std::sync::Arc;

use crate::cutoff::{Basis, Cutoff, KEPT_SECONDS, Kinds, Scope, Spares};
use crate::decision::Limits;
use crate::guard;
use crate::ids::{JobId, TokenId};
use crate::ports::{DenylistCache, DenylistStore, PortResult};
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
    pub async fn tokens(&self, tokens: impl IntoIterator<Item = (TokenId, Epoch)>) -> PortResult<()> {
        let until = |(id, expires_at): (TokenId, Epoch)| (id, expires_at.plus(KEPT_SECONDS));
        let denied: Vec<_> = tokens.into_iter().map(until).collect();
        if denied.is_empty() {
            return Ok(());
        }
        self.denylist.put_tokens(&denied).await?;
        self.projected(self.cache.put_tokens(&denied).await).await
    }

    /// Denies whatever stems from a sign-in of a scope at or before a moment.
    pub async fn sign_ins(&self, scopes: impl IntoIterator<Item = Scope>, at: Epoch, by: &RevokedBy) -> PortResult<()> {
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
    async fn projected(&self, outcome: PortResult<()>) -> PortResult<()> {
        if outcome.is_err() {
            guard::distrust(self.denylist.as_ref(), self.cache.as_ref(), self.ids.as_ref()).await?;
        }
        outcome
    }
}

//! Taking records from elsewhere: the row first, then the denylist where the record ends something.

use std::sync::Arc;

use crate::cutoff::{Basis, Cutoff, Kinds, LEEWAY_SECONDS, Scope, Spares};
use crate::decision::Limits;
use crate::error::{PortError, WorkError};
use crate::guard;
use crate::ids::{JobId, TokenId};
use crate::ports::{Applied, DenylistCache, DenylistStore, RecordStore};
use crate::records::{Change, Entity, Key, Record};
use crate::source::IdSource;
use crate::time::Epoch;

/// What stands for the job in cutoffs that the issuer's own records set.
const ISSUER: &str = "issuer";

/// What the ingest needs.
#[derive(Clone)]
pub struct Ingest {
    /// Where records go.
    pub records: Arc<dyn RecordStore>,
    /// The durable denylist.
    pub denylist: Arc<dyn DenylistStore>,
    /// Redis.
    pub cache: Arc<dyn DenylistCache>,
    /// New generations.
    pub ids: Arc<dyn IdSource>,
    /// The verifiers' limits.
    pub limits: Limits,
}

impl Ingest {
    /// Reads and applies one record as it came off the wire.
    pub async fn take(&self, json: &str) -> Result<Applied, WorkError> {
        // An unreadable record stays in the queue and ends among the dead letters, where somebody can read it.
        let record = Record::parse(json).map_err(|error| WorkError::Retry(error.to_string()))?;
        self.apply(&record).await
    }

    /// Applies one record. Applying it again, or after a newer one of the same thing, changes nothing.
    pub async fn apply(&self, record: &Record) -> Result<Applied, WorkError> {
        // The denylist comes first: should this stop half-way, the token is refused and the record comes again.
        match &record.change {
            Change::Upsert(Entity::Token(token)) if token.revoked_at.is_some() => {
                self.deny_token(&token.id, token.expires_at).await?;
            }
            Change::Delete(Key::Token(token)) => {
                let latest = Epoch(record.at / 1_000).plus(self.limits.max_sign_in_age);
                self.deny_token(&token.id, token.expires_at.unwrap_or(latest)).await?;
            }
            Change::Delete(Key::Session(session)) => {
                let at = Epoch(record.at / 1_000);
                let cutoff = Cutoff {
                    scope: Scope::Session(session.id.clone()),
                    basis: Basis::SignIn,
                    kinds: Kinds::Both,
                    spares: Spares::default(),
                    at,
                    job: JobId::parse(ISSUER).map_err(|error| WorkError::Drop(error.to_string()))?,
                    retires_at: at.plus(self.limits.max_sign_in_age).plus(LEEWAY_SECONDS),
                };
                self.denylist.put_cutoffs(std::slice::from_ref(&cutoff)).await?;
                self.projected(self.cache.put_cutoffs(&[cutoff]).await).await?;
            }
            _ => {}
        }
        Ok(self.records.apply(record).await?)
    }

    async fn deny_token(&self, token: &TokenId, expires_at: Epoch) -> Result<(), WorkError> {
        let retires_at = expires_at.plus(LEEWAY_SECONDS);
        let denied = [(token.clone(), retires_at)];
        self.denylist.put_tokens(&denied).await?;
        self.projected(self.cache.put_tokens(&denied).await).await
    }

    async fn projected(&self, outcome: Result<(), PortError>) -> Result<(), WorkError> {
        if let Err(error) = outcome {
            guard::distrust(self.denylist.as_ref(), self.cache.as_ref(), self.ids.as_ref()).await?;
            return Err(WorkError::Retry(error.to_string()));
        }
        Ok(())
    }
}

//! Taking records from elsewhere: the row first, then the denylist where the record ends something.

use std::sync::Arc;

use crate::error::WorkError;
use crate::ports::{Applied, RecordStore};
use crate::records::{Change, Entity, Key, Record};
use crate::sign_out::SignOuts;
use crate::time::Epoch;

/// What the ingest needs.
#[derive(Clone)]
pub struct Ingest {
    /// Where records go.
    pub records: Arc<dyn RecordStore>,
    /// Ending what the issuer has ended.
    pub sign_outs: SignOuts,
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
        let denier = &self.sign_outs.denier;
        match &record.change {
            Change::Upsert(Entity::Token(token)) if token.revoked_at.is_some() => {
                denier.tokens([(token.id.clone(), token.expires_at)]).await?;
            }
            Change::Delete(Key::Token(token)) => {
                let latest = Epoch(record.at / 1_000).plus(denier.limits.max_sign_in_age);
                denier.tokens([(token.id.clone(), token.expires_at.unwrap_or(latest))]).await?;
            }
            Change::Delete(Key::Session(session)) => {
                let at = Epoch(record.at / 1_000);
                self.sign_outs.issuers_session(&session.user_id, &session.id, at).await?;
            }
            _ => {}
        }
        Ok(self.records.apply(record).await?)
    }
}

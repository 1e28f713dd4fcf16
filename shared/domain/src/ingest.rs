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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::cutoff::KEPT_SECONDS;
    use crate::decision::Limits;
    use crate::deny::Denier;
    use crate::ids::UserId;
    use crate::ports::{DenylistStore as _, Entry, TokenStore as _};
    use crate::records::TokenRecord;
    use crate::testing::{Memory, SeededIds, TestClock, contract};
    use crate::token::Owner;

    fn scene() -> (Arc<Memory>, Arc<Memory>, Ingest) {
        let (store, cache) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
        let denier = Denier {
            denylist: store.clone(),
            cache: cache.clone(),
            ids: Arc::new(SeededIds::new(1)),
            limits: Limits { max_sign_in_age: 1_000 },
        };
        let clock = Arc::new(TestClock::at(DateTime::<Utc>::UNIX_EPOCH));
        let sign_outs = SignOuts { tokens: store.clone(), denier, clock };
        (store.clone(), cache, Ingest { records: store, sign_outs })
    }

    #[tokio::test]
    async fn cut_1_a_token_that_its_issuer_ended_is_refused_before_its_row_says_so() {
        let (store, cache, ingest) = scene();
        let user = UserId::parse("u").unwrap();
        let good = contract::token("t", &user, 100, 500);
        let ended = Record::upsert(2_000, Entity::Token(TokenRecord { revoked_at: Some(Epoch(2)), ..good.clone() }));
        ingest.apply(&Record::upsert(1_000, Entity::Token(good.clone()))).await.unwrap();
        assert!(store.entries(None).await.unwrap().items.is_empty(), "a good token is nobody's business");

        let owner = Owner::User(user);
        let is_revoked = async || store.token(&owner, &good.id).await.unwrap().unwrap().revoked.is_some();
        cache.set_down(true);
        assert!(matches!(ingest.apply(&ended).await, Err(WorkError::Retry(_))), "it comes again");
        assert!(!is_revoked().await, "who reads the row must not think that all is done");
        cache.set_down(false);
        assert_eq!(ingest.apply(&ended).await.unwrap(), Applied::Written);
        assert!(is_revoked().await);
        let denied = [Entry::Token(good.id.clone(), Epoch(500 + KEPT_SECONDS))];
        assert_eq!(store.entries(None).await.unwrap().items, denied);
        assert_eq!(cache.entries(None).await.unwrap().items, denied);
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_waits_for_somebody_who_can() {
        let (_, _, ingest) = scene();
        assert!(matches!(ingest.take("{}").await, Err(WorkError::Retry(_))));
    }
}

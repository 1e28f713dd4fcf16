//! Remembering what a verifier looks up of a token: none of it changes while the token lives (`[CHECK-2]`).

use std::hash::Hash;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::{SessionId, TokenId, UserId};
use domain::ports::{PortResult, TokenLookup};
use domain::time::{Clock, Epoch};
use domain::token::{TokenKind, TokenRow};
use moka::future::Cache;

/// Nothing is remembered for longer.
const REMEMBER_FOR: TimeDelta = TimeDelta::minutes(5);
/// So many answers of each kind are remembered, those that were used last.
const REMEMBER: u64 = 10_000;

/// Answers and when each was asked for. Our own clock decides how old they are: the cache's stands still in a frozen
/// function.
struct Answers<K, V> {
    known: Cache<K, (V, DateTime<Utc>)>,
    clock: Arc<dyn Clock>,
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Answers<K, V> {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { known: Cache::new(REMEMBER), clock }
    }

    async fn get(&self, key: &K) -> Option<V> {
        let (value, at) = self.known.get(key).await?;
        (TimeDelta::zero()..=REMEMBER_FOR).contains(&(self.clock.now() - at)).then_some(value)
    }
}

/// Remembers the answers of another look-up for at most five minutes, and a row never past its token's expiry. That
/// something is not there is not remembered, nor is a row that is revoked or of a refresh token, which may be replaced at
/// any time: the next answer may be another.
pub struct Remembered<L: ?Sized> {
    inner: Arc<L>,
    rows: Answers<TokenId, TokenRow>,
    sign_ins: Answers<(UserId, Option<SessionId>, TokenId), Epoch>,
}

impl<L: TokenLookup + ?Sized> Remembered<L> {
    /// Remembers what `inner` answers.
    pub fn new(inner: Arc<L>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, rows: Answers::new(clock.clone()), sign_ins: Answers::new(clock) }
    }
}

#[async_trait]
impl<L: TokenLookup + ?Sized> TokenLookup for Remembered<L> {
    async fn opaque_row(&self, id: &TokenId) -> PortResult<Option<TokenRow>> {
        let asked_at = self.rows.clock.now();
        let lives = |row: &TokenRow| row.expires_at > Epoch::from(asked_at);
        if let Some(row) = self.rows.get(id).await.filter(lives) {
            return Ok(Some(row));
        }
        let row = self.inner.opaque_row(id).await?;
        let is_kept = |row: &&TokenRow| row.kind == TokenKind::Access && row.revoked.is_none() && lives(row);
        if let Some(row) = row.as_ref().filter(is_kept) {
            self.rows.known.insert(id.clone(), (row.clone(), asked_at)).await;
        }
        Ok(row)
    }

    async fn sign_in_of(
        &self,
        user: &UserId,
        session: Option<&SessionId>,
        token: &TokenId,
    ) -> PortResult<Option<Epoch>> {
        let asked_at = self.sign_ins.clock.now();
        let key = (user.clone(), session.cloned(), token.clone());
        if let Some(at) = self.sign_ins.get(&key).await {
            return Ok(Some(at));
        }
        let found = self.inner.sign_in_of(user, session, token).await?;
        if let Some(at) = found {
            self.sign_ins.known.insert(key, (at, asked_at)).await;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::sync::Mutex;

    use domain::error::PortError;
    use domain::ids::ClientId;
    use domain::testing::TestClock;
    use domain::token::{Owner, Revoked, RevokedBy};

    use super::*;

    /// Gives prepared answers and counts what it is asked.
    #[derive(Default)]
    struct Source {
        row: Mutex<Option<TokenRow>>,
        sign_in: Mutex<Option<Epoch>>,
        away: Mutex<bool>,
        asked: Mutex<usize>,
    }

    impl Source {
        fn answer<T: Clone>(&self, value: &Mutex<T>) -> PortResult<T> {
            *self.asked.lock().unwrap() += 1;
            if *self.away.lock().unwrap() {
                return Err(PortError::Unavailable { service: "test", cause: "away".to_owned() });
            }
            Ok(value.lock().unwrap().clone())
        }
    }

    #[async_trait]
    impl TokenLookup for Source {
        async fn opaque_row(&self, _: &TokenId) -> PortResult<Option<TokenRow>> {
            self.answer(&self.row)
        }

        async fn sign_in_of(&self, _: &UserId, _: Option<&SessionId>, _: &TokenId) -> PortResult<Option<Epoch>> {
            self.answer(&self.sign_in)
        }
    }

    struct Stage {
        source: Arc<Source>,
        clock: Arc<TestClock>,
        lookup: Remembered<Source>,
    }

    impl Stage {
        fn new() -> Self {
            let (source, clock) = (Arc::<Source>::default(), Arc::new(TestClock::at(DateTime::UNIX_EPOCH)));
            Self { lookup: Remembered::new(source.clone(), clock.clone()), source, clock }
        }

        fn knows(&self, row: TokenRow) {
            *self.source.row.lock().unwrap() = Some(row);
        }

        fn asked(&self) -> usize {
            *self.source.asked.lock().unwrap()
        }

        async fn row(&self) -> Option<TokenRow> {
            self.lookup.opaque_row(&TokenId::parse("t").unwrap()).await.unwrap()
        }

        async fn sign_in(&self, user: &str, session: Option<&str>) -> Option<Epoch> {
            let session = session.map(|session| SessionId::parse(session).unwrap());
            let (user, token) = (UserId::parse(user).unwrap(), TokenId::parse("t").unwrap());
            self.lookup.sign_in_of(&user, session.as_ref(), &token).await.unwrap()
        }
    }

    fn row(expires_at: i64) -> TokenRow {
        TokenRow {
            id: TokenId::parse("t").unwrap(),
            owner: Owner::User(UserId::parse("u").unwrap()),
            kind: TokenKind::Access,
            client: ClientId::parse("c").unwrap(),
            session: None,
            opaque: true,
            issued_at: Epoch(0),
            signed_in_at: None,
            expires_at: Epoch(expires_at),
            last_used_at: None,
            scope: None,
            revoked: None,
        }
    }

    #[tokio::test]
    async fn a_row_is_remembered_for_five_minutes() {
        let stage = Stage::new();
        stage.knows(row(10_000));
        assert_eq!((stage.row().await, stage.row().await), (Some(row(10_000)), Some(row(10_000))));
        stage.clock.advance(REMEMBER_FOR);
        stage.row().await;
        assert_eq!(stage.asked(), 1);
        stage.clock.advance(TimeDelta::milliseconds(1));
        stage.row().await;
        assert_eq!(stage.asked(), 2);
    }

    #[tokio::test]
    async fn a_refresh_tokens_row_is_asked_for_every_time() {
        let stage = Stage::new();
        stage.knows(TokenRow { kind: TokenKind::Refresh, ..row(10_000) });
        stage.row().await;
        stage.row().await;
        assert_eq!(stage.asked(), 2);
    }

    #[tokio::test]
    async fn a_row_is_not_remembered_past_its_tokens_expiry() {
        let stage = Stage::new();
        stage.knows(row(100));
        stage.clock.advance(TimeDelta::seconds(99));
        stage.row().await;
        stage.row().await;
        assert_eq!(stage.asked(), 1);
        stage.clock.advance(TimeDelta::seconds(1));
        stage.row().await;
        stage.row().await;
        assert_eq!(stage.asked(), 3);
    }

    #[tokio::test]
    async fn what_is_missing_or_revoked_or_could_not_be_asked_is_asked_again() {
        let stage = Stage::new();
        assert_eq!((stage.row().await, stage.sign_in("u", None).await), (None, None));
        *stage.source.away.lock().unwrap() = true;
        assert!(stage.lookup.opaque_row(&TokenId::parse("t").unwrap()).await.is_err());
        *stage.source.away.lock().unwrap() = false;
        let by = RevokedBy::Job(domain::ids::JobId::parse("job").unwrap());
        stage.knows(TokenRow { revoked: Some(Revoked { at: Epoch(0), by }), ..row(10_000) });
        *stage.source.sign_in.lock().unwrap() = Some(Epoch(7));
        assert!(stage.row().await.unwrap().revoked.is_some());
        assert!(stage.row().await.unwrap().revoked.is_some());
        assert_eq!(stage.sign_in("u", None).await, Some(Epoch(7)));
        assert_eq!(stage.asked(), 6);
    }

    #[tokio::test]
    async fn a_sign_in_is_remembered_for_five_minutes_by_all_it_was_asked_for() {
        let stage = Stage::new();
        *stage.source.sign_in.lock().unwrap() = Some(Epoch(7));
        for _ in 0..2 {
            for (user, session) in [("u", None), ("u", Some("s")), ("v", Some("s"))] {
                assert_eq!(stage.sign_in(user, session).await, Some(Epoch(7)));
            }
        }
        assert_eq!(stage.asked(), 3);
        stage.clock.advance(REMEMBER_FOR + TimeDelta::milliseconds(1));
        stage.sign_in("u", None).await;
        assert_eq!(stage.asked(), 4);
    }
}

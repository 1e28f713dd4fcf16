//! What an issuer's token endpoint answers to a code, and what becomes of what it brought.

use std::sync::Arc;

use async_trait::async_trait;
use domain::audit::Origin;
use domain::ids::{ClientId, RawToken, UserId};
use domain::inspect::Inactive;
use domain::ports::TokenStore as _;
use domain::sign_in::NotGranted;
use domain::testing::{Habits, Memory};
use domain::time::{Clock as _, Epoch, from_millis};
use domain::token::{Owner, RevokedBy, SessionRow};
use domain::upstream::{Form, Issued, Upstream, UpstreamError};
use serde_json::{Map, Value};

use super::{NOW, wait};
use crate::door::{CLIENT, Door};

/// An issuer that gives one answer.
struct Saying(Map<String, Value>);

#[async_trait]
impl Upstream for Saying {
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError> {
        Err(UpstreamError::NotOffered("authorization endpoint"))
    }
    async fn token(&self, _: &Form) -> Result<Issued, UpstreamError> {
        Ok(Issued { body: self.0.clone() })
    }
    async fn revoke(&self, _: &Form) -> Result<(), UpstreamError> {
        Ok(())
    }
    async fn reachable(&self) -> Result<(), UpstreamError> {
        Ok(())
    }
}

/// An answer to a code.
pub fn token_answer(bytes: &[u8]) -> bool {
    // Anything else than an object is no answer, and never comes here.
    let Ok(body) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return false };
    wait(exchanged(body))
}

async fn exchanged(body: Map<String, Value>) -> bool {
    let mut door = Door::in_memory(from_millis(NOW * 1_000), Habits { jwt: false, ..Habits::default() }).await;
    door.upstream = Arc::new(Saying(body.clone()));
    let now = Epoch::from(door.fleet.clock.now());
    let client = ClientId::parse(CLIENT).unwrap();
    let granted = match door.sign_ins().code(&Form::default(), &client, &Origin::default()).await {
        Ok(granted) => granted,
        Err(NotGranted::CannotTell(error)) => panic!("everybody is there: {error}"),
        Err(_) => return false,
    };
    assert_eq!(granted.body, body, "passed on as it is");
    let (user, session) = granted.session.unwrap();
    let token = Issued { body }.access_token().unwrap();
    let inspected = door.inspector().inspect(&token).await.unwrap();
    let good = inspected.verdict.unwrap_or_else(|why| panic!("handed out, and not good: {why:?}"));
    assert_eq!(good.user.map(|user| user.user_id), Some(user.clone()));
    let holdings = door.fleet.store.holdings(&Owner::User(user.clone())).await.unwrap();
    assert!(!holdings.tokens.is_empty() && holdings.sessions.iter().any(|row| row.id == session));
    for row in &holdings.tokens {
        assert_eq!(row.client, client);
        assert!(row.sign_in(None) <= now && row.issued_at <= now, "no cutoff is out of reach: {row:?}");
        assert!(row.expires_at > now, "{row:?}");
    }
    end(&door, &user, &token, now).await;
    true
}

/// Whatever it was, it can be ended.
async fn end(door: &Door<Memory, Memory>, user: &UserId, token: &RawToken, now: Epoch) {
    door.fleet.sign_outs().everything(user, &RevokedBy::User, None).await.unwrap();
    let inspected = door.inspector().inspect(token).await.unwrap();
    assert!(matches!(inspected.verdict, Err(Inactive::Refused(_) | Inactive::Unknown)), "{inspected:?}");
    let live = |row: &&SessionRow| row.ended_by.is_none() && row.expires_at > now;
    let holdings = door.fleet.store.holdings(&Owner::User(user.clone())).await.unwrap();
    assert_eq!(holdings.sessions.iter().filter(live).count(), 0);
}

//! Those at the issuer who vouch for tokens (`[CHECK-1]`), and remembering what they said (`[CHECK-5]`).

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::identity::{Profile, VerificationSource};
use domain::ids::{RawToken, UserId};
use domain::time::Clock;
use domain::upstream::{Authority, UpstreamError};
use moka::future::Cache;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::asking::{TRIES, authorized, judge, object, twice, within};
use super::breaker::Breaker;
use super::discovery::{Discovery, Endpoint};
use crate::json::{text, texts};

/// "Good" is remembered for less than this (`[CHECK-5]`).
const REMEMBER_FOR: TimeDelta = TimeDelta::seconds(60);
/// So many tokens are remembered, those that were used last.
const REMEMBER: u64 = 10_000;

/// An endpoint that answers a bearer token with its user.
struct Asked {
    discovery: Arc<Discovery>,
    endpoint: Endpoint,
    breaker: Breaker,
}

impl Asked {
    fn new(discovery: Arc<Discovery>, endpoint: Endpoint, what: &'static str) -> Self {
        let breaker = Breaker::new(what, discovery.clock.clone());
        Self { discovery, endpoint, breaker }
    }

    async fn user_of(&self, token: &RawToken) -> Result<Map<String, Value>, UpstreamError> {
        let limit = self.discovery.limits.vouch;
        let headers = authorized(&format!("Bearer {}", token.reveal()))?;
        within(limit, async {
            let url = self.discovery.find(self.endpoint).await?;
            let ask = || async {
                let answer = judge(self.discovery.http.get(&url, headers.clone(), limit / TRIES).await?)?;
                object(&answer).ok_or_else(|| UpstreamError::Failed(format!("{url} answered no JSON object")))
            };
            self.breaker.call(twice(ask)).await
        })
        .await
    }
}

fn user_id(id: Option<String>) -> Result<UserId, UpstreamError> {
    let id = id.and_then(|id| UserId::parse(id).ok());
    id.ok_or_else(|| UpstreamError::Failed("the answer names no user".to_owned()))
}

/// The issuer's `userinfo` (OpenID Connect Core §5.3).
pub struct Userinfo {
    asked: Asked,
    roles_member: String,
}

impl Userinfo {
    /// `roles_claim` is the member that holds the roles, if it is not `roles`.
    pub fn new(discovery: Arc<Discovery>, roles_claim: Option<String>) -> Self {
        let roles_member = roles_claim.unwrap_or_else(|| "roles".to_owned());
        Self { asked: Asked::new(discovery, Endpoint::Userinfo, "userinfo"), roles_member }
    }
}

#[async_trait]
impl Authority for Userinfo {
    fn source(&self) -> VerificationSource {
        VerificationSource::OauthUserinfo
    }

    async fn vouch(&self, token: &RawToken) -> Result<(UserId, Profile), UpstreamError> {
        let user = self.asked.user_of(token).await?;
        let profile = Profile {
            email: text(&user, "email"),
            name: text(&user, "name").or_else(|| text(&user, "preferred_username")),
            avatar: text(&user, "picture"),
            roles: texts(&user, &self.roles_member),
            permissions: texts(&user, "permissions"),
            groups: texts(&user, "groups"),
        };
        Ok((user_id(text(&user, "sub"))?, profile))
    }
}

/// The issuer's older `/api/v1/auth/me`.
pub struct AuthMe(Asked);

impl AuthMe {
    /// Its address comes from configuration only; without one it is silent.
    pub fn new(discovery: Arc<Discovery>) -> Self {
        Self(Asked::new(discovery, Endpoint::AuthMe, "auth/me"))
    }
}

/// An id that may be a number.
fn id(user: &Map<String, Value>, name: &str) -> Option<String> {
    let number = || user.get(name).filter(|id| id.is_i64() || id.is_u64()).map(Value::to_string);
    text(user, name).or_else(number)
}

#[async_trait]
impl Authority for AuthMe {
    fn source(&self) -> VerificationSource {
        VerificationSource::TraditionalAuth
    }

    async fn vouch(&self, token: &RawToken) -> Result<(UserId, Profile), UpstreamError> {
        let user = self.0.user_of(token).await?;
        let profile = Profile {
            email: text(&user, "email"),
            name: text(&user, "name").or_else(|| text(&user, "username")),
            avatar: text(&user, "avatar_url"),
            roles: texts(&user, "roles"),
            permissions: texts(&user, "permissions"),
            groups: texts(&user, "groups"),
        };
        Ok((user_id(id(&user, "user_id").or_else(|| id(&user, "id")))?, profile))
    }
}

#[derive(Clone)]
struct Good {
    user: UserId,
    profile: Arc<Profile>,
    at: DateTime<Utc>,
}

/// Remembers for whom another has vouched, for less than a minute per token (`[CHECK-5]`). The denylist is asked every
/// time all the same, so that this delays no revocation of ours.
pub struct Remembering<A> {
    inner: A,
    clock: Arc<dyn Clock>,
    /// By the hash of the token, which is kept nowhere. Refusals and failures are not in here.
    good: Cache<[u8; 32], Good>,
}

impl<A: Authority> Remembering<A> {
    /// Remembers what `inner` says.
    pub fn new(inner: A, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, good: Cache::new(REMEMBER) }
    }
}

#[async_trait]
impl<A: Authority> Authority for Remembering<A> {
    fn source(&self) -> VerificationSource {
        self.inner.source()
    }

    async fn vouch(&self, token: &RawToken) -> Result<(UserId, Profile), UpstreamError> {
        let hash: [u8; 32] = Sha256::digest(token.reveal().as_bytes()).into();
        // The answer is as old as the question. Our own clock decides: the cache's stands still in a frozen function.
        let at = self.clock.now();
        if let Some(good) = self.good.get(&hash).await
            && (TimeDelta::zero()..REMEMBER_FOR).contains(&(at - good.at))
        {
            return Ok((good.user, Profile::clone(&good.profile)));
        }
        let vouched = self.inner.vouch(token).await;
        if let Ok((user, profile)) = &vouched {
            let good = Good { user: user.clone(), profile: Arc::new(profile.clone()), at };
            self.good.insert(hash, good).await;
        }
        vouched
    }
}

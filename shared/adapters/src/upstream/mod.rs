//! The issuer: its token and revocation endpoints, and those who vouch for tokens.
//!
//! How to add another who vouches for tokens: see [`domain::upstream`], and [`Userinfo`] for an example.

mod asking;
mod authority;
mod breaker;
mod discovery;
mod limits;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use domain::upstream::{Form, Issued, Upstream, UpstreamError};
use http::{HeaderMap, StatusCode};

pub(crate) use self::asking::within;
use self::asking::{TRIES, authorized, judge, object, twice};
pub use self::authority::{AuthMe, Remembering, Userinfo};
use self::breaker::Breaker;
pub use self::discovery::Discovery;
pub(crate) use self::discovery::Endpoint;
pub use self::limits::Limits;

/// The issuer's endpoints for clients.
pub struct UpstreamClient {
    discovery: Arc<Discovery>,
    token: Breaker,
    revoke: Breaker,
}

impl UpstreamClient {
    /// Asks nothing until it is needed.
    pub fn new(discovery: Arc<Discovery>) -> Self {
        let breaker = |what| Breaker::new(what, discovery.clock.clone());
        Self { token: breaker("token endpoint"), revoke: breaker("revocation endpoint"), discovery }
    }
}

/// The headers of a client's form.
fn headers(form: &Form) -> Result<HeaderMap, UpstreamError> {
    form.authorization.as_deref().map_or_else(|| Ok(HeaderMap::new()), authorized)
}

/// Asks a token endpoint, once.
pub(crate) async fn grant(discovery: &Discovery, form: &Form) -> Result<Issued, UpstreamError> {
    let limit = discovery.limits.token;
    let headers = headers(form)?;
    within(limit, async {
        let url = discovery.find(Endpoint::Token).await?;
        let answer = judge(discovery.http.post_form(&url, headers, &form.fields, limit).await?)?;
        // RFC 6749 §5.1: 200, and a JSON object.
        let body = object(&answer).filter(|_| answer.status == StatusCode::OK);
        let body = body.ok_or_else(|| UpstreamError::Failed(format!("{url} answered neither yes nor no")))?;
        Ok(Issued { body })
    })
    .await
}

#[async_trait]
impl Upstream for UpstreamClient {
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError> {
        self.discovery.find(Endpoint::Authorization).await
    }

    async fn token(&self, form: &Form) -> Result<Issued, UpstreamError> {
        let limit = self.discovery.limits.token;
        within(limit, async {
            // Before the breaker, which is about the token endpoint alone.
            self.discovery.find(Endpoint::Token).await?;
            self.token.call(grant(&self.discovery, form)).await
        })
        .await
    }

    async fn revoke(&self, form: &Form) -> Result<(), UpstreamError> {
        let limit = self.discovery.limits.revoke;
        let headers = headers(form)?;
        within(limit, async {
            let url = self.discovery.find(Endpoint::Revocation).await?;
            // RFC 7009 §2.2: a token that is gone already is answered like one that is ended now.
            let ask = || async {
                let sent = self.discovery.http.post_form(&url, headers.clone(), &form.fields, limit / TRIES);
                judge(sent.await?).map(drop)
            };
            self.revoke.call(twice(ask)).await
        })
        .await
    }

    async fn reachable(&self) -> Result<(), UpstreamError> {
        let url = self.discovery.landmark();
        let answer = self.discovery.http.get(&url, HeaderMap::new(), self.discovery.limits.reachable).await?;
        if answer.status.is_server_error() {
            return Err(UpstreamError::Failed(format!("{url} answered {}", answer.status)));
        }
        Ok(())
    }
}

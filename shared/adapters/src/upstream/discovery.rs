//! Where the issuer's endpoints are (OpenID Connect Discovery §4), unless configuration says so.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::settings::{Endpoints, Issuer};
use domain::time::Clock;
use domain::upstream::UpstreamError;
use futures::FutureExt as _;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::asking::{TRIES, judge, twice, within};
use super::limits::Limits;
use crate::http::Http;
use crate::kept::Kept;

/// The document is fetched again when it is older.
const FRESH_FOR: TimeDelta = TimeDelta::hours(1);

/// What is used of the document.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    jwks_uri: Option<String>,
}

impl Document {
    fn addresses(&self) -> impl Iterator<Item = &str> {
        let Self { authorization_endpoint, token_endpoint, userinfo_endpoint, revocation_endpoint, jwks_uri, .. } =
            self;
        [authorization_endpoint, token_endpoint, userinfo_endpoint, revocation_endpoint, jwks_uri]
            .into_iter()
            .filter_map(Option::as_deref)
    }
}

/// An address of the issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Authorization,
    Token,
    Userinfo,
    Revocation,
    Keys,
    AuthMe,
}

impl Endpoint {
    fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization endpoint",
            Self::Token => "token endpoint",
            Self::Userinfo => "userinfo endpoint",
            Self::Revocation => "revocation endpoint",
            Self::Keys => "JWKS endpoint",
            Self::AuthMe => "auth/me endpoint",
        }
    }
}

/// The issuer's addresses, and how it is asked. One is shared by all who ask the issuer anything.
pub struct Discovery {
    pub(crate) http: Http,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    issuer: String,
    jwks_uri: Option<String>,
    configured: Endpoints,
    document: Kept<Document>,
}

impl Discovery {
    /// Addresses that are looked up when they are first needed. What is configured is not looked up at all.
    pub fn new(issuer: &Issuer, configured: Endpoints, http: Http, clock: Arc<dyn Clock>) -> Self {
        Self {
            http,
            clock: clock.clone(),
            limits: Limits::default(),
            issuer: issuer.issuer.clone(),
            jwks_uri: issuer.jwks_uri.clone(),
            configured,
            document: Kept::new("the discovery document", FRESH_FOR, clock),
        }
    }

    /// With other time limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn document_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
    }

    /// An address that shows whether the issuer is there.
    pub(super) fn landmark(&self) -> String {
        self.jwks_uri.clone().unwrap_or_else(|| self.document_url())
    }

    /// Where an endpoint is; [`UpstreamError::NotOffered`] if nobody says so.
    pub(crate) async fn find(&self, endpoint: Endpoint) -> Result<String, UpstreamError> {
        let configured = match endpoint {
            Endpoint::Authorization => &self.configured.authorization,
            Endpoint::Token => &self.configured.token,
            Endpoint::Userinfo => &self.configured.userinfo,
            Endpoint::Revocation => &self.configured.revocation,
            Endpoint::AuthMe => &self.configured.auth_me,
            Endpoint::Keys => &self.jwks_uri,
        };
        if let Some(url) = configured {
            return Ok(url.clone());
        }
        let document = match endpoint {
            Endpoint::AuthMe => return Err(UpstreamError::NotOffered(endpoint.name())),
            _ => self.document.get(|_| true, self.fetch().boxed()).await?,
        };
        let discovered = match endpoint {
            Endpoint::Authorization => &document.authorization_endpoint,
            Endpoint::Token => &document.token_endpoint,
            Endpoint::Userinfo => &document.userinfo_endpoint,
            Endpoint::Revocation => &document.revocation_endpoint,
            Endpoint::Keys => &document.jwks_uri,
            Endpoint::AuthMe => &None,
        };
        discovered.clone().ok_or(UpstreamError::NotOffered(endpoint.name()))
    }

    async fn fetch(&self) -> Result<Document, UpstreamError> {
        let url = self.document_url();
        let document: Document = self.fetch_json(&url).await?;
        // OpenID Connect Discovery §4.3; some issuers are not consistent about the last slash.
        if document.issuer.trim_end_matches('/') != self.issuer.trim_end_matches('/') {
            return Err(UpstreamError::Failed(format!("{url} is about another issuer")));
        }
        // §3: all of them use https. A local issuer that does not is one that was configured so.
        if is_https(&self.issuer) && !document.addresses().all(is_https) {
            return Err(UpstreamError::Failed(format!("{url} names an endpoint without https")));
        }
        Ok(document)
    }

    /// A public document of the issuer's, within the time limit for keys.
    pub(crate) async fn fetch_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, UpstreamError> {
        let limit = self.limits.keys;
        let ask = || async { judge(self.http.get(url, HeaderMap::new(), limit / TRIES).await?) };
        let answer = match within(limit, twice(ask)).await {
            Ok(answer) => answer,
            // That a document is not there is no word on anybody's token or grant.
            Err(UpstreamError::Refused(refused)) => {
                return Err(UpstreamError::Failed(format!("{url} answered {}", refused.status)));
            }
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&answer.body).map_err(|error| UpstreamError::Failed(format!("{url}: {error}")))
    }
}

fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

//! Mail providers over HTTP: Azure AD v2.0, and whoever has a discovery document.
//!
//! Built from the same parts as the proxy's issuer. There is no breaker: a code is good for minutes, and must not be
//! lost because others failed just before.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::accounts::Provider;
use domain::accounts::ports::{Client, MailProvider};
use domain::settings::{Endpoints, Issuer};
use domain::time::Clock;
use domain::upstream::{Form, Issued, UpstreamError};
use moka::future::Cache;

use crate::http::Http;
use crate::upstream::{Discovery, Endpoint, Limits, grant};

/// One try at a token endpoint, discovery included (spec §13).
const TRY: Duration = Duration::from_secs(30);
/// Before another try; twice as long before the one after.
const PAUSE: Duration = Duration::from_secs(1);
/// Providers whose discovery documents are remembered.
const REMEMBERED: u64 = 256;

/// The providers.
pub struct Providers {
    http: Http,
    clock: Arc<dyn Clock>,
    limits: Limits,
    pause: Duration,
    known: Cache<Provider, Arc<Discovery>>,
}

impl Providers {
    /// Asks nothing until it is needed.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let limits = Limits { token: TRY, ..Limits::default() };
        Self { http: Http::new(), clock, limits, pause: PAUSE, known: Cache::new(REMEMBERED) }
    }

    /// With other time limits: for tests.
    #[must_use]
    pub fn with_limits(self, limit: Duration, pause: Duration) -> Self {
        Self { limits: Limits { token: limit, ..self.limits }, pause, ..self }
    }

    async fn discovery(&self, provider: &Provider) -> Arc<Discovery> {
        let made = async {
            let (issuer, endpoints) = addresses(provider);
            let discovery = Discovery::new(&issuer, endpoints, self.http.clone(), self.clock.clone());
            Arc::new(discovery.with_limits(self.limits))
        };
        self.known.get_with_by_ref(provider, made).await
    }
}

/// A provider in the words of the proxy.
fn addresses(provider: &Provider) -> (Issuer, Endpoints) {
    let (name, authorization, token) = match provider {
        Provider::AzureAd { tenant, authority } => {
            let base = format!("{}/{tenant}", authority.trim_end_matches('/'));
            let endpoint = |name: &str| Some(format!("{base}/oauth2/v2.0/{name}"));
            (format!("{base}/v2.0"), endpoint("authorize"), endpoint("token"))
        }
        Provider::Oidc { issuer, authorization_endpoint, token_endpoint } => {
            (issuer.clone(), authorization_endpoint.clone(), token_endpoint.clone())
        }
    };
    let issuer = Issuer {
        issuer: name,
        jwks_uri: None,
        audience: None,
        required_claim: None,
        session_claim: "sid".to_owned(),
        client_claim: None,
        roles_claim: None,
        hs256_secret: None,
    };
    (issuer, Endpoints { authorization, token, ..Endpoints::default() })
}

/// The form with the client's credentials: in it for Azure AD, as its own libraries have it; by Basic for the others,
/// which every server has to take (RFC 6749 §2.3.1).
fn authenticated(provider: &Provider, client: Client<'_>, form: &Form) -> Form {
    let mut form = form.clone();
    let mut field = |name: &str, value: &str| form.fields.push((name.to_owned(), value.to_owned()));
    match (provider, client.secret) {
        (_, None) => field("client_id", client.id.as_str()),
        (Provider::AzureAd { .. }, Some(secret)) => {
            field("client_id", client.id.as_str());
            field("client_secret", secret.reveal());
        }
        (Provider::Oidc { .. }, Some(secret)) => {
            let part = |text: &str| {
                let encoded = serde_urlencoded::to_string([("", text)]).unwrap_or_default();
                encoded.trim_start_matches('=').to_owned()
            };
            let pair = format!("{}:{}", part(client.id.as_str()), part(secret.reveal()));
            form.authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
    }
    form
}

#[async_trait]
impl MailProvider for Providers {
    async fn authorization_url(
        &self,
        provider: &Provider,
        parameters: &[(String, String)],
    ) -> Result<String, UpstreamError> {
        let endpoint = self.discovery(provider).await.find(Endpoint::Authorization).await?;
        let query =
            serde_urlencoded::to_string(parameters).map_err(|error| UpstreamError::Failed(error.to_string()))?;
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{separator}{query}"))
    }

    async fn token(
        &self,
        provider: &Provider,
        client: Client<'_>,
        form: &Form,
        attempt: u32,
    ) -> Result<Issued, UpstreamError> {
        if attempt > 0 {
            tokio::time::sleep(self.pause * attempt).await;
        }
        let discovery = self.discovery(provider).await;
        grant(&discovery, &authenticated(provider, client, form)).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use domain::accounts::ports::ClientSecret;
    use domain::ids::ClientId;
    use domain::time::SystemClock;
    use serde_json::json;

    use super::*;
    use crate::serving::{Reply, Serving};

    fn providers() -> Providers {
        let fast = Duration::from_millis(1);
        Providers::new(Arc::new(SystemClock)).with_limits(Duration::from_millis(300), fast)
    }

    fn azure(authority: String) -> Provider {
        Provider::AzureAd { tenant: "contoso.onmicrosoft.com".to_owned(), authority }
    }

    fn oidc(issuer: String) -> Provider {
        Provider::Oidc { issuer, authorization_endpoint: None, token_endpoint: None }
    }

    fn form() -> Form {
        let fields = [("grant_type", "authorization_code"), ("code", "c&ode")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Form { fields: fields.to_vec(), authorization: None }
    }

    async fn ask(provider: &Provider, secret: Option<&ClientSecret>) -> Result<Issued, UpstreamError> {
        let id = ClientId::parse("a client").unwrap();
        providers().token(provider, Client { id: &id, secret }, &form(), 0).await
    }

    #[tokio::test]
    async fn account_azure_ad_has_its_tenant_in_the_path_and_the_clients_secret_in_the_form() {
        let server = Serving::start(|_| Reply::Answer(200, json!({ "access_token": "x" }).to_string())).await;
        let provider = azure(server.url(""));
        let url = providers().authorization_url(&provider, &[("state".to_owned(), "a b&".to_owned())]).await.unwrap();
        assert_eq!(url, server.url("/contoso.onmicrosoft.com/oauth2/v2.0/authorize?state=a+b%26"));
        let secret = ClientSecret::new("8Q~sec/ret+");
        assert_eq!(ask(&provider, Some(&secret)).await.unwrap().access_token().unwrap().reveal(), "x");
        let asked = server.asked().remove(0);
        assert_eq!(asked.path, "/contoso.onmicrosoft.com/oauth2/v2.0/token");
        assert_eq!(asked.header("authorization"), None);
        assert_eq!(
            asked.body,
            "grant_type=authorization_code&code=c%26ode&client_id=a+client&client_secret=8Q%7Esec%2Fret%2B"
        );
        assert_eq!(server.asked().len(), 1, "its endpoints are known: nobody asks for a document");
    }

    #[tokio::test]
    async fn account_an_oidc_provider_says_where_its_endpoints_are_and_takes_the_client_by_basic() {
        let server = Serving::start(|_| Reply::Never).await;
        let document = json!({
            "issuer": server.url(""), "authorization_endpoint": server.url("/in?x=1"),
            "token_endpoint": server.url("/tokens"),
        });
        server.change(move |asked| match asked.path.as_str() {
            "/.well-known/openid-configuration" => Reply::Answer(200, document.to_string()),
            _ => Reply::Answer(200, json!({ "access_token": "x" }).to_string()),
        });
        let provider = oidc(server.url(""));
        let url = providers().authorization_url(&provider, &[("state".to_owned(), "s".to_owned())]).await.unwrap();
        assert_eq!(url, server.url("/in?x=1&state=s"));
        ask(&provider, Some(&ClientSecret::new("s:e cret"))).await.unwrap();
        ask(&provider, None).await.unwrap();
        let asked: Vec<_> = server.asked().into_iter().filter(|asked| asked.path == "/tokens").collect();
        let basic = format!("Basic {}", STANDARD.encode("a+client:s%3Ae+cret"));
        assert_eq!(asked[0].header("authorization"), Some(&*basic));
        assert!(!asked[0].body.contains("client"), "{}", asked[0].body);
        assert_eq!((asked[1].header("authorization"), asked[1].body.ends_with("&client_id=a+client")), (None, true));
    }

    #[tokio::test]
    async fn account_a_provider_that_says_no_is_told_from_one_that_says_nothing_or_nonsense() {
        let server = Serving::start(|_| Reply::Answer(401, json!({ "error": "invalid_client" }).to_string())).await;
        let provider = azure(server.url(""));
        let refused = ask(&provider, None).await.unwrap_err();
        assert!(
            matches!(refused, UpstreamError::Refused(no) if no.status == 401 && no.body["error"] == "invalid_client")
        );
        let nonsense = [(500, "{}"), (429, "{}"), (200, "<html>"), (200, "[]"), (302, "")];
        for (status, body) in nonsense {
            server.change(move |_| Reply::Answer(status, body.to_owned()));
            let failed = ask(&provider, None).await.unwrap_err();
            assert!(matches!(failed, UpstreamError::Failed(_)), "{status} {body}: {failed}");
        }
        server.change(|_| Reply::Never);
        assert!(matches!(ask(&provider, None).await.unwrap_err(), UpstreamError::TimedOut(_)));
        assert!(matches!(
            ask(&azure("http://127.0.0.1:1".to_owned()), None).await.unwrap_err(),
            UpstreamError::Failed(_)
        ));
    }
}

//! One HTTP client for what is not AWS: the issuer.
//!
//! Redirects are not followed: a token or a client's secret goes to the address that was configured or discovered, and
//! to no other.

use std::error::Error;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Answers larger than this are not read.
const MAX_BYTES: usize = 1024 * 1024;
/// One lost packet of the handshake may be sent again (after 1 s, RFC 6298 §2), but no more.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Most servers keep idle connections for longer. A frozen function does not see that one was closed meanwhile.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no answer. The text names the address, never what was sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    /// None came in time. What was asked may have happened.
    #[error("{0}: no answer in time")]
    TimedOut(String),
    /// No connection, or an answer that is broken or too large.
    #[error("{0}")]
    Failed(String),
}

/// An answer of whatever status. Its body may hold tokens, so that it has no `Debug` form.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body, at most 1 MiB.
    pub body: Bytes,
}

type Over<C> = Client<C, Full<Bytes>>;

#[derive(Default)]
struct Clients {
    plain: OnceLock<Over<HttpConnector>>,
    tls: OnceLock<Over<HttpsConnector<HttpConnector>>>,
}

/// Talks HTTPS (HTTP on a local stack). Clones share their connections.
#[derive(Clone, Default)]
pub struct Http(Arc<Clients>);

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

fn over<C: Connect + Clone>(connector: C) -> Over<C> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new()).build(connector)
}

impl Clients {
    fn plain(&self) -> &Over<HttpConnector> {
        self.plain.get_or_init(|| over(connector()))
    }

    /// Reads the system's root certificates, when the first `https` address is asked.
    fn tls(&self) -> io::Result<&Over<HttpsConnector<HttpConnector>>> {
        if let Some(client) = self.tls.get() {
            return Ok(client);
        }
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?;
        let client = over(builder.https_only().enable_http1().wrap_connector(connector()));
        Ok(self.tls.get_or_init(|| client))
    }
}

/// An error and what caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error with its causes, as hyper's own text says little.
fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).skip(1).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn timed_out(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .any(|error| error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut))
}

impl Http {
    /// A client that builds what it needs when it is first used: to make one costs nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a document, waiting at most `limit` for all of it.
    pub async fn get(&self, url: &str, headers: HeaderMap, limit: Duration) -> Result<Answer, HttpError> {
        self.send(Method::GET, url, headers, Bytes::new(), limit).await
    }

    /// Sends a form (`application/x-www-form-urlencoded`), waiting at most `limit` for all of the answer. It is sent
    /// once; only what could not be sent at all, as a kept connection was closed just then, goes out on another one.
    pub async fn post_form(
        &self,
        url: &str,
        mut headers: HeaderMap,
        fields: &[(String, String)],
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let form = serde_urlencoded::to_string(fields).map_err(|error| HttpError::Failed(error.to_string()))?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.send(Method::POST, url, headers, form.into(), limit).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let failed = |cause: &(dyn Error + 'static)| {
            if timed_out(cause) {
                HttpError::TimedOut(url.to_owned())
            } else {
                HttpError::Failed(format!("{url}: {}", chain(cause)))
            }
        };
        let uri: Uri = url.parse().map_err(|error| failed(&error))?;
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.headers_mut()) = (method, headers);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("batch-logout"));
        let secure = uri.scheme_str() == Some("https");
        *request.uri_mut() = uri;
        let fetch = async {
            let answer = if secure {
                self.0.tls().map_err(|error| failed(&error))?.request(request).await
            } else {
                self.0.plain().request(request).await
            };
            let (head, body) = answer.map_err(|error| failed(&error))?.into_parts();
            let body = Limited::new(body, MAX_BYTES).collect().await.map_err(|error| failed(error.as_ref()))?;
            Ok(Answer { status: head.status, body: body.to_bytes() })
        };
        // Boxed, as hyper's future is large and is part of many others.
        tokio::time::timeout(limit, Box::pin(fetch)).await.unwrap_or_else(|_| Err(HttpError::TimedOut(url.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::serving::{Reply, Serving};

    const LIMIT: Duration = Duration::from_secs(5);

    async fn get(url: &str, limit: Duration) -> Result<Answer, HttpError> {
        Http::new().get(url, HeaderMap::new(), limit).await
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let elsewhere = Serving::start(|_| Reply::Answer(200, "{}".to_owned())).await;
        let target = elsewhere.url("/stolen");
        let server = Serving::start(move |_| Reply::Redirect(target.clone())).await;
        assert_eq!(get(&server.url("/"), LIMIT).await.unwrap().status, 307);
        assert_eq!(elsewhere.asked().len(), 0);
    }

    #[tokio::test]
    async fn an_answer_of_up_to_one_mebibyte_is_read_and_a_larger_one_is_not() {
        let server = Serving::start(|asked| {
            let extra = usize::from(asked.path == "/more");
            Reply::Answer(200, "x".repeat(MAX_BYTES + extra))
        })
        .await;
        assert_eq!(get(&server.url("/"), LIMIT).await.unwrap().body.len(), MAX_BYTES);
        let error = get(&server.url("/more"), LIMIT).await.err().unwrap();
        assert!(matches!(error, HttpError::Failed(_)), "{error}");
    }

    #[tokio::test]
    async fn silence_is_told_from_failure() {
        let server = Serving::start(|_| Reply::Never).await;
        let error = get(&server.url("/"), Duration::from_millis(50)).await.err().unwrap();
        assert!(matches!(error, HttpError::TimedOut(_)), "{error}");
        for url in ["http://127.0.0.1:1/", "https://127.0.0.1:1/", "nonsense:", "/relative"] {
            let error = get(url, LIMIT).await.err().unwrap();
            assert!(matches!(error, HttpError::Failed(_)), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_form_goes_out_encoded_and_with_its_headers() {
        let server = Serving::start(|_| Reply::Answer(200, String::new())).await;
        let fields = [("a".to_owned(), "1 &한".to_owned()), ("a".to_owned(), String::new())];
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static("Basic eDp5"))]);
        Http::new().post_form(&server.url("/form"), headers, &fields, LIMIT).await.unwrap();
        let asked = server.asked().remove(0);
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/form"));
        assert_eq!(asked.body, "a=1+%26%ED%95%9C&a=");
        assert_eq!(asked.header("authorization"), Some("Basic eDp5"));
        assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    }
}

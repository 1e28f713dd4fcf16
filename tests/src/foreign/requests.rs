//! Requests of strangers to `auth-api`: queries, forms, JSON, cookies and other headers, as text.
//!
//! ```text
//! POST /oauth/token
//! content-type: application/x-www-form-urlencoded
//!
//! grant_type=refresh_token&refresh_token=x&client_id=app
//! ```

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use domain::testing::Habits;
use domain::time::from_millis;
use domain::upstream::{Form, Issued, Refused, Upstream, UpstreamError};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use serde_json::{Map, Value};

use tower::ServiceExt as _;

use super::{NOW, wait};
use crate::door::{Answer, Door};

/// An issuer that grants a stranger nothing.
struct Refusing;

#[async_trait]
impl Upstream for Refusing {
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError> {
        Ok(AUTHORIZE.to_owned())
    }
    async fn token(&self, _: &Form) -> Result<Issued, UpstreamError> {
        let body = Map::from_iter([("error".to_owned(), Value::from("invalid_grant"))]);
        Err(UpstreamError::Refused(Refused { status: 400, body }))
    }
    async fn revoke(&self, _: &Form) -> Result<(), UpstreamError> {
        Ok(())
    }
    async fn reachable(&self) -> Result<(), UpstreamError> {
        Ok(())
    }
}

/// Where it has its users sign in.
const AUTHORIZE: &str = "https://issuer.test/authorize";

/// Nothing that a stranger sends changes anything for the next one, so that one door serves all.
static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    wait(async {
        let mut door = Door::in_memory(from_millis(NOW * 1_000), Habits::default()).await;
        door.upstream = Arc::new(Refusing);
        door.router()
    })
});

/// A request of somebody who has no token, no code and no client's secret.
pub fn requests(bytes: &[u8]) -> bool {
    let Some(request) = read(bytes) else { return false };
    let (method, uri, has_body) = (request.method().clone(), request.uri().clone(), !bytes.ends_with(b"\n\n"));
    let router = ROUTER.clone();
    let answer = wait(async { Answer::of(router.oneshot(request).await.unwrap()).await });
    let status = answer.status;
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer:?}");
    assert_ne!(status, StatusCode::BAD_GATEWAY, "the issuer is there: {answer:?}");
    for header in answer.headers.get_all("set-cookie") {
        let cookie = header.to_str().unwrap();
        let protected = ["HttpOnly", "Secure", "SameSite=Lax"].iter().all(|word| cookie.contains(word));
        assert!(protected, "{cookie}");
    }
    match (uri.path(), status) {
        ("/oauth/authorize", StatusCode::FOUND) => passed_on(&uri, answer.header("location")),
        ("/oauth/health", StatusCode::OK) => assert!(answer.body.is_object() || method == Method::HEAD),
        // RFC 7009 §2.2: a token that nobody knows is as good as revoked.
        ("/oauth/revoke", StatusCode::OK) => assert!(!answer.raw.contains("h4ck-m3"), "{answer:?}"),
        _ => assert!(
            !status.is_success() || method == Method::OPTIONS || method == Method::HEAD,
            "a stranger learns nothing: {answer:?}"
        ),
    }
    if status.is_client_error() {
        assert!(!answer.raw.is_empty() || method == Method::HEAD, "a refusal says why: {answer:?}");
        assert!(!answer.raw.contains("h4ck-m3"), "nothing of the request is in the answer: {answer:?}");
    }
    // Those that lead nowhere do not count as taken.
    has_body && !matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

fn read(bytes: &[u8]) -> Option<Request<Body>> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 2..]);
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = method.parse().ok()?;
    *request.uri_mut() = target.parse::<Uri>().ok().filter(|uri| uri.path().starts_with('/'))?;
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request.headers_mut().append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?);
    }
    Some(request)
}

/// A browser takes all parameters on to the issuer, in their order, but for those that ask for a fresh sign-in.
fn passed_on(asked: &Uri, location: &str) {
    let query = location.strip_prefix(AUTHORIZE).and_then(|rest| rest.strip_prefix('?')).unwrap();
    let fields = |query: &str| -> Vec<(String, String)> {
        let fields: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap();
        let ours = |name: &str| matches!(name, "prompt" | "max_age");
        fields.into_iter().filter(|(name, value)| !value.is_empty() && !ours(name)).collect()
    };
    assert_eq!(fields(query), fields(asked.query().unwrap_or_default()), "{location}");
    assert!(query.bytes().all(|byte| byte.is_ascii_graphic()));
}

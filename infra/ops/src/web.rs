//! Requests to the stack, as any HTTP client would make them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::failure::{Context as _, Result};

/// An HTTP client.
#[derive(Clone)]
pub struct Web(Client<HttpConnector, Full<Bytes>>);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its JSON; null if it had none.
    pub json: Value,
    /// Its body as text.
    pub text: String,
}

impl Default for Web {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Web {
    /// Sends a request.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let url = request.uri().to_string();
        let answer = self.0.request(request).await.context(&url)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.context(&url)?.to_bytes();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: parts.status, headers: parts.headers, json, text })
    }

    /// A call of the API with a bearer token.
    pub async fn api(&self, method: &str, url: &str, token: &str, body: Option<&Value>) -> Result<Answer> {
        let request =
            Request::builder().method(method).uri(url).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = match body {
            Some(json) => {
                request.header(header::CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(json.to_string())))
            }
            None => request.body(Full::default()),
        };
        self.send(request.context(url)?).await
    }

    /// Introspects a token (RFC 7662), and says whether it is active.
    pub async fn introspect(&self, api_url: &str, client: (&str, &str), token: &str) -> Result<Answer> {
        let url = format!("{api_url}/oauth/introspect");
        let basic = STANDARD.encode(format!("{}:{}", client.0, client.1));
        let request = Request::post(&url)
            .header(header::AUTHORIZATION, format!("Basic {basic}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            // Tokens are made of characters that a form leaves as they are.
            .body(Full::new(Bytes::from(format!("token={token}"))));
        self.send(request.context(&url)?).await
    }
}

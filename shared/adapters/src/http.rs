//! One HTTP client for what is not AWS: the issuer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Answers larger than this are not read.
const MAX_BYTES: usize = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches documents over HTTPS (HTTP on a local stack).
#[derive(Clone)]
pub struct Http(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Http {
    /// Builds the client once.
    pub fn new() -> Result<Self, String> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| error.to_string())?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// The body of a 200 answer.
    pub async fn get(&self, url: &str) -> Result<Bytes, String> {
        let uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let fetch = async {
            let answer = self.0.get(uri).await.map_err(|error| format!("{url}: {error}"))?;
            if answer.status() != http::StatusCode::OK {
                return Err(format!("{url} answered {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|error| format!("{url}: {error}"))
        };
        tokio::time::timeout(TIMEOUT, fetch).await.unwrap_or_else(|_| Err(format!("{url}: no answer within 5 s")))
    }
}

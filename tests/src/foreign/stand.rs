//! An issuer's documents, served on this machine: whatever bytes a target puts there.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use adapters::http::Http;
use adapters::upstream::Discovery;
use axum::Router;
use domain::settings::{Endpoints, Issuer};
use http::Uri;

use super::{clock, mint, wait};

/// The issuer's name.
pub const ISSUER: &str = "https://issuer.example";
/// Whom tokens are for.
pub const AUDIENCE: &str = "https://api.example.com";

static DOCUMENTS: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

static ADDRESS: LazyLock<String> = LazyLock::new(|| {
    wait(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let answer = |uri: Uri| async move {
            DOCUMENTS.lock().unwrap_or_else(PoisonError::into_inner).get(uri.path()).cloned().unwrap_or_default()
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        address
    })
});

/// One client for all, so that connections are used again.
static HTTP: LazyLock<Http> = LazyLock::new(Http::new);

/// The address of a path.
pub fn url(path: &str) -> String {
    format!("{}{path}", *ADDRESS)
}

/// From now on this is what the issuer answers at a path.
pub fn put(path: &str, body: &[u8]) {
    DOCUMENTS.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), body.to_vec());
}

/// The HTTP client.
pub fn http() -> Http {
    HTTP.clone()
}

/// The issuer, with its keys at a path and a secret that it shares with us.
pub fn issuer(keys: &str, secret: Option<&[u8]>) -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        jwks_uri: Some(url(keys)),
        audience: Some(AUDIENCE.to_owned()),
        required_claim: None,
        session_claim: "sid".to_owned(),
        client_claim: None,
        roles_claim: Some("roles".to_owned()),
        hs256_secret: secret.map(<[u8]>::to_vec),
    }
}

/// The issuer's addresses, some of them configured.
pub fn discovery(configured: Endpoints) -> Discovery {
    // Its document is looked for under its name.
    let issuer = Issuer { issuer: url(""), ..issuer("/keys", Some(mint::SECRET)) };
    Discovery::new(&issuer, configured, http(), clock())
}

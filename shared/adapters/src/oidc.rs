//! Verifying JWT access tokens by the issuer's keys (`[CHECK-1]`).
//!
//! Keys are cached, fetched again when a token names an unknown one (at most every few seconds, so that invented key
//! ids cannot be used to flood the issuer), and kept in use while the issuer is away.

mod form;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use domain::cutoff::{KEPT_SECONDS, LEEWAY_SECONDS};
use domain::ids::RawToken;
use domain::ports::{Claims, TokenVerifier, VerifyError};
use domain::settings::{Endpoints, Issuer};
use domain::time::{Clock, Epoch};
use domain::upstream::UpstreamError;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use self::form::Form;
use crate::http::Http;
use crate::kept::Kept;
use crate::upstream::{Discovery, Endpoint, within};

/// Keys older than this are fetched again; until that succeeds they stay in use.
const KEYS_FRESH: TimeDelta = TimeDelta::minutes(15);

/// Verifies by the issuer's published keys, and HS256 by the secret it shares with us, if it does.
pub struct JwtVerifier {
    issuer: Issuer,
    discovery: Arc<Discovery>,
    keys: Kept<JwkSet>,
}

/// Whether a published key is one to verify signatures with. A secret is none: whoever can read the set could sign.
fn verifies(jwk: &Jwk) -> bool {
    matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
        && matches!(
            jwk.algorithm,
            AlgorithmParameters::RSA(_) | AlgorithmParameters::EllipticCurve(_) | AlgorithmParameters::OctetKeyPair(_)
        )
}

fn find<'a>(keys: &'a JwkSet, kid: Option<&str>) -> Option<&'a Jwk> {
    match kid {
        Some(kid) => keys.find(kid),
        // Without a key id only a lone key is meant unmistakably.
        None => keys.keys.first().filter(|_| keys.keys.len() == 1),
    }
}

impl JwtVerifier {
    /// A verifier that fetches keys when the first token arrives.
    pub fn new(issuer: Issuer, http: Http, clock: Arc<dyn Clock>) -> Self {
        let discovery = Discovery::new(&issuer, Endpoints::default(), http, clock);
        Self::with_discovery(issuer, Arc::new(discovery))
    }

    /// The same, sharing what is known of the issuer's addresses with others.
    pub fn with_discovery(issuer: Issuer, discovery: Arc<Discovery>) -> Self {
        let keys = Kept::new("the keys", KEYS_FRESH, discovery.clock.clone());
        Self { issuer, discovery, keys }
    }

    /// Fetches the keys, so that the first token does not wait for them. Whether it succeeds does not matter yet.
    pub async fn warm_up(&self) {
        let _ = self.keys.get(|_| true, self.fetch()).await;
    }

    fn form<'a>(&self, token: &'a RawToken, past: i64) -> Result<Form<'a>, VerifyError> {
        form::read(&self.issuer, token, Epoch::from(self.discovery.clock.now()), past)
    }

    async fn signed(&self, form: Form<'_>) -> Result<Claims, VerifyError> {
        let key = self.key(&form).await?;
        // An error is a key of another family than the algorithm's, or a signature that is no base64url.
        match jsonwebtoken::crypto::verify(form.signature, form.signed, &key, form.algorithm) {
            Ok(true) => Ok(form.claims),
            Ok(false) | Err(_) => Err(VerifyError::Invalid("wrong signature")),
        }
    }

    fn fetch(&self) -> impl Future<Output = Result<JwkSet, UpstreamError>> + Send {
        within(self.discovery.limits.keys, async {
            let url = self.discovery.find(Endpoint::Keys).await?;
            let mut keys: JwkSet = self.discovery.fetch_json(&url).await?;
            keys.keys.retain(verifies);
            Ok(keys)
        })
    }

    /// The published key that a token names, as far as it is one for the token's algorithm.
    async fn published_key(&self, form: &Form<'_>) -> Result<DecodingKey, VerifyError> {
        let kid = form.kid.as_deref();
        let keys = self.keys.get(|keys| find(keys, kid).is_some(), self.fetch()).await;
        let keys = keys.map_err(|error| VerifyError::NoKeys(error.to_string()))?;
        let jwk = find(&keys, kid).ok_or(VerifyError::Invalid("signed by an unknown key"))?;
        if jwk.common.key_algorithm.is_some_and(|algorithm| algorithm != KeyAlgorithm::from(form.algorithm)) {
            return Err(VerifyError::Invalid("signature algorithm is not the key's"));
        }
        DecodingKey::from_jwk(jwk).map_err(|_| VerifyError::Invalid("unusable key"))
    }

    async fn key(&self, form: &Form<'_>) -> Result<DecodingKey, VerifyError> {
        match (form.algorithm, &self.issuer.hs256_secret) {
            (Algorithm::HS256, Some(secret)) => Ok(DecodingKey::from_secret(secret)),
            (Algorithm::HS256, None) => Err(VerifyError::Invalid("signature algorithm not allowed")),
            _ => self.published_key(form).await,
        }
    }
}

#[async_trait]
impl TokenVerifier for JwtVerifier {
    fn peek(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        Ok(self.form(token, LEEWAY_SECONDS)?.claims)
    }

    async fn verify(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        self.signed(self.form(token, LEEWAY_SECONDS)?).await
    }

    async fn verify_to_end(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        self.signed(self.form(token, KEPT_SECONDS)?).await
    }
}

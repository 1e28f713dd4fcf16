//! Verifying JWT access tokens by the issuer's keys (`[CHECK-1]`).
//!
//! Keys are cached, fetched again when a token names an unknown one (at most every few seconds, so that invented key
//! ids cannot be used to flood the issuer), and kept in use while the issuer is away.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::cutoff::LEEWAY_SECONDS;
use domain::decision::TokenFacts;
use domain::identity::Profile;
use domain::ids::{ClientId, RawToken, SessionId, TokenId, UserId};
use domain::ports::{Claims, TokenVerifier, VerifyError};
use domain::settings::Issuer;
use domain::time::{Clock, Epoch};
use domain::token::TokenKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::Http;

/// Keys older than this are fetched again; until that succeeds they stay in use.
const KEYS_FRESH: TimeDelta = TimeDelta::minutes(15);
/// An unknown key id makes us fetch at most this often.
const FETCH_EVERY: TimeDelta = TimeDelta::seconds(5);
/// Tokens longer than this are refused unread.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

#[derive(Clone, Default)]
struct Keys {
    set: Option<Arc<JwkSet>>,
    fetched_at: Option<DateTime<Utc>>,
    tried_at: Option<DateTime<Utc>>,
}

/// Verifies by the issuer's published keys.
pub struct JwtVerifier {
    issuer: Issuer,
    http: Http,
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
    /// Held while keys are fetched: whoever needs them meanwhile waits for that one fetch.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Deserialize)]
struct Discovery {
    jwks_uri: String,
}

/// The registered claims; everything else stays in `rest`.
#[derive(Deserialize)]
struct RawClaims {
    iss: String,
    sub: Option<String>,
    aud: Option<OneOrMany>,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    auth_time: Option<i64>,
    jti: Option<String>,
    client_id: Option<String>,
    azp: Option<String>,
    scope: Option<String>,
    username: Option<String>,
    preferred_username: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl JwtVerifier {
    /// A verifier that fetches keys when the first token arrives.
    pub fn new(issuer: Issuer, http: Http, clock: Arc<dyn Clock>) -> Self {
        Self { issuer, http, clock, keys: Mutex::new(Keys::default()), fetching: tokio::sync::Mutex::new(()) }
    }

    fn known_keys(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let url = if let Some(url) = &self.issuer.jwks_uri {
            url.clone()
        } else {
            let url = format!("{}/.well-known/openid-configuration", self.issuer.issuer.trim_end_matches('/'));
            let found: Discovery =
                serde_json::from_slice(&self.http.get(&url).await?).map_err(|error| format!("{url}: {error}"))?;
            found.jwks_uri
        };
        serde_json::from_slice(&self.http.get(&url).await?).map_err(|error| format!("{url}: {error}"))
    }

    /// Fetches again unless that was tried a moment ago, and says what went wrong.
    async fn refresh(&self) -> Option<String> {
        let now = self.clock.now();
        {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.tried_at.is_some_and(|tried| now - tried < FETCH_EVERY) {
                return None;
            }
            keys.tried_at = Some(now);
        }
        match self.fetch().await {
            Ok(set) => {
                let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                (keys.set, keys.fetched_at) = (Some(Arc::new(set)), Some(now));
                None
            }
            Err(error) => {
                tracing::warn!(error, "the issuer's keys could not be fetched");
                Some(error)
            }
        }
    }

    async fn key(&self, kid: Option<&str>) -> Result<(DecodingKey, Option<Algorithm>), VerifyError> {
        let find = |keys: &Keys| {
            let set = keys.set.as_ref()?;
            match kid {
                Some(kid) => set.find(kid).cloned(),
                // Without a key id only a lone key is meant unmistakably.
                None if set.keys.len() == 1 => set.keys.first().cloned(),
                None => None,
            }
        };
        let mut keys = self.known_keys();
        let mut failure = None;
        if find(&keys).is_none() {
            let _fetching = self.fetching.lock().await;
            // Another request may have fetched them in the meantime.
            keys = self.known_keys();
            if find(&keys).is_none() {
                failure = self.refresh().await;
                keys = self.known_keys();
            }
        } else if keys.fetched_at.is_none_or(|at| self.clock.now() - at > KEYS_FRESH)
            && let Ok(_fetching) = self.fetching.try_lock()
        {
            // A key that is known is used even if a fresher set cannot be had.
            self.refresh().await;
            keys = self.known_keys();
        }
        match find(&keys) {
            Some(jwk) => {
                let key = DecodingKey::from_jwk(&jwk).map_err(|_| VerifyError::Invalid("unusable key"))?;
                let algorithm = jwk.common.key_algorithm.and_then(|algorithm| algorithm.to_string().parse().ok());
                Ok((key, algorithm))
            }
            None if keys.set.is_some() => Err(VerifyError::Invalid("signed by an unknown key")),
            None => Err(VerifyError::NoKeys(failure.unwrap_or_else(|| "tried a moment ago".to_owned()))),
        }
    }

    fn claims(&self, raw: RawClaims) -> Result<Claims, VerifyError> {
        let invalid = |_| VerifyError::Invalid("a claim is no identifier");
        let jti = raw.jti.ok_or(VerifyError::Invalid("no jti, so that it could not be revoked by itself"))?;
        let client = raw.client_id.or(raw.azp).map(ClientId::parse).transpose().map_err(invalid)?;
        // Client-credentials tokens name the client as their subject, or nobody.
        let subject = raw.sub.filter(|sub| client.as_ref().is_none_or(|client| client.as_str() != sub));
        let session = raw.rest.get(&self.issuer.session_claim).and_then(Value::as_str);
        let session = session.map(SessionId::parse).transpose().map_err(invalid)?;
        let roles = self.issuer.roles_claim.as_ref().and_then(|claim| raw.rest.get(claim));
        let roles = roles.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        Ok(Claims {
            facts: TokenFacts {
                id: TokenId::parse(jti).map_err(invalid)?,
                kind: TokenKind::Access,
                user: subject.map(UserId::parse).transpose().map_err(invalid)?,
                client,
                session,
                issued_at: Epoch(raw.iat),
                signed_in_at: Epoch(raw.auth_time.unwrap_or(raw.iat)),
                expires_at: Epoch(raw.exp),
            },
            has_auth_time: raw.auth_time.is_some(),
            issuer: raw.iss,
            audience: raw.aud.map(OneOrMany::into_vec).unwrap_or_default(),
            scope: raw.scope,
            username: raw.username.or(raw.preferred_username),
            profile: Profile { roles: roles.map(str::to_owned).collect(), ..Profile::default() },
        })
    }

    fn check_kind(&self, raw: &RawClaims) -> Result<(), VerifyError> {
        if let Some((name, wanted)) = &self.issuer.required_claim
            && raw.rest.get(name).and_then(Value::as_str) != Some(wanted)
        {
            return Err(VerifyError::Invalid("not an access token"));
        }
        // OpenID Connect Core §2: only ID tokens carry these.
        if raw.rest.contains_key("nonce") || raw.rest.contains_key("at_hash") {
            return Err(VerifyError::IdToken);
        }
        Ok(())
    }
}

#[async_trait]
impl TokenVerifier for JwtVerifier {
    fn peek(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        if token.reveal().len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::Invalid("too long"));
        }
        let raw = jsonwebtoken::dangerous::insecure_decode::<RawClaims>(token.reveal());
        self.claims(raw.map_err(|_| VerifyError::Invalid("not a JWT with the claims of an access token"))?.claims)
    }

    async fn verify(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        if token.reveal().len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::Invalid("too long"));
        }
        let header = decode_header(token.reveal()).map_err(|_| VerifyError::Invalid("no readable header"))?;
        // Only these: `none` is not even a variant, and HS256 would take the public key for a secret.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(VerifyError::Invalid("signature algorithm not allowed"));
        }
        let (key, algorithm) = self.key(header.kid.as_deref()).await?;
        if algorithm.is_some_and(|algorithm| algorithm != header.alg) {
            return Err(VerifyError::Invalid("signature algorithm is not the key's"));
        }
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer.issuer]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        // The times are checked below, by our own clock.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        match &self.issuer.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            }
            None => validation.validate_aud = false,
        }
        let raw = decode::<RawClaims>(token.reveal(), &key, &validation).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidIssuer => VerifyError::Invalid("wrong issuer"),
            jsonwebtoken::errors::ErrorKind::InvalidAudience => VerifyError::Invalid("wrong audience"),
            jsonwebtoken::errors::ErrorKind::InvalidSignature => VerifyError::Invalid("wrong signature"),
            _ => VerifyError::Invalid("not a JWT with the claims of an access token"),
        })?;
        let now = Epoch::from(self.clock.now());
        if Epoch(raw.claims.exp).plus(LEEWAY_SECONDS) <= now {
            return Err(VerifyError::Invalid("expired"));
        }
        let from = raw.claims.nbf.unwrap_or(raw.claims.iat).max(raw.claims.iat);
        if Epoch(from) > now.plus(LEEWAY_SECONDS) {
            return Err(VerifyError::Invalid("not valid yet"));
        }
        self.check_kind(&raw.claims)?;
        self.claims(raw.claims)
    }
}

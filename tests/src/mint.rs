//! An issuer's signatures: keys made for the tests, their document behind a small server, tokens signed with them, and
//! tokens that only look so.

use std::sync::{Arc, OnceLock};

use adapters::http::Http;
use adapters::oidc::JwtVerifier;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::ports::TokenVerifier;
use domain::settings::Issuer;
use domain::time::{Clock, Epoch};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// Whom the tokens are for.
pub const AUDIENCE: &str = "https://api.example.com";
/// The id of the issuer's key.
const KEY_ID: &str = "key 1";

/// A pair of keys, in the forms that somebody may hold them in.
struct Pair {
    private: EncodingKey,
    public_der: Vec<u8>,
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Pair {
    fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let private = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
        let public_der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self { private, public_der: public_der.as_ref().to_vec() }
    }

    fn published(&self) -> Jwk {
        let mut key = Jwk::from_encoding_key(&self.private, Algorithm::RS256).unwrap();
        key.common.key_id = Some(KEY_ID.to_owned());
        key.common.public_key_use = Some(PublicKeyUse::Signature);
        key
    }
}

/// The issuer's keys and a stranger's: slow to make, so that every process makes them once.
fn keys() -> &'static (Pair, Pair) {
    static KEYS: OnceLock<(Pair, Pair)> = OnceLock::new();
    KEYS.get_or_init(|| (Pair::generate(), Pair::generate()))
}

/// An issuer.
pub struct Mint {
    /// Its address, which is its name, too.
    pub issuer: String,
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Mint {
    /// Starts a server for its documents; it ends with the runtime.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let discovery = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
        let published = JwkSet { keys: vec![keys().0.published()] };
        let documents = Router::new()
            .route("/.well-known/openid-configuration", get(move || std::future::ready(Json(discovery))))
            .route("/keys", get(move || std::future::ready(Json(published))));
        tokio::spawn(async move { axum::serve(listener, documents).await });
        Self { issuer }
    }

    /// One whose documents nobody can fetch.
    pub fn away() -> Self {
        Self { issuer: "http://127.0.0.1:9".to_owned() }
    }

    /// The real verifier, set up for this issuer.
    pub fn verifier(&self, clock: Arc<dyn Clock>) -> Arc<dyn TokenVerifier> {
        let issuer = Issuer {
            issuer: self.issuer.clone(),
            jwks_uri: None,
            audience: Some(AUDIENCE.to_owned()),
            required_claim: Some(("token_use".to_owned(), "access".to_owned())),
            session_claim: "sid".to_owned(),
            client_claim: None,
            roles_claim: None,
            hs256_secret: None,
        };
        Arc::new(JwtVerifier::new(issuer, Http::new(), clock))
    }

    /// The claims of a good access token of a user who has just signed in.
    pub fn claims(&self, user: &str, client: &str, session: &str, now: Epoch) -> Value {
        json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": user, "client_id": client, "jti": format!("{user} at {client}"),
            "sid": session, "token_use": "access", "scope": "openid", "iat": now, "nbf": now, "auth_time": now,
            "exp": now.plus(3_600),
        })
    }

    /// A token that the issuer has signed.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, claims, &keys().0.private).unwrap()
    }

    /// The same claims in tokens that the issuer has not signed so, each with what is wrong with it.
    pub fn forgeries(&self, claims: &Value) -> Vec<(String, String)> {
        let (issuer, stranger) = keys();
        let header = |algorithm| Header { kid: Some(KEY_ID.to_owned()), ..Header::new(algorithm) };
        let signed = |header: &Header, key: &EncodingKey| jsonwebtoken::encode(header, claims, key).unwrap();
        let good = self.sign(claims);
        let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts: {good}") };
        let mut promoted = claims.clone();
        promoted["sub"] = "somebody else".into();
        let promoted = part(&promoted);

        let mut forgeries = vec![
            ("signed by a stranger", signed(&header(Algorithm::RS256), &stranger.private)),
            (
                "signed by a stranger who names a key of their own",
                signed(&Header { kid: Some("another".to_owned()), ..header(Algorithm::RS256) }, &stranger.private),
            ),
            (
                "signed by a stranger who sends the key along",
                signed(&Header { jwk: Some(stranger.published()), ..header(Algorithm::RS256) }, &stranger.private),
            ),
            ("signed in a way that is not agreed on", signed(&header(Algorithm::RS512), &issuer.private)),
            ("claims exchanged under a signature", format!("{head}.{promoted}.{signature}")),
            ("signature cut off", format!("{head}.{body}.")),
            ("signature cut short", format!("{head}.{body}.{}", &signature[..signature.len() - 4])),
            ("claims only", body.to_owned()),
            ("no claims", format!("{head}..{signature}")),
        ];
        let names = ["none", "None", "NONE", "nOnE", ""];
        let none = |name: &str| part(&json!({ "alg": name, "typ": "JWT", "kid": KEY_ID }));
        forgeries.extend(names.map(|name| ("alg:none", format!("{}.{body}.", none(name)))));
        forgeries.extend(names.map(|name| ("alg:none with a signature", format!("{}.{body}.{signature}", none(name)))));
        // HS256 with what everybody can know of the issuer's key as the secret.
        let published = serde_json::to_value(issuer.published()).unwrap();
        let secrets = [
            issuer.public_der.clone(),
            pem("PUBLIC KEY", &issuer.public_der).into_bytes(),
            pem("PUBLIC KEY", &issuer.public_der).trim().as_bytes().to_vec(),
            published.to_string().into_bytes(),
            published["n"].as_str().unwrap().as_bytes().to_vec(),
            URL_SAFE_NO_PAD.decode(published["n"].as_str().unwrap()).unwrap(),
            Vec::new(),
        ];
        let confused = secrets.map(|secret| {
            let token = signed(&header(Algorithm::HS256), &EncodingKey::from_secret(&secret));
            ("HS256 with the public key for a secret", token)
        });
        forgeries.extend(confused);
        forgeries.into_iter().map(|(what, token)| (what.to_owned(), token)).collect()
    }
}

//! JWTs: their form, their claims, their signatures.

use std::sync::LazyLock;

use adapters::oidc::JwtVerifier;
use domain::cutoff::LEEWAY_SECONDS;
use domain::ids::{RawToken, SessionId, UserId};
use domain::ports::{Claims, TokenVerifier as _, VerifyError};
use serde_json::Value;

use super::{NOW, clock, mint, stand, wait};

/// A verifier that has fetched the issuer's keys, and shares a secret with it.
static VERIFIER: LazyLock<JwtVerifier> = LazyLock::new(|| {
    stand::put("/published", mint::key_set().to_string().as_bytes());
    let verifier = JwtVerifier::new(stand::issuer("/published", Some(mint::SECRET)), stand::http(), clock());
    wait(verifier.warm_up());
    verifier
});

/// Bytes as a token; and as the claims of a token that the issuer did sign.
pub fn jwt(bytes: &[u8]) -> bool {
    let mut taken = false;
    if let Ok(text) = std::str::from_utf8(bytes) {
        let raw = RawToken::new(text);
        if let Ok(claims) = wait(VERIFIER.verify(&raw)) {
            assert!(mint::is_signed(text), "nobody signed {text}");
            assert_eq!(VERIFIER.peek(&raw), Ok(claims), "the signature says no more than yes");
            taken = true;
        }
    }
    for token in [mint::by_secret(mint::SECRET, bytes), mint::by_key(bytes, Some(mint::KEY_ID))] {
        let raw = RawToken::new(&*token);
        let verified = wait(VERIFIER.verify(&raw));
        assert_eq!(VERIFIER.peek(&raw), verified, "its signature is right");
        match verified {
            Ok(claims) => {
                assert_claims(&claims, bytes);
                taken = true;
                if let Some(changed) = mint::with_one_bit_changed(&token) {
                    let outcome = wait(VERIFIER.verify(&RawToken::new(&*changed)));
                    assert!(outcome.is_err(), "one bit was changed: {changed}");
                }
            }
            Err(VerifyError::NoKeys(why)) => panic!("the keys are at hand: {why}"),
            Err(_) => {}
        }
    }
    taken
}

/// What must be true of claims that were taken, told from their plain JSON.
fn assert_claims(claims: &Claims, payload: &[u8]) {
    let said: Value = serde_json::from_slice(payload).unwrap();
    let number = |name: &str| said.get(name).and_then(Value::as_i64);
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    assert_eq!(text("iss"), Some(stand::ISSUER));
    let audience = match &said["aud"] {
        Value::Array(many) => many.iter().any(|one| one == stand::AUDIENCE),
        one => one == stand::AUDIENCE,
    };
    assert!(audience, "it is for somebody else");
    assert!(said.get("nonce").is_none() && said.get("at_hash").is_none(), "an ID token opens nothing");
    let (issued, expires) = (number("iat").unwrap(), number("exp").unwrap());
    assert!(expires.saturating_add(LEEWAY_SECONDS) > NOW, "its time has passed");
    assert!(issued <= NOW + LEEWAY_SECONDS && number("nbf").is_none_or(|from| from <= NOW + LEEWAY_SECONDS));
    for kind in ["typ", "token_use"] {
        let kind = text(kind).unwrap_or_default().to_lowercase();
        assert!(!["id", "refresh", "offline", "logout"].contains(&kind.as_str()), "{kind} is no access token");
    }
    let facts = &claims.facts;
    assert_eq!(Some(facts.id.as_str()), text("jti"));
    assert_eq!((facts.issued_at.0, facts.expires_at.0), (issued, expires));
    let client = facts.client.as_ref().unwrap().as_str();
    assert_eq!(Some(client), text("client_id").or(text("azp")), "a client's cutoff reaches it");
    assert_eq!(facts.user.as_ref().map(UserId::as_str), text("sub").filter(|sub| *sub != client));
    assert_eq!(facts.session.as_ref().map(SessionId::as_str), text("sid"));
    assert_eq!(facts.signed_in_at.0, number("auth_time").unwrap_or(issued).min(issued), "no cutoff is out of reach");
    let roles = said["roles"].as_array().into_iter().flatten().filter_map(Value::as_str);
    assert!(roles.eq(claims.profile.roles.iter().map(String::as_str)));
}

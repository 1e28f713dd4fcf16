//! What an issuer answers: its keys, its discovery document, and whom it says a token belongs to.

use std::sync::Arc;

use adapters::oidc::JwtVerifier;
use adapters::upstream::{AuthMe, UpstreamClient, Userinfo};
use domain::ids::RawToken;
use domain::ports::TokenVerifier as _;
use domain::settings::Endpoints;
use domain::upstream::{Authority, Upstream as _};
use serde_json::{Map, Value, json};

use super::{NOW, clock, first_line, mint, stand, wait};

/// The first line says which document the rest is.
pub fn issuer(bytes: &[u8]) -> bool {
    match first_line(bytes) {
        Some(("keys", body)) => keys(body),
        Some(("discovery", body)) => discovery(body),
        Some(("userinfo", body)) => vouched(body, "/userinfo", &["sub"], "picture"),
        Some(("me", body)) => vouched(body, "/me", &["user_id", "id"], "avatar_url"),
        _ => false,
    }
}

fn keys(body: &[u8]) -> bool {
    stand::put("/keys", body);
    let verifier = JwtVerifier::new(stand::issuer("/keys", None), stand::http(), clock());
    let claims = json!({
        "iss": stand::ISSUER, "aud": stand::AUDIENCE, "sub": "u", "client_id": "c", "jti": "j", "iat": NOW,
        "exp": NOW + 60,
    });
    let claims = claims.to_string();
    let passes = |token: &str| wait(verifier.verify(&RawToken::new(token))).is_ok();
    let published = |kid: Option<&str>| {
        let keys: Value = serde_json::from_slice(body).unwrap_or_default();
        let keys = keys["keys"].as_array().cloned().unwrap_or_default();
        let is_ours = |key: &Value| key["x"] == mint::public_x().as_str() && kid.is_none_or(|kid| key["kid"] == kid);
        keys.iter().any(is_ours)
    };
    let (named, unnamed) = (mint::by_key(claims.as_bytes(), Some(mint::KEY_ID)), mint::by_key(claims.as_bytes(), None));
    let taken = [(named, Some(mint::KEY_ID)), (unnamed, None)].map(|(token, kid)| {
        let taken = passes(&token);
        assert!(!taken || published(kid), "signed by a key that was not published");
        taken
    });
    let (signed, signature) = mint::by_key(claims.as_bytes(), Some(mint::KEY_ID)).rsplit_once('.').map_or_else(
        || unreachable!("a JWT has dots"),
        |(signed, signature)| (signed.to_owned(), signature.replace(['A', 'B', 'C'], "D")),
    );
    let changed = format!("{signed}.{signature}");
    assert!(mint::is_signed(&changed) || !passes(&changed), "the signature was changed");
    assert!(!passes(&mint::by_secret(body, claims.as_bytes())), "what is published is no secret");
    taken.contains(&true)
}

fn discovery(body: &[u8]) -> bool {
    // A file of the corpus cannot know the port.
    let body = String::from_utf8_lossy(body).replace(stand::ISSUER, &stand::url(""));
    let body = body.as_bytes();
    stand::put("/.well-known/openid-configuration", body);
    let client = UpstreamClient::new(Arc::new(stand::discovery(Endpoints::default())));
    let Ok(endpoint) = wait(client.authorization_endpoint()) else { return false };
    let document: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(document["authorization_endpoint"], endpoint.as_str());
    assert_eq!(document["issuer"].as_str().map(|issuer| issuer.trim_end_matches('/')), Some(&*stand::url("")));
    true
}

fn vouched(body: &[u8], path: &str, ids: &[&str], picture: &str) -> bool {
    // Anything else than an object is asked for once more, after a pause.
    let Ok(said) = serde_json::from_slice::<Map<String, Value>>(body) else { return false };
    stand::put(path, body);
    let (userinfo, auth_me) = (Some(stand::url("/userinfo")), Some(stand::url("/me")));
    let discovery = Arc::new(stand::discovery(Endpoints { userinfo, auth_me, ..Endpoints::default() }));
    let authority: &dyn Authority =
        if path == "/me" { &AuthMe::new(discovery) } else { &Userinfo::new(discovery, None) };
    let Ok((user, profile)) = wait(authority.vouch(&RawToken::new("t"))) else { return false };
    let text = |name: &str| said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // An id may be a number.
    let as_text = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let mut named = ids.iter().filter_map(|id| said.get(*id)).map(as_text);
    assert!(named.any(|id| id == user.as_str()), "{user} was not named");
    assert_eq!((profile.email.as_deref(), profile.avatar.as_deref()), (text("email"), text(picture)));
    let roles = said.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    assert!(roles.eq(profile.roles.iter().map(String::as_str)));
    true
}

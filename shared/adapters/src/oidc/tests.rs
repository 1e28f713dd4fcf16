#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::DateTime;
use domain::testing::TestClock;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::*;
use crate::serving::{Reply, Serving};
use crate::upstream::Limits;

const NOW: i64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret of this test that it shares with its issuer";

/// A key of the issuer.
struct Key {
    kid: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

fn key(kid: &'static str, algorithm: Algorithm, private: EncodingKey) -> Key {
    let public = serde_json::to_value(Jwk::from_encoding_key(&private, algorithm).unwrap()).unwrap();
    Key { kid, algorithm, private, public }
}

fn ec(kid: &'static str) -> Key {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    key(kid, Algorithm::ES256, EncodingKey::from_ec_der(der.as_ref()))
}

fn ed(kid: &'static str) -> Key {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap().public_key());
    let public = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x});
    Key { kid, algorithm: Algorithm::EdDSA, private: EncodingKey::from_ed_der(der.as_ref()), public }
}

fn rsa(kid: &'static str) -> Key {
    let der = KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    key(kid, Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap())
}

fn secret(bytes: &[u8]) -> Key {
    key("secret", Algorithm::HS256, EncodingKey::from_secret(bytes))
}

impl Key {
    fn public(&self) -> Value {
        let mut jwk = self.public.clone();
        (jwk["kid"], jwk["use"]) = (self.kid.into(), "sig".into());
        jwk
    }

    fn header(&self) -> Value {
        json!({"alg": self.algorithm, "kid": self.kid, "typ": "JWT"})
    }

    /// A token with these claims, and this header, whatever it says.
    fn sign_as(&self, header: &Value, claims: &Value) -> RawToken {
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.private, self.algorithm).unwrap();
        RawToken::new(format!("{signed}.{signature}"))
    }

    fn sign(&self, claims: &Value) -> RawToken {
        self.sign_as(&self.header(), claims)
    }
}

/// An issuer that publishes keys, a verifier of its tokens, and a clock that stands still.
struct Stage {
    server: Serving,
    clock: Arc<TestClock>,
    verifier: JwtVerifier,
}

fn key_set(keys: &[&Key]) -> Reply {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    Reply::Answer(200, json!({ "keys": keys }).to_string())
}

impl Stage {
    async fn new(keys: &[&Key], adapt: impl FnOnce(&mut Issuer)) -> Self {
        let set = key_set(keys);
        let server = Serving::start(move |_| set.clone()).await;
        let clock = Arc::new(TestClock::at(DateTime::from_timestamp(NOW, 0).unwrap()));
        let mut issuer = Issuer {
            issuer: "https://issuer.example".to_owned(),
            jwks_uri: Some(server.url("/keys")),
            audience: None,
            required_claim: None,
            session_claim: "sid".to_owned(),
            client_claim: None,
            roles_claim: None,
            hs256_secret: None,
        };
        adapt(&mut issuer);
        let verifier = JwtVerifier::new(issuer, Http::new(), clock.clone());
        Self { server, clock, verifier }
    }

    async fn with(key: &Key) -> Self {
        Self::new(&[key], |_| {}).await
    }

    fn publish(&self, keys: &[&Key]) {
        let set = key_set(keys);
        self.server.change(move |_| set.clone());
    }

    fn outage(&self) {
        self.server.change(|_| Reply::Answer(503, String::new()));
    }

    fn fetches(&self) -> usize {
        self.server.count("/keys")
    }

    /// Why a token is refused; its form and all of it are judged alike unless its signature is what is wrong.
    async fn refusal(&self, token: &RawToken) -> &'static str {
        match self.verifier.verify(token).await {
            Err(VerifyError::Invalid(why)) => {
                let form = self.verifier.peek(token);
                let signature_only =
                    ["wrong signature", "signed by an unknown key", "signature algorithm is not the key's"];
                if signature_only.contains(&why) {
                    assert!(form.is_ok(), "{form:?}");
                } else {
                    assert_eq!(form, Err(VerifyError::Invalid(why)));
                }
                why
            }
            Err(VerifyError::Expired) => {
                assert_eq!(self.verifier.peek(token), Err(VerifyError::Expired));
                "expired"
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    async fn accepts(&self, token: &RawToken) -> Claims {
        let claims = self.verifier.verify(token).await.unwrap();
        assert_eq!(self.verifier.peek(token).as_ref(), Ok(&claims), "both read the same");
        claims
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "sub": "u", "jti": "j", "iat": NOW - 10, "exp": NOW + 3_600,
        "client_id": "c", "sid": "s",
    })
}

/// The claims with some replaced; null takes one away.
fn but(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[tokio::test]
async fn tokens_signed_in_each_of_the_three_ways_are_accepted() {
    let keys = [rsa("r"), ec("e"), ed("d")];
    let stage = Stage::new(&keys.each_ref(), |_| {}).await;
    for key in &keys {
        let claims = stage.accepts(&key.sign(&claims())).await;
        assert_eq!(claims.facts.id.as_str(), "j");
        assert_eq!(claims.facts.session.unwrap().as_str(), "s");
    }
    assert_eq!(stage.fetches(), 1);
}

#[tokio::test]
async fn another_keys_signature_and_changed_claims_are_refused() {
    let (key, other) = (ec("e"), ec("e"));
    let stage = Stage::with(&key).await;
    assert_eq!(stage.refusal(&other.sign(&claims())).await, "wrong signature");
    let good = key.sign(&claims());
    let (head, rest) = good.reveal().split_once('.').unwrap();
    let signature = rest.split_once('.').unwrap().1;
    let admin = URL_SAFE_NO_PAD.encode(but(&json!({"sub": "admin"})).to_string());
    for forged in [format!("{head}.{admin}.{signature}"), format!("{head}.{rest}x"), format!("{head}.{admin}.")] {
        assert_eq!(stage.refusal(&RawToken::new(forged)).await, "wrong signature");
    }
}

#[tokio::test]
async fn unsigned_tokens_and_other_algorithms_are_refused() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    for name in ["none", "None", "NONE", "", "HS256", "HS384", "RS512", "PS256", "ES384", "es256"] {
        let header = json!({"alg": name, "kid": "e"});
        assert_eq!(stage.refusal(&key.sign_as(&header, &claims())).await, "signature algorithm not allowed", "{name}");
    }
    let unsigned = key.sign_as(&json!({"alg": "none"}), &claims());
    let unsigned = unsigned.reveal().rsplit_once('.').unwrap().0;
    let unsigned = RawToken::new(format!("{unsigned}."));
    assert_eq!(stage.refusal(&unsigned).await, "signature algorithm not allowed");
    assert_eq!(stage.refusal(&key.sign_as(&json!({"kid": "e"}), &claims())).await, "no readable header");
    assert_eq!(stage.fetches(), 0, "nobody is asked about those");
}

#[tokio::test]
async fn a_public_key_is_never_a_secret() {
    let key = rsa("r");
    let public = key.public();
    let modulus = public["n"].as_str().unwrap();
    let guesses =
        [public.to_string().into_bytes(), modulus.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(modulus).unwrap()];
    for configured in [None, Some(SECRET.to_vec())] {
        let why = if configured.is_some() { "wrong signature" } else { "signature algorithm not allowed" };
        let stage = Stage::new(&[&key], |issuer| issuer.hs256_secret = configured).await;
        for guess in &guesses {
            let forged = secret(guess).sign_as(&json!({"alg": "HS256", "kid": "r"}), &claims());
            assert_eq!(stage.refusal(&forged).await, why);
        }
    }
}

#[tokio::test]
async fn hs256_needs_the_configured_secret_and_asks_nobody_for_keys() {
    let stage = Stage::new(&[], |issuer| issuer.hs256_secret = Some(SECRET.to_vec())).await;
    stage.accepts(&secret(SECRET).sign(&claims())).await;
    assert_eq!(stage.refusal(&secret(b"another").sign(&claims())).await, "wrong signature");
    assert_eq!(stage.fetches(), 0);
    let without = Stage::new(&[], |_| {}).await;
    assert_eq!(without.refusal(&secret(SECRET).sign(&claims())).await, "signature algorithm not allowed");
}

#[tokio::test]
async fn a_published_secret_verifies_nothing_whatever_is_configured() {
    let published = secret(b"published by mistake");
    for configured in [None, Some(SECRET.to_vec())] {
        let stage = Stage::new(&[&published], |issuer| issuer.hs256_secret = configured).await;
        stage.refusal(&published.sign(&claims())).await;
        let header = json!({"alg": "ES256", "kid": "secret"});
        assert_eq!(stage.refusal(&published.sign_as(&header, &claims())).await, "signed by an unknown key");
    }
}

#[tokio::test]
async fn a_key_is_used_with_its_own_algorithm_only() {
    let keys = [ec("e"), ed("d")];
    let stage = Stage::new(&keys.each_ref(), |_| {}).await;
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
    let [e, d] = &keys;
    let crossed = [e.sign_as(&header("ES256", "d"), &claims()), d.sign_as(&header("ES256", "d"), &claims())];
    for token in crossed {
        assert_eq!(stage.refusal(&token).await, "signature algorithm is not the key's");
    }
    // A key that does not say its algorithm has a type all the same.
    let mut silent = e.public();
    silent.as_object_mut().unwrap().remove("alg");
    let mut encrypts = d.public();
    encrypts["use"] = "enc".into();
    stage.clock.advance(TimeDelta::seconds(901));
    stage.server.change(move |_| Reply::Answer(200, json!({"keys": [silent, encrypts]}).to_string()));
    stage.accepts(&e.sign(&claims())).await;
    assert_eq!(stage.refusal(&d.sign_as(&header("EdDSA", "e"), &claims())).await, "wrong signature");
    assert_eq!(stage.refusal(&d.sign(&claims())).await, "signed by an unknown key", "it is not for signatures");
}

#[tokio::test]
async fn whom_a_token_is_from_and_for_must_be_right() {
    let key = ec("e");
    let stage = Stage::new(&[&key], |issuer| issuer.audience = Some("api".to_owned())).await;
    stage.accepts(&key.sign(&but(&json!({"aud": "api"})))).await;
    stage.accepts(&key.sign(&but(&json!({"aud": ["other", "api"]})))).await;
    for aud in [json!(null), json!("other"), json!(["other"]), json!([]), json!("apis")] {
        assert_eq!(stage.refusal(&key.sign(&but(&json!({"aud": aud})))).await, "wrong audience");
    }
    for iss in ["https://issuer.example/", "https://evil.example", ""] {
        assert_eq!(stage.refusal(&key.sign(&but(&json!({"iss": iss, "aud": "api"})))).await, "wrong issuer");
    }
}

#[tokio::test]
async fn times_are_taken_with_60_seconds_of_leeway_and_no_more() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    for (changes, refused) in [
        (json!({"exp": NOW - 59}), None),
        (json!({"exp": NOW - 60}), Some("expired")),
        (json!({"nbf": NOW + 59}), None),
        (json!({"nbf": NOW + 60}), None),
        (json!({"nbf": NOW + 61}), Some("not valid yet")),
        (json!({"iat": NOW + 60}), None),
        (json!({"iat": NOW + 61}), Some("not valid yet")),
        (json!({"iat": NOW + 61, "nbf": NOW}), Some("not valid yet")),
    ] {
        let token = key.sign(&but(&changes));
        match refused {
            Some(why) => assert_eq!(stage.refusal(&token).await, why, "{changes}"),
            None => drop(stage.accepts(&token).await),
        }
    }
}

/// A verifier whose clock is a minute behind takes it for another minute.
#[tokio::test]
async fn cut_5_who_wants_to_end_a_token_may_do_so_until_no_verifier_takes_it_any_more() {
    let (key, other) = (ec("e"), ec("e"));
    let stage = Stage::with(&key).await;
    for (ago, over) in [(-10, false), (60, false), (119, false), (120, true), (121, true)] {
        let changes = but(&json!({"exp": NOW - ago}));
        let verified = stage.verifier.verify_to_end(&key.sign(&changes)).await;
        let expected = if over { Err(VerifyError::Expired) } else { Ok(Epoch(NOW - ago)) };
        assert_eq!(verified.map(|claims| claims.facts.expires_at), expected, "{ago} s after it expired");
        let forged = stage.verifier.verify_to_end(&other.sign(&changes)).await;
        assert!(forged.is_err(), "{ago} s after it expired: {forged:?}");
    }
}

/// `[CUT-4]`: a sign-in after the token's issue would be out of every cutoff's reach.
#[tokio::test]
async fn cut_4_no_sign_in_is_later_than_its_token() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    for (auth_time, signed_in_at) in [(NOW - 900, NOW - 900), (NOW - 10, NOW - 10), (NOW + 900, NOW - 10)] {
        let claims = stage.accepts(&key.sign(&but(&json!({"auth_time": auth_time})))).await;
        assert_eq!(claims.facts.signed_in_at, Epoch(signed_in_at));
    }
}

#[tokio::test]
async fn a_token_names_its_client_by_the_usual_claims_or_by_the_configured_one() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    for (changes, client) in
        [(json!({}), "c"), (json!({"client_id": null, "azp": "by-azp"}), "by-azp"), (json!({"azp": "by-azp"}), "c")]
    {
        assert_eq!(stage.accepts(&key.sign(&but(&changes))).await.facts.client.unwrap().as_str(), client);
    }
    let configured = Stage::new(&[&key], |issuer| issuer.client_claim = Some("cid".to_owned())).await;
    assert_eq!(configured.accepts(&key.sign(&but(&json!({"cid": "앱"})))).await.facts.client.unwrap().as_str(), "앱");
    let why = "names no client, so that no client's cutoff could reach it";
    assert_eq!(configured.refusal(&key.sign(&claims())).await, why);
}

#[tokio::test]
async fn a_token_that_lacks_what_it_is_revoked_by_is_refused() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    let why = "names no client, so that no client's cutoff could reach it";
    assert_eq!(stage.refusal(&key.sign(&but(&json!({"client_id": null})))).await, why);
    let why = "no jti, so that it could not be revoked by itself";
    assert_eq!(stage.refusal(&key.sign(&but(&json!({"jti": null})))).await, why);
    let why = "not a JWT with the claims of an access token";
    for changes in [json!({"exp": null}), json!({"iat": null}), json!({"iss": null}), json!({"exp": "tomorrow"})] {
        assert_eq!(stage.refusal(&key.sign(&but(&changes))).await, why, "{changes}");
    }
    assert_eq!(stage.refusal(&key.sign(&but(&json!({"jti": "a\nb"})))).await, "a claim is no identifier");
    for token in ["", ".", "..", "a.b", "a.b.c", "한.글.."] {
        stage.refusal(&RawToken::new(token)).await;
    }
    let long = but(&json!({"x": "x".repeat(16 * 1024)}));
    assert_eq!(stage.refusal(&key.sign(&long)).await, "too long");
}

#[tokio::test]
async fn id_tokens_refresh_tokens_and_logout_tokens_are_no_access_tokens() {
    let key = ec("e");
    let stage = Stage::new(&[&key], |issuer| {
        issuer.required_claim = Some(("use".to_owned(), "access".to_owned()));
    })
    .await;
    let access = |changes: Value| {
        let mut claims = but(&changes);
        claims["use"] = "access".into();
        claims
    };
    for changes in [json!({}), json!({"typ": "Bearer"}), json!({"token_use": "access"})] {
        stage.accepts(&key.sign(&access(changes))).await;
    }
    for typ in [json!(null), json!("JWT"), json!("at+jwt"), json!("application/at+jwt"), json!("AT+JWT")] {
        stage.accepts(&key.sign_as(&json!({"alg": "ES256", "kid": "e", "typ": typ}), &access(json!({})))).await;
    }
    for changes in [json!({"nonce": "n"}), json!({"at_hash": "h"})] {
        assert_eq!(stage.verifier.verify(&key.sign(&access(changes))).await, Err(VerifyError::IdToken));
    }
    let others = [
        json!({"typ": "Refresh"}),
        json!({"typ": "refresh"}),
        json!({"typ": "ID"}),
        json!({"typ": "Offline"}),
        json!({"typ": "Logout"}),
        json!({"typ": "logout+jwt"}),
        json!({"token_use": "id"}),
    ];
    for changes in others {
        assert_eq!(stage.refusal(&key.sign(&access(changes.clone()))).await, "not an access token", "{changes}");
    }
    for typ in ["logout+jwt", "refresh", "ID", "dpop+jwt", "id_token+jwt", ""] {
        let header = json!({"alg": "ES256", "kid": "e", "typ": typ});
        assert_eq!(stage.refusal(&key.sign_as(&header, &access(json!({})))).await, "not an access token", "{typ}");
    }
    for changes in [json!({}), json!({"use": "id"}), json!({"use": 1})] {
        assert_eq!(stage.refusal(&key.sign(&but(&changes))).await, "not an access token", "{changes}");
    }
}

#[tokio::test]
async fn a_header_that_asks_for_an_extension_is_refused() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    for crit in [json!(["b64"]), json!([]), json!(null)] {
        let header = json!({"alg": "ES256", "kid": "e", "crit": crit, "b64": false});
        assert_eq!(stage.refusal(&key.sign_as(&header, &claims())).await, "its header asks for an extension");
    }
}

#[tokio::test]
async fn invented_keys_in_the_header_are_not_looked_at() {
    let (key, evil) = (ec("e"), ec("e"));
    let stage = Stage::with(&key).await;
    let header = json!({"alg": "ES256", "kid": "e", "jwk": evil.public(), "jku": stage.server.url("/evil")});
    assert_eq!(stage.refusal(&evil.sign_as(&header, &claims())).await, "wrong signature");
    assert_eq!(stage.server.count("/evil"), 0);
}

#[tokio::test]
async fn an_unknown_key_is_fetched_once_in_five_seconds_and_a_new_one_is_found() {
    let (old, new) = (ec("old"), ec("new"));
    let stage = Stage::with(&old).await;
    stage.accepts(&old.sign(&claims())).await;
    stage.clock.advance(TimeDelta::seconds(5));
    assert_eq!(stage.refusal(&new.sign(&claims())).await, "signed by an unknown key");
    assert_eq!(stage.fetches(), 2);
    for _ in 0..5 {
        assert_eq!(stage.refusal(&ec("invented").sign(&claims())).await, "signed by an unknown key");
    }
    assert_eq!(stage.fetches(), 2);
    stage.publish(&[&new]);
    stage.clock.advance(TimeDelta::milliseconds(4_999));
    assert_eq!(stage.refusal(&new.sign(&claims())).await, "signed by an unknown key");
    stage.clock.advance(TimeDelta::milliseconds(1));
    stage.accepts(&new.sign(&claims())).await;
    assert_eq!(stage.fetches(), 3);
    assert_eq!(stage.refusal(&old.sign(&claims())).await, "signed by an unknown key", "it was taken back");
}

#[tokio::test]
async fn many_tokens_at_once_wait_for_one_fetch() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    let token = key.sign(&claims());
    let verified = futures::future::join_all((0..20).map(|_| stage.verifier.verify(&token))).await;
    assert!(verified.iter().all(Result::is_ok), "{verified:?}");
    assert_eq!(stage.fetches(), 1);
}

#[tokio::test]
async fn keys_stay_in_use_while_the_issuer_is_away_and_it_is_asked_once_a_minute() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    stage.accepts(&key.sign(&claims())).await;
    stage.outage();
    stage.clock.advance(TimeDelta::hours(20));
    let later = key.sign(&but(&json!({"exp": NOW + 86_400})));
    for _ in 0..3 {
        stage.accepts(&later).await;
    }
    let tries = stage.fetches();
    stage.clock.advance(TimeDelta::seconds(59));
    stage.accepts(&later).await;
    assert_eq!(stage.fetches(), tries);
    stage.publish(&[&key]);
    stage.clock.advance(TimeDelta::seconds(1));
    stage.accepts(&later).await;
    assert_eq!(stage.fetches(), tries + 1);
}

#[tokio::test]
async fn without_any_keys_nobody_can_tell() {
    let key = ec("e");
    let garbage = ["", "no JSON", "[]", r#"{"keys": 1}"#].map(|body| Reply::Answer(200, body.to_owned()));
    let away = [Reply::Answer(503, String::new()), Reply::Answer(404, "{}".to_owned()), Reply::Never];
    for reply in garbage.into_iter().chain(away) {
        let mut stage = Stage::with(&key).await;
        let limits = Limits { keys: Duration::from_millis(300), ..Limits::default() };
        let issuer = stage.verifier.issuer.clone();
        let discovery = Discovery::new(&issuer, Endpoints::default(), Http::new(), stage.clock.clone());
        stage.verifier = JwtVerifier::with_discovery(issuer, Arc::new(discovery.with_limits(limits)));
        let shown = format!("{reply:?}");
        stage.server.change(move |_| reply.clone());
        for _ in 0..2 {
            let error = stage.verifier.verify(&key.sign(&claims())).await.unwrap_err();
            assert!(matches!(error, VerifyError::NoKeys(_)), "{shown}: {error}");
        }
        assert!(stage.verifier.peek(&key.sign(&claims())).is_ok(), "its form needs none");
        stage.publish(&[&key]);
        stage.clock.advance(TimeDelta::seconds(5));
        stage.accepts(&key.sign(&claims())).await;
    }
}

#[tokio::test]
async fn one_strange_key_does_not_spoil_the_set() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    let strange = [json!({"kty": "XYZ", "kid": "x"}), json!({"kty": "EC", "crv": "secp256k1", "x": "", "y": ""})];
    let set = json!({"keys": [strange[0], strange[1], key.public()]});
    stage.server.change(move |_| Reply::Answer(200, set.to_string()));
    stage.accepts(&key.sign(&claims())).await;
}

#[tokio::test]
async fn without_a_key_id_only_a_lone_key_is_meant() {
    let keys = [ec("a"), ec("b")];
    let header = json!({"alg": "ES256"});
    let lone = Stage::with(&keys[0]).await;
    lone.accepts(&keys[0].sign_as(&header, &claims())).await;
    let two = Stage::new(&keys.each_ref(), |_| {}).await;
    assert_eq!(two.refusal(&keys[0].sign_as(&header, &claims())).await, "signed by an unknown key");
}

#[tokio::test]
async fn where_the_keys_are_is_discovered_if_it_is_not_configured() {
    let key = ec("e");
    let mut stage = Stage::with(&key).await;
    let issuer = Issuer { issuer: stage.server.url(""), jwks_uri: None, ..stage.verifier.issuer.clone() };
    let document = json!({"issuer": issuer.issuer, "jwks_uri": stage.server.url("/keys")}).to_string();
    let set = key_set(&[&key]);
    stage.server.change(move |asked| match asked.path.as_str() {
        "/keys" => set.clone(),
        _ => Reply::Answer(200, document.clone()),
    });
    let token = key.sign(&but(&json!({"iss": issuer.issuer})));
    stage.verifier = JwtVerifier::new(issuer, Http::new(), stage.clock.clone());
    stage.accepts(&token).await;
}

#[tokio::test]
async fn the_profile_is_what_the_token_says_and_roles_come_from_the_configured_claim_only() {
    let key = ec("e");
    let token = key.sign(&but(&json!({
        "email": "u@example.com", "preferred_username": "사용자", "picture": "p", "roles": ["super_admin"],
        "cognito:groups": ["auditor", 7], "permissions": ["p"], "groups": ["g"], "scope": "a b",
    })));
    let plain = Stage::with(&key).await.accepts(&token).await;
    assert_eq!(plain.profile.roles, Vec::<String>::new());
    assert_eq!(plain.username.as_deref(), Some("사용자"));
    let mapped = Stage::new(&[&key], |issuer| issuer.roles_claim = Some("cognito:groups".to_owned())).await;
    let profile = mapped.accepts(&token).await.profile;
    assert_eq!(profile.roles, ["auditor"]);
    assert_eq!((profile.name.as_deref(), profile.email.as_deref()), (Some("사용자"), Some("u@example.com")));
    assert_eq!(
        (profile.avatar.as_deref(), profile.permissions, profile.groups),
        (Some("p"), vec!["p".to_owned()], vec!["g".to_owned()])
    );
}

#[tokio::test]
async fn a_client_s_own_token_has_no_user() {
    let key = ec("e");
    let stage = Stage::with(&key).await;
    for changes in [json!({"sub": "c"}), json!({"sub": null}), json!({"sub": "c", "client_id": null, "azp": "c"})] {
        assert_eq!(stage.accepts(&key.sign(&but(&changes))).await.facts.user, None, "{changes}");
    }
    assert!(stage.accepts(&key.sign(&claims())).await.facts.user.is_some());
}

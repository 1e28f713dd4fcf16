#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use async_trait::async_trait;
use chrono::DateTime;
use domain::check::Checker;
use domain::decision::{Limits, TokenFacts};
use domain::identity::Profile;
use domain::ids::{ClientId, RawToken, TokenId, UserId};
use domain::ports::{Claims, DenylistCache as _, RecordStore as _, TokenVerifier, VerifyError};
use domain::records::{Entity, Record, TokenRecord};
use domain::testing::{Memory, TestClock};
use domain::time::Epoch;
use lambda_runtime::Context;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
const ARN: &str = "arn:aws:execute-api:eu-west-1:000000000000:a1b2c3d4e5/live/GET/orders/7/lines";

/// What the issuer's keys say of every JWT.
enum Signature {
    Good,
    Wrong,
    KeysAway,
    Panics,
    Never,
}

struct Issuer {
    claims: Claims,
    signature: Signature,
}

#[async_trait]
impl TokenVerifier for Issuer {
    fn peek(&self, _: &RawToken) -> Result<Claims, VerifyError> {
        Ok(self.claims.clone())
    }

    async fn verify(&self, _: &RawToken) -> Result<Claims, VerifyError> {
        match self.signature {
            Signature::Good => Ok(self.claims.clone()),
            Signature::Wrong => Err(VerifyError::Invalid("wrong signature")),
            Signature::KeysAway => Err(VerifyError::NoKeys("away".to_owned())),
            Signature::Panics => panic!("for the test"),
            Signature::Never => std::future::pending().await,
        }
    }

    async fn verify_to_end(&self, _: &RawToken) -> Result<Claims, VerifyError> {
        unreachable!("an authorizer ends nothing")
    }
}

fn claims(user: Option<&str>) -> Claims {
    Claims {
        facts: TokenFacts {
            id: TokenId::parse("jti-1").unwrap(),
            kind: TokenKind::Access,
            user: user.map(|user| UserId::parse(user).unwrap()),
            client: Some(ClientId::parse("web-app").unwrap()),
            session: None,
            issued_at: Epoch(NOW - 60),
            signed_in_at: Epoch(NOW - 60),
            expires_at: Epoch(NOW + 600),
        },
        has_auth_time: true,
        issuer: "https://issuer.example".to_owned(),
        audience: Vec::new(),
        scope: Some("openid profile".to_owned()),
        username: None,
        profile: Profile {
            email: Some("minji@example.com".to_owned()),
            name: Some("김민지 \"MJ\"".to_owned()),
            roles: vec!["auditor".to_owned(), "a,b".to_owned()],
            ..Profile::default()
        },
    }
}

struct House {
    deps: Deps,
    store: Arc<Memory>,
    cache: Arc<Memory>,
}

impl House {
    async fn new(claims: Claims, signature: Signature) -> Self {
        let (store, cache) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
        cache.begin_rebuild("r").await.unwrap();
        assert!(cache.finish_rebuild("r", "g").await.unwrap(), "the cache is complete");
        let clock = Arc::new(TestClock::at(DateTime::from_timestamp(NOW, 0).unwrap()));
        let checker = Checker::new(cache.clone(), store.clone(), clock.clone(), Limits { max_sign_in_age: 86_400 });
        let inspector = Inspector {
            checker,
            verifier: Arc::new(Issuer { claims, signature }),
            lookup: store.clone(),
            authorities: Arc::new([]),
            clock: clock.clone(),
        };
        Self { deps: Deps { inspector, clock, budget: Duration::from_secs(5) }, store, cache }
    }

    /// Knows an opaque token.
    async fn issue(&self, token: &str, kind: TokenKind, user: Option<&str>) {
        let record = TokenRecord {
            id: TokenId::of_opaque(&RawToken::new(token)),
            user_id: user.map(|user| UserId::parse(user).unwrap()),
            client_id: ClientId::parse("batch").unwrap(),
            token_type: kind,
            opaque: true,
            session_id: None,
            issued_at: Epoch(NOW - 60),
            auth_time: Some(Epoch(NOW - 60)),
            expires_at: Epoch(NOW + 600),
            last_used_at: None,
            scope: None,
            revoked_at: None,
        };
        self.store.apply(&Record::upsert(1, Entity::Token(record))).await.unwrap();
    }

    async fn ask(&self, event: Value) -> Result<Value, Diagnostic> {
        let event = LambdaEvent::new(serde_json::from_value(event).unwrap(), Context::default());
        let answer = handle(event, &self.deps).await.map_err(Diagnostic::from)?;
        Ok(serde_json::to_value(answer).unwrap())
    }

    async fn ask_with(&self, authorization: &str) -> Result<Value, Diagnostic> {
        self.ask(json!({ "type": "REQUEST", "methodArn": ARN, "headers": { "Authorization": authorization } })).await
    }
}

fn assert_401(answer: Result<Value, Diagnostic>, what: &str) {
    assert_eq!(answer.unwrap_err().error_message, "Unauthorized", "{what}");
}

fn assert_503(answer: Result<Value, Diagnostic>, what: &str) {
    assert_ne!(answer.unwrap_err().error_message, "Unauthorized", "{what}");
}

#[tokio::test]
async fn check_4_a_good_token_opens_the_whole_stage_and_its_user_is_told_in_texts() {
    let house = House::new(claims(Some("u1")), Signature::Good).await;
    let answer = house.ask_with("bearer h.c.s").await.unwrap();
    let expected = json!({
        "principalId": "u1",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{
                "Action": "execute-api:Invoke",
                "Effect": "Allow",
                "Resource": "arn:aws:execute-api:eu-west-1:000000000000:a1b2c3d4e5/live/*",
            }],
        },
        "context": {
            "user_id": "u1",
            "email": "minji@example.com",
            "name": "김민지 \"MJ\"",
            "roles": "[\"auditor\",\"a,b\"]",
            "permissions": "[]",
            "groups": "[]",
            "verification_source": "local_jwt",
            "verified_at": "2027-01-15T08:00:00.000Z",
            "client_id": "web-app",
            "scope": "openid profile",
            "token_id": "jti-1",
        },
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn check_4_a_service_token_is_its_client_and_has_no_user() {
    let house = House::new(claims(None), Signature::Good).await;
    let answer = house.ask_with("Bearer h.c.s").await.unwrap();
    assert_eq!(answer["principalId"], "client:web-app");
    let context = json!({ "client_id": "web-app", "scope": "openid profile", "token_id": "jti-1" });
    assert_eq!(answer["context"], context);
}

#[tokio::test]
async fn an_opaque_access_token_is_good_by_its_row_and_a_refresh_token_is_none() {
    let house = House::new(claims(Some("u1")), Signature::Good).await;
    house.issue("opaque", TokenKind::Access, Some("u2")).await;
    house.issue("refresh", TokenKind::Refresh, Some("u2")).await;
    let answer = house.ask_with("Bearer opaque").await.unwrap();
    let (context, id) = (&answer["context"], TokenId::of_opaque(&RawToken::new("opaque")));
    assert_eq!((&context["user_id"], &context["verification_source"]), (&json!("u2"), &json!("token_row")));
    assert_eq!(context["token_id"], id.as_str());
    assert_eq!(context.get("scope"), None, "what is not known is left out");
    assert_401(house.ask_with("Bearer refresh").await, "a refresh token");
}

#[tokio::test]
async fn what_is_not_one_good_bearer_token_is_refused() {
    let house = House::new(claims(Some("u1")), Signature::Wrong).await;
    for value in ["Basic dTpw", "Bearer", "Bearer ", "", "h.c.s", "Bearer unknown", "Bearer h.c.s"] {
        assert_401(house.ask_with(value).await, value);
    }
    for headers in [json!(null), json!({}), json!({ "X-Authorization": "Bearer h.c.s" })] {
        assert_401(house.ask(json!({ "methodArn": ARN, "headers": headers })).await, "no header");
    }
    assert_401(house.ask(json!({})).await, "an empty event");
}

#[tokio::test]
async fn the_header_is_found_in_any_case_and_in_either_map_but_must_be_one() {
    let house = House::new(claims(Some("u1")), Signature::Good).await;
    let ask = async |single: Value, multiple: Value| {
        house.ask(json!({ "methodArn": ARN, "headers": single, "multiValueHeaders": multiple })).await
    };
    assert!(ask(json!({ "AUTHORIZATION": "Bearer h.c.s" }), json!(null)).await.is_ok());
    assert!(ask(json!(null), json!({ "authorization": ["Bearer h.c.s"] })).await.is_ok());
    let (same, other) = (json!({ "authorization": ["Bearer h.c.s"] }), json!({ "authorization": ["Bearer a.b.c"] }));
    assert!(ask(json!({ "Authorization": "Bearer h.c.s" }), same).await.is_ok());
    assert_401(ask(json!({ "Authorization": "Bearer h.c.s" }), other).await, "two tokens");
    let two = json!({ "Authorization": ["Bearer h.c.s", "Bearer a.b.c"] });
    assert_401(ask(json!({ "Authorization": "Bearer h.c.s" }), two).await, "two tokens in one map");
}

#[tokio::test]
async fn a_revoked_token_is_refused() {
    let house = House::new(claims(Some("u1")), Signature::Good).await;
    let revoked = [(TokenId::parse("jti-1").unwrap(), Epoch(NOW + 600))];
    house.cache.put_tokens(&revoked).await.unwrap();
    assert_401(house.ask_with("Bearer h.c.s").await, "revoked");
}

#[tokio::test]
async fn check_3_without_the_cache_the_store_is_asked_and_without_both_nobody_is_let_in() {
    let house = House::new(claims(Some("u1")), Signature::Good).await;
    house.cache.set_down(true);
    assert!(house.ask_with("Bearer h.c.s").await.is_ok(), "the store knows");
    house.store.set_down(true);
    assert_503(house.ask_with("Bearer h.c.s").await, "both away");
    assert_503(house.ask_with("Bearer opaque").await, "its row cannot be read");
    house.cache.set_down(false);
    assert!(house.ask_with("Bearer h.c.s").await.is_ok(), "a complete cache is enough");
}

#[tokio::test]
async fn check_3_keys_away_a_panic_and_silence_are_neither_an_allow_nor_a_refusal() {
    for (signature, what) in [
        (Signature::KeysAway, "the issuer's keys are away"),
        (Signature::Panics, "a panic"),
        (Signature::Never, "no answer in time"),
    ] {
        let mut house = House::new(claims(Some("u1")), signature).await;
        house.deps.budget = Duration::from_millis(20);
        assert_503(house.ask_with("Bearer h.c.s").await, what);
    }
}

#[tokio::test]
async fn an_event_that_names_no_method_lets_nobody_in() {
    let house = House::new(claims(Some("u1")), Signature::Good).await;
    for arn in [json!(null), json!(""), json!("arn:aws:execute-api:eu-west-1:0:api"), json!("a/b/c")] {
        let event = json!({ "methodArn": arn, "headers": { "Authorization": "Bearer h.c.s" } });
        assert_503(house.ask(event).await, "no method");
    }
}

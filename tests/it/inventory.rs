//! Every place where a token is checked, and every way in which a token can be bad (`[CHECK-1]` to `[CHECK-3]`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use authorizer::NotAllowed;
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use domain::cutoff::{LEEWAY_SECONDS, Scope};
use domain::identity::{Profile, VerificationSource};
use domain::ids::{ClientId, RawToken, SessionId, TokenId, UserId};
use domain::ports::{JobStore as _, RecordStore as _};
use domain::records::{Entity, Record, UserRecord};
use domain::testing::{Habits, Memory};
use domain::time::Epoch;
use domain::token::RevokedBy;
use domain::upstream::{Authority, UpstreamError};
use futures::future::BoxFuture;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use tests::door::Door;
use tests::environment::unique;
use tests::fleet::LIMITS;
use tests::inventory::{Gate, Guard, Operation, Said, operations};
use tests::mint::Mint;

const NOW: Epoch = Epoch(1_900_000_000);

/// The calls that answer somebody who shows no token, each with the reason why it may.
const OPEN: [(&str, &str); 6] = [
    ("GET /health", "tells that the function runs, and asks nobody"),
    ("GET /openapi.json", "tells how the API looks, which is no secret"),
    (
        "GET /api/v1/accounts/auth/callback",
        "browsers bring what a provider sent; `state` lets them in (tests/it/accounts.rs)",
    ),
    ("GET /oauth/authorize", "sends browsers on to the issuer, which asks for a password (tests/it/authorize.rs)"),
    ("POST /oauth/token", "takes grants rather than access tokens, and the issuer checks them (tests/it/rfc_6749.rs)"),
    ("POST /oauth/revoke", "ends the token it is shown, for its own client only (tests/it/rfc_7009.rs)"),
];

/// The doors, with the real verifier before an issuer whose keys are real.
struct World {
    door: Door<Memory, Memory>,
    mint: Mint,
}

impl World {
    async fn before(mint: Mint) -> Self {
        // The issuer in memory hands out opaque tokens; JWTs come from the mint.
        let habits = Habits { jwt: false, ..Habits::default() };
        let mut door = Door::in_memory(DateTime::<Utc>::from_timestamp(NOW.0, 0).unwrap(), habits).await;
        door.verifier = mint.verifier(door.fleet.clock.clone());
        Self { door, mint }
    }

    async fn new() -> Self {
        Self::before(Mint::start().await).await
    }

    /// All calls of all functions.
    fn operations(&self) -> Vec<Operation> {
        let admin = operations(&admin_api::described(), &self.door.admin_router());
        admin.into_iter().chain(operations(&auth_api::described(), &self.door.router())).collect()
    }

    /// Everything that checks tokens.
    fn gates(&self) -> Vec<Gate> {
        let calls = self.operations().into_iter().filter_map(Operation::gate);
        // Verifiers that are no calls of the API: one line each.
        let others = [authorizer(&self.door)];
        calls.chain(others).collect()
    }

    /// The claims of an admin who has just signed in, so that nothing but the token can be wrong.
    async fn admin(&self) -> Value {
        let (user, client) = (unique("admin"), unique("client"));
        let roles = vec!["security_admin".to_owned()];
        let email = Some(format!("{user}@example.com"));
        let record = UserRecord { roles, email, ..UserRecord::new(UserId::parse(&*user).unwrap()) };
        self.door.fleet.store.apply(&Record::upsert(1, Entity::User(record))).await.unwrap();
        self.mint.claims(&user, &client, &unique("session"), NOW)
    }

    async fn good(&self) -> String {
        self.mint.sign(&self.admin().await)
    }

    /// A token that was good until a cutoff of one scope, and nothing but that is wrong with it: what `scope` makes of
    /// its claims is ended, and everything else about it is its own.
    async fn cut_off(&self, scope: impl Fn(&Value) -> Scope) -> String {
        let mut claims = self.admin().await;
        (claims["auth_time"], claims["iat"]) = (NOW.plus(-100).0.into(), NOW.plus(-10).0.into());
        let at = NOW.plus(-100);
        self.door.fleet.denier().sign_ins([scope(&claims)], at, &RevokedBy::User).await.unwrap();
        self.mint.sign(&claims)
    }

    /// Tokens that are bad, each with what is wrong with it.
    async fn bad(&self) -> Vec<(String, String)> {
        let base = self.admin().await;
        let (claims, ended) = (self.bad_by_claims(&base), self.ended().await);
        let named = claims.into_iter().chain(ended).map(|(what, token)| (what.to_owned(), token));
        named.chain(self.mint.forgeries(&base)).collect()
    }

    /// Tokens that the issuer has signed, and that are not good by what they say.
    fn bad_by_claims(&self, base: &Value) -> Vec<(&'static str, String)> {
        let signed = |change: &dyn Fn(&mut Value)| {
            let mut claims = base.clone();
            change(&mut claims);
            self.mint.sign(&claims)
        };
        let set = |name: &'static str, value: Value| signed(&move |claims| claims[name] = value.clone());
        let without = |name: &'static str| signed(&move |claims| _ = claims.as_object_mut().unwrap().remove(name));
        vec![
            ("expired", set("exp", NOW.plus(-3_600).0.into())),
            ("expired since clocks cannot differ more", set("exp", NOW.plus(-LEEWAY_SECONDS).0.into())),
            ("without an end", without("exp")),
            ("not valid yet (nbf)", set("nbf", NOW.plus(LEEWAY_SECONDS + 1).0.into())),
            ("issued in the future", set("iat", NOW.plus(LEEWAY_SECONDS + 1).0.into())),
            ("of another issuer", set("iss", "https://issuer.example.net".into())),
            ("of an issuer of nearly the same name", set("iss", format!("{}/", self.mint.issuer).into())),
            ("of no issuer", without("iss")),
            ("for somebody else", set("aud", "https://somebody.example.com".into())),
            ("for several others", set("aud", json!(["https://a.example.com", "https://b.example.com"]))),
            ("for nobody", without("aud")),
            ("without an id", without("jti")),
            (
                "of a sign-in longer ago than any may be",
                set("auth_time", NOW.plus(-LIMITS.max_sign_in_age - LEEWAY_SECONDS).0.into()),
            ),
            ("an ID token", set("token_use", "id".into())),
            ("an ID token that calls itself an access token", set("nonce", "n".into())),
            ("an ID token with a hash of an access token", set("at_hash", "h".into())),
            ("a refresh token that is a JWT", set("token_use", "refresh".into())),
            ("not a token", "hello".to_owned()),
            ("two dots", "..".to_owned()),
            ("a very long text", "x".repeat(40_000)),
        ]
    }

    /// Tokens that were good until they were ended.
    async fn ended(&self) -> Vec<(&'static str, String)> {
        let mut bad = Vec::new();
        let revoked = self.admin().await;
        let id = TokenId::parse(revoked["jti"].as_str().unwrap()).unwrap();
        self.door.fleet.denier().tokens([(id, NOW.plus(3_600))]).await.unwrap();
        bad.push(("revoked by its id", self.mint.sign(&revoked)));
        let text = |claims: &Value, name: &str| claims[name].as_str().unwrap().to_owned();
        let user = |claims: &Value| UserId::parse(text(claims, "sub")).unwrap();
        let client = |claims: &Value| ClientId::parse(text(claims, "client_id")).unwrap();
        let session = |claims: &Value| SessionId::parse(text(claims, "sid")).unwrap();
        bad.push(("of a user who was cut off", self.cut_off(|claims| Scope::User(user(claims))).await));
        bad.push(("of a client that was cut off", self.cut_off(|claims| Scope::Client(client(claims))).await));
        let at_client = |claims: &Value| Scope::UserClient(user(claims), client(claims));
        bad.push(("of a user who was cut off at a client", self.cut_off(at_client).await));
        bad.push(("of a session that was ended", self.cut_off(|claims| Scope::Session(session(claims))).await));
        // Everything: older than all the other sign-ins here.
        let mut claims = self.admin().await;
        claims["auth_time"] = NOW.plus(-1_000).0.into();
        self.door.fleet.denier().sign_ins([Scope::Everything], NOW.plus(-1_000), &RevokedBy::User).await.unwrap();
        bad.push(("of before everything was cut off", self.mint.sign(&claims)));

        let signed_in = self.door.sign_in("somebody").await;
        let opaque = signed_in.text("access_token");
        let ended = self.door.call("POST", "/api/v1/auth/logout", &opaque, Some(json!({}))).await;
        assert_eq!(ended.status, 200, "{ended:?}");
        bad.push(("an opaque token that was ended", opaque));
        bad.push(("a refresh token that was ended", signed_in.text("refresh_token")));
        bad
    }
}

/// The authorizer of the company's other APIs (`[CHECK-4]`), asked as API Gateway asks it.
fn authorizer(door: &Door<Memory, Memory>) -> Gate {
    let (inspector, clock) = (door.inspector(), door.fleet.clock.clone());
    let deps = authorizer::Deps { inspector, clock, budget: Duration::from_secs(20) };
    let ask = move |token: String| -> BoxFuture<'static, Said> {
        let deps = deps.clone();
        Box::pin(async move {
            let arn = "arn:aws:execute-api:us-east-1:123456789012:api/stage/GET/things";
            let request = json!({ "methodArn": arn, "headers": { "Authorization": format!("Bearer {token}") } });
            let request = serde_json::from_value(request).unwrap();
            match authorizer::handle(LambdaEvent::new(request, Context::default()), &deps).await {
                Ok(allowed) => Said::LetIn(serde_json::to_string(&allowed).unwrap()),
                Err(NotAllowed::Refused) => Said::Refused,
                Err(NotAllowed::CannotTell(_)) => Said::CannotTell,
            }
        })
    };
    Gate { name: "the authorizer".to_owned(), guard: Guard::Bearer, ask: Box::new(ask) }
}

/// Shows every token to every gate; what the gates said that was not expected.
async fn not_said(expected: &[Said], gates: &[Gate], tokens: &[(String, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for gate in gates {
        for (what, token) in tokens {
            let said = (gate.ask)(token.clone()).await;
            if !expected.contains(&said) {
                wrong.push(format!("{}, {what}: {said:?}", gate.name));
            }
        }
    }
    wrong
}

/// The names of gates that do not let a good token in.
async fn shut(world: &World) -> Vec<String> {
    let mut shut = Vec::new();
    for gate in world.gates() {
        // One token each, as some calls end theirs.
        let said = (gate.ask)(world.good().await).await;
        if !matches!(said, Said::LetIn(_)) {
            shut.push(format!("{}: {said:?}", gate.name));
        }
    }
    shut
}

const NONE: [String; 0] = [];

#[tokio::test]
async fn inventory_every_call_of_every_function_refuses_every_bad_token_and_takes_good_ones() {
    let world = World::new().await;
    let (gates, bad) = (world.gates(), world.bad().await);
    assert!(gates.len() >= 18 && bad.len() >= 45, "{} gates, {} tokens", gates.len(), bad.len());
    assert_eq!(not_said(&[Said::Refused], &gates, &bad).await, NONE);
    assert_eq!(shut(&world).await, NONE, "so that it is the tokens that are refused");
    let jobs = world.door.fleet.store.jobs_by_time(None, None, 100).await.unwrap();
    assert_eq!(jobs.len(), 0, "nothing was started: {jobs:?}");
}

#[tokio::test]
async fn inventory_a_refresh_token_opens_nothing() {
    let world = World::new().await;
    let refresh = world.door.sign_in("somebody").await.text("refresh_token");
    let bearer: Vec<Gate> = world.gates().into_iter().filter(|gate| gate.guard == Guard::Bearer).collect();
    assert_eq!(not_said(&[Said::Refused], &bearer, &[("a good refresh token".to_owned(), refresh)]).await, NONE);
}

#[tokio::test]
async fn inventory_whoever_shows_nothing_is_asked_for_a_token() {
    for operation in World::new().await.operations().iter().filter(|operation| !operation.is_open()) {
        assert!(operation.refuses_who_shows_nothing().await, "{}", operation.name());
    }
}

#[tokio::test]
async fn inventory_a_token_is_no_clients_secret_and_a_secret_is_no_token() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.good().await);
    let basic = tests::door::basic(tests::door::RESOURCE, tests::door::SECRET);
    for operation in world.operations().iter().filter(|operation| !operation.is_open()) {
        let asks = operation.clone().gate().unwrap().guard == Guard::Asks;
        let body = if operation.name().ends_with("validate") {
            ("application/json", r#"{"access_token":"x"}"#)
        } else {
            ("application/x-www-form-urlencoded", "token=x")
        };
        let wrong = if asks { &bearer } else { &basic };
        let (status, challenge, _) = operation.call(Some(wrong), Some((body.0, body.1.to_owned()))).await;
        assert_eq!(status, 401, "{}", operation.name());
        assert!(challenge.starts_with(if asks { "Basic" } else { "Bearer" }), "{}: {challenge}", operation.name());
    }
}

/// `[CHECK-3]`: no answer of the cache is no "yes".
#[tokio::test]
async fn inventory_with_redis_away_the_same_tokens_are_refused_and_the_same_are_taken() {
    let world = World::new().await;
    let (gates, bad) = (world.gates(), world.bad().await);
    world.door.fleet.cache.set_down(true);
    assert_eq!(not_said(&[Said::Refused], &gates, &bad).await, NONE);
    // What ends something needs the cache to be told, so that it says 503 after the check.
    let ends = ["POST /api/v1/auth/logout", "POST /api/v1/auth/logout/all"].map(|name| format!("{name}: CannotTell"));
    assert_eq!(shut(&world).await, ends);
    // A cache that lost its memory is asked just as little.
    world.door.fleet.cache.set_down(false);
    world.door.fleet.cache.forget();
    assert_eq!(not_said(&[Said::Refused], &gates, &bad).await, NONE);
    assert_eq!(shut(&world).await, NONE);
}

/// `[CHECK-3]`: nobody can tell, so that nobody passes.
#[tokio::test]
async fn inventory_with_all_stores_away_every_call_says_503_and_none_lets_anybody_in() {
    let world = World::new().await;
    let (gates, bad, good) = (world.gates(), world.bad().await, world.good().await);
    for opaque in [false, true] {
        let token = if opaque { world.door.sign_in("x").await.text("access_token") } else { good.clone() };
        world.door.fleet.store.set_down(true);
        world.door.fleet.cache.set_down(true);
        assert_eq!(not_said(&[Said::CannotTell], &gates, &[("a good token".to_owned(), token)]).await, NONE);
        assert_eq!(not_said(&[Said::CannotTell, Said::Refused], &gates, &bad).await, NONE);
        world.door.fleet.store.set_down(false);
        world.door.fleet.cache.set_down(false);
    }
    assert_eq!(not_said(&[Said::Refused], &gates, &bad).await, NONE, "and they come back as they were");
}

#[tokio::test]
async fn inventory_without_the_issuers_keys_nobody_passes() {
    let world = World::before(Mint::away()).await;
    let gates = world.gates();
    let (good, bad) = (world.good().await, world.bad().await);
    assert_eq!(not_said(&[Said::CannotTell], &gates, &[("a good token".to_owned(), good)]).await, NONE);
    assert_eq!(not_said(&[Said::CannotTell, Said::Refused], &gates, &bad).await, NONE);
}

/// An issuer that vouches for whatever it is shown: its word stands for nothing that is checked here.
struct YesMan;

#[async_trait]
impl Authority for YesMan {
    fn source(&self) -> VerificationSource {
        VerificationSource::OauthUserinfo
    }

    async fn vouch(&self, token: &RawToken) -> Result<(UserId, Profile), UpstreamError> {
        let claims = token.reveal().split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims: Option<Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
        let user = claims.and_then(|claims| UserId::parse(claims["sub"].as_str()?).ok());
        let user = user.ok_or_else(|| UpstreamError::Failed("there is nobody to vouch for".to_owned()))?;
        Ok((user, Profile::default()))
    }
}

/// `[CHECK-1]`: form, then denylist, then the issuer's word. A token for another API may be good in the issuer's eyes.
#[tokio::test]
async fn inventory_the_issuers_word_makes_no_wrong_or_ended_token_good() {
    let mut world = World::new().await;
    world.door.authorities = Arc::new([Arc::new(YesMan)]);
    let base = world.admin().await;
    let mut bad = world.bad_by_claims(&base);
    bad.extend(world.ended().await);
    let forged = world.mint.forgeries(&base);
    let bad: Vec<_> = bad.into_iter().map(|(what, token)| (what.to_owned(), token)).chain(forged).collect();
    assert_eq!(not_said(&[Said::Refused], &world.gates(), &bad).await, NONE);
    assert_eq!(shut(&world).await, NONE);
}

/// A call that lets everybody in has to be named, with a reason.
#[tokio::test]
async fn inventory_every_open_call_is_named_and_no_other_is_open() {
    let open = World::new().await.operations().into_iter().filter(Operation::is_open).map(|call| call.name());
    let (mut open, mut named) = (open.collect::<Vec<_>>(), OPEN.map(|(name, _)| name).to_vec());
    open.sort();
    named.sort_unstable();
    assert_eq!(open, named);
}

mod forgotten {
    /// A call whose author forgot the check.
    #[utoipa::path(get, path = "/api/admin/oauth/batch-logout/forgotten", responses((status = 200)))]
    pub async fn forgotten() -> &'static str {
        "everything about everybody"
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(forgotten::forgotten))]
struct Forgotten;

#[tokio::test]
async fn inventory_notices_a_call_that_forgets_the_check() {
    use utoipa::OpenApi as _;
    let path = "/api/admin/oauth/batch-logout/forgotten";
    let router = Router::new().route(path, get(forgotten::forgotten));
    let [operation] = &operations(&Forgotten::openapi(), &router)[..] else { panic!("one call") };
    assert!(!operation.is_open() && !operation.refuses_who_shows_nothing().await);
    let gate = operation.clone().gate().unwrap();
    let wrong = not_said(&[Said::Refused], &[gate], &[("hello".to_owned(), "hello".to_owned())]).await;
    assert_eq!(wrong.len(), 1, "{wrong:?}");
}

//! The token endpoint, point by point: RFC 6749 §3.2, §4 to §6, and `[OAUTH-1]`, `[OAUTH-3]`.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use domain::conditions::Conditions;
use domain::cutoff::{Kinds, Scope};
use domain::ids::{ClientId, GroupId, JobId, RawToken, SessionId, TokenId, UserId};
use domain::ingest::Ingest;
use domain::job::Job;
use domain::ports::{JobStore as _, NewJob, TokenStore as _};
use domain::records::{Key, Record, TokenKey};
use domain::settle::Try;
use domain::testing::contract;
use domain::testing::{FakeIssuer, Habits, Memory};
use domain::time::{Clock as _, Epoch};
use domain::token::{Holdings, Owner, Revoked, RevokedBy, TokenKind};
use domain::upstream::{Form, Issued, Refused, Upstream, UpstreamError};
use http::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use tests::door::{Answer, BACKEND, CLIENT, Door, OTHER, RESOURCE, SECRET, SESSION_LIMITS, basic, session_of};

const NOW: i64 = 1_900_000_000;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

async fn door() -> Door<Memory, Memory> {
    Door::in_memory(now(), Habits::default()).await
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

async fn json_body(door: &Door<Memory, Memory>, body: &str) -> Answer {
    let request = Request::post("/oauth/token").header("content-type", "application/json");
    door.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status.as_u16(), answer.text("error").as_str()), (status, error), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!((answer.header("x-session-id"), answer.cookies().as_str()), ("", ""), "{answer:?}");
    assert_eq!(answer.body.get("access_token"), None, "{answer:?}");
}

async fn holdings(door: &Door<Memory, Memory>, name: &str) -> Holdings {
    door.fleet.store.holdings(&Owner::User(user(name))).await.unwrap()
}

/// What one is asked on its way to an issuer, and what the issuer says instead, if a test wants something else.
struct Upstreams {
    issuer: Arc<FakeIssuer>,
    grants: Mutex<Vec<Form>>,
    instead: Option<UpstreamError>,
}

#[async_trait]
impl Upstream for Upstreams {
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError> {
        self.issuer.authorization_endpoint().await
    }
    async fn token(&self, grant: &Form) -> Result<Issued, UpstreamError> {
        self.grants.lock().unwrap().push(grant.clone());
        match &self.instead {
            Some(error) => Err(error.clone()),
            None => self.issuer.token(grant).await,
        }
    }
    async fn revoke(&self, form: &Form) -> Result<(), UpstreamError> {
        self.issuer.revoke(form).await
    }
    async fn reachable(&self) -> Result<(), UpstreamError> {
        self.issuer.reachable().await
    }
}

impl Upstreams {
    fn before(door: &mut Door<Memory, Memory>, instead: Option<UpstreamError>) -> Arc<Self> {
        let between = Arc::new(Self { issuer: door.issuer.clone(), grants: Mutex::default(), instead });
        door.upstream = between.clone();
        between
    }

    fn asked(&self) -> usize {
        self.grants.lock().unwrap().len()
    }
}

const CODE: [(&str, &str); 3] = [("grant_type", "authorization_code"), ("code", "c"), ("client_id", CLIENT)];

#[tokio::test]
async fn rfc_6749_3_2_the_endpoint_takes_post_only_and_nothing_from_the_address() {
    let mut door = door().await;
    let upstream = Upstreams::before(&mut door, None);
    let address = format!("/oauth/token?{}", serde_urlencoded::to_string(CODE).unwrap());
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = door.send(Request::builder().method(&method).uri(&address).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"), "{method}");
    }
    // §2.3.1: credentials "MUST NOT be included in the request URI".
    assert_error(&door.form(&address, &[], &[]).await, 400, "invalid_request");
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn rfc_6749_3_2_a_parameter_sent_twice_is_an_invalid_request_in_a_form_and_in_json() {
    let mut door = door().await;
    let upstream = Upstreams::before(&mut door, None);
    for twice in ["grant_type", "code", "client_id", "scope", "x"] {
        let fields = [&CODE[..], &[("scope", "a"), ("x", "a"), (twice, "b")]].concat();
        assert_error(&door.form("/oauth/token", &fields, &[]).await, 400, "invalid_request");
        let members: Vec<String> = fields.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        assert_error(&json_body(&door, &format!("{{{}}}", members.join(","))).await, 400, "invalid_request");
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn rfc_6749_3_2_a_parameter_without_a_value_is_left_out_and_an_unknown_one_is_passed_on() {
    let mut door = door().await;
    let upstream = Upstreams::before(&mut door, None);
    let code = door.issuer.code(&user("u"), &ClientId::parse(CLIENT).unwrap(), Epoch(NOW));
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("client_id", CLIENT),
        ("redirect_uri", "https://app.example.com/뒤로?a=b&c"),
        ("scope", ""),
        ("resource", "https://api.example.com"),
    ];
    let answer = door.form("/oauth/token", &fields, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let passed_on = upstream.grants.lock().unwrap()[0].fields.clone();
    let kept = fields.iter().filter(|(_, value)| !value.is_empty());
    let kept: Vec<_> = kept.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(passed_on, kept);
}

/// §2.3.1: whoever the client says it is, the issuer is told in the same words.
#[tokio::test]
async fn rfc_6749_2_3_1_the_clients_credentials_reach_the_issuer_as_they_came() {
    let mut door = door().await;
    let upstream = Upstreams::before(&mut door, None);
    let header = basic(BACKEND, SECRET);
    let grant = [("grant_type", "client_credentials")];
    let answer = door.form("/oauth/token", &grant, &[("authorization", &header)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(upstream.grants.lock().unwrap()[0].authorization.as_deref(), Some(header.as_str()));
    let by_form = [grant[0], ("client_id", BACKEND), ("client_secret", SECRET)];
    assert_eq!(door.form("/oauth/token", &by_form, &[]).await.status, StatusCode::OK);
    assert_eq!(upstream.grants.lock().unwrap()[1].get("client_secret"), Some(SECRET));
    assert_error(&door.form("/oauth/token", &by_form, &[("authorization", &header)]).await, 400, "invalid_request");
    let garbled = [("authorization", "Basic !!!")];
    assert_error(&door.form("/oauth/token", &by_form, &garbled).await, 401, "invalid_client");
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn rfc_6749_5_1_what_the_issuer_granted_is_handed_on_as_it_came_and_kept_by_nobody() {
    for habits in [Habits::default(), Habits { jwt: false, ..Habits::default() }] {
        let door = Door::in_memory(now(), habits).await;
        let answer = door.sign_in("u").await;
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        assert!(answer.header("content-type").starts_with("application/json"));
        let mut members: Vec<&str> = answer.body.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["access_token", "expires_in", "id_token", "refresh_token", "token_type"]);
        assert_eq!((&answer.body["token_type"], &answer.body["expires_in"]), (&json!("Bearer"), &json!(3_600)));
        let refreshed = door.refresh(&answer.text("refresh_token")).await;
        assert_eq!((refreshed.header("cache-control"), refreshed.header("pragma")), ("no-store", "no-cache"));
    }
}

#[tokio::test]
async fn rfc_6749_5_2_what_is_missing_is_an_invalid_request_and_an_unknown_grant_is_unsupported() {
    let mut door = door().await;
    let upstream = Upstreams::before(&mut door, None);
    let client = ("client_id", CLIENT);
    for (fields, error) in [
        (vec![], "invalid_request"),
        (vec![client], "invalid_request"),
        (vec![client, ("grant_type", "")], "invalid_request"),
        (vec![("grant_type", "authorization_code"), ("code", "c")], "invalid_request"),
        (vec![client, ("grant_type", "authorization_code")], "invalid_request"),
        (vec![client, ("grant_type", "authorization_code"), ("code", "")], "invalid_request"),
        (vec![client, ("grant_type", "refresh_token")], "invalid_request"),
        (vec![client, ("grant_type", "refresh_token"), ("code", "c")], "invalid_request"),
        (vec![("grant_type", "client_credentials")], "invalid_request"),
        (vec![("client_id", "a\nb"), ("grant_type", "client_credentials")], "invalid_request"),
        (vec![client, ("grant_type", "password"), ("username", "u"), ("password", "p")], "unsupported_grant_type"),
        (vec![client, ("grant_type", "Authorization_Code"), ("code", "c")], "unsupported_grant_type"),
        (vec![client, ("grant_type", "urn:ietf:params:oauth:grant-type:device_code")], "unsupported_grant_type"),
    ] {
        assert_error(&door.form("/oauth/token", &fields, &[]).await, 400, error);
        let members: Map<String, Value> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        assert_error(&json_body(&door, &Value::Object(members).to_string()).await, 400, error);
    }
    assert_eq!(upstream.asked(), 0);
}

/// The sources send JSON; the rules are the same.
#[tokio::test]
async fn rfc_6749_3_2_a_json_object_of_texts_does_as_well_and_nothing_else() {
    let door = door().await;
    let code = door.issuer.code(&user("u"), &ClientId::parse(CLIENT).unwrap(), Epoch(NOW));
    let body = json!({ "grant_type": "authorization_code", "code": code, "client_id": CLIENT, "scope": null });
    let answer = json_body(&door, &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    for body in [
        "",
        "[]",
        "null",
        "{",
        r#""grant_type""#,
        r#"{"grant_type":["refresh_token"]}"#,
        r#"{"grant_type":"refresh_token","refresh_token":1,"client_id":"app"}"#,
        r#"{"grant_type":"refresh_token","refresh_token":{"a":"b"},"client_id":"app"}"#,
        r#"{"grant_type":"client_credentials","client_id":true}"#,
        "{\"grant_type\":\"client_credentials\",\"client_id\":\"app\"} {}",
        "\u{FEFF}{}",
    ] {
        assert_error(&json_body(&door, body).await, 400, "invalid_request");
    }
    let deep = format!("{{\"grant_type\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_error(&json_body(&door, &deep).await, 400, "invalid_request");
    assert_error(&json_body(&door, &format!("{{\"x\":\"{}\"}}", "x".repeat(70_000))).await, 413, "invalid_request");
    for media_type in ["text/plain", "", "application/xml", "application/jsonp"] {
        let request = Request::post("/oauth/token").header("content-type", media_type);
        assert_error(&door.send(request.body(Body::from("{}")).unwrap()).await, 415, "invalid_request");
    }
    let broken = Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded");
    let answer = door.send(broken.body(Body::from(vec![0xFF, b'=', 0xFE, b'&', b'%'])).unwrap()).await;
    assert_error(&answer, 400, "invalid_request");
}

/// `[OAUTH-3]`: the issuer's own words, as far as they are those of §5.2.
#[tokio::test]
async fn rfc_6749_5_2_the_issuers_refusal_is_passed_on_with_its_status_and_nothing_but_the_error() {
    for (status, sent, expected) in [
        (400, json!({ "error": "invalid_grant" }), json!({ "error": "invalid_grant" })),
        (
            401,
            json!({ "error": "invalid_client", "error_description": "누구세요", "error_uri": "https://e" }),
            json!({ "error": "invalid_client", "error_description": "누구세요", "error_uri": "https://e" }),
        ),
        (403, json!({ "error": "access_denied" }), json!({ "error": "access_denied" })),
        (429, json!({ "error": "slow_down" }), json!({ "error": "slow_down" })),
        (400, json!({ "message": "no", "access_token": "secret" }), json!({ "error": "invalid_request" })),
        (400, json!({ "error": 7, "error_description": ["x"] }), json!({ "error": "invalid_request" })),
        (400, json!({}), json!({ "error": "invalid_request" })),
    ] {
        let mut door = door().await;
        let Value::Object(body) = sent else { panic!("an object") };
        let refused = Refused { status, body };
        Upstreams::before(&mut door, Some(UpstreamError::Refused(refused)));
        let answer = door.form("/oauth/token", &CODE, &[]).await;
        assert_error(&answer, status, expected["error"].as_str().unwrap());
        assert_eq!(answer.body, expected);
        assert_eq!(answer.header("www-authenticate").starts_with("Basic "), status == 401, "§5.2");
        assert_eq!(holdings(&door, "u").await, Holdings::default());
    }
}

#[tokio::test]
async fn oauth_3_an_issuer_that_is_slow_is_504_and_one_that_fails_502_and_nothing_is_left_behind() {
    for (error, status, code) in [
        (UpstreamError::TimedOut("inner text".to_owned()), 504, "temporarily_unavailable"),
        (UpstreamError::Failed("inner text".to_owned()), 502, "server_error"),
        (UpstreamError::NotOffered("token endpoint"), 502, "server_error"),
    ] {
        let mut door = door().await;
        let refresh = door.sign_in("u").await.text("refresh_token");
        let before = holdings(&door, "u").await;
        let upstream = Upstreams::before(&mut door, Some(error));
        let client = ("client_id", CLIENT);
        for fields in [
            vec![client, ("grant_type", "authorization_code"), ("code", "c")],
            vec![client, ("grant_type", "refresh_token"), ("refresh_token", &refresh)],
            vec![client, ("grant_type", "client_credentials")],
        ] {
            let answer = door.form("/oauth/token", &fields, &[]).await;
            assert_error(&answer, status, code);
            assert!(!answer.raw.contains("inner text"));
        }
        assert_eq!(upstream.asked(), 3, "never tried twice: a code is good once");
        assert_eq!(holdings(&door, "u").await, before);
        door.upstream = door.issuer.clone();
        assert_eq!(door.refresh(&refresh).await.status, StatusCode::OK, "the grant is as good as before");
    }
}

#[tokio::test]
async fn oauth_1_a_code_makes_a_session_and_both_tokens_are_noted_by_id() {
    for habits in [Habits::default(), Habits { jwt: false, ..Habits::default() }] {
        let door = Door::in_memory(now(), habits).await;
        let answer = door.sign_in("사용자").await;
        let id = session_of(&answer);
        assert!(answer.cookies().contains(&format!("session_id={id}")), "{}", answer.cookies());
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            for wanted in ["; HttpOnly", "; Secure", "; SameSite=Lax", "; Path=/"] {
                assert!(line.contains(wanted), "{line}");
            }
            assert!(line.ends_with(&format!("; Max-Age={}", SESSION_LIMITS.absolute)), "{line}");
        }
        let Holdings { tokens, sessions } = holdings(&door, "사용자").await;
        let [session] = &sessions[..] else { panic!("one session: {sessions:?}") };
        assert_eq!((&session.id, session.started_at), (&id, Epoch(NOW)));
        let kinds: Vec<TokenKind> = tokens.iter().map(|token| token.kind).collect();
        assert!(kinds.len() == 2 && kinds.contains(&TokenKind::Access) && kinds.contains(&TokenKind::Refresh));
        for token in &tokens {
            assert_eq!((token.session.as_ref(), token.client.as_str()), (Some(&id), CLIENT));
            assert_eq!((token.signed_in_at, token.revoked.as_ref()), (Some(Epoch(NOW)), None));
        }
        let refresh = TokenId::of_opaque(&RawToken::new(answer.text("refresh_token")));
        assert!(tokens.iter().any(|token| token.id == refresh));
        let rows = format!("{tokens:?}{sessions:?}");
        assert!(!rows.contains(&answer.text("access_token")) && !rows.contains(&answer.text("refresh_token")));
    }
}

/// RFC 6749 §4.4; spec §1: a service token has no user.
#[tokio::test]
async fn oauth_1_client_credentials_are_noted_as_a_service_token() {
    for jwt in [false, true] {
        let door = Door::in_memory(now(), Habits { jwt, ..Habits::default() }).await;
        let fields = [("grant_type", "client_credentials"), ("client_id", BACKEND), ("client_secret", SECRET)];
        let answer = door.form("/oauth/token", &fields, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!((answer.header("x-session-id"), answer.cookies().as_str()), ("", ""), "nobody signed in");
        assert_eq!(answer.body.get("refresh_token"), None, "§4.4.3");
        let owner = Owner::Service(ClientId::parse(BACKEND).unwrap());
        let Holdings { tokens, sessions } = door.fleet.store.holdings(&owner).await.unwrap();
        let [token] = &tokens[..] else { panic!("one token: {tokens:?}") };
        assert_eq!((token.kind, token.session.as_ref(), sessions.len()), (TokenKind::Access, None, 0));
        assert_eq!((token.expires_at, token.opaque), (Epoch(NOW + 3_600), !jwt));
    }
}

/// §6: "MUST be bound to the client to which the refresh token was issued".
#[tokio::test]
async fn rfc_6749_6_a_refresh_token_of_another_client_or_an_access_token_brings_nothing() {
    let mut door = Door::in_memory(now(), Habits { jwt: false, ..Habits::default() }).await;
    let signed_in = door.sign_in("u").await;
    let upstream = Upstreams::before(&mut door, None);
    let grant = ("grant_type", "refresh_token");
    let (access, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
    for fields in [
        [grant, ("client_id", OTHER), ("refresh_token", &refresh)],
        [grant, ("client_id", CLIENT), ("refresh_token", &access)],
    ] {
        assert_error(&door.form("/oauth/token", &fields, &[]).await, 400, "invalid_grant");
    }
    assert_eq!(upstream.asked(), 0, "refused here first");
    assert_eq!(door.refresh(&refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn rfc_6749_6_a_refresh_brings_tokens_of_the_same_session_and_keeps_its_sign_in() {
    for rotates in [false, true] {
        let door = Door::in_memory(now(), Habits { rotates, ..Habits::default() }).await;
        let first = door.sign_in("u").await;
        door.fleet.clock.advance(TimeDelta::minutes(30));
        let second = door.refresh(&first.text("refresh_token")).await;
        assert_eq!(session_of(&second), session_of(&first));
        assert_eq!(second.body.get("refresh_token").is_some(), rotates);
        let Holdings { tokens, sessions } = holdings(&door, "u").await;
        assert_eq!((tokens.len(), sessions.len()), (if rotates { 4 } else { 3 }, 1));
        assert!(tokens.iter().all(|token| token.signed_in_at == Some(Epoch(NOW))), "CUT-4: {tokens:?}");
        assert!(tokens.iter().all(|token| token.session == Some(session_of(&first))));
    }
}

/// `[OAUTH-1]`: refused before the issuer is asked, so that the grant is not even used up.
#[tokio::test]
async fn oauth_1_a_refresh_is_refused_first_if_its_token_session_user_or_client_is_cut_off() {
    for what in ["token", "session", "user", "client", "user at the client", "everything", "row"] {
        let mut door = door().await;
        let signed_in = door.sign_in("u").await;
        let refresh = signed_in.text("refresh_token");
        let upstream = Upstreams::before(&mut door, None);
        let (denier, client) = (door.fleet.denier(), ClientId::parse(CLIENT).unwrap());
        let id = TokenId::of_opaque(&RawToken::new(refresh.as_str()));
        let scope = match what {
            "session" => Some(Scope::Session(session_of(&signed_in))),
            "user" => Some(Scope::User(user("u"))),
            "client" => Some(Scope::Client(client)),
            "user at the client" => Some(Scope::UserClient(user("u"), client)),
            "everything" => Some(Scope::Everything),
            _ => None,
        };
        denier.sign_ins(scope, Epoch(NOW), &RevokedBy::User).await.unwrap();
        let revoked = domain::token::Revoked { at: Epoch(NOW), by: RevokedBy::Issuer };
        match what {
            "token" => denier.tokens([(id, Epoch(NOW + 10_000))]).await.unwrap(),
            "row" => _ = door.fleet.store.revoke(&Owner::User(user("u")), &id, &revoked).await.unwrap(),
            _ => {}
        }
        assert_error(&door.refresh(&refresh).await, 400, "invalid_grant");
        assert_eq!(upstream.asked(), 0, "{what}");
    }
}

/// `[CUT-4]`: a code of a sign-in that was ended in the meantime, such as by the issuer's single sign-on.
#[tokio::test]
async fn oauth_1_a_code_of_a_sign_in_that_is_cut_off_brings_nothing_and_is_withdrawn() {
    for says_sid in [false, true] {
        let door = Door::in_memory(now(), Habits { says_sid, ..Habits::default() }).await;
        door.fleet.denier().sign_ins([Scope::User(user("u"))], Epoch(NOW), &RevokedBy::User).await.unwrap();
        let answer = door.sign_in_at("u", Epoch(NOW)).await;
        assert_error(&answer, 400, "invalid_grant");
        let Holdings { tokens, sessions } = holdings(&door, "u").await;
        assert!(!tokens.is_empty() && tokens.iter().all(|token| token.revoked.is_some()), "{tokens:?}");
        assert!(sessions.iter().all(|session| session.ended_by.is_some()), "{sessions:?}");
        assert_eq!(door.issuer.revoked().len(), 1, "there, too");
        let later = door.sign_in_at("u", Epoch(NOW + 1)).await;
        assert_eq!(later.status, StatusCode::OK, "{later:?}");
    }
}

/// A grant that nobody told us of is taken as far as the issuer says which sign-in it stems from.
#[tokio::test]
async fn oauth_1_an_unknown_refresh_token_is_taken_only_if_its_sign_in_is_known() {
    for says_auth_time in [false, true] {
        let habits = Habits { says_auth_time, ..Habits::default() };
        let door = Door::in_memory(now(), habits).await;
        let (u, client) = (user("u"), ClientId::parse(CLIENT).unwrap());
        let code = door.issuer.code(&u, &client, Epoch(NOW));
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let fields = vec![field("grant_type", "authorization_code"), field("code", &code)];
        let elsewhere = door.issuer.token(&Form { fields, authorization: None }).await.unwrap();
        let refresh = elsewhere.refresh_token().unwrap().reveal().to_owned();
        let answer = door.refresh(&refresh).await;
        if says_auth_time {
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            // From here on it is known like any other.
            door.fleet.clock.advance(TimeDelta::seconds(1));
            let at = door.fleet.clock.now().into();
            let issuers = SessionId::parse(answer.header("x-session-id")).unwrap();
            door.fleet.denier().sign_ins([Scope::Session(issuers)], at, &RevokedBy::User).await.unwrap();
            assert_error(&door.refresh(&answer.text("refresh_token")).await, 400, "invalid_grant");
        } else {
            assert_error(&answer, 400, "invalid_grant");
            assert_eq!(door.issuer.revoked().len(), 1, "what was issued for it is withdrawn");
        }
    }
}

/// The issuer's news that a refresh token has ended may come before anything else that is known of it.
#[tokio::test]
async fn oauth_1_an_unknown_refresh_token_that_was_ended_by_itself_is_refused() {
    let door = door().await;
    let code = door.issuer.code(&user("u"), &ClientId::parse(CLIENT).unwrap(), Epoch(NOW));
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let fields = vec![field("grant_type", "authorization_code"), field("code", &code)];
    let elsewhere = door.issuer.token(&Form { fields, authorization: None }).await.unwrap();
    let refresh = elsewhere.refresh_token().unwrap();
    let key = TokenKey {
        id: TokenId::of_opaque(&refresh),
        user_id: Some(user("u")),
        client_id: ClientId::parse(CLIENT).unwrap(),
        expires_at: None,
    };
    let ingest = Ingest { records: door.fleet.store.clone(), sign_outs: door.fleet.sign_outs() };
    ingest.apply(&Record::delete(NOW * 1_000, Key::Token(key))).await.unwrap();
    assert_error(&door.refresh(refresh.reveal()).await, 400, "invalid_grant");
}

/// A job that ends certain tokens of a sign-in and its session leaves no cutoff.
#[tokio::test]
async fn oauth_1_a_refresh_is_refused_once_its_session_is_ended_whatever_ended_it() {
    let door = door().await;
    let signed_in = door.sign_in("u").await;
    let ended = Revoked { at: Epoch(NOW), by: RevokedBy::Job(JobId::parse("j").unwrap()) };
    assert!(door.fleet.store.end_session(&user("u"), &session_of(&signed_in), &ended).await.unwrap());
    assert_error(&door.refresh(&signed_in.text("refresh_token")).await, 400, "invalid_grant");
}

#[tokio::test]
async fn check_3_with_the_stores_away_nothing_is_handed_out() {
    let door = door().await;
    let refresh = door.sign_in("u").await.text("refresh_token");
    door.fleet.store.set_down(true);
    for cache_down in [false, true] {
        door.fleet.cache.set_down(cache_down);
        let client = [("grant_type", "client_credentials"), ("client_id", OTHER)];
        for answer in [
            door.sign_in_at("u", Epoch(NOW)).await,
            door.refresh(&refresh).await,
            door.form("/oauth/token", &client, &[]).await,
        ] {
            assert_error(&answer, 503, "temporarily_unavailable");
            assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
        }
    }
    door.fleet.store.set_down(false);
    door.fleet.cache.set_down(false);
    assert_eq!(door.refresh(&refresh).await.status, StatusCode::OK, "asked before the issuer: it was not used up");
}

/// `[CHECK-3]`: signing in needs nothing that only Redis knows.
#[tokio::test]
async fn check_3_with_redis_away_signing_in_and_refreshing_go_on() {
    let door = door().await;
    door.fleet.cache.set_down(true);
    let signed_in = door.sign_in("u").await;
    assert_eq!(door.userinfo(&signed_in.text("access_token")).await, StatusCode::OK);
    assert_eq!(door.refresh(&signed_in.text("refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn rfc_6749_10_no_refusal_repeats_what_it_was_sent() {
    let mut door = door().await;
    let signed_in = door.sign_in("u").await;
    door.call("POST", "/api/v1/auth/logout", &signed_in.text("access_token"), Some(json!({}))).await;
    Upstreams::before(&mut door, None);
    let header = basic(BACKEND, "a-secret");
    let refresh = signed_in.text("refresh_token");
    for fields in [
        vec![("grant_type", "authorization_code"), ("code", "a-code"), ("code_verifier", "a-verifier")],
        vec![("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())],
        vec![("grant_type", "refresh_token"), ("refresh_token", "a-token")],
        vec![("grant_type", "a-grant"), ("password", "a-password")],
        vec![("grant_type", "a-grant"), ("grant_type", "a-secret")],
    ] {
        for (client, headers) in [(Some(("client_id", CLIENT)), vec![]), (None, vec![("authorization", &*header)])] {
            let fields: Vec<_> = fields.iter().copied().chain(client).collect();
            let answer = door.form("/oauth/token", &fields, &headers).await;
            assert!(answer.status.is_client_error(), "{answer:?}");
            for secret in ["a-code", "a-verifier", &refresh, "a-token", "a-grant", "a-password", "a-secret", &header] {
                assert!(!answer.raw.contains(secret), "{secret} in {answer:?}");
            }
        }
    }
}

/// SCOPE-7 and RFC 7662: a refresh token that was replaced is not live any more, whatever the issuer does with it.
#[tokio::test]
async fn rfc_6749_6_a_replaced_refresh_token_is_not_active_and_whether_it_is_taken_once_more_is_the_issuers_to_say() {
    let door = door().await;
    let old = door.sign_in("u").await.text("refresh_token");
    let ask = async |token: &str| {
        let header = basic(RESOURCE, SECRET);
        door.form("/oauth/introspect", &[("token", token)], &[("authorization", &header)]).await.body["active"].clone()
    };
    assert_eq!(ask(&old).await, true);
    let new = door.refresh(&old).await.text("refresh_token");
    assert_eq!((ask(&old).await, ask(&new).await), (json!(false), json!(true)));
    let asked_again = door.refresh(&old).await;
    assert_eq!(asked_again.body["error"], "invalid_grant");
    assert_eq!(asked_again.body.get("error_description"), None, "in the issuer's words: it was asked");
    let ended = TokenId::of_opaque(&RawToken::new(old.as_str()));
    let row = door.fleet.store.opaque(&ended).await.unwrap().unwrap();
    assert_eq!(row.revoked.map(|revoked| revoked.by), Some(RevokedBy::Rotation));
}

/// Some issuers take a replaced refresh token once more, and no cutoff says what a job of single tokens has ended.
#[tokio::test]
async fn cut_6_after_a_job_of_single_tokens_a_replaced_refresh_token_brings_nothing_either() {
    let mut door = door().await;
    door.upstream = Arc::new(Lenient(door.issuer.clone()));
    let signed_in = door.sign_in("u").await;
    let replaced = signed_in.text("refresh_token");
    let successor = door.refresh(&replaced).await;
    assert_eq!(door.refresh(&replaced).await.status, StatusCode::OK, "the answer may have been lost");
    door.fleet.clock.advance(TimeDelta::seconds(10));
    let at = door.fleet.clock.now();
    let conditions =
        Conditions::TimeBased { created_before: None, last_used_before: Some(at), token_types: Kinds::RefreshOnly };
    let job = Job { conditions, ..contract::job("j", &GroupId::parse("g").unwrap(), at) };
    door.fleet.store.create(NewJob::plain(&job)).await.unwrap();
    for chunk in door.fleet.plan(&job.id).await {
        door.fleet.settle(&chunk, Try::First).await.unwrap();
    }
    for ended in [successor.text("refresh_token"), replaced] {
        assert_error(&door.refresh(&ended).await, 400, "invalid_grant");
    }
    let tally = door.fleet.store.tally(&job.id).await.unwrap().statistics;
    assert_eq!(tally.refresh_tokens_revoked, 2, "the replaced one was nobody's loss");
}

/// An issuer that takes every refresh token again and again, and hands out new ones for it.
struct Lenient(Arc<FakeIssuer>);

#[async_trait]
impl Upstream for Lenient {
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError> {
        self.0.authorization_endpoint().await
    }
    async fn token(&self, grant: &Form) -> Result<Issued, UpstreamError> {
        let issued = self.0.token(grant).await?;
        if let Some(token) = grant.get("refresh_token") {
            self.0.take_again(token, issued.refresh_token().unwrap().reveal());
        }
        Ok(issued)
    }
    async fn revoke(&self, form: &Form) -> Result<(), UpstreamError> {
        self.0.revoke(form).await
    }
    async fn reachable(&self) -> Result<(), UpstreamError> {
        self.0.reachable().await
    }
}

/// Clean-ups by disuse must not end those who are there every day.
#[tokio::test]
async fn oauth_1_a_refresh_is_a_use_of_its_refresh_token_which_stays_as_old_as_it_was() {
    let door = Door::in_memory(now(), Habits { rotates: false, ..Habits::default() }).await;
    let signed_in = door.sign_in("u").await;
    door.fleet.clock.advance(TimeDelta::seconds(50));
    assert_eq!(door.refresh(&signed_in.text("refresh_token")).await.status, StatusCode::OK);
    let rows = holdings(&door, "u").await.tokens;
    let refresh: Vec<_> = rows.iter().filter(|row| row.kind == TokenKind::Refresh).collect();
    assert_eq!(refresh.len(), 1);
    assert_eq!((refresh[0].issued_at, refresh[0].last_used_at), (Epoch(NOW), Some(Epoch(NOW + 50))));
}

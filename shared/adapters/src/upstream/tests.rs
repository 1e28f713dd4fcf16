#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use domain::identity::{Profile, VerificationSource};
use domain::ids::{RawToken, UserId};
use domain::settings::{Endpoints, Issuer};
use domain::testing::TestClock;
use domain::upstream::{Authority, Refused};
use serde_json::{Map, Value, json};

use super::*;
use crate::http::Http;
use crate::serving::{Asked, Reply, Serving};

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// For tests in which the issuer keeps silent.
const SHORT: Limits = Limits {
    keys: Duration::from_millis(150),
    token: Duration::from_millis(300),
    vouch: Duration::from_millis(300),
    revoke: Duration::from_millis(300),
    reachable: Duration::from_millis(100),
};

fn answer(status: u16, body: &Value) -> Reply {
    Reply::Answer(status, body.to_string())
}

/// An issuer on this machine, and a clock that stands still.
struct Stage {
    server: Serving,
    clock: Arc<TestClock>,
}

impl Stage {
    async fn start(replies: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self { server: Serving::start(replies).await, clock: Arc::new(TestClock::at(DateTime::UNIX_EPOCH)) }
    }

    fn issuer(&self) -> Issuer {
        Issuer {
            issuer: self.server.url(""),
            jwks_uri: None,
            audience: None,
            required_claim: None,
            session_claim: "sid".to_owned(),
            client_claim: None,
            roles_claim: None,
            hs256_secret: None,
        }
    }

    /// All endpoints configured.
    fn endpoints(&self) -> Endpoints {
        let at = |path| Some(self.server.url(path));
        Endpoints {
            authorization: at("/authorize"),
            token: at("/token"),
            userinfo: at("/userinfo"),
            revocation: at("/revoke"),
            auth_me: at("/api/v1/auth/me"),
        }
    }

    fn discovery(&self, endpoints: Endpoints, limits: Limits) -> Arc<Discovery> {
        let discovery = Discovery::new(&self.issuer(), endpoints, Http::new(), self.clock.clone());
        Arc::new(discovery.with_limits(limits))
    }

    fn configured(&self) -> Arc<Discovery> {
        self.discovery(self.endpoints(), Limits::default())
    }

    /// Its own description, naming these members besides itself.
    fn describe(&self, members: &Value) -> Reply {
        let mut document = members.clone();
        document["issuer"] = self.server.url("").into();
        answer(200, &document)
    }

    /// From now on it describes itself so.
    fn describes(&self, members: &Value) {
        let reply = self.describe(members);
        self.server.change(move |_| reply.clone());
    }
}

fn grant() -> Form {
    let fields = [("grant_type", "authorization_code"), ("code", "se&cret")];
    Form {
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        authorization: Some("Basic Yzpz".to_owned()),
    }
}

fn token() -> RawToken {
    RawToken::new("a.b.c")
}

fn is_failed<T>(result: &Result<T, UpstreamError>) -> bool {
    matches!(result, Err(UpstreamError::Failed(_)))
}

fn is_timed_out<T>(result: &Result<T, UpstreamError>) -> bool {
    matches!(result, Err(UpstreamError::TimedOut(_)))
}

fn refusal<T>(result: Result<T, UpstreamError>) -> Refused {
    match result.err() {
        Some(UpstreamError::Refused(refused)) => refused,
        other => panic!("no refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_grant_is_passed_on_as_it_is_and_its_answer_handed_back() {
    let stage = Stage::start(|_| answer(200, &json!({"access_token": "t", "x": [1]}))).await;
    let client = UpstreamClient::new(stage.configured());
    let issued = client.token(&grant()).await.unwrap();
    assert_eq!(Value::from(issued.body), json!({"access_token": "t", "x": [1]}));
    let asked = stage.server.asked().remove(0);
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token"));
    assert_eq!(asked.body, "grant_type=authorization_code&code=se%26cret");
    assert_eq!(asked.header("authorization"), Some("Basic Yzpz"));
}

#[tokio::test]
async fn a_refusal_comes_with_its_status_and_body() {
    let stage = Stage::start(|asked| match asked.path.as_str() {
        "/token" => answer(400, &json!({"error": "invalid_grant"})),
        "/revoke" => Reply::Answer(401, "<html>".to_owned()),
        _ => answer(403, &json!(["no object"])),
    })
    .await;
    let client = UpstreamClient::new(stage.configured());
    let refused = refusal(client.token(&grant()).await);
    assert_eq!((refused.status, Value::from(refused.body)), (400, json!({"error": "invalid_grant"})));
    assert_eq!(refusal(client.revoke(&grant()).await), Refused { status: 401, body: Map::new() });
    let userinfo = Userinfo::new(stage.configured(), None);
    assert_eq!(refusal(userinfo.vouch(&token()).await), Refused { status: 403, body: Map::new() });
    assert_eq!(stage.server.asked().len(), 3, "a no is not asked for twice");
}

#[tokio::test]
async fn whatever_is_neither_yes_nor_no_is_a_failure() {
    let garbage = [
        answer(500, &json!({"error": "invalid_grant"})),
        answer(503, &json!({})),
        answer(408, &json!({"error": "invalid_token"})),
        answer(429, &json!({"error": "invalid_token"})),
        Reply::Answer(200, "garbage".to_owned()),
        answer(200, &json!(["sub"])),
        Reply::Answer(204, String::new()),
        Reply::Answer(200, format!(r#"{{"sub":"u","access_token":"{}"}}"#, "x".repeat(1024 * 1024))),
    ];
    for reply in garbage {
        let given = reply.clone();
        let stage = Stage::start(move |_| given.clone()).await;
        let (userinfo, me) = (Userinfo::new(stage.configured(), None), AuthMe::new(stage.configured()));
        let shown = format!("{reply:?}").chars().take(60).collect::<String>();
        assert!(is_failed(&UpstreamClient::new(stage.configured()).token(&grant()).await), "{shown}");
        assert!(is_failed(&userinfo.vouch(&token()).await), "{shown}");
        assert!(is_failed(&me.vouch(&token()).await), "{shown}");
    }
}

#[tokio::test]
async fn tokens_and_secrets_do_not_follow_a_redirect() {
    let elsewhere = Serving::start(|_| answer(200, &json!({"sub": "u", "access_token": "t"}))).await;
    let target = elsewhere.url("/");
    let stage = Stage::start(move |_| Reply::Redirect(target.clone())).await;
    let client = UpstreamClient::new(stage.configured());
    assert!(is_failed(&client.token(&grant()).await));
    assert!(is_failed(&client.revoke(&grant()).await));
    assert!(is_failed(&Userinfo::new(stage.configured(), None).vouch(&token()).await));
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test]
async fn silence_is_a_time_out_of_every_call() {
    let stage = Stage::start(|_| Reply::Never).await;
    let configured = || stage.discovery(stage.endpoints(), SHORT);
    let client = UpstreamClient::new(configured());
    assert!(is_timed_out(&client.token(&grant()).await));
    assert!(is_timed_out(&client.revoke(&grant()).await));
    assert!(is_timed_out(&client.reachable().await));
    assert!(is_timed_out(&Userinfo::new(configured(), None).vouch(&token()).await));
    assert!(is_timed_out(&AuthMe::new(configured()).vouch(&token()).await));
    let undiscovered = UpstreamClient::new(stage.discovery(Endpoints::default(), SHORT));
    assert!(is_timed_out(&undiscovered.authorization_endpoint().await));
    assert_eq!(stage.server.count("/token"), 1, "a grant is good once");
}

#[tokio::test]
async fn a_grant_is_tried_once_and_everything_else_once_more() {
    let stage = Stage::start(|_| answer(503, &json!({}))).await;
    let client = UpstreamClient::new(stage.configured());
    assert!(is_failed(&client.token(&grant()).await));
    assert!(is_failed(&client.revoke(&grant()).await));
    assert!(is_failed(&Userinfo::new(stage.configured(), None).vouch(&token()).await));
    assert_eq!(["/token", "/revoke", "/userinfo"].map(|path| stage.server.count(path)), [1, 2, 2]);
    let mut times = 0;
    stage.server.change(move |_| {
        times += 1;
        if times == 1 { answer(503, &json!({})) } else { Reply::Answer(200, String::new()) }
    });
    client.revoke(&grant()).await.unwrap();
}

#[tokio::test]
async fn a_revocation_is_done_with_200_or_204() {
    for status in [200, 204] {
        let stage = Stage::start(move |_| Reply::Answer(status, String::new())).await;
        UpstreamClient::new(stage.configured()).revoke(&grant()).await.unwrap();
        let asked = stage.server.asked().remove(0);
        assert_eq!((asked.path.as_str(), asked.header("authorization")), ("/revoke", Some("Basic Yzpz")));
    }
}

#[tokio::test]
async fn an_issuer_that_fails_again_and_again_is_left_alone_for_a_moment_endpoint_by_endpoint() {
    let stage = Stage::start(|_| answer(500, &json!({}))).await;
    let client = UpstreamClient::new(stage.configured());
    for _ in 0..8 {
        assert!(is_failed(&client.token(&grant()).await));
    }
    assert_eq!(stage.server.count("/token"), 5);
    stage.server.change(|_| answer(200, &json!({})));
    client.revoke(&grant()).await.unwrap();
    assert!(is_failed(&client.token(&grant()).await));
    stage.clock.advance(TimeDelta::seconds(5));
    client.token(&grant()).await.unwrap();
    client.token(&grant()).await.unwrap();
    assert_eq!(stage.server.count("/token"), 7);
}

#[tokio::test]
async fn calls_that_take_too_long_open_the_breaker_too() {
    let stage = Stage::start(|_| Reply::Never).await;
    let limits = Limits { vouch: Duration::from_millis(30), ..SHORT };
    let userinfo = Userinfo::new(stage.discovery(stage.endpoints(), limits), None);
    for _ in 0..5 {
        assert!(is_timed_out(&userinfo.vouch(&token()).await));
    }
    assert!(is_failed(&userinfo.vouch(&token()).await));
}

#[tokio::test]
async fn userinfo_says_who_it_is() {
    let user = json!({
        "sub": "u-1", "email": "u@example.com", "preferred_username": "사용자", "picture": "https://example.com/u.png",
        "roles": ["auditor", 1, null, "x"], "permissions": "no list", "groups": ["g"], "cognito:groups": ["admins"],
    });
    let stage = Stage::start(move |_| answer(200, &user)).await;
    let (id, profile) = Userinfo::new(stage.configured(), None).vouch(&token()).await.unwrap();
    assert_eq!(id.as_str(), "u-1");
    let expected = Profile {
        email: Some("u@example.com".to_owned()),
        name: Some("사용자".to_owned()),
        avatar: Some("https://example.com/u.png".to_owned()),
        roles: vec!["auditor".to_owned(), "x".to_owned()],
        permissions: Vec::new(),
        groups: vec!["g".to_owned()],
    };
    assert_eq!(profile, expected);
    let configured = Userinfo::new(stage.configured(), Some("cognito:groups".to_owned()));
    assert_eq!(configured.vouch(&token()).await.unwrap().1.roles, ["admins"]);
    assert_eq!(configured.source(), VerificationSource::OauthUserinfo);
    let asked = stage.server.asked().remove(0);
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/userinfo"));
    assert_eq!(asked.header("authorization"), Some("Bearer a.b.c"));
}

#[tokio::test]
async fn the_older_way_says_who_it_is() {
    let cases = [
        (json!({"user_id": "u", "id": 7, "username": "n", "avatar_url": "a"}), Some("u")),
        (json!({"user_id": null, "id": 7, "username": "n", "avatar_url": "a"}), Some("7")),
        (json!({"id": "", "username": "n"}), None),
        (json!({"id": 1.5}), None),
        (json!({"sub": "u"}), None),
    ];
    for (user, id) in cases {
        let shown = user.to_string();
        let stage = Stage::start(move |_| answer(200, &user)).await;
        let me = AuthMe::new(stage.configured());
        assert_eq!(me.source(), VerificationSource::TraditionalAuth);
        let vouched = me.vouch(&token()).await;
        let Some(id) = id else {
            assert!(is_failed(&vouched), "{shown}");
            continue;
        };
        let (user, profile) = vouched.unwrap();
        assert_eq!(user.as_str(), id);
        assert_eq!((profile.name.as_deref(), profile.avatar.as_deref()), (Some("n"), Some("a")));
        assert_eq!(stage.server.count("/api/v1/auth/me"), 1);
    }
}

#[tokio::test]
async fn a_good_word_is_remembered_for_less_than_a_minute_and_for_that_token_only() {
    let stage = Stage::start(|_| answer(200, &json!({"sub": "u"}))).await;
    let userinfo = Remembering::new(Userinfo::new(stage.configured(), None), stage.clock.clone());
    let expected = (UserId::parse("u").unwrap(), Profile::default());
    for _ in 0..3 {
        assert_eq!(userinfo.vouch(&token()).await.unwrap(), expected);
    }
    assert_eq!(stage.server.asked().len(), 1);
    userinfo.vouch(&RawToken::new("d.e.f")).await.unwrap();
    assert_eq!(stage.server.asked().len(), 2);
    stage.clock.advance(TimeDelta::milliseconds(59_999));
    userinfo.vouch(&token()).await.unwrap();
    assert_eq!(stage.server.asked().len(), 2);
    stage.server.change(|_| answer(401, &json!({})));
    stage.clock.advance(TimeDelta::milliseconds(1));
    assert_eq!(refusal(userinfo.vouch(&token()).await).status, 401);
    assert_eq!(userinfo.source(), VerificationSource::OauthUserinfo);
}

#[tokio::test]
async fn refusals_and_failures_are_not_remembered() {
    let stage = Stage::start(|_| answer(401, &json!({}))).await;
    let userinfo = Remembering::new(Userinfo::new(stage.configured(), None), stage.clock.clone());
    refusal(userinfo.vouch(&token()).await);
    stage.server.change(|_| answer(500, &json!({})));
    assert!(is_failed(&userinfo.vouch(&token()).await));
    stage.server.change(|_| answer(200, &json!({"sub": "u"})));
    userinfo.vouch(&token()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_configured_is_discovered_once_an_hour() {
    let stage = Stage::start(|_| Reply::Never).await;
    stage.describes(&json!({"authorization_endpoint": "http://a/1", "token_endpoint": "http://t/"}));
    let endpoints = Endpoints { token: Some(stage.server.url("/token")), ..Endpoints::default() };
    let discovery = stage.discovery(endpoints, Limits::default());
    let client = UpstreamClient::new(discovery.clone());
    assert_eq!(client.authorization_endpoint().await.unwrap(), "http://a/1");
    assert_eq!(discovery.find(Endpoint::Token).await.unwrap(), stage.server.url("/token"), "configuration wins");
    stage.describes(&json!({"authorization_endpoint": "http://a/2"}));
    stage.clock.advance(TimeDelta::hours(1));
    assert_eq!(client.authorization_endpoint().await.unwrap(), "http://a/1");
    assert_eq!(stage.server.count(DISCOVERY), 1);
    stage.clock.advance(TimeDelta::seconds(1));
    assert_eq!(client.authorization_endpoint().await.unwrap(), "http://a/2");
    stage.server.change(|_| answer(500, &json!({})));
    stage.clock.advance(TimeDelta::days(1));
    assert_eq!(client.authorization_endpoint().await.unwrap(), "http://a/2", "kept while the issuer is away");
}

#[tokio::test]
async fn what_nobody_names_is_not_offered() {
    let stage = Stage::start(|_| Reply::Never).await;
    stage.describes(&json!({}));
    let discovery = stage.discovery(Endpoints::default(), Limits::default());
    let client = UpstreamClient::new(discovery.clone());
    let not_offered = |error| matches!(error, UpstreamError::NotOffered(_));
    let error = client.revoke(&grant()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::NotOffered("revocation endpoint")));
    assert!(not_offered(client.authorization_endpoint().await.unwrap_err()));
    assert!(not_offered(client.token(&grant()).await.unwrap_err()));
    assert!(not_offered(Userinfo::new(discovery.clone(), None).vouch(&token()).await.unwrap_err()));
    assert!(not_offered(AuthMe::new(discovery).vouch(&token()).await.unwrap_err()));
}

#[tokio::test]
async fn a_discovery_that_fails_is_tried_again_only_after_a_moment_and_refuses_nothing() {
    let stage = Stage::start(|_| answer(404, &json!({"error": "invalid_token"}))).await;
    let userinfo = Userinfo::new(stage.discovery(Endpoints::default(), Limits::default()), None);
    for _ in 0..3 {
        assert!(is_failed(&userinfo.vouch(&token()).await), "a missing document is no word on the token");
    }
    assert_eq!(stage.server.asked().len(), 1);
    stage.clock.advance(TimeDelta::seconds(5));
    assert!(is_failed(&userinfo.vouch(&token()).await));
    assert_eq!(stage.server.asked().len(), 2);
}

#[tokio::test]
async fn a_document_about_another_issuer_is_refused_but_for_a_slash() {
    for (end, good) in [("", true), ("/", true), ("/other", false), (".evil", false)] {
        let stage = Stage::start(|_| Reply::Never).await;
        let issuer = stage.server.url(end);
        let document = json!({"issuer": issuer, "authorization_endpoint": "http://a/"});
        stage.server.change(move |_| answer(200, &document));
        let client = UpstreamClient::new(stage.discovery(Endpoints::default(), Limits::default()));
        assert_eq!(client.authorization_endpoint().await.is_ok(), good, "{issuer}");
    }
}

#[tokio::test]
async fn the_issuer_is_reachable_when_it_answers_whatever_it_says() {
    for (status, reachable) in [(200, true), (404, true), (500, false), (503, false)] {
        let stage = Stage::start(move |_| answer(status, &json!({}))).await;
        let client = UpstreamClient::new(stage.discovery(Endpoints::default(), Limits::default()));
        assert_eq!(client.reachable().await.is_ok(), reachable, "{status}");
        assert_eq!(stage.server.count(DISCOVERY), 1);
    }
}

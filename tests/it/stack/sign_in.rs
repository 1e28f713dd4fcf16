//! Signing in through the proxy, with an OAuth client library that nobody here wrote (Authlib, `tests/oauth`), against the
//! local issuer; and what a user can do with the sign-in afterwards.

use std::process::Command;

use bytes::Bytes;
use domain::directory::secret_hash;
use domain::ids::{ClientId, RawToken, SessionId, TokenId, UserId};
use domain::ports::{RecordStore as _, SignInStore as _, TokenStore as _};
use domain::records::{ClientRecord, Entity, Record};
use domain::time::{Clock as _, SystemClock};
use http::{Request, StatusCode};
use http_body_util::Full;
use ops::stack::Stack;
use ops::web::{Answer, Web};
use serde_json::{Value, json};
use tests::environment::{self, unique};

/// A client with this secret that may ask about tokens. Its characters are those that clients encode, or do not.
const SECRET: &str = "e2e secret+/%";

async fn register(stack: &Stack, id: &str, secret: Option<&str>) {
    let client = ClientRecord {
        id: ClientId::parse(id).unwrap(),
        name: None,
        secret_sha256: secret.map(secret_hash),
        may_introspect: secret.is_some(),
    };
    let record = Record::upsert(SystemClock.now().timestamp_millis(), Entity::Client(client));
    stack.store().await.apply(&record).await.unwrap();
}

/// What the client library did: the steps by name, each as it should be.
fn library_signs_in(stack: &Stack, email: &str, arguments: &[&str]) -> Vec<(String, Value)> {
    let person = stack.person(email).unwrap();
    let url = |path: &str| format!("{}{path}", stack.api_url);
    let output = Command::new(environment::oauth_client())
        .arg(environment::root().join("tests/oauth/sign_in.py"))
        .args(["--authorize-url", &url("/oauth/authorize"), "--token-url", &url("/oauth/token")])
        .args(["--userinfo-url", &url("/oauth/userinfo"), "--client-id", &stack.client_id])
        .args(["--redirect-uri", &stack.redirect_uri, "--user", email, "--password", &person.password])
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let context = format!("{told}{}", String::from_utf8_lossy(&output.stderr));
    let steps: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for step in &steps {
        assert_eq!(step["ok"], true, "{step}\n{context}");
    }
    assert!(output.status.success(), "{context}");
    steps.into_iter().map(|step| (step["step"].as_str().unwrap().to_owned(), step)).collect()
}

fn step<'a>(steps: &'a [(String, Value)], name: &str) -> &'a Value {
    &steps.iter().find(|(step, _)| step == name).unwrap_or_else(|| panic!("no step {name}: {steps:?}")).1
}

#[tokio::test]
async fn oauth_1_a_client_library_signs_in_by_code_and_pkce_refreshes_introspects_revokes_and_is_refused_afterwards() {
    let stack = environment::stack();
    let resource = unique("resource");
    register(&stack, &resource, Some(SECRET)).await;
    register(&stack, &stack.client_id, None).await;
    let (introspect, revoke) =
        (format!("{}/oauth/introspect", stack.api_url), format!("{}/oauth/revoke", stack.api_url));
    let arguments = ["--introspect-url", &introspect, "--introspect-client-id", &resource];
    let arguments = [&arguments[..], &["--introspect-client-secret", SECRET, "--revoke-url", &revoke]].concat();
    let steps = library_signs_in(&stack, "관리자.김@example.com", &arguments);
    let person = stack.person("관리자.김@example.com").unwrap();
    assert_eq!(step(&steps, "userinfo")["body"]["sub"], person.id.as_str());
    assert_eq!(step(&steps, "userinfo")["body"]["email"], person.email.as_str());
    assert_eq!(step(&steps, "introspect")["body"]["sub"], person.id.as_str());
    assert_eq!(step(&steps, "introspect after revoke")["body"], json!({ "active": false }));
    assert_eq!(step(&steps, "revoke")["body"]["upstream"], "revoked", "the issuer was told, too");
    let refused = ["userinfo after revoke, first token", "userinfo after revoke, refreshed token"];
    for name in refused {
        assert_eq!(step(&steps, name)["body"]["error"], "invalid_token");
    }
}

/// Somebody who signed in through the proxy.
struct SignedIn {
    stack: Stack,
    web: Web,
    user: UserId,
    access: String,
    refresh: String,
    session: SessionId,
}

impl SignedIn {
    async fn new(email: &str) -> Self {
        let stack = environment::stack();
        let steps = library_signs_in(&stack, email, &["--tokens"]);
        // The tokens after the library's own refresh.
        let response = &step(&steps, "refresh")["response"];
        let text = |name: &str| response[name].as_str().unwrap().to_owned();
        let user = UserId::parse(stack.person(email).unwrap().id.clone()).unwrap();
        let refresh = text("refresh_token");
        let row = stack.store().await.opaque(&TokenId::of_opaque(&RawToken::new(refresh.as_str()))).await.unwrap();
        let session = row.unwrap().session.unwrap();
        Self { stack, web: Web::default(), user, access: text("access_token"), refresh, session }
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.web.api(method, &format!("{}{path}", self.stack.api_url), &self.access, body).await.unwrap()
    }

    async fn refreshes(&self) -> Answer {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", self.refresh.as_str()),
            ("client_id", self.stack.client_id.as_str()),
        ];
        let request = Request::post(format!("{}/oauth/token", self.stack.api_url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(serde_urlencoded::to_string(fields).unwrap())))
            .unwrap();
        self.web.send(request).await.unwrap()
    }

    async fn is_refused(&self) {
        assert_eq!(self.call("GET", "/oauth/userinfo", None).await.status, StatusCode::UNAUTHORIZED);
        let refreshed = self.refreshes().await;
        assert_eq!((refreshed.status, &refreshed.json["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    }
}

#[tokio::test]
async fn sess_1_a_user_sees_the_sign_in_and_ends_it_and_the_other_devices_stay() {
    let one = SignedIn::new("system.admin@example.com").await;
    let other = SignedIn::new("system.admin@example.com").await;
    let listed = one.call("GET", "/api/v1/auth/sessions", None).await;
    let sessions = listed.json["sessions"].as_array().unwrap();
    let of = |session: &SessionId| sessions.iter().find(|row| row["session_id"] == session.as_str());
    let row = of(&one.session).unwrap_or_else(|| panic!("{}", listed.json));
    assert!(row["user_agent"].as_str().unwrap().contains("requests"), "{row}");
    assert!(row["access_count"].as_u64().unwrap() >= 2, "signed in and refreshed: {row}");
    assert!(of(&other.session).is_some());
    let stored = one.stack.store().await.sessions(&one.user).await.unwrap();
    let sealed = stored.iter().find(|row| row.id == one.session).unwrap().sealed.clone().unwrap();
    assert!(!sealed.contains("requests"), "SESS-2: sealed");

    let out = one.call("POST", "/api/v1/auth/logout", Some(&json!({ "refresh_token": one.refresh }))).await;
    assert_eq!((out.status, &out.json["status"]), (StatusCode::OK, &json!("success")), "{}", out.json);
    assert_eq!(out.json["sessions_invalidated"], 1, "{}", out.json);
    // The first access token, the refreshed one, and the refresh token.
    assert_eq!(out.json["tokens_blacklisted"], 3, "{}", out.json);
    assert_eq!(out.json["upstream"], "revoked", "{}", out.json);
    one.is_refused().await;
    assert_eq!(other.call("GET", "/oauth/userinfo", None).await.status, StatusCode::OK);

    let path = format!("/api/v1/auth/sessions/{}", one.session.as_str());
    assert_eq!(other.call("DELETE", &path, None).await.status, StatusCode::NOT_FOUND, "it is ended");
    let all = other.call("POST", "/api/v1/auth/logout/all", None).await;
    assert_eq!((all.status, &all.json["logout_all_devices"]), (StatusCode::OK, &json!(true)), "{}", all.json);
    other.is_refused().await;
}

#[tokio::test]
async fn cut_4_after_a_logout_the_browser_is_asked_for_a_fresh_sign_in_and_not_before() {
    let signed_in = SignedIn::new("auditor@example.com").await;
    let refreshed = signed_in.refreshes().await;
    let cookies = refreshed.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    let cookies: Vec<&str> = cookies.filter_map(|line| line.split(';').next()).collect();
    assert!(cookies.iter().any(|cookie| cookie.starts_with("sign_in=")), "{cookies:?}");
    let location = async || {
        let query =
            format!("client_id={}&response_type=code&scope=openid&state=%ED%95%9C%26", signed_in.stack.client_id);
        let request = Request::get(format!("{}/oauth/authorize?{query}", signed_in.stack.api_url));
        let request = request.header("cookie", cookies.join("; ")).body(Full::default()).unwrap();
        let sent = signed_in.web.send(request).await.unwrap();
        assert_eq!(sent.status, StatusCode::FOUND);
        sent.headers["location"].to_str().unwrap().to_owned()
    };
    let before = location().await;
    assert!(before.contains("state=%ED%95%9C%26") && !before.contains("prompt="), "{before}");
    let body = json!({ "refresh_token": refreshed.json["refresh_token"] });
    assert_eq!(signed_in.call("POST", "/api/v1/auth/logout", Some(&body)).await.status, StatusCode::OK);
    let after = location().await;
    assert!(after.contains("prompt=login"), "{after}");
}

//! Account sign-in on the stack: the local issuer is the mail provider, somebody signs in there, the worker exchanges the
//! code, the schedule refreshes, and a logout ends it all.

use std::process::Command;
use std::time::Instant;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use domain::accounts::ports::{AccountStore as _, Enrolled};
use domain::accounts::{Account, Failure, Kept, Provider, SecretRef};
use domain::cutoff::Scope;
use domain::deny::Denier;
use domain::ids::{ClientId, UserId};
use domain::ports::{RecordStore as _, TokenStore as _};
use domain::records::{Entity, Record, UserRecord};
use domain::source::SystemIds;
use domain::time::{Clock as _, Epoch, SystemClock};
use domain::token::{Owner, RevokedBy, TokenKind};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use ops::web::Answer;
use serde_json::{Value, json};
use tests::environment::{self, unique};
use tests::fleet::LIMITS;
use tests::invoke::{invoke, operate};

use super::Caller;

/// Who signs in at the provider; only this test does as them.
const OWNER: &str = "oauth.admin@example.com";

/// An enrolled account with a client of its own at the local issuer.
struct Desk {
    caller: Caller,
    user: UserId,
    callback: String,
    client: String,
    secret: String,
}

impl Desk {
    async fn new() -> Self {
        let caller = Caller::sign_in("system.admin@example.com").await;
        let stack = &caller.stack;
        let person = stack.person("system.admin@example.com").unwrap();
        let known = UserRecord {
            email: Some(person.email.clone()),
            roles: person.roles.clone(),
            ..UserRecord::new(UserId::parse(&*person.id).unwrap())
        };
        let now = SystemClock.now().timestamp_millis();
        stack.store().await.apply(&Record::upsert(now, Entity::User(known))).await.unwrap();
        let callback = format!("{}/api/v1/accounts/auth/callback", stack.api_url);
        let made = operate(
            stack,
            "cognito-idp",
            "AWSCognitoIdentityProviderService.CreateUserPoolClient",
            &json!({
                "UserPoolId": stack.user_pool_id, "ClientName": unique("mail"), "GenerateSecret": true,
                "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_PASSWORD_AUTH"],
                "AllowedOAuthFlowsUserPoolClient": true, "AllowedOAuthFlows": ["code"],
                "AllowedOAuthScopes": ["openid", "email"], "CallbackURLs": [callback],
                "SupportedIdentityProviders": ["COGNITO"],
            }),
        )
        .await;
        let text = |name: &str| made["UserPoolClient"][name].as_str().unwrap().to_owned();
        let (client, secret) = (text("ClientId"), text("ClientSecret"));
        let name = format!("batch-logout/accounts/{}", unique("mail"));
        let kept = json!({ "Name": name, "SecretString": secret });
        operate(stack, "secretsmanager", "secretsmanager.CreateSecret", &kept).await;
        let user = UserId::parse(unique("메일-계정")).unwrap();
        let desk = Self { caller, user, callback, client, secret };
        desk.enrol(SecretRef::SecretsManager(name)).await;
        desk
    }

    async fn enrol(&self, secret: SecretRef) {
        let stack = &self.caller.stack;
        // The issuer's name leads to AWS; its endpoints are here.
        let pool = format!("{}/{}/.well-known/openid-configuration", stack.endpoint_url, stack.user_pool_id);
        let document = self.caller.web.send(Request::get(pool).body(Full::default()).unwrap()).await.unwrap().json;
        let endpoint = |name: &str| Some(document[name].as_str().unwrap().to_owned());
        let account = Account {
            user: self.user.clone(),
            name: None,
            sign_in_name: Some(OWNER.to_owned()),
            active: true,
            provider: Provider::Oidc {
                issuer: stack.issuer.clone(),
                authorization_endpoint: endpoint("authorization_endpoint"),
                token_endpoint: endpoint("token_endpoint"),
            },
            client: ClientId::parse(&*self.client).unwrap(),
            secret: Some(secret),
            redirect_uri: self.callback.clone(),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
        };
        assert_eq!(account.check(), []);
        stack.store().await.enrol(&account).await.unwrap();
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let url = format!("{}/api/v1/accounts{path}", self.caller.stack.api_url);
        self.caller.web.api(method, &url, &self.caller.token, body).await.unwrap()
    }

    async fn start(&self) -> Value {
        let started = self.call("POST", "/auth", Some(&json!({ "user_id": self.user }))).await;
        assert_eq!(started.status, StatusCode::OK, "{}", started.json);
        started.json
    }

    async fn status(&self, started: &Value) -> Value {
        let answer = self.call("GET", &format!("/auth/{}", started["session_id"].as_str().unwrap()), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json);
        answer.json
    }

    /// Signs in at the provider; the address that the browser is sent back to.
    fn browse(&self, started: &Value, email: &str) -> String {
        let person = self.caller.stack.person(email).unwrap();
        let output = Command::new(environment::oauth_client())
            .arg(environment::root().join("tests/oauth/browser.py"))
            .args(["--url", started["auth_url"].as_str().unwrap(), "--redirect-uri", &self.callback])
            .args(["--user", email, "--password", &person.password])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "*")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Opens an address as a browser does; the status and the page.
    async fn open(&self, url: &str) -> (StatusCode, String) {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::get(url).header("accept-language", "ko").body(Full::default()).unwrap();
        let answer = client.request(request).await.unwrap();
        let status = answer.status();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    /// The statuses that somebody sees who looks as often as they can, until it is over.
    async fn watch(&self, started: &Value) -> Vec<String> {
        let (begun, mut seen) = (Instant::now(), Vec::<String>::new());
        loop {
            let status = self.status(started).await;
            let name = status["status"].as_str().unwrap().to_owned();
            if seen.last() != Some(&name) {
                seen.push(name.clone());
            }
            if ["COMPLETED", "FAILED", "EXPIRED"].contains(&&*name) {
                return seen;
            }
            assert!(begun.elapsed().as_secs() < 120, "it does not end: {status}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn enrolled(&self) -> Enrolled {
        self.caller.stack.store().await.account(&self.user).await.unwrap().unwrap()
    }

    async fn kept(&self) -> Kept {
        self.enrolled().await.kept.unwrap()
    }

    async fn line(&self) -> Value {
        let mut cursor = String::new();
        loop {
            let page = self.call("GET", &format!("/accounts?limit=100{cursor}"), None).await.json;
            let mut lines = page["items"].as_array().unwrap().iter();
            if let Some(line) = lines.find(|line| line["user_id"] == self.user.as_str()) {
                return line.clone();
            }
            cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap());
        }
    }

    /// Makes the access token look as if it were about to expire.
    async fn age(&self) {
        let (kept, now) = (self.kept().await, Epoch::from(SystemClock.now()));
        let mut old = Kept { revision: unique("aged"), ..kept.clone() };
        old.access.expires_at = now.plus(60);
        self.caller.stack.store().await.change_kept(&self.user, &kept, &old).await.unwrap();
    }

    /// Runs the refresh until the account is as wanted: another test may run it at the same moment, and hold the claim.
    async fn scheduled(&self, wanted: impl Fn(&Kept) -> bool) -> Kept {
        let (begun, stack) = (Instant::now(), &self.caller.stack);
        loop {
            let done = invoke(stack, &stack.scheduled, "scheduled/refresh-accounts.json").await;
            let kept = self.kept().await;
            if wanted(&kept) {
                return kept;
            }
            assert!(begun.elapsed().as_secs() < 30, "{done}: {kept:?}");
        }
    }

    /// All that a table holds, as text.
    async fn table(&self, name: &str) -> String {
        let client = aws_sdk_dynamodb::Client::new(&self.caller.stack.aws().await);
        let pages = client.scan().table_name(name).into_paginator().items().send();
        let items: Vec<std::collections::HashMap<String, AttributeValue>> =
            pages.collect::<Result<_, _>>().await.unwrap();
        format!("{items:?}")
    }
}

#[tokio::test]
async fn account_somebody_signs_in_at_the_provider_and_the_tokens_are_kept_refreshed_and_ended() {
    let desk = Desk::new().await;
    let started = desk.start().await;
    assert_eq!(desk.status(&started).await["status"], "PENDING");
    let back = desk.browse(&started, OWNER);
    let watching = desk.watch(&started);
    let (page, seen) = tokio::join!(desk.open(&back), watching);
    assert_eq!(page.0, StatusCode::OK, "{}", page.1);
    assert!(page.1.contains("로그인되었습니다") && page.1.contains("토큰을 교환하고 있습니다"), "{}", page.1);
    assert_eq!(seen, ["PENDING", "CALLBACK_RECEIVED", "COMPLETED"], "{:?}", desk.status(&started).await);
    let (again, _) = desk.open(&back).await;
    assert_eq!(again, StatusCode::CONFLICT, "a state is good once");

    // The tokens are in reach of every logout, and nowhere in the clear.
    let store = desk.caller.stack.store().await;
    let kept = desk.kept().await;
    let owner = Owner::User(desk.user.clone());
    let row = store.token(&owner, &kept.refresh.clone().unwrap().id).await.unwrap().unwrap();
    assert_eq!((row.kind, row.client.as_str(), row.revoked), (TokenKind::Refresh, &*desk.client, None));
    let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let tables = &desk.caller.stack.tables;
    let mut everything = vec![desk.table(&tables.accounts).await, desk.table(&tables.audit).await];
    let logs = environment::root().join(".local/log/aws.log");
    everything.push(std::fs::read_to_string(logs).unwrap());
    everything.push(format!("{:?}", store.holdings(&owner).await.unwrap()));
    let everything = everything.join("\n");
    for secret in [code, state, &desk.secret, "code_challenge="] {
        assert!(secret.len() > 10 && !everything.contains(secret), "{secret} stands somewhere");
    }
    assert!(!everything.contains("\"eyJ"), "no JWT stands in a table");

    // Refreshed by the schedule.
    desk.age().await;
    let refreshed = desk.scheduled(|now| now.access.id != kept.access.id).await;
    assert_eq!((refreshed.signed_in_at, &refreshed.trouble), (kept.signed_in_at, &None));
    assert_eq!(desk.line().await["token_expired"], false);

    // Ended like any other, and then left alone.
    let stack = &desk.caller.stack;
    let (cache, ids) = (stack.cache().await.unwrap(), std::sync::Arc::new(SystemIds));
    let denier = Denier { denylist: store.clone(), cache, ids, limits: LIMITS };
    let at = Epoch::from(SystemClock.now());
    denier.sign_ins([Scope::User(desk.user.clone())], at, &RevokedBy::User).await.unwrap();
    let line = desk.line().await;
    assert_eq!(line["token_expired"], true, "{line}");
    assert!(line["error_message"].as_str().unwrap().contains("logged out"), "{line}");
    desk.age().await;
    let ended = desk.scheduled(|now| now.sealed.is_none()).await;
    assert_eq!((ended.access.id, ended.trouble), (refreshed.access.id, Some(Failure::LoggedOut)));
    let done = invoke(stack, &stack.scheduled, "scheduled/end-account-sign-ins.json").await;
    assert!(done["cleaned"].is_u64() && done["active"].is_u64(), "{done}");
}

#[tokio::test]
async fn account_on_the_stack_another_person_a_wrong_secret_and_another_sign_ins_code_are_told_apart() {
    let desk = Desk::new().await;
    // A code under the state of another sign-in: the provider knows it by PKCE.
    let (one, other) = (desk.start().await, desk.start().await);
    let (mine, theirs) = (desk.browse(&one, OWNER), desk.browse(&other, OWNER));
    let state = |url: &str| url.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    desk.open(&mine.replace(&state(&mine), &state(&theirs))).await;
    assert_eq!(desk.watch(&other).await.last().unwrap(), "FAILED");
    let message = desk.status(&other).await["error_message"].as_str().unwrap().to_owned();
    assert!(message.contains("the code was not taken"), "{message}");
    assert_eq!(desk.status(&one).await["status"], "PENDING");

    let started = desk.start().await;
    let back = desk.browse(&started, "auditor@example.com");
    desk.open(&back).await;
    assert_eq!(desk.watch(&started).await.last().unwrap(), "FAILED");
    let message = desk.status(&started).await["error_message"].as_str().unwrap().to_owned();
    assert!(message.contains("Somebody else"), "{message}");
    assert!(desk.enrolled().await.kept.is_none());

    let wrong = format!("batch-logout/accounts/{}", unique("wrong"));
    let kept = json!({ "Name": wrong, "SecretString": "not the client's secret" });
    operate(&desk.caller.stack, "secretsmanager", "secretsmanager.CreateSecret", &kept).await;
    for (secret, wanted) in [
        (SecretRef::SecretsManager(wrong), "Token exchange failed: 40"),
        (SecretRef::SecretsManager("batch-logout/accounts/there-is-none".to_owned()), "secret could not be read"),
        // Outside of what the worker's role may read.
        (SecretRef::SecretsManager("somebody-elses".to_owned()), "secret could not be read"),
    ] {
        desk.enrol(secret.clone()).await;
        let started = desk.start().await;
        let back = desk.browse(&started, OWNER);
        desk.open(&back).await;
        assert_eq!(desk.watch(&started).await.last().unwrap(), "FAILED", "{secret}");
        let message = desk.status(&started).await["error_message"].as_str().unwrap().to_owned();
        assert!(message.contains(wanted), "{secret}: {message}");
    }
    // And a secret that is kept as a parameter.
    let path = format!("/batch-logout/accounts/{}", unique("mail"));
    let kept = json!({ "Name": path, "Type": "SecureString", "Value": desk.secret });
    operate(&desk.caller.stack, "ssm", "AmazonSSM.PutParameter", &kept).await;
    desk.enrol(SecretRef::Ssm(path)).await;
    let started = desk.start().await;
    let back = desk.browse(&started, OWNER);
    desk.open(&back).await;
    assert_eq!(desk.watch(&started).await.last().unwrap(), "COMPLETED", "{}", desk.status(&started).await);
}

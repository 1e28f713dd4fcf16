//! The doors over any fleet: `auth-api` and `admin-api` in this process, with an issuer in memory, called as clients
//! call them.

use std::sync::Arc;

use auth_api::Deps;
use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use domain::directory::secret_hash;
use domain::ids::{ClientId, SessionId, UserId};
use domain::inspect::Inspector;
use domain::ports::{DenylistCache, TokenVerifier};
use domain::records::{ClientRecord, Entity, Record};
use domain::session::Sessions;
use domain::settings::SessionLimits;
use domain::sign_in::SignIns;
use domain::testing::{FakeIssuer, Habits, Memory};
use domain::time::Epoch;
use domain::upstream::{Authority, Upstream};
use domain::vault::Vault;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use lambda_kit::caller::Callers;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::fleet::{AllPorts, Fleet, LIMITS};

/// How long sessions live in tests.
pub const SESSION_LIMITS: SessionLimits =
    SessionLimits { idle: 3_600, absolute: 8 * 3_600, kept: LIMITS.max_sign_in_age };
/// The client of the tests; it has no secret.
pub const CLIENT: &str = "app";
/// What users' programs call themselves.
pub const BROWSER: &str = "Browser/1.0 (a laptop)";
/// A client with [`SECRET`] that may ask about tokens.
pub const RESOURCE: &str = "resource";
/// Its secret. Clients often send such characters as they are.
pub const SECRET: &str = "s3cret+with/100%:";
/// A client with [`SECRET`] that may not ask about tokens.
pub const BACKEND: &str = "backend";
/// Another client without a secret.
pub const OTHER: &str = "other";

/// The `Authorization` header of a client, both parts as they are.
pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null if it is no JSON.
    pub body: Value,
    /// The body as it came.
    pub raw: String,
}

impl Answer {
    /// Reads an answer.
    pub async fn of(answer: Response<Body>) -> Self {
        let (parts, body) = answer.into_parts();
        let raw = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
        let body = serde_json::from_str(&raw).unwrap_or(Value::Null);
        Self { status: parts.status, headers: parts.headers, body, raw }
    }

    /// A header, empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The cookies it sets, as a browser sends them back.
    pub fn cookies(&self) -> String {
        let lines = self.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
        let kept = lines.filter(|line| !line.ends_with("Max-Age=0")).map(|line| line.split(';').next().unwrap());
        kept.collect::<Vec<_>>().join("; ")
    }

    /// A member of the body as text.
    pub fn text(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_else(|| panic!("{member} is missing in {self:?}")).to_owned()
    }
}

/// The door.
pub struct Door<S, C> {
    /// Stores, cache, clock.
    pub fleet: Fleet<S, C>,
    /// The issuer.
    pub issuer: Arc<FakeIssuer>,
    /// What grants are passed on to: the issuer, unless a test puts another in its place.
    pub upstream: Arc<dyn Upstream>,
    /// What verifies JWTs: the issuer, unless a test puts another in its place.
    pub verifier: Arc<dyn TokenVerifier>,
    /// What seals: the fleet's, unless a test puts another in its place.
    pub vault: Arc<dyn Vault>,
    /// Who at the issuer vouches for tokens before they are taken at their word.
    pub authorities: Arc<[Arc<dyn Authority>]>,
}

impl Door<Memory, Memory> {
    /// Everything in memory, with a complete cache and the tests' clients.
    pub async fn in_memory(now: DateTime<Utc>, habits: Habits) -> Self {
        let door = Self::over(Fleet::in_memory(now), habits);
        door.fleet.guard().await.unwrap();
        door.register_clients().await;
        door
    }
}

impl<S: AllPorts, C: DenylistCache + 'static> Door<S, C> {
    /// A door over these stores.
    pub fn over(fleet: Fleet<S, C>, habits: Habits) -> Self {
        let issuer = Arc::new(FakeIssuer::new(habits, fleet.clock.clone()));
        let vault = fleet.vault.clone();
        Self { fleet, upstream: issuer.clone(), verifier: issuer.clone(), issuer, vault, authorities: Arc::new([]) }
    }

    /// Writes the clients of the tests.
    pub async fn register_clients(&self) {
        let client = |id: &str, secret: Option<&str>, may_introspect| {
            Entity::Client(ClientRecord {
                id: ClientId::parse(id).unwrap(),
                name: None,
                secret_sha256: secret.map(secret_hash),
                may_introspect,
            })
        };
        for client in [
            client(CLIENT, None, false),
            client(RESOURCE, Some(SECRET), true),
            client(BACKEND, Some(SECRET), false),
            client(OTHER, None, false),
        ] {
            self.fleet.store.apply(&Record::upsert(1, client)).await.unwrap();
        }
    }

    /// The check of tokens.
    pub fn inspector(&self) -> Inspector {
        Inspector {
            checker: self.fleet.checker(),
            verifier: self.verifier.clone(),
            lookup: self.fleet.store.clone(),
            authorities: self.authorities.clone(),
            clock: self.fleet.clock.clone(),
        }
    }

    /// Sessions.
    pub fn sessions(&self) -> Sessions {
        Sessions {
            store: self.fleet.store.clone(),
            tokens: self.fleet.store.clone(),
            vault: self.vault.clone(),
            clock: self.fleet.clock.clone(),
            ids: self.fleet.ids.clone(),
            limits: SESSION_LIMITS,
        }
    }

    /// Signing in.
    pub fn sign_ins(&self) -> SignIns {
        SignIns {
            inspector: self.inspector(),
            upstream: self.upstream.clone(),
            profiles: self.issuer.clone() as Arc<dyn Authority>,
            sessions: self.sessions(),
            store: self.fleet.store.clone(),
            tokens: self.fleet.store.clone(),
            denylist: self.fleet.store.clone(),
            sign_outs: self.fleet.sign_outs(),
            clock: self.fleet.clock.clone(),
        }
    }

    /// Who calls.
    pub fn callers(&self) -> Callers {
        Callers { inspector: self.inspector(), directory: self.fleet.store.clone(), clock: self.fleet.clock.clone() }
    }

    /// The router of `auth-api`.
    pub fn router(&self) -> Router {
        let deps = Deps {
            callers: self.callers(),
            sign_ins: self.sign_ins(),
            accounts: self.fleet.account_desk(),
            auditor: self.fleet.auditor(),
            vault: self.vault.clone(),
            seen: Arc::default(),
        };
        auth_api::router(deps, &[])
    }

    /// The router of `admin-api`, over the same stores and the same check.
    pub fn admin_router(&self) -> Router {
        let outside = admin_api::Outside {
            cache: self.fleet.cache.clone(),
            queue: self.fleet.queue.clone(),
            vault: self.vault.clone(),
            mailer: self.fleet.mailer.clone(),
            clock: self.fleet.clock.clone(),
            ids: self.fleet.ids.clone(),
            limits: LIMITS,
            heads: self.fleet.heads.clone(),
            reports: self.fleet.reports.clone(),
            zone: domain::report::Zone::UTC,
        };
        admin_api::router(admin_api::Deps::new(&self.fleet.store, self.callers(), outside), &[])
    }

    /// Sends a request.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router().oneshot(request).await.unwrap()).await
    }

    /// Fetches a page, without a token.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = Request::get(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Posts a form.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let body = serde_urlencoded::to_string(fields).unwrap();
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Calls as a user.
    pub async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        self.call_with(method, path, token, body, &[]).await
    }

    /// Calls as a user, with more headers.
    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    /// The status of `GET /oauth/userinfo` with a token.
    pub async fn userinfo(&self, token: &str) -> StatusCode {
        self.call("GET", "/oauth/userinfo", token, None).await.status
    }

    /// Signs a user in who proved to be there at a moment.
    pub async fn sign_in_at(&self, user: &str, at: Epoch) -> Answer {
        self.exchange(CLIENT, user, at, &[], &[]).await
    }

    /// Exchanges a code of a user who proved to be there at a moment, as a client, with more fields and headers.
    pub async fn exchange(
        &self,
        client: &str,
        user: &str,
        at: Epoch,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let code = self.issuer.code(&UserId::parse(user).unwrap(), &ClientId::parse(client).unwrap(), at);
        let grant = [("grant_type", "authorization_code"), ("code", &code), ("client_id", client)];
        let mut headers = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "user-agent") {
            headers.push(("user-agent", BROWSER));
        }
        self.form("/oauth/token", &[&grant, fields].concat(), &headers).await
    }

    /// Signs a user in now, at a client.
    pub async fn sign_in_to(&self, client: &str, user: &str) -> Answer {
        use domain::time::Clock as _;
        let answer = self.exchange(client, user, self.fleet.clock.now().into(), &[], &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer
    }

    /// Signs a user in now.
    pub async fn sign_in(&self, user: &str) -> Answer {
        self.sign_in_to(CLIENT, user).await
    }

    /// Refreshes.
    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("client_id", CLIENT)];
        self.form("/oauth/token", &fields, &[]).await
    }
}

/// The session that an answer of the token endpoint names.
pub fn session_of(answer: &Answer) -> SessionId {
    SessionId::parse(answer.headers["x-session-id"].to_str().unwrap()).unwrap()
}

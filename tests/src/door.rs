//! The users' door over any fleet: `auth-api` in this process, with an issuer in memory, called as clients call it.

use std::sync::Arc;

use auth_api::Deps;
use axum::Router;
use axum::body::Body;
use chrono::{DateTime, Utc};
use domain::directory::secret_hash;
use domain::ids::{ClientId, SessionId, UserId};
use domain::inspect::Inspector;
use domain::ports::{DenylistCache, TokenVerifier};
use domain::records::{ClientRecord, Entity, Record};
use domain::session::Sessions;
use domain::settings::SessionLimits;
use domain::sign_in::SignIns;
use domain::sign_out::SignOuts;
use domain::testing::{FakeIssuer, Habits, Memory};
use domain::time::Epoch;
use domain::upstream::{Authority, Upstream};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use lambda_kit::caller::Callers;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::fleet::{AllPorts, Fleet};

/// How long sessions live in tests.
pub const SESSION_LIMITS: SessionLimits = SessionLimits { idle: 3_600, absolute: 8 * 3_600 };
/// The client of the tests; it has no secret.
pub const CLIENT: &str = "app";
/// A client with [`SECRET`] that may ask about tokens.
pub const RESOURCE: &str = "resource";
/// Its secret. Clients often send such characters as they are.
pub const SECRET: &str = "s3cret+with/100%:";

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null if it is no JSON.
    pub body: Value,
}

impl Answer {
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
        Self { fleet, issuer, authorities: Arc::new([]) }
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
        for client in [client(CLIENT, None, false), client(RESOURCE, Some(SECRET), true), client("other", None, false)]
        {
            self.fleet.store.apply(&Record::upsert(1, client)).await.unwrap();
        }
    }

    /// Signing out.
    pub fn sign_outs(&self) -> SignOuts {
        SignOuts {
            tokens: self.fleet.store.clone(),
            denier: self.fleet.denier(),
            auditor: self.fleet.auditor(),
            clock: self.fleet.clock.clone(),
        }
    }

    /// The check of tokens.
    pub fn inspector(&self) -> Inspector {
        Inspector {
            checker: self.fleet.checker(),
            verifier: self.issuer.clone() as Arc<dyn TokenVerifier>,
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
            vault: self.fleet.vault.clone(),
            clock: self.fleet.clock.clone(),
            ids: self.fleet.ids.clone(),
            limits: SESSION_LIMITS,
        }
    }

    /// Signing in.
    pub fn sign_ins(&self) -> SignIns {
        SignIns {
            inspector: self.inspector(),
            upstream: self.issuer.clone() as Arc<dyn Upstream>,
            profiles: self.issuer.clone() as Arc<dyn Authority>,
            sessions: self.sessions(),
            store: self.fleet.store.clone(),
            tokens: self.fleet.store.clone(),
            denylist: self.fleet.store.clone(),
            sign_outs: self.sign_outs(),
            clock: self.fleet.clock.clone(),
        }
    }

    /// The function's own router.
    pub fn router(&self) -> Router {
        let callers = Callers {
            inspector: self.inspector(),
            directory: self.fleet.store.clone(),
            clock: self.fleet.clock.clone(),
        };
        auth_api::router(
            Deps { callers, sign_ins: self.sign_ins(), vault: self.fleet.vault.clone(), seen: Arc::default() },
            &[],
        )
    }

    /// Sends a request.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
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
        let (user, client) = (UserId::parse(user).unwrap(), ClientId::parse(CLIENT).unwrap());
        let code = self.issuer.code(&user, &client, at);
        let fields = [("grant_type", "authorization_code"), ("code", &code), ("client_id", CLIENT)];
        self.form("/oauth/token", &fields, &[("user-agent", "브라우저 🙂")]).await
    }

    /// Signs a user in now.
    pub async fn sign_in(&self, user: &str) -> Answer {
        use domain::time::Clock as _;
        let answer = self.sign_in_at(user, self.fleet.clock.now().into()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer
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

//! All places where a token decides whether a caller is let in, taken from what the functions say of themselves.
//!
//! A call is a [`Gate`] by its OpenAPI description alone: whoever adds a call adds a gate, and `tests/it/inventory.rs`
//! shows every bad token to it. How to add a verifier that is no call of the API: write a [`Gate`] whose `ask` shows it
//! a token.

use axum::Router;
use axum::body::Body;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use crate::door::{RESOURCE, SECRET, basic};

/// What a gate says to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The token is not good.
    Refused,
    /// Nobody can tell; whoever asks does not pass.
    CannotTell,
    /// Anything else: the caller got past the check.
    LetIn(String),
}

/// Who passes a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Whoever presents a good access token.
    Bearer,
    /// An authenticated client, which is told whether the token it asks about is good.
    Asks,
}

/// A place where a token is checked.
pub struct Gate {
    /// Such as `GET /oauth/userinfo`.
    pub name: String,
    /// Who passes.
    pub guard: Guard,
    /// Shows it a token.
    pub ask: Box<dyn Fn(String) -> BoxFuture<'static, Said>>,
}

/// A call of the API, as its OpenAPI description has it.
#[derive(Clone)]
pub struct Operation {
    method: String,
    path: String,
    security: Security,
    /// A body that fits the description, with its media type.
    body: Option<(String, Value)>,
    router: Router,
}

/// What a description says of who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Bearer,
    Client,
    /// Also somebody who shows nothing.
    Anybody,
}

impl Security {
    /// Without a word of its own a call needs what the document says for all: a bearer token.
    fn of(operation: &Value) -> Self {
        let Some(ways) = operation.get("security") else { return Self::Bearer };
        let ways = ways.as_array().unwrap().iter().map(|way| way.as_object().unwrap());
        let ways: Vec<Vec<&str>> = ways.map(|way| way.keys().map(String::as_str).collect()).collect();
        match ways.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] {
            [["bearer"]] => Self::Bearer,
            [["client"]] => Self::Client,
            _ if ways.iter().any(Vec::is_empty) => Self::Anybody,
            _ => panic!("nobody knows how to show a token to a call with the security {ways:?}"),
        }
    }
}

/// A value that a schema allows, as far as the schema says.
fn example(schema: &Value, document: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return example(document.pointer(&reference[1..]).unwrap(), document);
    }
    if let Some(allowed) = schema["enum"].as_array() {
        return allowed[0].clone();
    }
    if let Some(first) = ["allOf", "oneOf", "anyOf"].iter().find_map(|several| schema[*several].get(0)) {
        return example(first, document);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("string") => {
            let length = schema["minLength"].as_u64().unwrap_or(1).max(4);
            "text".chars().cycle().take(usize::try_from(length).unwrap()).collect::<String>().into()
        }
        Some("boolean") => true.into(),
        Some("integer" | "number") => 1.into(),
        Some("array") => json!([]),
        _ => {
            let properties = &schema["properties"];
            let required = schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
            let members = required.map(|name| (name.to_owned(), example(&properties[name], document)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

/// All calls that a description names, with the router that answers them.
pub fn operations(described: &utoipa::openapi::OpenApi, router: &Router) -> Vec<Operation> {
    let document = serde_json::to_value(described).unwrap();
    let mut operations = Vec::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for (method, operation) in calls.as_object().unwrap() {
            let body = operation["requestBody"]["content"].as_object().and_then(|content| content.iter().next());
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                security: Security::of(operation),
                body: body.map(|(media_type, body)| (media_type.clone(), example(&body["schema"], &document))),
                router: router.clone(),
            });
        }
    }
    operations
}

impl Operation {
    /// Such as `GET /oauth/userinfo`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether it answers somebody who shows nothing, by its own description.
    pub fn is_open(&self) -> bool {
        self.security == Security::Anybody
    }

    /// The gate that this call is, unless it is open.
    pub fn gate(self) -> Option<Gate> {
        let guard = match self.security {
            Security::Bearer => Guard::Bearer,
            Security::Client => Guard::Asks,
            Security::Anybody => return None,
        };
        let name = self.name();
        let ask = move |token: String| -> BoxFuture<'static, Said> {
            let operation = self.clone();
            Box::pin(async move {
                match guard {
                    Guard::Bearer => operation.enter(&token).await,
                    Guard::Asks => operation.ask_about(&token).await,
                }
            })
        };
        Some(Gate { name, guard, ask: Box::new(ask) })
    }

    /// The call with this `Authorization`.
    pub async fn call(&self, authorization: Option<&str>, body: Option<(&str, String)>) -> (StatusCode, String, Value) {
        // Whatever the parameter names: nobody gets as far as that without a token.
        let path = self.path.split('/').map(|part| if part.starts_with('{') { "some-id" } else { part });
        let request = Request::builder().method(self.method.as_str()).uri(path.collect::<Vec<_>>().join("/"));
        let request = match authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        };
        let request = match body {
            Some((media_type, body)) => request.header("content-type", media_type).body(Body::from(body)),
            None => request.body(Body::empty()),
        };
        let answer = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status();
        assert!(
            status != StatusCode::SERVICE_UNAVAILABLE || answer.headers().contains_key("retry-after"),
            "{} does not say when to try again",
            self.name()
        );
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, challenge.unwrap_or_default(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    fn own_body(&self) -> Option<(&str, String)> {
        self.body.as_ref().map(|(media_type, body)| (media_type.as_str(), body.to_string()))
    }

    /// The call by somebody who shows nothing: refused, with a challenge that names no error (RFC 6750 §3).
    pub async fn refuses_who_shows_nothing(&self) -> bool {
        let (status, challenge, _) = self.call(None, self.own_body()).await;
        let wanted = if self.security == Security::Bearer { "Bearer" } else { "Basic" };
        status == StatusCode::UNAUTHORIZED && challenge.starts_with(wanted) && !challenge.contains("error")
    }

    /// The call by somebody with a token.
    async fn enter(&self, token: &str) -> Said {
        let (status, challenge, body) = self.call(Some(&format!("Bearer {token}")), self.own_body()).await;
        match status {
            StatusCode::UNAUTHORIZED if challenge == r#"Bearer error="invalid_token""# => Said::Refused,
            StatusCode::SERVICE_UNAVAILABLE => Said::CannotTell,
            _ => Said::LetIn(format!("{status}, {challenge:?}, {body}")),
        }
    }

    /// The call of a client that asks about a token.
    async fn ask_about(&self, token: &str) -> Said {
        let form = || ("application/x-www-form-urlencoded", serde_urlencoded::to_string([("token", token)]).unwrap());
        let (body, good) = match self.name().as_str() {
            "POST /oauth/introspect" => (form(), "active"),
            "POST /oauth/token/validate" => {
                (("application/json", json!({ "access_token": token }).to_string()), "valid")
            }
            other => panic!("say how a client asks {other} about a token"),
        };
        let (status, _, mut body) = self.call(Some(&basic(RESOURCE, SECRET)), Some(body)).await;
        // Roughly why is all that is said of a token that is not good.
        let said = body.as_object_mut().map(|body| body.remove("reason"));
        match status {
            StatusCode::OK if body == json!({ good: false }) => Said::Refused,
            StatusCode::SERVICE_UNAVAILABLE => Said::CannotTell,
            _ => Said::LetIn(format!("{status}, {said:?}, {body}")),
        }
    }
}

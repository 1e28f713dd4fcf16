//! `POST /oauth/introspect` (RFC 7662) and `POST /oauth/token/validate`.

use axum::Json;
use axum::extract::{Request, State};
use domain::decision::Refusal;
use domain::ids::RawToken;
use domain::inspect::{Accepted, Active, Inactive};
use domain::token::TokenKind;
use lambda_kit::json::is_media_type;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clients::Needs;
use crate::oauth_error::{OauthAnswer, OauthError};
use crate::{Deps, clients, form};

/// The request of RFC 7662 §2.1.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes the form")]
pub struct IntrospectionRequest {
    /// The token to tell about.
    #[schema(min_length = 1)]
    token: String,
    /// `access_token` or `refresh_token`. What it says changes nothing: tokens are found without it.
    #[schema(required = false)]
    token_type_hint: Option<String>,
}

/// The answer of RFC 7662 §2.2. Of a token that is not good nothing but that is said.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Introspection {
    /// Whether the token is good.
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aud: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// The request of `token/validate`: one of the two.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"access_token": "2YotnFZFEjr1zCsicMWpAA"}))]
#[allow(dead_code, reason = "describes the body")]
pub struct ValidationRequest {
    /// An access token.
    access_token: Option<String>,
    /// A refresh token; of both this one is looked at.
    refresh_token: Option<String>,
}

/// Its answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Validation {
    /// Whether the token is good.
    valid: bool,
    /// Roughly why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

fn token_type(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Access => "Bearer",
        // RFC 7662 leaves this open; the registered hint says what it is.
        TokenKind::Refresh => "refresh_token",
    }
}

impl From<Active> for Introspection {
    fn from(active: Active) -> Self {
        match active {
            Active::Jwt(claims) => Self {
                active: true,
                scope: claims.scope,
                client_id: claims.facts.client.map(Into::into),
                username: claims.username,
                token_type: Some(token_type(claims.facts.kind)),
                exp: Some(claims.facts.expires_at.0),
                iat: Some(claims.facts.issued_at.0),
                sub: claims.facts.user.map(Into::into),
                aud: claims.audience,
                iss: Some(claims.issuer),
                jti: Some(claims.facts.id.into()),
            },
            Active::Opaque(row) => Self {
                active: true,
                scope: row.scope,
                token_type: Some(token_type(row.kind)),
                exp: Some(row.expires_at.0),
                iat: Some(row.issued_at.0),
                sub: row.owner.user().map(ToString::to_string),
                client_id: Some(row.client.into()),
                ..Self::default()
            },
        }
    }
}

async fn inspect(deps: &Deps, token: String) -> Result<Result<Accepted, Inactive>, OauthError> {
    let token = RawToken::new(token);
    let verdict = deps.callers.inspect(&token).await?.verdict;
    if !(token.looks_like_jwt() && matches!(verdict, Err(Inactive::Invalid(_)))) {
        return Ok(verdict);
    }
    // Some issuers' refresh tokens look like JWTs, too; they are known by their hash.
    Ok(deps.callers.inspector.inspect_opaque(&token).await?.verdict)
}

/// Tells an authenticated client about a token (RFC 7662).
#[utoipa::path(post, path = "/oauth/introspect", tag = "tokens", security(("client" = [])),
    request_body(content = IntrospectionRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What is known of the token; of one that is not good only that.", body = Introspection), OauthAnswer),
)]
pub async fn introspect(State(deps): State<Deps>, request: Request) -> Result<Json<Introspection>, OauthError> {
    let headers = request.headers().clone();
    let form = form::read(request).await?;
    clients::authenticate(deps.callers.directory.as_ref(), &headers, &form, Needs::Introspection).await?;
    let token = form.get("token").ok_or(OauthError::InvalidRequest("The parameter token is missing."))?;
    let verdict = inspect(&deps, token.to_owned()).await?;
    Ok(Json(verdict.map_or_else(|_| Introspection::default(), |accepted| accepted.active.into())))
}

/// Tells an authenticated client whether a token is valid, and roughly why not.
#[utoipa::path(post, path = "/oauth/token/validate", tag = "tokens", security(("client" = [])), request_body = ValidationRequest,
    responses((status = 200, description = "Whether the token is good.", body = Validation), OauthAnswer),
)]
pub async fn validate(State(deps): State<Deps>, request: Request) -> Result<Json<Validation>, OauthError> {
    let headers = request.headers().clone();
    if !is_media_type(&headers, "application/json") {
        return Err(OauthError::UnsupportedMediaType("Send the body as application/json."));
    }
    let asked = form::read_form_or_json(request).await?;
    clients::authenticate(deps.callers.directory.as_ref(), &headers, &asked, Needs::Introspection).await?;
    let token = asked.get("refresh_token").or(asked.get("access_token"));
    let token = token.ok_or(OauthError::InvalidRequest("Send access_token or refresh_token."))?;
    let reason = match inspect(&deps, token.to_owned()).await? {
        Ok(_) => None,
        Err(Inactive::Refused(Refusal::Expired | Refusal::SignInTooOld)) => Some("Token has expired"),
        Err(Inactive::Refused(Refusal::TokenRevoked | Refusal::CutOff(_))) => Some("Token is blacklisted"),
        Err(Inactive::Unknown | Inactive::Invalid(_) | Inactive::Disowned(_)) => Some("Token is not valid"),
    };
    Ok(Json(Validation { valid: reason.is_none(), reason }))
}

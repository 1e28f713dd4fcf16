//! `POST /oauth/token` (RFC 6749 §3.2): grants pass through to the issuer, and what it issues is noted (`[OAUTH-1]`).

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use domain::sign_in::{Granted, Remembered};
use domain::upstream::Form;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use lambda_kit::metrics::{self, Unit};
use lambda_kit::origin;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::oauth_error::{OauthAnswer, OauthError};
use crate::{Deps, clients, cookies, form};

const SESSION_HEADER: HeaderName = HeaderName::from_static("x-session-id");

/// The request of RFC 6749 §4.1.3, §4.4.2 and §6. What is not named here is passed on, too.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes what is passed on")]
pub struct TokenRequest {
    /// `authorization_code`, `refresh_token` or `client_credentials`.
    grant_type: String,
    /// The code.
    #[schema(required = false)]
    code: Option<String>,
    /// As at the authorization endpoint.
    #[schema(required = false)]
    redirect_uri: Option<String>,
    /// PKCE (RFC 7636 §4.5).
    #[schema(required = false)]
    code_verifier: Option<String>,
    /// The refresh token.
    #[schema(required = false)]
    refresh_token: Option<String>,
    /// The client, unless it authenticates by HTTP Basic.
    #[schema(required = false)]
    client_id: Option<String>,
    /// Its secret, unless it authenticates by HTTP Basic or has none.
    #[schema(required = false)]
    client_secret: Option<String>,
    /// Space-separated scopes.
    #[schema(required = false)]
    scope: Option<String>,
}

/// The issuer's answer (RFC 6749 §5.1), as it came.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes what is passed on")]
pub struct TokenAnswer {
    /// The access token.
    access_token: String,
    /// `Bearer`
    token_type: String,
    /// Seconds until the access token expires.
    #[schema(required = false)]
    expires_in: Option<i64>,
    /// The refresh token.
    #[schema(required = false)]
    refresh_token: Option<String>,
    /// The granted scopes.
    #[schema(required = false)]
    scope: Option<String>,
}

/// Passes a grant on to the issuer. A code makes a session; a refresh is refused if the refresh token, its session, its
/// user or its client is cut off.
#[utoipa::path(post, path = "/oauth/token", tag = "sign-in", security((), ("client" = [])),
    request_body(content(
        (TokenRequest = "application/x-www-form-urlencoded"),
        (TokenRequest = "application/json"),
    )),
    responses(
        (status = 200, description = "The issuer's answer.", body = TokenAnswer, headers(
            ("X-Session-ID" = String, description = "The session of the sign-in; also the cookie session_id."),
        )),
        OauthAnswer,
    ),
)]
pub async fn token(State(deps): State<Deps>, request: Request) -> Result<Response, OauthError> {
    let (from, headers) = (origin::of(&request), request.headers().clone());
    let form = form::read_form_or_json(request).await?;
    let client = clients::credentials(&headers, &form)?;
    let client = client.ok_or(OauthError::InvalidRequest("The parameter client_id is missing."))?.id;
    let grant = form.get("grant_type").ok_or(OauthError::InvalidRequest("The parameter grant_type is missing."))?;
    let granted = match grant {
        "authorization_code" => {
            needs(&form, "code", "The parameter code is missing.")?;
            deps.sign_ins.code(&form, &client, &from).await
        }
        "refresh_token" => {
            needs(&form, "refresh_token", "The parameter refresh_token is missing.")?;
            deps.sign_ins.refresh(&form, &client).await
        }
        "client_credentials" => deps.sign_ins.service(&form, &client).await,
        _ => return Err(OauthError::UnsupportedGrantType),
    };
    let granted = granted.map_err(OauthError::from)?;
    if granted.degraded.is_some() {
        metrics::emit(deps.sign_ins.clock.as_ref(), "DegradedChecks", Unit::Count, 1, &[]);
    }
    let Granted { body, session, signed_in_at, .. } = granted;
    let mut answer = Json(body).into_response();
    // RFC 6749 §5.1, beside the Cache-Control that every answer has.
    answer.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if let Some((user, session)) = session {
        let remembered = Remembered { user, session, at: signed_in_at };
        name_session(&deps, answer.headers_mut(), &remembered).await;
    }
    Ok(answer)
}

fn needs(form: &Form, name: &str, missing: &'static str) -> Result<(), OauthError> {
    form.get(name).map(|_| ()).ok_or(OauthError::InvalidRequest(missing))
}

/// Tells the client its session's id, and has the browser remember the sign-in.
async fn name_session(deps: &Deps, headers: &mut HeaderMap, remembered: &Remembered) {
    let life = Duration::from_secs(deps.sign_ins.sessions.limits.absolute.max(0).unsigned_abs());
    let id = remembered.session.as_str();
    if let Ok(value) = HeaderValue::try_from(id) {
        headers.insert(SESSION_HEADER, value);
        cookies::set(headers, cookies::SESSION_ID, id, life);
    }
    match cookies::seal(deps.vault.as_ref(), remembered).await {
        Ok(sealed) => cookies::set(headers, cookies::SIGN_IN, &sealed, life),
        // The browser will be asked for a password once more than it had to be.
        Err(error) => tracing::warn!(%error, "a sign-in could not be sealed for the browser"),
    }
}

//! Users' own logout (`[SESS-1]`).

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::audit::{Action, Origin};
use domain::directory::Actor;
use domain::identity::VerifiedUser;
use domain::ids::{RawToken, SessionId, TokenId};
use domain::inspect::Accepted;
use domain::ports::PortResult;
use domain::sign_out::Ended;
use domain::token::{Owner, RevokedBy, TokenKind};
use domain::upstream::Form;
use http::{HeaderMap, HeaderName, HeaderValue};
use lambda_kit::json;
use lambda_kit::origin;
use lambda_kit::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answers::ProblemAnswer;
use crate::revoke::AtIssuer;
use crate::{Deps, cookies};

/// <https://www.w3.org/TR/clear-site-data/>
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What to end.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogoutRequest {
    /// A refresh token of the caller's to end, too, here and at the issuer.
    #[serde(default)]
    #[schema(required = false)]
    refresh_token: Option<String>,
    /// Whether to end all sign-ins of the caller rather than this one.
    #[serde(default)]
    #[schema(required = false, default = false)]
    logout_all_devices: bool,
}

/// What was ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedOut {
    /// `success`
    status: &'static str,
    /// The same in words.
    message: &'static str,
    /// Whether all sign-ins were ended.
    logout_all_devices: bool,
    /// Tokens that were good until now.
    tokens_blacklisted: u64,
    /// Sessions that were live until now.
    sessions_invalidated: u64,
    /// What became of the refresh token at the issuer.
    upstream: AtIssuer,
    /// When.
    timestamp: DateTime<Utc>,
}

/// Ends the caller's access token, the refresh token that is sent along, and the session: the one of `X-Session-ID` if
/// it is the caller's, else the token's own. All of that session's tokens end with it.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "sign-in", request_body = LogoutRequest,
    params(("X-Session-ID" = Option<String>, Header, description = "The session to end; ignored unless it is the caller's own.")),
    responses((status = 200, description = "Every verifier refuses what was ended.", body = LoggedOut), ProblemAnswer),
)]
pub async fn logout(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    let (from, headers) = (origin::of(&request), request.headers().clone());
    let (accepted, user) = deps.callers.verified(&headers).await?;
    let asked: LogoutRequest = json::read(request).await?;
    end(&deps, &accepted, &user, asked, &headers, &from).await
}

/// Ends all sign-ins of the caller, by one cutoff, however many tokens there are.
#[utoipa::path(post, path = "/api/v1/auth/logout/all", tag = "sign-in",
    responses((status = 200, description = "Every verifier refuses what was ended.", body = LoggedOut), ProblemAnswer),
)]
pub async fn logout_all(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    let (from, headers) = (origin::of(&request), request.headers().clone());
    let (accepted, user) = deps.callers.verified(&headers).await?;
    let asked = LogoutRequest { refresh_token: None, logout_all_devices: true };
    end(&deps, &accepted, &user, asked, &headers, &from).await
}

async fn end(
    deps: &Deps,
    accepted: &Accepted,
    user: &VerifiedUser,
    asked: LogoutRequest,
    headers: &HeaderMap,
    from: &Origin,
) -> Result<Response, Problem> {
    let all = asked.logout_all_devices;
    let sign_outs = &deps.sign_ins.sign_outs;
    let meant = session_meant(deps, accepted, user, headers).await.map_err(|error| Problem::undone(&error))?;
    // Before the token that the caller needs to ask again should this fail; what follows is tried in any case.
    let refresh = match asked.refresh_token {
        Some(token) => end_refresh(deps, user, &token, meant.as_ref()).await,
        None => Ok((Ended::default(), AtIssuer::NotAsked)),
    };
    let ended = if all {
        let presented = (accepted.active.id(), accepted.active.expires_at());
        sign_outs.everything(&user.user_id, &RevokedBy::User, Some(presented)).await
    } else {
        end_this(deps, accepted, user, meant).await
    };
    let mut ended = ended.map_err(|error| Problem::undone(&error))?;
    let (more, upstream) = refresh.map_err(|error| Problem::undone(&error))?;
    ended += more;
    let metadata = serde_json::json!({
        "logout_all_devices": all, "tokens": ended.tokens, "sessions": ended.sessions, "upstream": upstream,
    });
    let actor = Actor { id: user.user_id.clone(), email: user.profile.email.clone(), name: user.profile.name.clone() };
    deps.auditor.done(Action::UserLogout, actor, from, metadata).await;
    let mut answer = Json(LoggedOut {
        status: "success",
        message: if all { "Successfully logged out from all devices" } else { "Successfully logged out" },
        logout_all_devices: all,
        tokens_blacklisted: ended.tokens,
        sessions_invalidated: ended.sessions,
        upstream,
        timestamp: deps.sign_ins.clock.now(),
    })
    .into_response();
    leave_nothing(answer.headers_mut());
    Ok(answer)
}

fn leave_nothing(headers: &mut HeaderMap) {
    cookies::clear(headers);
    headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static(r#""cache", "cookies", "storage""#));
}

/// Ends the presented token and one session.
async fn end_this(
    deps: &Deps,
    accepted: &Accepted,
    user: &VerifiedUser,
    session: Option<SessionId>,
) -> PortResult<Ended> {
    let (sign_outs, token) = (&deps.sign_ins.sign_outs, &accepted.active);
    if let Some(session) = session {
        let last = Some((token.id(), token.expires_at()));
        return sign_outs.session(&user.user_id, &session, &RevokedBy::User, last).await;
    }
    let owner = Owner::User(user.user_id.clone());
    let ended = sign_outs.token(&owner, token.id(), token.expires_at(), &RevokedBy::User).await?;
    Ok(Ended { tokens: u64::from(ended), sessions: 0 })
}

/// The session of the presented token: under our name if it came through us, else under the issuer's.
pub async fn session_of(deps: &Deps, accepted: &Accepted, user: &VerifiedUser) -> PortResult<Option<SessionId>> {
    let owner = Owner::User(user.user_id.clone());
    let row = deps.sign_ins.tokens.token(&owner, accepted.active.id()).await?;
    Ok(row.and_then(|row| row.session).or_else(|| accepted.active.session().cloned()))
}

/// A session if it is the caller's own and was not ended.
async fn own(deps: &Deps, user: &VerifiedUser, named: Option<SessionId>) -> PortResult<Option<SessionId>> {
    let Some(named) = named else { return Ok(None) };
    let row = deps.sign_ins.tokens.session(&user.user_id, &named).await?;
    Ok(row.filter(|row| row.ended_by.is_none()).map(|row| row.id))
}

/// The session that a caller means: the one that `X-Session-ID` names, else the token's, else the one that the browser
/// keeps in a cookie, which may be of a later sign-in than the token.
pub async fn session_meant(
    deps: &Deps,
    accepted: &Accepted,
    user: &VerifiedUser,
    headers: &HeaderMap,
) -> PortResult<Option<SessionId>> {
    if let Some(named) = own(deps, user, cookies::named_session(headers)).await? {
        return Ok(Some(named));
    }
    match session_of(deps, accepted, user).await? {
        Some(session) => Ok(Some(session)),
        None => own(deps, user, cookies::session(headers)).await,
    }
}

/// Ends a refresh token of the caller's, here and at the issuer, and with it its sign-in (`[OAUTH-2]`), unless that is
/// the one meant, which is ended in any case. Another's is left alone, and so is what is none.
async fn end_refresh(
    deps: &Deps,
    user: &VerifiedUser,
    token: &str,
    meant: Option<&SessionId>,
) -> PortResult<(Ended, AtIssuer)> {
    let row = deps.sign_ins.tokens.opaque(&TokenId::of_opaque(&RawToken::new(token))).await?;
    let own = row.filter(|row| row.kind == TokenKind::Refresh && row.owner.user() == Some(&user.user_id));
    let Some(row) = own else { return Ok((Ended::default(), AtIssuer::NotAsked)) };
    let meant = row.session.is_some() && row.session.as_ref() == meant;
    let ended = if meant { Ok(Ended::default()) } else { deps.sign_ins.sign_outs.grant(&row, &RevokedBy::User).await };
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let fields =
        vec![field("token", token), field("token_type_hint", "refresh_token"), field("client_id", row.client.as_str())];
    let upstream = deps.sign_ins.upstream.revoke(&Form { fields, authorization: None }).await;
    Ok((ended?, upstream.into()))
}

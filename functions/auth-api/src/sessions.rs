//! Users' own sessions (`[SESS-1]`): list and end.

use axum::Json;
use axum::extract::{Path, Request, State};
use chrono::{DateTime, Utc};
use domain::audit::Action;
use domain::directory::Actor;
use domain::ids::SessionId;
use domain::session::Listed;
use domain::token::RevokedBy;
use http::HeaderMap;
use lambda_kit::origin;
use lambda_kit::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Deps;
use crate::answers::ProblemAnswer;
use crate::logout::{session_meant, session_of};

/// A live session.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Its id.
    #[serde(rename = "session_id")]
    id: String,
    /// The address its user came from.
    ip_address: Option<String>,
    /// The user's program.
    user_agent: Option<String>,
    /// When the user signed in.
    created_at: DateTime<Utc>,
    /// When it was last used.
    last_accessed: Option<DateTime<Utc>>,
    /// How often it was used.
    access_count: u64,
    /// Whether it is the one that the caller names, or else the token's own.
    current: bool,
}

/// A user's live sessions.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    /// The user.
    user_id: String,
    /// How many there are.
    active_sessions: usize,
    /// The newest first.
    sessions: Vec<Session>,
}

/// What was ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionEnded {
    /// `success`
    status: &'static str,
    /// The same in words.
    message: &'static str,
    /// Tokens of the session that were good until now.
    tokens_blacklisted: u64,
}

/// Lists the caller's live sessions. Looking at them does not extend their lives.
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "sign-in",
    params(("X-Session-ID" = Option<String>, Header, description = "The session that is marked as the current one.")),
    responses((status = 200, description = "The sessions.", body = SessionList), ProblemAnswer),
)]
pub async fn list(State(deps): State<Deps>, headers: HeaderMap) -> Result<Json<SessionList>, Problem> {
    let (accepted, user) = deps.callers.verified(&headers).await?;
    let current = session_meant(&deps, &accepted, &user, &headers).await;
    let current = current.map_err(|error| Problem::unavailable(&error))?;
    let listed = deps.sign_ins.sessions.list(&user.user_id).await.map_err(|error| Problem::unavailable(&error))?;
    let session = |listed: Listed| Session {
        current: current.as_ref() == Some(&listed.id),
        id: listed.id.into(),
        ip_address: listed.ip_address,
        user_agent: listed.user_agent,
        created_at: listed.created_at,
        last_accessed: listed.last_accessed,
        access_count: listed.access_count,
    };
    let sessions: Vec<Session> = listed.into_iter().map(session).collect();
    Ok(Json(SessionList { user_id: user.user_id.into(), active_sessions: sessions.len(), sessions }))
}

/// Ends one of the caller's own sessions and all of its tokens. Another's is as unknown as none.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", tag = "sign-in",
    params(("id" = String, Path, description = "The session.")),
    responses((status = 200, description = "Every verifier refuses what was ended.", body = SessionEnded), ProblemAnswer),
)]
pub async fn end(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<SessionEnded>, Problem> {
    let from = origin::of(&request);
    let (accepted, user) = deps.callers.verified(request.headers()).await?;
    let unknown = || Problem::not_found("You have no such session.");
    let id = SessionId::parse(id).map_err(|_| unknown())?;
    let row = deps.sign_ins.tokens.session(&user.user_id, &id).await.map_err(|error| Problem::unavailable(&error))?;
    // One that has idled out is no longer listed, but its tokens may live on.
    if row.is_none_or(|row| row.ended_by.is_some()) {
        return Err(unknown());
    }
    let sign_outs = &deps.sign_ins.sign_outs;
    let ended = async {
        let is_own = session_of(&deps, &accepted, &user).await?.as_ref() == Some(&id);
        let last = is_own.then(|| (accepted.active.id(), accepted.active.expires_at()));
        sign_outs.session(&user.user_id, &id, &RevokedBy::User, last).await
    };
    let ended = ended.await.map_err(|error| Problem::undone(&error))?;
    let metadata = serde_json::json!({
        "logout_all_devices": false, "tokens": ended.tokens, "sessions": ended.sessions,
    });
    let actor = Actor { id: user.user_id, email: user.profile.email, name: user.profile.name };
    deps.auditor.done(Action::UserLogout, actor, &from, metadata).await;
    Ok(Json(SessionEnded { status: "success", message: "Session terminated", tokens_blacklisted: ended.tokens }))
}

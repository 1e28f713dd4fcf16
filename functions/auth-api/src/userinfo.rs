//! `GET /oauth/userinfo` (OpenID Connect Core §5.3): whose token it is.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::error::PortError;
use domain::identity::{Profile, VerificationSource, VerifiedUser};
use domain::inspect::Accepted;
use domain::session::Used;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Deps;
use crate::logout::session_meant;
use crate::oauth_error::{OauthAnswer, OauthError};

/// The user of a token, as far as the issuer and the directory tell.
#[derive(Debug, Serialize, ToSchema)]
pub struct Userinfo {
    /// The user's id.
    sub: String,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    email: Option<String>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    name: Option<String>,
    /// Address of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    picture: Option<String>,
    /// The directory's roles, and those the issuer names.
    roles: Vec<String>,
    /// The directory's permissions, and those the issuer names.
    permissions: Vec<String>,
    /// The issuer's groups.
    groups: Vec<String>,
    /// `oauth_userinfo`, `traditional_auth`, `local_jwt` or `token_row`.
    #[schema(value_type = String)]
    verification_source: VerificationSource,
    /// When the token was checked.
    verified_at: DateTime<Utc>,
}

fn union(one: Vec<String>, other: Vec<String>) -> Vec<String> {
    let mut all = one;
    for name in other {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// What the issuer said of the user at the sign-in, from the session that the caller names or else the token's own. That
/// puts off the session's end. Nothing is lost without it but words.
async fn said_at_sign_in(deps: &Deps, accepted: &Accepted, user: &VerifiedUser, headers: &HeaderMap) -> Profile {
    let looked = async {
        let Some(session) = session_meant(deps, accepted, user, headers).await? else { return Ok(Used::Gone) };
        deps.sign_ins.sessions.use_one(&user.user_id, &session).await
    };
    match looked.await {
        Ok(Used::Live(data)) => data.user_data,
        Ok(Used::Gone | Used::Unreadable) => Profile::default(),
        Err(error) => {
            let error: PortError = error;
            tracing::warn!(%error, "a session could not be used");
            Profile::default()
        }
    }
}

/// Tells whose access token it is: by the token or whoever vouches for it, else by what was said at the sign-in, else by
/// the directory.
#[utoipa::path(get, path = "/oauth/userinfo", tag = "sign-in",
    params(("X-Session-ID" = Option<String>, Header, description = "The caller's session, whose end this puts off.")),
    responses((status = 200, description = "The user.", body = Userinfo), OauthAnswer),
)]
pub async fn userinfo(State(deps): State<Deps>, headers: HeaderMap) -> Result<Json<Userinfo>, OauthError> {
    let accepted = deps.callers.accepted(&headers).await?;
    let user = accepted.user.clone().ok_or(OauthError::InsufficientScope)?;
    let known = deps.callers.directory.user(&user.user_id).await;
    let known = known.map_err(|error| OauthError::unavailable(&error))?;
    let said = said_at_sign_in(&deps, &accepted, &user, &headers).await;
    let profile = user.profile;
    let (email, name, roles, permissions) =
        known.map_or_else(Default::default, |known| (known.email, known.name, known.roles, known.permissions));
    Ok(Json(Userinfo {
        sub: user.user_id.into(),
        email: profile.email.or(said.email).or(email),
        name: profile.name.or(said.name).or(name),
        picture: profile.avatar.or(said.avatar),
        roles: union(roles, profile.roles),
        permissions: union(permissions, profile.permissions),
        groups: if profile.groups.is_empty() { said.groups } else { profile.groups },
        verification_source: user.verification_source,
        verified_at: user.verified_at,
    }))
}

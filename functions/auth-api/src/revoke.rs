//! `POST /oauth/revoke` (RFC 7009).

use axum::Json;
use axum::extract::{Request, State};
use domain::audit::Action;
use domain::cutoff;
use domain::decision::Refusal;
use domain::directory::{Actor, Client};
use domain::ids::{ClientId, RawToken, TokenId, UserId};
use domain::ports::{PortResult, VerifyError};
use domain::sign_out::Ended;
use domain::token::{RevokedBy, TokenKind, TokenRow};
use domain::upstream::UpstreamError;
use lambda_kit::origin;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::clients::Needs;
use crate::oauth_error::{OauthAnswer, OauthError};
use crate::{Deps, clients, form};

/// The request of RFC 7009 §2.1.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes the form")]
pub struct RevocationRequest {
    /// The token to revoke.
    #[schema(min_length = 1)]
    token: String,
    /// `access_token` or `refresh_token`. What it says changes nothing (RFC 7009 §2.1): tokens are found without it.
    #[schema(required = false)]
    token_type_hint: Option<String>,
    /// The client, unless it authenticates by HTTP Basic.
    #[schema(required = false)]
    client_id: Option<String>,
    /// Its secret, unless it authenticates by HTTP Basic or has none.
    #[schema(required = false)]
    client_secret: Option<String>,
}

/// What became of the token at the issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AtIssuer {
    /// The issuer ended it, or never knew it.
    Revoked,
    /// The issuer did not, or could not be asked. Here it is ended nevertheless.
    Failed,
    /// The issuer has no way to.
    NotOffered,
    /// The issuer was not asked.
    NotAsked,
}

impl From<Result<(), UpstreamError>> for AtIssuer {
    fn from(outcome: Result<(), UpstreamError>) -> Self {
        match outcome {
            Ok(()) => Self::Revoked,
            Err(UpstreamError::NotOffered(_)) => Self::NotOffered,
            Err(error) => {
                tracing::warn!(%error, "the issuer did not revoke a token");
                Self::Failed
            }
        }
    }
}

/// The answer; clients need not read it (RFC 7009 §2.2).
#[derive(Debug, Serialize, ToSchema)]
pub struct Revocation {
    /// `success`
    status: &'static str,
    /// What became of the token at the issuer.
    upstream: AtIssuer,
}

/// What the presented token turned out to be.
enum Found {
    /// A token that nobody here knows, or that is over: nothing is to be done (RFC 7009 §2.2).
    Nothing,
    /// One of ours.
    Ended(Option<UserId>, Ended),
}

/// Revokes a token of the calling client. A refresh token takes its session and all of that session's tokens with it.
#[utoipa::path(post, path = "/oauth/revoke", tag = "tokens", security(("client" = []), ()),
    request_body(content = RevocationRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token is not good any more, or never was.", body = Revocation), OauthAnswer),
)]
pub async fn revoke(State(deps): State<Deps>, request: Request) -> Result<Json<Revocation>, OauthError> {
    let (from, headers) = (origin::of(&request), request.headers().clone());
    let form = form::read(request).await?;
    let client = clients::authenticate(deps.callers.directory.as_ref(), &headers, &form, Needs::Revocation).await?;
    let token = form.get("token").map(RawToken::new);
    let token = token.ok_or(OauthError::InvalidRequest("The parameter token is missing."))?;
    let found = end(&deps, &token, &client).await?;
    let upstream = AtIssuer::from(deps.sign_ins.upstream.revoke(&form).await);
    if let Found::Ended(user, ended) = found {
        let metadata = json!({
            "client": client.id, "tokens": ended.tokens, "sessions": ended.sessions, "upstream": upstream,
        });
        // A client's revocation is its user's where the token has one.
        let id = user.or_else(|| UserId::parse(client.id.as_str()).ok());
        if let Some(id) = id {
            let actor = Actor { id, email: None, name: None };
            deps.auditor.done(Action::TokenRevoked, actor, &from, metadata).await;
        }
    }
    Ok(Json(Revocation { status: "success", upstream }))
}

async fn end(deps: &Deps, token: &RawToken, client: &Client) -> Result<Found, OauthError> {
    let unavailable = |error| OauthError::unavailable(&error);
    let opaque = deps.sign_ins.tokens.opaque(&TokenId::of_opaque(token)).await.map_err(unavailable)?;
    if let Some(row) = opaque {
        own(&row.client, client)?;
        if is_over(deps, &row).await.map_err(unavailable)? {
            return Ok(Found::Nothing);
        }
        // What is left of a refresh token's grant must go with it (RFC 7009 §2.1).
        let ended = deps.sign_ins.sign_outs.grant(&row, &RevokedBy::Client).await.map_err(unavailable)?;
        return Ok(Found::Ended(row.owner.user().cloned(), ended));
    }
    if !token.looks_like_jwt() {
        return Ok(Found::Nothing);
    }
    // Only what the issuer has signed: anybody can write down somebody's token id.
    match deps.callers.inspector.verifier.verify_to_end(token).await {
        Ok(claims) => {
            let facts = claims.facts;
            own(facts.client.as_ref().ok_or(OauthError::InvalidGrant(NOT_YOURS))?, client)?;
            let owner = facts.owner().ok_or(OauthError::InvalidGrant(NOT_YOURS))?;
            let seen = facts.clone().seen_last();
            let checked = deps.callers.inspector.checker.check(&seen).await.map_err(unavailable)?;
            // Without the cache nobody can say that every verifier has heard of it.
            let is_over = matches!(checked.refusal, Some(Refusal::TokenRevoked | Refusal::Expired));
            if is_over && checked.degraded.is_none() {
                return Ok(Found::Nothing);
            }
            let by = RevokedBy::Client;
            let ended = deps.sign_ins.sign_outs.token(&owner, &facts.id, facts.expires_at, &by).await;
            let ended = Ended { tokens: u64::from(ended.map_err(unavailable)?), sessions: 0 };
            Ok(Found::Ended(facts.user, ended))
        }
        Err(VerifyError::IdToken) => Err(OauthError::UnsupportedTokenType),
        Err(VerifyError::Invalid(_) | VerifyError::Expired) => Ok(Found::Nothing),
        Err(error @ VerifyError::NoKeys(_)) => Err(OauthError::unavailable(&error)),
    }
}

/// Whether there is nothing left to end: asking for it again and again must not write anything. What ends last says so:
/// of a sign-in its session, else the token's row. Where a sign-in has no session row it is over once its refresh token's
/// row is and verifiers refuse it, which is certain only while the cache is.
async fn is_over(deps: &Deps, row: &TokenRow) -> PortResult<bool> {
    if cutoff::is_over(row.expires_at, deps.sign_ins.clock.now().into()) {
        return Ok(true);
    }
    let (TokenKind::Refresh, Some(user), Some(session)) = (row.kind, row.owner.user(), &row.session) else {
        return Ok(row.revoked.is_some());
    };
    if let Some(session) = deps.sign_ins.tokens.session(user, session).await? {
        return Ok(session.ended_by.is_some());
    }
    let inspector = &deps.callers.inspector;
    let checked = inspector.checker.check(&inspector.facts_of(row).await?.seen_last()).await?;
    Ok(row.revoked.is_some() && checked.degraded.is_none() && matches!(checked.refusal, Some(Refusal::CutOff(_))))
}

const NOT_YOURS: &str = "This token was issued to another client.";

/// RFC 7009 §2.1: "verifies whether the token was issued to the client making the revocation request".
fn own(issued_to: &ClientId, client: &Client) -> Result<(), OauthError> {
    if issued_to == &client.id { Ok(()) } else { Err(OauthError::InvalidGrant(NOT_YOURS)) }
}

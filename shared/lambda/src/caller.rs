//! Who is calling: the bearer token, checked like any other, and the user the directory knows by it (`[AUTHZ-1]`).

use std::sync::Arc;

use domain::directory::User;
use domain::identity::VerifiedUser;
use domain::ids::RawToken;
use domain::inspect::{Accepted, Active, CannotTell, Inspected, Inspector};
use domain::permissions::Role;
use domain::ports::Directory;
use domain::time::Clock;
use domain::token::TokenKind;
use http::{HeaderMap, header};

use crate::checked;
use crate::problem::Problem;

/// RFC 6750 §3: no credentials were sent, so that no error is named.
pub const CHALLENGE: &str = "Bearer";
/// RFC 6750 §3.1: the token that was sent is not good.
pub const INVALID_TOKEN: &str = r#"Bearer error="invalid_token""#;

/// Finds out who calls.
#[derive(Clone)]
pub struct Callers {
    /// The check.
    pub inspector: Inspector,
    /// Users.
    pub directory: Arc<dyn Directory>,
    /// Time, for metrics.
    pub clock: Arc<dyn Clock>,
}

/// Why a caller is not let in.
#[derive(Debug)]
pub enum Stopped {
    /// No token was sent.
    NoToken,
    /// The token is not good, or no access token.
    Invalid,
    /// Nobody can tell: refused with 503 (`[CHECK-3]`).
    CannotTell(CannotTell),
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::NoToken => Self::unauthenticated("Send a token as Authorization: Bearer …", CHALLENGE),
            Stopped::Invalid => Self::unauthenticated("The token is not valid, or not any more.", INVALID_TOKEN),
            Stopped::CannotTell(error) => Self::unavailable(&error),
        }
    }
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer(headers: &HeaderMap) -> Option<RawToken> {
    bearer_token(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The token in the value of an `Authorization` header (RFC 6750 §2.1).
pub fn bearer_token(value: &str) -> Option<RawToken> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| RawToken::new(token))
}

impl Callers {
    /// Checks any token, and reports what there is to report.
    pub async fn inspect(&self, token: &RawToken) -> Result<Inspected, CannotTell> {
        let inspected = self.inspector.inspect(token).await?;
        checked::report(self.clock.as_ref(), &inspected);
        Ok(inspected)
    }

    /// The caller's access token, if it is good.
    pub async fn accepted(&self, headers: &HeaderMap) -> Result<Accepted, Stopped> {
        let token = bearer(headers).ok_or(Stopped::NoToken)?;
        let inspected = self.inspect(&token).await.map_err(Stopped::CannotTell)?;
        let accepted = inspected.verdict.map_err(|_| Stopped::Invalid)?;
        // An ID or refresh token opens nothing.
        if accepted.active.kind() == TokenKind::Access { Ok(accepted) } else { Err(Stopped::Invalid) }
    }

    /// The same, of a user: a service token has nobody to act for here.
    pub async fn verified(&self, headers: &HeaderMap) -> Result<(Accepted, VerifiedUser), Problem> {
        let accepted = self.accepted(headers).await?;
        let user = accepted.user.clone();
        let user = user.ok_or_else(|| Problem::forbidden("A service token has no permissions here."))?;
        Ok((accepted, user))
    }

    /// The calling user. A good token of somebody the directory does not know is a user without permissions.
    pub async fn user(&self, headers: &HeaderMap) -> Result<User, Problem> {
        let (accepted, verified) = self.verified(headers).await?;
        let known = self.directory.user(&verified.user_id).await.map_err(|error| Problem::unavailable(&error))?;
        // Somebody the directory does not know has no permissions, whatever the token claims.
        let Some(mut user) = known else { return Ok(User::unknown(verified.user_id)) };
        // Configuration may map a claim of the token to roles; only names that mean something here are taken over. What
        // else the issuer says of the user gives nothing here.
        if let Active::Jwt(claims) = accepted.active {
            user.roles.extend(claims.profile.roles.into_iter().filter(|role| Role::parse(role).is_some()));
        }
        Ok(user)
    }
}

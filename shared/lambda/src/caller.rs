//! Who is calling: the bearer token, checked like any other, and the user the directory knows by it (`[AUTHZ-1]`).

use std::sync::Arc;

use domain::directory::User;
use domain::ids::RawToken;
use domain::inspect::{Accepted, Active, Inspector};
use domain::permissions::Role;
use domain::ports::Directory;
use domain::time::Clock;
use domain::token::TokenKind;
use http::{HeaderMap, header};

use crate::checked;
use crate::problem::Problem;

/// RFC 6750 §3: no credentials were sent, so that no error is named.
const CHALLENGE: &str = "Bearer";
const INVALID_TOKEN: &str = r#"Bearer error="invalid_token""#;

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
    /// The calling user. A good token of somebody the directory does not know is a user without permissions.
    pub async fn user(&self, headers: &HeaderMap) -> Result<User, Problem> {
        let token = bearer(headers)
            .ok_or_else(|| Problem::unauthenticated("Send a token as Authorization: Bearer …", CHALLENGE))?;
        let inspected = self.inspector.inspect(&token).await.map_err(|error| Problem::unavailable(&error))?;
        checked::report(self.clock.as_ref(), &inspected);
        let refused = || Problem::unauthenticated("The token is not valid, or not any more.", INVALID_TOKEN);
        let Accepted { active, .. } = inspected.verdict.map_err(|_| refused())?;
        if active.kind() != TokenKind::Access {
            return Err(refused());
        }
        let (id, claimed_roles) = match active {
            Active::Jwt(claims) => (claims.facts.user, claims.profile.roles),
            Active::Opaque(row) => (row.owner.user().cloned(), Vec::new()),
        };
        let id = id.ok_or_else(|| Problem::forbidden("A service token has no permissions here."))?;
        let known = self.directory.user(&id).await.map_err(|error| Problem::unavailable(&error))?;
        // Somebody the directory does not know has no permissions, whatever the token claims.
        let Some(mut user) = known else { return Ok(User::unknown(id)) };
        // Configuration may map a claim to roles; only names that mean something here are taken over.
        user.roles.extend(claimed_roles.into_iter().filter(|role| Role::parse(role).is_some()));
        Ok(user)
    }
}

//! Token and session rows: what the token table knows of each.

use serde::{Deserialize, Serialize};

use crate::cutoff::Kinds;
use crate::ids::{ClientId, JobId, SessionId, TokenId, UserId};
use crate::time::Epoch;

/// Access or refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Presented to APIs.
    #[serde(rename = "access_token")]
    Access,
    /// Presented to the token endpoint for new tokens.
    #[serde(rename = "refresh_token")]
    Refresh,
}

impl TokenKind {
    /// The kind as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access_token",
            Self::Refresh => "refresh_token",
        }
    }
}

/// Whose token it is: all rows of one owner lie together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A user's token or session.
    User(UserId),
    /// A service token: client-credentials grant, no user (spec §1).
    Service(ClientId),
}

impl Owner {
    /// The user, unless it is a service token.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Service(_) => None,
        }
    }
}

/// What is known of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its id (never the token).
    pub id: TokenId,
    /// Whose it is.
    pub owner: Owner,
    /// Access or refresh.
    pub kind: TokenKind,
    /// The client it was issued to.
    pub client: ClientId,
    /// The sign-in it stems from, where known.
    pub session: Option<SessionId>,
    /// Whether it is an opaque token, which must be found by its id alone.
    pub opaque: bool,
    /// `iat`.
    pub issued_at: Epoch,
    /// `auth_time`: when the user signed in.
    pub signed_in_at: Option<Epoch>,
    /// `exp`.
    pub expires_at: Epoch,
    /// The last use, where the issuer reports it.
    pub last_used_at: Option<Epoch>,
    /// Space-separated scopes (RFC 6749 §3.3).
    pub scope: Option<String>,
    /// When and by what it was revoked.
    pub revoked: Option<Revoked>,
}

impl TokenRow {
    /// The moment cutoffs that mean "from now on" compare: the sign-in, else the issue (`[CUT-4]`).
    pub fn sign_in(&self, session_started: Option<Epoch>) -> Epoch {
        self.signed_in_at.or(session_started).unwrap_or(self.issued_at)
    }
}

/// The end of a token or session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: Epoch,
    /// By which job, or by whom.
    pub by: RevokedBy,
}

/// What ended a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokedBy {
    /// A batch logout job.
    Job(JobId),
    /// The issuer told us that it had ended it.
    Issuer,
    /// Its user signed out.
    User,
    /// Its client revoked it (RFC 7009).
    Client,
    /// A refresh brought another refresh token in its place. Some issuers take it once more for a moment, in case the
    /// answer was lost; that is theirs to say.
    Rotation,
}

impl RevokedBy {
    /// The stored form: the job's id, which is a UUID, or a word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Job(job) => job.as_str(),
            Self::Issuer => "issuer",
            Self::User => "user",
            Self::Client => "client",
            Self::Rotation => "rotation",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "issuer" => Some(Self::Issuer),
            "user" => Some(Self::User),
            "client" => Some(Self::Client),
            "rotation" => Some(Self::Rotation),
            job => JobId::parse(job).ok().map(Self::Job),
        }
    }
}

/// What is known of one sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The client it was made with, where known.
    pub client: Option<ClientId>,
    /// When the user signed in.
    pub started_at: Epoch,
    /// When it ends by itself.
    pub expires_at: Epoch,
    /// The issuer's own name for the sign-in (`sid`), where it differs: what its JWTs carry.
    pub issuer_sid: Option<SessionId>,
    /// The address the user came from.
    pub ip_address: Option<String>,
    /// The rest, sealed ([`crate::session`]); only of sign-ins through our own token endpoint.
    pub sealed: Option<String>,
    /// What ended it; such a session is gone for every reader, and only its empty row is left.
    pub ended_by: Option<RevokedBy>,
}

/// Everything of one owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Tokens, ended ones included.
    pub tokens: Vec<TokenRow>,
    /// Sessions, ended ones included.
    pub sessions: Vec<SessionRow>,
}

impl Holdings {
    /// A token's session, if that is known.
    pub fn session_of(&self, token: &TokenRow) -> Option<&SessionRow> {
        let wanted = token.session.as_ref()?;
        self.sessions.iter().find(|session| &session.id == wanted)
    }

    /// When a token's session started, if that is known.
    pub fn session_start(&self, token: &TokenRow) -> Option<Epoch> {
        self.session_of(token).map(|session| session.started_at)
    }
}

impl Kinds {
    /// The kinds as the contract spells them.
    pub fn names(self) -> Vec<&'static str> {
        let kinds = [TokenKind::Access, TokenKind::Refresh].into_iter().filter(|kind| self.includes(*kind));
        kinds.map(TokenKind::as_str).collect()
    }

    /// Whether tokens of this kind are meant.
    pub fn includes(self, kind: TokenKind) -> bool {
        match self {
            Self::Both => true,
            Self::AccessOnly => kind == TokenKind::Access,
            Self::RefreshOnly => kind == TokenKind::Refresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_1_kinds_of_token_are_named_one_by_one() {
        assert_eq!(Kinds::Both.names(), ["access_token", "refresh_token"]);
        assert_eq!(Kinds::AccessOnly.names(), ["access_token"]);
        assert_eq!(Kinds::RefreshOnly.names(), ["refresh_token"]);
    }
}

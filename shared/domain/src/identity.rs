//! Whose token it is, in one form whoever said so (`[CHECK-1]`).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// Who said that a token is good, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationSource {
    /// The issuer's `userinfo` (OpenID Connect Core §5.3).
    OauthUserinfo,
    /// The issuer's older `/api/v1/auth/me`.
    TraditionalAuth,
    /// The token's own claims, under a signature that was checked here.
    LocalJwt,
    /// The row that was written when an opaque token was issued.
    TokenRow,
}

impl VerificationSource {
    /// The source as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OauthUserinfo => "oauth_userinfo",
            Self::TraditionalAuth => "traditional_auth",
            Self::LocalJwt => "local_jwt",
            Self::TokenRow => "token_row",
        }
    }
}

/// What is said of a user besides the id. What is not said is empty, never guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// E-mail address.
    pub email: Option<String>,
    /// Name, in any script.
    pub name: Option<String>,
    /// Address of a picture.
    pub avatar: Option<String>,
    /// Role names, known here or not.
    pub roles: Vec<String>,
    /// Permissions, known here or not.
    pub permissions: Vec<String>,
    /// Groups, by the issuer's names.
    pub groups: Vec<String>,
}

/// A user whose token was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedUser {
    /// The `sub` of the issuer.
    pub user_id: UserId,
    /// The rest.
    #[serde(flatten)]
    pub profile: Profile,
    /// Who said so.
    pub verification_source: VerificationSource,
    /// When.
    pub verified_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_1_a_source_is_called_the_same_everywhere() {
        use VerificationSource as S;
        for source in [S::OauthUserinfo, S::TraditionalAuth, S::LocalJwt, S::TokenRow] {
            assert_eq!(serde_json::to_value(source).ok(), Some(source.as_str().into()));
        }
    }
}

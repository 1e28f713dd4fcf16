//! Identifiers as types, so that a client id cannot be handed in where a user id is meant.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest identifier that is accepted, in bytes. DynamoDB sort keys end at 1,024.
pub const MAX_ID_BYTES: usize = 512;

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text was empty.
    #[error("must not be empty")]
    Empty,
    /// The text was longer than [`MAX_ID_BYTES`].
    #[error("must be at most 512 bytes long")]
    TooLong,
    /// The text held a control character.
    #[error("must not contain control characters")]
    Control,
}

fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        Err(InvalidId::Empty)
    } else if text.len() > MAX_ID_BYTES {
        Err(InvalidId::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(InvalidId::Control)
    } else {
        Ok(())
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Accepts 1 to 512 bytes without control characters.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A user: the `sub` of the issuer.
    UserId
);
id!(
    /// A group of the directory.
    GroupId
);
id!(
    /// An OAuth client.
    ClientId
);
id!(
    /// One sign-in of one user on one device (`sid`).
    SessionId
);
id!(
    /// The `jti` of a JWT, or the hash of an opaque token ([`TokenId::of_opaque`]). Never the token itself.
    TokenId
);
id!(
    /// A batch logout job.
    JobId
);
id!(
    /// The chain of one writer's audit entries.
    ChainId
);
id!(
    /// One sign-in of an account at its provider.
    SignInId
);

impl TokenId {
    /// The id of an opaque token: the base64url SHA-256 of it (spec §1), so that the token itself is never stored.
    pub fn of_opaque(token: &RawToken) -> Self {
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(token.reveal().as_bytes())))
    }
}

/// A token as a client presents it. Its `Debug` form says nothing, so that it cannot end in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct RawToken(String);

impl RawToken {
    /// Takes a token at the door.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token itself: for hashing and for verifying its signature only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether the token has the three dot-separated parts of a signed JWT.
    pub fn looks_like_jwt(&self) -> bool {
        self.0.split('.').count() == 3
    }
}

impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawToken(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn an_id_is_1_to_512_bytes_of_any_script_without_control_characters() {
        assert!(UserId::parse("사용자-🙂").is_ok());
        assert_eq!(UserId::parse(""), Err(InvalidId::Empty));
        assert_eq!(UserId::parse("a\nb"), Err(InvalidId::Control));
        assert!(UserId::parse("x".repeat(512)).is_ok());
        assert_eq!(UserId::parse("x".repeat(513)), Err(InvalidId::TooLong));
    }

    #[test]
    fn an_opaque_token_is_known_by_the_base64url_sha_256_of_it_and_never_printed() {
        let raw = RawToken::new("abc");
        assert_eq!(TokenId::of_opaque(&raw).as_str(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
        assert!(!format!("{raw:?}").contains("abc"));
    }
}

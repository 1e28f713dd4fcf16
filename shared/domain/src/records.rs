//! Records from elsewhere: the issuer's tokens and sessions, the directory's users, groups, memberships and clients.
//!
//! A record is one JSON object, in an SQS message or as a line of NDJSON:
//!
//! ```json
//! {"v":1,"at":1767225600000,"upsert":{"membership":{"group_id":"sales","user_id":"u1"}}}
//! {"v":1,"at":1767225600001,"delete":{"membership":{"group_id":"sales","user_id":"u1"}}}
//! ```
//!
//! `at` (milliseconds since 1970) orders the changes of one thing: an older one that arrives later changes nothing.

use serde::{Deserialize, Serialize};

use crate::directory::{Client, Group, User};
use crate::ids::{ClientId, GroupId, SessionId, TokenId, UserId};
use crate::json;
use crate::time::Epoch;
use crate::token::{Owner, Revoked, RevokedBy, SessionRow, TokenKind, TokenRow};

/// The version of the record format that is written; older ones stay readable.
pub const RECORD_VERSION: u8 = 1;

/// One change of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Format version, 1.
    pub v: u8,
    /// When it changed at its source, in milliseconds since 1970.
    pub at: i64,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
}

/// Written or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It exists and looks like this.
    Upsert(Entity),
    /// It is gone.
    Delete(Key),
}

/// A thing as it now is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// A user.
    User(UserRecord),
    /// A group.
    Group(GroupRecord),
    /// A user's membership of a group.
    Membership(MembershipKey),
    /// An OAuth client.
    Client(ClientRecord),
    /// A token.
    Token(TokenRecord),
    /// A session.
    Session(SessionRecord),
}

/// What names a thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// A user.
    User(IdKey<UserId>),
    /// A group.
    Group(IdKey<GroupId>),
    /// A membership.
    Membership(MembershipKey),
    /// A client.
    Client(IdKey<ClientId>),
    /// A token that its issuer has ended.
    Token(TokenKey),
    /// A session that its issuer has ended; its tokens end with it.
    Session(SessionKey),
}

/// A plain id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdKey<I> {
    /// The id.
    pub id: I,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRecord {
    /// The `sub` of the issuer.
    pub id: UserId,
    /// Registered e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Language tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Whether the directory calls the user an admin.
    #[serde(default)]
    pub is_admin: bool,
    /// Role names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Permissions beside those of the roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Groups a group admin manages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_group_ids: Vec<GroupId>,
    /// Workspaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<String>,
}

impl UserRecord {
    /// A user of whom only the id is known.
    pub fn new(id: UserId) -> Self {
        Self {
            id,
            email: None,
            name: None,
            locale: None,
            is_admin: false,
            roles: Vec::new(),
            permissions: Vec::new(),
            managed_group_ids: Vec::new(),
            workspaces: Vec::new(),
        }
    }
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRecord {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<GroupId>,
}

/// Who is in what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MembershipKey {
    /// The group.
    pub group_id: GroupId,
    /// The user.
    pub user_id: UserId,
}

/// An OAuth client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRecord {
    /// Its id.
    pub id: ClientId,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Lower-case hex SHA-256 of its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_sha256: Option<String>,
    /// Whether it may ask about tokens.
    #[serde(default)]
    pub may_introspect: bool,
}

/// A token. Only its id: a raw token has no place here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// `jti`, or the base64url SHA-256 of an opaque token.
    pub id: TokenId,
    /// Its user; none for a service token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Its client.
    pub client_id: ClientId,
    /// Access or refresh.
    pub token_type: TokenKind,
    /// Whether clients present it as an opaque string rather than a JWT.
    #[serde(default)]
    pub opaque: bool,
    /// The sign-in it stems from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// `iat`, seconds since 1970.
    pub issued_at: Epoch,
    /// When the user signed in, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Epoch>,
    /// `exp`, seconds since 1970.
    pub expires_at: Epoch,
    /// Last use, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Epoch>,
    /// Space-separated scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// When the issuer ended it, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Epoch>,
}

/// What names a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    /// Its id.
    pub id: TokenId,
    /// Its user; none for a service token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Its client.
    pub client_id: ClientId,
    /// `exp`, where known: the denylist forgets it after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Epoch>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRecord {
    /// Its id (`sid`).
    pub id: SessionId,
    /// Its user.
    pub user_id: UserId,
    /// Its client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// When the user signed in, seconds since 1970.
    pub started_at: Epoch,
    /// When it ends by itself, seconds since 1970.
    pub expires_at: Epoch,
    /// The address the user came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

/// What names a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionKey {
    /// Its id.
    pub id: SessionId,
    /// Its user.
    pub user_id: UserId,
}

/// Why a record is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// Not the JSON of a record.
    #[error("not a record: {0}")]
    Form(String),
    /// A format version from the future.
    #[error("record format version {0} is not known; this program reads version 1")]
    Version(u8),
    /// A token that ends before it begins.
    #[error("token {0}: expires_at is before issued_at")]
    Times(TokenId),
    /// A client secret hash of the wrong form.
    #[error("client {0}: secret_sha256 must be 64 lower-case hexadecimal digits")]
    SecretHash(ClientId),
}

impl Record {
    /// An upsert in the current format.
    pub fn upsert(at: i64, entity: Entity) -> Self {
        Self { v: RECORD_VERSION, at, change: Change::Upsert(entity) }
    }

    /// A delete in the current format.
    pub fn delete(at: i64, key: Key) -> Self {
        Self { v: RECORD_VERSION, at, change: Change::Delete(key) }
    }

    /// Reads one record.
    pub fn parse(text: &str) -> Result<Self, InvalidRecord> {
        let record: Self = json::object(text.as_bytes()).map_err(|cause| InvalidRecord::Form(cause.to_string()))?;
        if record.v != RECORD_VERSION {
            return Err(InvalidRecord::Version(record.v));
        }
        match &record.change {
            Change::Upsert(Entity::Token(token)) if token.expires_at < token.issued_at => {
                Err(InvalidRecord::Times(token.id.clone()))
            }
            Change::Upsert(Entity::Client(client)) => match &client.secret_sha256 {
                Some(hash) if hash.len() != 64 || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                    Err(InvalidRecord::SecretHash(client.id.clone()))
                }
                _ => Ok(record),
            },
            _ => Ok(record),
        }
    }
}

impl TokenKey {
    /// Whose it is.
    pub fn owner(&self) -> Owner {
        owner(self.user_id.clone(), &self.client_id)
    }
}

fn owner(user: Option<UserId>, client: &ClientId) -> Owner {
    user.map_or_else(|| Owner::Service(client.clone()), Owner::User)
}

impl From<UserRecord> for User {
    fn from(record: UserRecord) -> Self {
        Self {
            id: record.id,
            email: record.email,
            name: record.name,
            locale: record.locale,
            is_admin: record.is_admin,
            roles: record.roles,
            permissions: record.permissions,
            managed_group_ids: record.managed_group_ids,
            workspaces: record.workspaces,
        }
    }
}

impl From<GroupRecord> for Group {
    fn from(record: GroupRecord) -> Self {
        Self { id: record.id, name: record.name, parent: record.parent_id }
    }
}

impl From<ClientRecord> for Client {
    fn from(record: ClientRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            secret_sha256: record.secret_sha256,
            may_introspect: record.may_introspect,
        }
    }
}

impl From<TokenRecord> for TokenRow {
    fn from(record: TokenRecord) -> Self {
        Self {
            owner: owner(record.user_id, &record.client_id),
            id: record.id,
            kind: record.token_type,
            client: record.client_id,
            session: record.session_id,
            opaque: record.opaque,
            issued_at: record.issued_at,
            signed_in_at: record.auth_time,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at,
            scope: record.scope,
            revoked: record.revoked_at.map(|at| Revoked { at, by: RevokedBy::Issuer }),
        }
    }
}

impl From<SessionRecord> for SessionRow {
    fn from(record: SessionRecord) -> Self {
        Self {
            id: record.id,
            user: record.user_id,
            client: record.client_id,
            started_at: record.started_at,
            expires_at: record.expires_at,
            issuer_sid: None,
            ip_address: record.ip_address,
            sealed: None,
            ended_by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_record_survives_the_wire_whatever_the_script() {
        let line = r#"{"v":1,"at":5,"upsert":{"user":{"id":"u1","name":"김민지 👩‍💻 \"x\"","is_admin":false}}}"#;
        let record = Record::parse(line).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
    }

    #[test]
    fn what_is_not_a_record_is_refused_with_the_reason() {
        let cases = [
            ("", "not a record"),
            (r#"{"v":1,"at":5}"#, "no variant of enum Change"),
            (r#"{"v":2,"at":5,"delete":{"user":{"id":"u"}}}"#, "version 2"),
            (r#"{"v":1,"at":5,"upsert":{"user":{"id":"u","token":"secret"}}}"#, "unknown field `token`"),
            (r#"{"v":1,"at":5,"extra":1,"delete":{"user":{"id":"u"}}}"#, "unknown field"),
            (r#"{"v":1,"at":5,"delete":{"user":{"id":""}}}"#, "must not be empty"),
            (
                r#"{"v":1,"at":5,"upsert":{"token":{"id":"t","client_id":"c","token_type":"access_token","issued_at":9,"expires_at":8}}}"#,
                "before issued_at",
            ),
            (r#"{"v":1,"at":5,"upsert":{"client":{"id":"c","secret_sha256":"XYZ"}}}"#, "64 lower-case"),
        ];
        for (line, reason) in cases {
            let error = Record::parse(line).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}

//! Users, groups and clients as the company's directory describes them.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ids::{ClientId, GroupId, UserId};
use crate::permissions::{Permission, Role};

/// A user of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The `sub` of the issuer.
    pub id: UserId,
    /// Registered e-mail address.
    pub email: Option<String>,
    /// The name people know them by, in any script.
    pub name: Option<String>,
    /// Language of notices, as a BCP 47 tag.
    pub locale: Option<String>,
    /// Set by the directory itself.
    pub is_admin: bool,
    /// Role names; unknown ones give nothing.
    pub roles: Vec<String>,
    /// Permissions given directly, beside those of the roles.
    pub permissions: Vec<String>,
    /// The groups a group admin may log out.
    pub managed_group_ids: Vec<GroupId>,
    /// The workspaces the user belongs to.
    pub workspaces: Vec<String>,
}

impl User {
    /// Somebody of whom nothing but the id is known: no admin, no roles, no permissions (`[AUTHZ-1]`).
    pub fn unknown(id: UserId) -> Self {
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

    /// Whether jobs that spare admins spare this user (spec §1, "admin").
    pub fn is_admin(&self) -> bool {
        self.is_admin || self.roles.iter().any(|role| Role::makes_admin(role))
    }

    /// Whether the user holds a permission, by role or directly.
    pub fn may(&self, wanted: Permission) -> bool {
        let by_role = self.roles.iter().filter_map(|role| Role::parse(role)).any(|role| role.has(wanted));
        let direct = self.permissions.iter().filter_map(|name| Permission::parse(name)).any(|has| has.implies(wanted));
        by_role || direct
    }
}

/// A group of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: Option<String>,
    /// The group it belongs to.
    pub parent: Option<GroupId>,
}

/// An OAuth client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// Its name.
    pub name: Option<String>,
    /// Lower-case hex SHA-256 of its secret; clients without a secret cannot authenticate.
    pub secret_sha256: Option<String>,
    /// Whether it may ask about tokens (RFC 7662 §2.1).
    pub may_introspect: bool,
}

/// The stored form of a client's secret: the lower-case hex SHA-256 of it. Secrets are long and random, so that a
/// slow hash would add nothing.
pub fn secret_hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

impl Client {
    /// Whether this is the client's secret, compared in constant time.
    pub fn has_secret(&self, secret: &str) -> bool {
        let stored = self.secret_sha256.as_deref().unwrap_or_default();
        bool::from(secret_hash(secret).as_bytes().ct_eq(stored.as_bytes()))
    }
}

/// Who the every-day clean-up says it is.
pub const SCHEDULE: &str = "system:schedule";

/// What tells a person who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// User id.
    pub id: UserId,
    /// E-mail address.
    pub email: Option<String>,
    /// Name.
    pub name: Option<String>,
}

impl Actor {
    /// The every-day clean-up. A colon and no address: no issuer's user.
    pub fn schedule() -> Self {
        let id = UserId::parse(SCHEDULE).unwrap_or_else(|_| unreachable!("the name is a valid id"));
        Self { id, email: None, name: None }
    }
}

impl From<&User> for Actor {
    fn from(user: &User) -> Self {
        Self { id: user.id.clone(), email: user.email.clone(), name: user.name.clone() }
    }
}

//! What a job asks for, by kind (spec §2).
//!
//! How to add another kind: give [`Conditions`] a variant, let the compiler lead you through the matches, and extend
//! the oracle in `tests/`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cutoff::Kinds;
use crate::ids::{ClientId, GroupId, UserId};
use crate::permissions::Permission;

/// The kinds of job (`[API-6]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobType {
    /// A group's members.
    GroupBased,
    /// A client's tokens.
    ClientBased,
    /// Old or unused tokens.
    TimeBased,
    /// Several conditions at once.
    Conditional,
    /// Everything.
    Emergency,
}

impl JobType {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::GroupBased, Self::ClientBased, Self::TimeBased, Self::Conditional, Self::Emergency];

    /// The kind as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GroupBased => "group_based",
            Self::ClientBased => "client_based",
            Self::TimeBased => "time_based",
            Self::Conditional => "conditional",
            Self::Emergency => "emergency",
        }
    }

    /// What its caller must hold.
    pub fn permission(self) -> Permission {
        match self {
            Self::GroupBased => Permission::ExecuteGroup,
            Self::ClientBased => Permission::ExecuteClient,
            Self::TimeBased => Permission::ExecuteTime,
            Self::Conditional => Permission::ExecuteConditional,
            Self::Emergency => Permission::ExecuteEmergency,
        }
    }
}

/// What a job asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job_type", rename_all = "snake_case")]
pub enum Conditions {
    /// All tokens and sessions of a group's members (`[SCOPE-1]`).
    GroupBased {
        /// The group.
        group_id: GroupId,
        /// Members of its descendants, too.
        include_subgroups: bool,
        /// Members who are admins keep their sessions.
        exclude_admin_users: bool,
    },
    /// A client's tokens (`[SCOPE-2]`).
    ClientBased {
        /// The client.
        client_id: ClientId,
        /// Refresh tokens, too, and the sessions that lose their last token.
        revoke_refresh_tokens: bool,
        /// Only tokens issued before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created_before: Option<DateTime<Utc>>,
    },
    /// Tokens by their age or last use (`[SCOPE-3]`). Both given, both must hold.
    TimeBased {
        /// Issued before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created_before: Option<DateTime<Utc>>,
        /// Last used before this; a token never used counts from its issue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_used_before: Option<DateTime<Utc>>,
        /// The kinds of token meant.
        token_types: Kinds,
    },
    /// Several conditions, all of which must hold (`[SCOPE-4]`).
    Conditional(Box<Filter>),
    /// Everything (`[SCOPE-5]`).
    Emergency {
        /// Admins keep their tokens and sessions.
        exclude_admin_sessions: bool,
        /// Tokens without a user stay.
        preserve_service_tokens: bool,
        /// Who ordered it.
        authorized_by: String,
    },
}

/// The conditions of a conditional job: all of them must hold, and the values inside one are
/// alternatives (`[API-1]`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Members of these groups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupId>,
    /// Members of their descendants, too.
    #[serde(default)]
    pub include_subgroups: bool,
    /// Tokens of these clients.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clients: BTreeSet<ClientId>,
    /// These users.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub users: BTreeSet<UserId>,
    /// Tokens issued after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<DateTime<Utc>>,
    /// Tokens issued before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<DateTime<Utc>>,
    /// Tokens last used before this; a token never used counts from its issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_before: Option<DateTime<Utc>>,
    /// Tokens of sessions that came from these networks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ip_ranges: BTreeSet<IpNet>,
    /// Never these users, whatever else holds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_users: BTreeSet<UserId>,
    /// Admins keep their tokens and sessions.
    pub exclude_admin_users: bool,
}

impl Conditions {
    /// The kind of job.
    pub fn job_type(&self) -> JobType {
        match self {
            Self::GroupBased { .. } => JobType::GroupBased,
            Self::ClientBased { .. } => JobType::ClientBased,
            Self::TimeBased { .. } => JobType::TimeBased,
            Self::Conditional(_) => JobType::Conditional,
            Self::Emergency { .. } => JobType::Emergency,
        }
    }

    /// What a large job must be confirmed with (`[API-4]`).
    pub fn confirmation_code(&self, users: u64) -> String {
        format!("CONFIRM_{}_{users}", self.job_type().as_str().to_uppercase())
    }

    /// Whether admins keep what they have.
    pub fn spares_admins(&self) -> bool {
        match self {
            Self::GroupBased { exclude_admin_users, .. } => *exclude_admin_users,
            Self::Conditional(filter) => filter.exclude_admin_users,
            Self::Emergency { exclude_admin_sessions, .. } => *exclude_admin_sessions,
            // Nobody named these jobs' people: a leaked client's or a stale token is none of an admin's, either.
            Self::ClientBased { .. } | Self::TimeBased { .. } => false,
        }
    }

    /// The users who are spared by name (`[SCOPE-4]`: they always win).
    pub fn excluded_users(&self) -> BTreeSet<UserId> {
        match self {
            Self::Conditional(filter) => filter.exclude_users.clone(),
            _ => BTreeSet::new(),
        }
    }
}

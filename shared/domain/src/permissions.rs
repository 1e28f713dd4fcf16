//! Who may do what (spec §3): one table, matched exhaustively.

use crate::directory::User;
use crate::ids::GroupId;

/// Something an admin may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// See jobs, affected users and reports.
    View,
    /// Log out a group.
    ExecuteGroup,
    /// Log out a client.
    ExecuteClient,
    /// Log out by time.
    ExecuteTime,
    /// Log out by conditions.
    ExecuteConditional,
    /// Log out everybody.
    ExecuteEmergency,
    /// Cancel a job.
    Cancel,
    /// Everything above.
    Admin,
    /// Enrol accounts and sign them in (spec §13).
    ManageAccounts,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::View,
        Self::ExecuteGroup,
        Self::ExecuteClient,
        Self::ExecuteTime,
        Self::ExecuteConditional,
        Self::ExecuteEmergency,
        Self::Cancel,
        Self::Admin,
        Self::ManageAccounts,
    ];

    /// The name in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "batch_logout:view",
            Self::ExecuteGroup => "batch_logout:execute:group",
            Self::ExecuteClient => "batch_logout:execute:client",
            Self::ExecuteTime => "batch_logout:execute:time",
            Self::ExecuteConditional => "batch_logout:execute:conditional",
            Self::ExecuteEmergency => "batch_logout:execute:emergency",
            Self::Cancel => "batch_logout:cancel",
            Self::Admin => "batch_logout:admin",
            Self::ManageAccounts => "accounts:manage",
        }
    }

    /// Reads the contract's name; an unknown name is no permission.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == name)
    }

    /// `batch_logout:admin` implies all that is about batch logouts, every other one itself.
    pub fn implies(self, wanted: Self) -> bool {
        self == wanted || (self == Self::Admin && wanted != Self::ManageAccounts)
    }
}

/// A role of the directory that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `super_admin`
    SuperAdmin,
    /// `security_admin`
    SecurityAdmin,
    /// `system_admin`
    SystemAdmin,
    /// `group_admin`
    GroupAdmin,
    /// `oauth_admin`
    OauthAdmin,
    /// `auditor`
    Auditor,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::SuperAdmin, Self::SecurityAdmin, Self::SystemAdmin, Self::GroupAdmin, Self::OauthAdmin, Self::Auditor];

    /// The name in the directory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuperAdmin => "super_admin",
            Self::SecurityAdmin => "security_admin",
            Self::SystemAdmin => "system_admin",
            Self::GroupAdmin => "group_admin",
            Self::OauthAdmin => "oauth_admin",
            Self::Auditor => "auditor",
        }
    }

    /// Reads a role name; an unknown name is no role.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// The table of spec §3.
    pub fn has(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::SuperAdmin | Self::SecurityAdmin => true,
            Self::SystemAdmin => !matches!(permission, P::ExecuteEmergency | P::Admin),
            Self::GroupAdmin => permission == P::ExecuteGroup,
            Self::OauthAdmin => matches!(permission, P::ExecuteClient | P::ExecuteTime),
            Self::Auditor => permission == P::View,
        }
    }

    /// Whether a directory role makes its holder an admin whom jobs may spare (spec §1): not the group admin, the
    /// OAuth admin or the auditor. `admin` and `administrator` are such names without any permission here.
    pub fn makes_admin(name: &str) -> bool {
        match Self::parse(name) {
            Some(Self::SuperAdmin | Self::SecurityAdmin | Self::SystemAdmin) => true,
            Some(Self::GroupAdmin | Self::OauthAdmin | Self::Auditor) => false,
            None => matches!(name, "admin" | "administrator"),
        }
    }
}

/// Whether the user may log out this group: a group admin only the groups they manage, and their descendants.
///
/// `lineage` is the group and its ancestors.
pub fn may_log_out_group(user: &User, lineage: &[GroupId]) -> bool {
    if !user.may(Permission::ExecuteGroup) {
        return false;
    }
    let by_other_role = user
        .roles
        .iter()
        .filter_map(|role| Role::parse(role))
        .any(|role| role != Role::GroupAdmin && role.has(Permission::ExecuteGroup));
    let direct = user.permissions.iter().filter_map(|name| Permission::parse(name));
    by_other_role
        || direct.into_iter().any(|permission| permission.implies(Permission::ExecuteGroup))
        || lineage.iter().any(|group| user.managed_group_ids.contains(group))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn spec_3_every_role_has_exactly_the_permissions_of_the_table() {
        // view, group, client, time, conditional, emergency, cancel, admin, accounts
        let table = [
            (Role::SuperAdmin, "111111111"),
            (Role::SecurityAdmin, "111111111"),
            (Role::SystemAdmin, "111110101"),
            (Role::GroupAdmin, "010000000"),
            (Role::OauthAdmin, "001100000"),
            (Role::Auditor, "100000000"),
        ];
        for (role, row) in table {
            for (permission, expected) in Permission::ALL.into_iter().zip(row.chars()) {
                assert_eq!(role.has(permission), expected == '1', "{role:?} × {permission:?}");
            }
        }
    }

    #[test]
    fn account_the_right_to_end_tokens_is_none_to_sign_accounts_in() {
        let user = |permission: &str| User {
            permissions: vec![permission.to_owned()],
            ..User::unknown(crate::ids::UserId::parse("u").unwrap())
        };
        assert!(user("accounts:manage").may(Permission::ManageAccounts));
        assert!(!user("accounts:manage").may(Permission::View));
        assert!(!user("batch_logout:admin").may(Permission::ManageAccounts));
        assert!(user("batch_logout:admin").may(Permission::ExecuteEmergency));
    }

    #[test]
    fn spec_3_a_group_admin_may_log_out_managed_groups_and_what_is_under_them_and_no_others() {
        let id = |name: &str| GroupId::parse(name).unwrap();
        let user = |role: &str| User {
            roles: vec![role.to_owned()],
            managed_group_ids: vec![id("eu")],
            ..User::unknown(crate::ids::UserId::parse("u").unwrap())
        };
        let lineage = |names: &[&str]| names.iter().map(|name| id(name)).collect::<Vec<_>>();
        let (own, under, over) = (lineage(&["eu", "all"]), lineage(&["berlin", "eu", "all"]), lineage(&["all"]));
        let may = |role, line: &[GroupId]| may_log_out_group(&user(role), line);
        assert!(may("group_admin", &own) && may("group_admin", &under));
        assert!(!may("group_admin", &over) && !may("group_admin", &lineage(&["kr", "all"])));
        assert!(may("system_admin", &over), "not only managed ones");
        assert!(!may("auditor", &own), "managing a group is no permission");
    }

    #[test]
    fn spec_1_only_these_roles_make_an_admin() {
        for name in ["super_admin", "security_admin", "system_admin", "admin", "administrator"] {
            assert!(Role::makes_admin(name), "{name}");
        }
        for name in ["group_admin", "oauth_admin", "auditor", "Admin", ""] {
            assert!(!Role::makes_admin(name), "{name}");
        }
    }
}

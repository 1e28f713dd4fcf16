//! The bodies of the calls that make jobs. Unknown members are refused, so that a misspelt safety is noticed.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::accept::{FieldError, Request, validate};
use domain::conditions::{Conditions, Filter};
use domain::cutoff::Kinds;
use domain::ids::{ClientId, GroupId, InvalidId, JobId, UserId};
use domain::job::Priority;
use lambda_kit::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

/// What every job-making body may carry.
#[derive(Debug, Default)]
struct Common {
    reason: String,
    notify_users: bool,
    dry_run: bool,
    plan_id: Option<String>,
    confirmation_code: Option<String>,
}

/// What may be asked for; `immediate` is the emergency's alone.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestedPriority {
    /// After those with high priority.
    Normal,
    /// Before normal ones.
    High,
}

/// A kind of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenType {
    /// Presented to APIs.
    AccessToken,
    /// Presented to the token endpoint for new tokens.
    RefreshToken,
}

/// Logs out the members of a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "the contract's own members")]
pub struct GroupLogout {
    /// The group.
    #[schema(min_length = 1, max_length = 512)]
    group_id: String,
    /// Members of its descendants, too.
    #[serde(default)]
    include_subgroups: bool,
    /// Members who are admins keep their sessions.
    #[serde(default = "yes")]
    #[schema(default = true)]
    exclude_admin_users: bool,
    /// Why; users who are mailed read it.
    #[schema(min_length = 10, max_length = 500)]
    reason: String,
    /// Whether the users get a mail.
    #[serde(default = "yes")]
    #[schema(default = true)]
    notify_users: bool,
    /// Whether only to count.
    #[serde(default)]
    dry_run: bool,
    /// The dry run that this executes.
    #[serde(default)]
    plan_id: Option<String>,
    /// What the dry run said to confirm with.
    #[serde(default)]
    confirmation_code: Option<String>,
    /// How urgent it is; normal if left out.
    #[serde(default)]
    priority: Option<RequestedPriority>,
}

/// Logs out a client.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientLogout {
    /// The client.
    #[schema(min_length = 1, max_length = 512)]
    client_id: String,
    /// Refresh tokens, too, and the sessions that lose their last token.
    #[serde(default = "yes")]
    #[schema(default = true)]
    revoke_refresh_tokens: bool,
    /// Only tokens issued before this moment (RFC 3339, with a zone, not in the future).
    #[serde(default)]
    #[schema(format = DateTime)]
    created_before: Option<String>,
    /// Why; users who are mailed read it.
    #[schema(min_length = 10, max_length = 500)]
    reason: String,
    /// Whether the users get a mail.
    #[serde(default)]
    notify_users: bool,
    /// Whether only to count.
    #[serde(default)]
    dry_run: bool,
    /// The dry run that this executes.
    #[serde(default)]
    plan_id: Option<String>,
    /// What the dry run said to confirm with.
    #[serde(default)]
    confirmation_code: Option<String>,
    /// How urgent it is; high if left out.
    #[serde(default)]
    priority: Option<RequestedPriority>,
}

/// Ends old or unused tokens. At least one of the two moments is needed; both given, both must hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeBasedLogout {
    /// Tokens issued before this moment (RFC 3339, with a zone, not in the future).
    #[serde(default)]
    #[schema(format = DateTime)]
    created_before: Option<String>,
    /// Tokens last used before this moment; a token never used counts from its issue.
    #[serde(default)]
    #[schema(format = DateTime)]
    last_used_before: Option<String>,
    /// The kinds of token meant; both if left out.
    #[serde(default)]
    #[schema(min_items = 1)]
    token_types: Option<Vec<TokenType>>,
    /// Why; users who are mailed read it.
    #[schema(min_length = 10, max_length = 500)]
    reason: String,
    /// Whether the users get a mail.
    #[serde(default)]
    notify_users: bool,
    /// Whether only to count.
    #[serde(default)]
    dry_run: bool,
    /// The dry run that this executes.
    #[serde(default)]
    plan_id: Option<String>,
    /// What the dry run said to confirm with.
    #[serde(default)]
    confirmation_code: Option<String>,
    /// How urgent it is; normal if left out.
    #[serde(default)]
    priority: Option<RequestedPriority>,
}

/// Conditions that must all hold; the values inside one are alternatives. At least one that selects is needed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestedConditions {
    /// Members of these groups.
    #[serde(default)]
    #[schema(max_items = 50)]
    groups: Vec<String>,
    /// Members of their descendants, too.
    #[serde(default)]
    include_subgroups: bool,
    /// Tokens of these clients.
    #[serde(default)]
    #[schema(max_items = 50)]
    clients: Vec<String>,
    /// These users.
    #[serde(default)]
    #[schema(max_items = 1000)]
    users: Vec<String>,
    /// Tokens issued after this moment (RFC 3339, with a zone).
    #[serde(default)]
    #[schema(format = DateTime)]
    created_after: Option<String>,
    /// Tokens issued before this moment.
    #[serde(default)]
    #[schema(format = DateTime)]
    created_before: Option<String>,
    /// Tokens last used before this moment; a token never used counts from its issue.
    #[serde(default)]
    #[schema(format = DateTime)]
    last_used_before: Option<String>,
    /// Tokens of sessions that came from these networks, in CIDR notation.
    #[serde(default)]
    #[schema(max_items = 100)]
    ip_ranges: Vec<String>,
    /// Never these users, whatever else holds.
    #[serde(default)]
    #[schema(max_items = 1000)]
    exclude_users: Vec<String>,
    /// Admins keep their tokens and sessions.
    #[serde(default = "yes")]
    #[schema(default = true)]
    exclude_admin_users: bool,
}

/// Logs out by conditions. Without `"dry_run": false` it only counts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionalLogout {
    /// The conditions.
    conditions: RequestedConditions,
    /// Why; users who are mailed read it.
    #[schema(min_length = 10, max_length = 500)]
    reason: String,
    /// Whether the users get a mail.
    #[serde(default)]
    notify_users: bool,
    /// Whether only to count.
    #[serde(default = "yes")]
    #[schema(default = true)]
    dry_run: bool,
    /// The dry run that this executes.
    #[serde(default)]
    plan_id: Option<String>,
    /// What the dry run said to confirm with.
    #[serde(default)]
    confirmation_code: Option<String>,
    /// How urgent it is; normal if left out.
    #[serde(default)]
    priority: Option<RequestedPriority>,
}

/// How urgent an emergency is.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmergencyPriority {
    /// Always.
    Immediate,
}

/// Logs out everybody.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "the contract's own members")]
pub struct EmergencyLogout {
    /// `LOGOUT_ALL_USERS`, word for word.
    #[schema(example = "LOGOUT_ALL_USERS", pattern = "^LOGOUT_ALL_USERS$")]
    confirm: String,
    /// Admins keep their tokens and sessions.
    #[serde(default = "yes")]
    #[schema(default = true)]
    exclude_admin_sessions: bool,
    /// Tokens without a user stay.
    #[serde(default = "yes")]
    #[schema(default = true)]
    preserve_service_tokens: bool,
    /// Why.
    #[schema(min_length = 20, max_length = 500)]
    reason: String,
    /// Who ordered it.
    #[schema(min_length = 1, max_length = 200)]
    authorized_by: String,
    /// Whether the users get a mail.
    #[serde(default)]
    notify_users: bool,
    /// A drill: counts, and needs no key.
    #[serde(default)]
    dry_run: bool,
    /// The drill that this executes.
    #[serde(default)]
    plan_id: Option<String>,
    /// Never needed: an emergency is confirmed by its key.
    #[serde(default)]
    confirmation_code: Option<String>,
    /// Always immediate.
    #[serde(default)]
    priority: Option<EmergencyPriority>,
}

/// What an emergency must be confirmed with.
const CONFIRM: &str = "LOGOUT_ALL_USERS";

fn yes() -> bool {
    true
}

/// Collects what is wrong with the fields of one request, so that all of it is told at once.
#[derive(Default)]
struct Fields(Vec<FieldError>);

impl Fields {
    fn take<T, E: ToString>(&mut self, pointer: &str, read: Result<T, E>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.push(FieldError::new(pointer, error.to_string()));
                None
            }
        }
    }

    fn id<T: TryFrom<String, Error = InvalidId>>(&mut self, pointer: &str, text: String) -> Option<T> {
        self.take(pointer, T::try_from(text))
    }

    fn ids<T: TryFrom<String, Error = InvalidId> + Ord>(&mut self, pointer: &str, texts: Vec<String>) -> BTreeSet<T> {
        let numbered = texts.into_iter().enumerate();
        numbered.filter_map(|(index, text)| self.id(&format!("{pointer}/{index}"), text)).collect()
    }

    fn moment(&mut self, pointer: &str, text: Option<String>) -> Option<DateTime<Utc>> {
        self.take(pointer, validate::moment(&text?))
    }

    /// The request, if its fields can be read.
    fn request(
        mut self,
        conditions: Option<Conditions>,
        priority: Priority,
        common: Common,
    ) -> Result<Request, Problem> {
        let plan_id: Option<JobId> = common.plan_id.and_then(|plan_id| self.id("/plan_id", plan_id));
        match conditions {
            Some(conditions) if self.0.is_empty() => Ok(Request {
                reason: common.reason,
                notify_users: common.notify_users,
                dry_run: common.dry_run,
                plan_id,
                confirmation_code: common.confirmation_code,
                ..Request::of(conditions, priority)
            }),
            _ => Err(Problem::invalid_fields(self.0)),
        }
    }
}

fn priority(asked: Option<RequestedPriority>, default: Priority) -> Priority {
    match asked {
        Some(RequestedPriority::Normal) => Priority::Normal,
        Some(RequestedPriority::High) => Priority::High,
        None => default,
    }
}

macro_rules! common {
    ($body:ident) => {
        Common {
            reason: $body.reason,
            notify_users: $body.notify_users,
            dry_run: $body.dry_run,
            plan_id: $body.plan_id,
            confirmation_code: $body.confirmation_code,
        }
    };
}

impl TryFrom<GroupLogout> for Request {
    type Error = Problem;

    fn try_from(body: GroupLogout) -> Result<Self, Problem> {
        let mut fields = Fields::default();
        let conditions = fields.id::<GroupId>("/group_id", body.group_id).map(|group_id| Conditions::GroupBased {
            group_id,
            include_subgroups: body.include_subgroups,
            exclude_admin_users: body.exclude_admin_users,
        });
        fields.request(conditions, priority(body.priority, Priority::Normal), common!(body))
    }
}

impl TryFrom<ClientLogout> for Request {
    type Error = Problem;

    fn try_from(body: ClientLogout) -> Result<Self, Problem> {
        let mut fields = Fields::default();
        let created_before = fields.moment("/created_before", body.created_before);
        let conditions = fields.id::<ClientId>("/client_id", body.client_id).map(|client_id| Conditions::ClientBased {
            client_id,
            revoke_refresh_tokens: body.revoke_refresh_tokens,
            created_before,
        });
        fields.request(conditions, priority(body.priority, Priority::High), common!(body))
    }
}

impl TryFrom<TimeBasedLogout> for Request {
    type Error = Problem;

    fn try_from(body: TimeBasedLogout) -> Result<Self, Problem> {
        let mut fields = Fields::default();
        let created_before = fields.moment("/created_before", body.created_before);
        let last_used_before = fields.moment("/last_used_before", body.last_used_before);
        let types: Option<BTreeSet<TokenType>> = body.token_types.map(|types| types.into_iter().collect());
        let has = |wanted| types.as_ref().is_none_or(|types| types.contains(&wanted));
        let token_types = match (has(TokenType::AccessToken), has(TokenType::RefreshToken)) {
            (true, true) => Ok(Kinds::Both),
            (true, false) => Ok(Kinds::AccessOnly),
            (false, true) => Ok(Kinds::RefreshOnly),
            (false, false) => Err("names no kind of token; leave it out for both"),
        };
        let conditions = fields.take("/token_types", token_types).map(|token_types| Conditions::TimeBased {
            created_before,
            last_used_before,
            token_types,
        });
        fields.request(conditions, priority(body.priority, Priority::Normal), common!(body))
    }
}

impl TryFrom<ConditionalLogout> for Request {
    type Error = Problem;

    fn try_from(body: ConditionalLogout) -> Result<Self, Problem> {
        let asked = body.conditions;
        let mut fields = Fields::default();
        let networks = asked.ip_ranges.iter().enumerate();
        let ip_ranges = networks
            .filter_map(|(index, text)| fields.take(&format!("/conditions/ip_ranges/{index}"), validate::network(text)))
            .collect();
        let filter = Filter {
            groups: fields.ids::<GroupId>("/conditions/groups", asked.groups),
            include_subgroups: asked.include_subgroups,
            clients: fields.ids::<ClientId>("/conditions/clients", asked.clients),
            users: fields.ids::<UserId>("/conditions/users", asked.users),
            created_after: fields.moment("/conditions/created_after", asked.created_after),
            created_before: fields.moment("/conditions/created_before", asked.created_before),
            last_used_before: fields.moment("/conditions/last_used_before", asked.last_used_before),
            ip_ranges,
            exclude_users: fields.ids::<UserId>("/conditions/exclude_users", asked.exclude_users),
            exclude_admin_users: asked.exclude_admin_users,
        };
        let conditions = Some(Conditions::Conditional(Box::new(filter)));
        fields.request(conditions, priority(body.priority, Priority::Normal), common!(body))
    }
}

impl TryFrom<EmergencyLogout> for Request {
    type Error = Problem;

    fn try_from(body: EmergencyLogout) -> Result<Self, Problem> {
        if body.confirm != CONFIRM {
            return Err(Problem::malformed("/confirm", format!("must be \"{CONFIRM}\", word for word")));
        }
        let conditions = Conditions::Emergency {
            exclude_admin_sessions: body.exclude_admin_sessions,
            preserve_service_tokens: body.preserve_service_tokens,
            authorized_by: body.authorized_by,
        };
        let (Some(EmergencyPriority::Immediate) | None) = body.priority;
        Fields::default().request(Some(conditions), Priority::Immediate, common!(body))
    }
}

//! Companies with everything a job can look at, jobs of every kind over them, and an oracle that says who must lose
//! what. The oracle is written from the contract's words over its own plain data (spec §1, §4, §5) and shares no rule
//! with the code under test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::conditions::{Conditions, Filter};
use domain::cutoff::Kinds;
use domain::decision::TokenFacts;
use domain::ids::{ClientId, GroupId, SessionId, TokenId, UserId};
use domain::job::{Facts, Statistics};
use domain::ports::{CLIENT_SHARDS, Page, PortResult, RecordStore, TokenStore};
use domain::records::{
    ClientRecord, Entity, GroupRecord, MembershipKey, Record, SessionRecord, TokenRecord, UserRecord,
};
use domain::testing::Memory;
use domain::time::Epoch;
use domain::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenKind, TokenRow};
use futures::future::BoxFuture;
use proptest::prelude::*;
use proptest::sample::select;

/// The clients of every company.
pub const CLIENTS: [&str; 4] = ["web", "mobile", "배치", "web-2"];

/// The job is accepted so many milliseconds after its second began, so that a condition may name a moment within it.
pub const INTO_THE_SECOND: i64 = 400;

/// Moments, in seconds after the job's, around which much happens and which conditions like to name.
const MOMENTS: [i64; 4] = [-30, -20, -10, 0];

/// Role names; the first four make nobody an admin.
const ROLES: [&str; 9] = [
    "",
    "auditor",
    "group_admin",
    "oauth_admin",
    "super_admin",
    "security_admin",
    "system_admin",
    "admin",
    "administrator",
];

/// A token. All times are seconds after the job's second (negative: before).
#[derive(Debug, Clone)]
pub struct Token {
    /// A refresh token rather than an access token.
    pub refresh: bool,
    /// Its client, by number.
    pub client: usize,
    /// `iat`.
    pub issued: i64,
    /// `auth_time`, if the token says it.
    pub auth_time: Option<i64>,
    /// `exp`.
    pub expires: i64,
    /// Whether it was revoked before the job.
    pub revoked: bool,
    /// Its last use, where known.
    pub last_used: Option<i64>,
}

/// Where a user came from.
#[derive(Debug, Clone, Copy)]
pub enum Address {
    /// IPv4.
    V4(u32),
    /// IPv4, as a dual-stack server writes it.
    Mapped(u32),
    /// IPv6.
    V6(u128),
}

impl Address {
    fn text(self) -> String {
        match self {
            Self::V4(bits) => Ipv4Addr::from(bits).to_string(),
            Self::Mapped(bits) => format!("::ffff:{}", Ipv4Addr::from(bits)),
            Self::V6(bits) => Ipv6Addr::from(bits).to_string(),
        }
    }
}

/// A network in CIDR notation: its first address, and how many leading bits name it.
#[derive(Debug, Clone, Copy)]
pub enum Network {
    /// IPv4.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u32),
}

impl Network {
    fn text(self) -> String {
        match self {
            Self::V4(bits, length) => format!("{}/{length}", Ipv4Addr::from(bits >> (32 - length) << (32 - length))),
            Self::V6(bits, length) => format!("{}/{length}", Ipv6Addr::from(bits >> (128 - length) << (128 - length))),
        }
    }

    fn holds(self, address: Address) -> bool {
        match (self, address) {
            (Self::V4(network, length), Address::V4(bits) | Address::Mapped(bits)) => {
                (network ^ bits) >> (32 - length) == 0
            }
            (Self::V6(network, length), Address::V6(bits)) => (network ^ bits) >> (128 - length) == 0,
            _ => false,
        }
    }
}

/// One sign-in: a session and what was issued in it.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// When.
    pub started: i64,
    /// When the session ends by itself.
    pub expires: i64,
    /// The client it was made with, by number, where known.
    pub client: Option<usize>,
    /// Where from, where known.
    pub address: Option<Address>,
    /// Its tokens.
    pub tokens: Vec<Token>,
}

/// One user.
#[derive(Debug, Clone)]
pub struct Person {
    /// The groups, by number.
    pub groups: BTreeSet<usize>,
    /// What the directory says, if it knows the user: `is_admin`, and a role.
    pub directory: Option<(bool, &'static str)>,
    /// The sign-ins.
    pub sign_ins: Vec<SignIn>,
    /// Tokens of no sign-in that is known; whether each names one all the same.
    pub loose: Vec<(bool, Token)>,
}

impl Person {
    fn is_admin(&self) -> bool {
        let admin_roles = ["super_admin", "security_admin", "system_admin", "admin", "administrator"];
        self.directory.is_some_and(|(is_admin, role)| is_admin || admin_roles.contains(&role))
    }
}

/// A company.
#[derive(Debug, Clone)]
pub struct Estate {
    /// Each group's parent, by number; may form cycles.
    pub parents: Vec<Option<usize>>,
    /// The users.
    pub people: Vec<Person>,
    /// Tokens without a user.
    pub service: Vec<Token>,
}

/// A token with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Held<'a> {
    /// Its id.
    pub id: String,
    /// Its user, by number; none for a service token.
    pub user: Option<usize>,
    /// The id of the session it names.
    pub session: Option<String>,
    /// The session, if that is known.
    pub sign_in: Option<&'a SignIn>,
    /// The token.
    pub token: &'a Token,
}

impl Held<'_> {
    /// Unexpired and unrevoked when the job starts.
    pub fn is_live(&self) -> bool {
        self.token.expires > 0 && !self.token.revoked
    }

    /// `auth_time`, else the session's start, else `iat` (`[CUT-4]`).
    fn signed_in(&self) -> i64 {
        match (self.token.auth_time, self.sign_in) {
            (Some(at), _) => at,
            (None, Some(sign_in)) => sign_in.started,
            (None, None) => self.token.issued,
        }
    }

    /// The last use; a token never used counts from its issue (`[SCOPE-3]`).
    fn used(&self) -> i64 {
        self.token.last_used.unwrap_or(self.token.issued)
    }

    fn kind(&self) -> TokenKind {
        if self.token.refresh { TokenKind::Refresh } else { TokenKind::Access }
    }

    /// The token as a verifier sees it, where the job's second is `now`.
    pub fn facts(&self, now: i64) -> TokenFacts {
        TokenFacts {
            id: id(self.id.clone()),
            kind: self.kind(),
            user: self.user.map(user_name),
            client: Some(id(CLIENTS[self.token.client])),
            session: self.session.clone().map(id),
            issued_at: Epoch(now + self.token.issued),
            signed_in_at: Epoch(now + self.signed_in()),
            expires_at: Epoch(now + self.token.expires),
        }
    }
}

fn id<T: TryFrom<String>>(text: impl Into<String>) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(text.into()).unwrap()
}

/// The id of a user. Not in the order of the numbers.
pub fn user_name(number: usize) -> UserId {
    id(format!("{}{number}", ["u", "Ü", "가", "🙂"][number % 4]))
}

/// The id of a group.
pub fn group_name(number: usize) -> GroupId {
    id(format!("g{number}"))
}

/// The id of a user's session.
pub fn session_name(user: usize, number: usize) -> String {
    format!("s{user}-{number}")
}

impl Estate {
    /// All tokens.
    pub fn held(&self) -> Vec<Held<'_>> {
        let mut held = Vec::new();
        for (user, person) in self.people.iter().enumerate() {
            for (number, sign_in) in person.sign_ins.iter().enumerate() {
                held.extend(sign_in.tokens.iter().enumerate().map(|(which, token)| Held {
                    id: format!("t{user}-{number}-{which}"),
                    user: Some(user),
                    session: Some(session_name(user, number)),
                    sign_in: Some(sign_in),
                    token,
                }));
            }
            held.extend(person.loose.iter().enumerate().map(|(which, (names_one, token))| Held {
                id: format!("l{user}-{which}"),
                user: Some(user),
                session: names_one.then(|| format!("forgotten-{user}-{which}")),
                sign_in: None,
                token,
            }));
        }
        held.extend(self.service.iter().enumerate().map(|(which, token)| Held {
            id: format!("service-{which}"),
            user: None,
            session: None,
            sign_in: None,
            token,
        }));
        held
    }

    /// Everybody who may own something.
    pub fn owners(&self) -> Vec<Owner> {
        let users = (0..self.people.len()).map(|user| Owner::User(user_name(user)));
        users.chain(CLIENTS.into_iter().map(|client| Owner::Service(id(client)))).collect()
    }

    /// The users the directory knows as admins.
    pub fn admins(&self) -> BTreeSet<UserId> {
        let admins = self.people.iter().enumerate().filter(|(_, person)| person.is_admin());
        admins.map(|(user, _)| user_name(user)).collect()
    }

    /// Writes the company into a store, for a job at second `now`.
    pub async fn write<S: RecordStore>(&self, store: &S, now: i64) {
        for record in self.records(now) {
            store.apply(&record).await.unwrap();
        }
    }

    /// The company as records.
    pub fn records(&self, now: i64) -> Vec<Record> {
        let mut entities: Vec<Entity> = Vec::new();
        for client in CLIENTS {
            let client = ClientRecord { id: id(client), name: None, secret_sha256: None, may_introspect: false };
            entities.push(Entity::Client(client));
        }
        for (group, parent) in self.parents.iter().enumerate() {
            let parent_id = parent.map(group_name);
            entities.push(Entity::Group(GroupRecord { id: group_name(group), name: None, parent_id }));
        }
        for (user, person) in self.people.iter().enumerate() {
            if let Some((is_admin, role)) = person.directory {
                let roles = vec![role.to_owned()];
                entities.push(Entity::User(UserRecord { is_admin, roles, ..UserRecord::new(user_name(user)) }));
            }
            for group in &person.groups {
                let (group_id, user_id) = (group_name(*group), user_name(user));
                entities.push(Entity::Membership(MembershipKey { group_id, user_id }));
            }
            for (number, sign_in) in person.sign_ins.iter().enumerate() {
                entities.push(Entity::Session(SessionRecord {
                    id: id(session_name(user, number)),
                    user_id: user_name(user),
                    client_id: sign_in.client.map(|client| id(CLIENTS[client])),
                    started_at: Epoch(now + sign_in.started),
                    expires_at: Epoch(now + sign_in.expires),
                    ip_address: sign_in.address.map(Address::text),
                }));
            }
        }
        entities.extend(self.held().iter().map(|held| {
            let Token { client, issued, auth_time, expires, revoked, last_used, .. } = held.token;
            Entity::Token(TokenRecord {
                id: id(held.id.clone()),
                user_id: held.user.map(user_name),
                client_id: id(CLIENTS[*client]),
                token_type: held.kind(),
                opaque: false,
                session_id: held.session.clone().map(id),
                issued_at: Epoch(now + issued),
                auth_time: auth_time.map(|at| Epoch(now + at)),
                expires_at: Epoch(now + expires),
                last_used_at: last_used.map(|at| Epoch(now + at)),
                scope: None,
                revoked_at: revoked.then_some(Epoch(now - 1)),
            })
        }));
        entities.into_iter().map(|entity| Record::upsert(1, entity)).collect()
    }

    /// Whether a group is its own ancestor.
    fn in_cycle(&self, group: usize) -> bool {
        let mut at = group;
        for _ in 0..self.parents.len() {
            match self.parents[at] {
                Some(parent) if parent == group => return true,
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }

    /// Whether a user is a member of a group, or, with subgroups, of one under it.
    fn is_member(&self, user: usize, wanted: usize, subgroups: bool) -> bool {
        self.people[user].groups.iter().any(|group| {
            let mut at = Some(*group);
            // As many steps up as there are groups reach every ancestor, whatever the cycles.
            for _ in 0..=self.parents.len() {
                if at == Some(wanted) {
                    return true;
                }
                at = at.filter(|_| subgroups).and_then(|group| self.parents[group]);
            }
            false
        })
    }
}

/// What a job asks for. Moments are milliseconds after the job's second began.
#[derive(Debug, Clone)]
pub enum Wish {
    /// `POST /group`.
    Group {
        /// The group.
        group: usize,
        /// `include_subgroups`.
        subgroups: bool,
        /// `exclude_admin_users`.
        spare_admins: bool,
    },
    /// `POST /client`.
    Client {
        /// The client.
        client: usize,
        /// `revoke_refresh_tokens`.
        refresh_too: bool,
        /// `created_before`.
        before: Option<i64>,
    },
    /// `POST /time-based`.
    Time {
        /// `created_before`.
        before: Option<i64>,
        /// `last_used_before`.
        unused_since: Option<i64>,
        /// Whether `token_types` lists `access_token`.
        access: bool,
        /// Whether it lists `refresh_token`.
        refresh: bool,
    },
    /// `POST /conditional`.
    Conditional(Picks),
    /// `POST /emergency`.
    Emergency {
        /// `exclude_admin_sessions`.
        spare_admins: bool,
        /// `preserve_service_tokens`.
        spare_service: bool,
    },
}

/// The `conditions` of a conditional job.
#[derive(Debug, Clone, Default)]
pub struct Picks {
    /// `groups`.
    pub groups: BTreeSet<usize>,
    /// `include_subgroups`.
    pub subgroups: bool,
    /// `clients`.
    pub clients: BTreeSet<usize>,
    /// `users`.
    pub users: BTreeSet<usize>,
    /// `created_after`.
    pub after: Option<i64>,
    /// `created_before`.
    pub before: Option<i64>,
    /// `last_used_before`.
    pub unused_since: Option<i64>,
    /// `ip_ranges`.
    pub networks: Vec<Network>,
    /// `exclude_users`.
    pub spared: BTreeSet<usize>,
    /// `exclude_admin_users`.
    pub spare_admins: bool,
}

/// From when on every verifier must refuse what a job covers (`[CUT-1]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effective {
    /// From the answer to the request.
    Accepted,
    /// From the end of planning.
    Planned,
    /// From the end of settling.
    Settled,
}

impl Picks {
    fn names_people(&self) -> bool {
        !self.groups.is_empty() || !self.users.is_empty()
    }

    fn needs_single_tokens(&self) -> bool {
        self.after.is_some() || self.unused_since.is_some() || !self.networks.is_empty()
    }

    fn names_only_people(&self) -> bool {
        self.names_people() && self.clients.is_empty() && self.before.is_none() && !self.needs_single_tokens()
    }

    fn names_nothing(&self) -> bool {
        !self.names_people() && self.clients.is_empty() && self.before.is_none() && !self.needs_single_tokens()
    }
}

fn moment(now: i64, millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(now, 0).unwrap() + TimeDelta::milliseconds(millis)
}

impl Wish {
    /// The wish in the words of a request at second `now`.
    pub fn conditions(&self, now: i64) -> Conditions {
        let at = |millis: &Option<i64>| millis.map(|millis| moment(now, millis));
        let client = |number: &usize| -> ClientId { id(CLIENTS[*number]) };
        match self {
            Self::Group { group, subgroups, spare_admins } => Conditions::GroupBased {
                group_id: group_name(*group),
                include_subgroups: *subgroups,
                exclude_admin_users: *spare_admins,
            },
            Self::Client { client: number, refresh_too, before } => Conditions::ClientBased {
                client_id: client(number),
                revoke_refresh_tokens: *refresh_too,
                created_before: at(before),
            },
            Self::Time { before, unused_since, access, refresh } => Conditions::TimeBased {
                created_before: at(before),
                last_used_before: at(unused_since),
                token_types: match (access, refresh) {
                    (true, false) => Kinds::AccessOnly,
                    (false, true) => Kinds::RefreshOnly,
                    _ => Kinds::Both,
                },
            },
            Self::Conditional(picks) => Conditions::Conditional(Box::new(Filter {
                groups: picks.groups.iter().map(|group| group_name(*group)).collect(),
                include_subgroups: picks.subgroups,
                clients: picks.clients.iter().map(client).collect(),
                users: picks.users.iter().map(|user| user_name(*user)).collect(),
                created_after: at(&picks.after),
                created_before: at(&picks.before),
                last_used_before: at(&picks.unused_since),
                ip_ranges: picks.networks.iter().map(|network| network.text().parse().unwrap()).collect(),
                exclude_users: picks.spared.iter().map(|user| user_name(*user)).collect(),
                exclude_admin_users: picks.spare_admins,
            })),
            Self::Emergency { spare_admins, spare_service } => Conditions::Emergency {
                exclude_admin_sessions: *spare_admins,
                preserve_service_tokens: *spare_service,
                authorized_by: "보안팀장".to_owned(),
            },
        }
    }

    /// When the job is effective.
    pub fn effective(&self) -> Effective {
        let needs_single_tokens = match self {
            Self::Time { unused_since, .. } => unused_since.is_some(),
            Self::Conditional(picks) => picks.needs_single_tokens(),
            Self::Group { .. } | Self::Client { .. } | Self::Emergency { .. } => false,
        };
        match (needs_single_tokens, self.names_people()) {
            (true, _) => Effective::Settled,
            (false, true) => Effective::Planned,
            (false, false) => Effective::Accepted,
        }
    }

    /// Whether it names its people, by group or one by one.
    pub fn names_people(&self) -> bool {
        match self {
            Self::Group { .. } => true,
            Self::Conditional(picks) => picks.names_people(),
            Self::Client { .. } | Self::Time { .. } | Self::Emergency { .. } => false,
        }
    }

    /// The users whom a job that names nobody spares.
    pub fn spared(&self, estate: &Estate) -> BTreeSet<UserId> {
        let users = 0..estate.people.len();
        users.filter(|user| self.spares(estate, *user)).map(user_name).collect()
    }

    fn spares(&self, estate: &Estate, user: usize) -> bool {
        let admin = estate.people[user].is_admin();
        match self {
            Self::Group { spare_admins, .. } | Self::Emergency { spare_admins, .. } => *spare_admins && admin,
            Self::Conditional(picks) => picks.spared.contains(&user) || (picks.spare_admins && admin),
            Self::Client { .. } | Self::Time { .. } => false,
        }
    }

    /// Whether a user is one of those meant.
    pub fn means(&self, estate: &Estate, user: usize) -> bool {
        let named = match self {
            Self::Group { group, subgroups, .. } => estate.is_member(user, *group, *subgroups),
            Self::Conditional(Picks { groups, subgroups, users, .. }) => {
                let member = || groups.iter().any(|group| estate.is_member(user, *group, *subgroups));
                (groups.is_empty() || member()) && (users.is_empty() || users.contains(&user))
            }
            Self::Client { .. } | Self::Time { .. } | Self::Emergency { .. } => true,
        };
        named && !self.spares(estate, user)
    }

    fn means_service_tokens(&self) -> bool {
        match self {
            Self::Group { .. } => false,
            Self::Client { .. } | Self::Time { .. } => true,
            Self::Conditional(picks) => !picks.names_people() && picks.networks.is_empty(),
            Self::Emergency { spare_service, .. } => !spare_service,
        }
    }

    /// Whether the job covers a token that is live and belongs to somebody it means.
    fn covers(&self, held: &Held<'_>) -> bool {
        let Token { refresh, client, issued, .. } = *held.token;
        let signed_in_by_now = held.signed_in() <= 0;
        let older = |than: i64| issued * 1_000 < than;
        let unused = |since: i64| held.used() * 1_000 < since;
        match self {
            Self::Group { .. } | Self::Emergency { .. } => signed_in_by_now,
            Self::Client { client: wanted, refresh_too, before } => {
                let in_time = match (before, refresh_too) {
                    (Some(than), _) => older(*than),
                    (None, true) => signed_in_by_now,
                    (None, false) => issued <= 0,
                };
                client == *wanted && (*refresh_too || !refresh) && in_time
            }
            Self::Time { before, unused_since, access: true, refresh: true } if before.is_none() => {
                signed_in_by_now && unused_since.is_some_and(unused)
            }
            Self::Time { before, unused_since, access, refresh: refresh_too } => {
                let listed = if refresh { *refresh_too } else { *access };
                listed && issued <= 0 && before.is_none_or(older) && unused_since.is_none_or(unused)
            }
            Self::Conditional(picks) => {
                let in_time = picks.before.map_or(signed_in_by_now, older);
                let address = held.sign_in.and_then(|sign_in| sign_in.address);
                let from_there = |address| picks.networks.iter().any(|network| network.holds(address));
                in_time
                    && (picks.clients.is_empty() || picks.clients.contains(&client))
                    && picks.after.is_none_or(|than| issued * 1_000 > than)
                    && picks.unused_since.is_none_or(unused)
                    && (picks.networks.is_empty() || address.is_some_and(from_there))
            }
        }
    }

    /// Whether it ends all sessions of its people, whatever they hold.
    fn ends_all_sessions(&self) -> bool {
        match self {
            Self::Group { .. } | Self::Emergency { .. } => true,
            Self::Conditional(picks) => picks.names_only_people(),
            Self::Client { .. } | Self::Time { .. } => false,
        }
    }
}

/// What a company loses by a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// The ids of the tokens.
    pub tokens: BTreeSet<String>,
    /// The ids of the sessions.
    pub sessions: BTreeSet<String>,
    /// What each owner loses; nobody is in it who loses nothing.
    pub owners: BTreeMap<Owner, Facts>,
}

impl Loss {
    /// Adds a token.
    pub fn lose_token(&mut self, owner: &Owner, id: &str, refresh: bool) {
        assert!(self.tokens.insert(id.to_owned()), "{id} is lost twice");
        let facts = self.owners.entry(owner.clone()).or_default();
        if refresh {
            facts.refresh_tokens += 1;
        } else {
            facts.access_tokens += 1;
        }
    }

    /// Adds a session.
    pub fn lose_session(&mut self, owner: &Owner, id: &str) {
        assert!(self.sessions.insert(id.to_owned()), "{id} is lost twice");
        self.owners.entry(owner.clone()).or_default().sessions += 1;
    }

    /// How many users lose something.
    pub fn users(&self) -> u64 {
        self.owners.keys().filter(|owner| matches!(owner, Owner::User(_))).count() as u64
    }

    /// Whether a user loses something.
    pub fn hits(&self, user: &UserId) -> bool {
        self.owners.contains_key(&Owner::User(user.clone()))
    }

    /// The sum (`[SCOPE-7]`).
    pub fn statistics(&self) -> Statistics {
        let mut statistics = Statistics { total_users_affected: self.users(), ..Statistics::default() };
        for (owner, facts) in &self.owners {
            statistics.access_tokens_revoked += facts.access_tokens;
            statistics.refresh_tokens_revoked += facts.refresh_tokens;
            statistics.sessions_terminated += facts.sessions;
            if let Owner::Service(_) = owner {
                statistics.service.access_tokens += facts.access_tokens;
                statistics.service.refresh_tokens += facts.refresh_tokens;
            }
        }
        statistics
    }
}

/// Who must lose what.
pub fn oracle(estate: &Estate, wish: &Wish) -> Loss {
    let mut loss = Loss::default();
    // Live tokens that stay, by their session.
    let mut staying: BTreeSet<String> = BTreeSet::new();
    // Sessions that lose a token.
    let mut losing: BTreeSet<String> = BTreeSet::new();
    for held in estate.held().iter().filter(|held| held.is_live()) {
        let meant = held.user.map_or_else(|| wish.means_service_tokens(), |user| wish.means(estate, user));
        if meant && wish.covers(held) {
            let owner = match held.user {
                Some(user) => Owner::User(user_name(user)),
                None => Owner::Service(id(CLIENTS[held.token.client])),
            };
            loss.lose_token(&owner, &held.id, held.token.refresh);
            losing.extend(held.session.clone());
        } else {
            staying.extend(held.session.clone());
        }
    }
    let keeps_sessions = matches!(wish, Wish::Client { refresh_too: false, .. });
    for (user, person) in estate.people.iter().enumerate() {
        for (number, sign_in) in person.sign_ins.iter().enumerate() {
            let name = session_name(user, number);
            let ends = if wish.ends_all_sessions() {
                wish.means(estate, user) && sign_in.started <= 0
            } else {
                !keeps_sessions && losing.contains(&name) && !staying.contains(&name)
            };
            if ends && sign_in.expires > 0 {
                loss.lose_session(&Owner::User(user_name(user)), &name);
            }
        }
    }
    loss
}

/// Seconds: mostly just before, at or just after a moment of interest.
fn seconds() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => (select(&MOMENTS[..]), -1..=1i64).prop_map(|(moment, off)| moment + off),
        2 => -45..12i64,
    ]
}

/// Ends of lifetimes: mostly after the job's second, often at it.
fn ends() -> impl Strategy<Value = i64> {
    prop_oneof![5 => 2..500i64, 2 => -1..=1i64, 1 => -20..0i64]
}

fn addresses() -> impl Strategy<Value = Address> {
    let v4 = select(&[0x0A00_0000, 0x0A00_0001, 0x0A00_007F, 0x0A00_0080, 0x0A00_0100, 0x0AFF_FFFF, 0x0B00_0000][..]);
    let mapped = select(&[0x0A00_0001, 0x0A00_0080, 0x0B00_0000][..]);
    let tails: [u128; 5] = [0, 1, 1 << 63, 1 << 64, 1 << 96];
    let v6 = select(tails.to_vec()).prop_map(|tail| Address::V6((0x2001_0DB8 << 96) + tail));
    prop_oneof![3 => v4.prop_map(Address::V4), 2 => mapped.prop_map(Address::Mapped), 3 => v6]
}

fn networks() -> impl Strategy<Value = Network> {
    let lengths = (select(&[8u32, 9, 24, 25, 31, 32][..]), select(&[16u32, 32, 33, 64, 65, 127, 128][..]));
    (addresses(), lengths).prop_map(|(address, (short, long))| match address {
        Address::V4(bits) | Address::Mapped(bits) => Network::V4(bits, short),
        Address::V6(bits) => Network::V6(bits, long),
    })
}

/// A token of a sign-in at a second, or of nobody knows which.
fn tokens(signed_in: Option<i64>) -> impl Strategy<Value = Token> {
    let flags = (any::<bool>(), prop::bool::weighted(0.15), any::<bool>());
    let times = (seconds(), ends(), prop::option::of(seconds()), seconds());
    (flags, 0..CLIENTS.len(), times).prop_map(move |((refresh, revoked, says_when), client, times)| {
        let (issued, expires, last_used, again) = times;
        // Nothing is issued before its sign-in. Somebody may have signed in again within the same session.
        let auth_time = match signed_in {
            Some(at) if says_when => Some(if client == 3 { at.max(again) } else { at }),
            None if says_when => Some(again),
            _ => None,
        };
        let issued = issued.max(signed_in.unwrap_or(i64::MIN)).max(auth_time.unwrap_or(i64::MIN));
        Token {
            refresh,
            client,
            issued,
            auth_time,
            expires: expires.max(issued),
            revoked,
            last_used: last_used.map(|at| at.max(issued)),
        }
    })
}

fn sign_ins(most: usize) -> impl Strategy<Value = SignIn> {
    seconds().prop_flat_map(move |started| {
        let client = prop::option::of(0..CLIENTS.len());
        let tokens = prop::collection::vec(tokens(Some(started)), 0..=most);
        (ends(), client, prop::option::weighted(0.8, addresses()), tokens).prop_map(
            move |(expires, client, address, tokens)| {
                let expires = expires.max(started);
                SignIn { started, expires, client, address, tokens }
            },
        )
    })
}

fn people(groups: usize, most: usize) -> impl Strategy<Value = Person> {
    let roles = prop_oneof![2 => select(&ROLES[..4]), 1 => select(&ROLES[4..])];
    let directory = prop::option::weighted(0.85, (prop::bool::weighted(0.05), roles));
    let loose = prop::collection::vec((any::<bool>(), tokens(None)), 0..2);
    let sign_ins = prop::collection::vec(sign_ins(most), 0..=most);
    (prop::collection::btree_set(0..groups, 0..3), directory, sign_ins, loose)
        .prop_map(|(groups, directory, sign_ins, loose)| Person { groups, directory, sign_ins, loose })
}

/// Companies of so many users, each with at most `most` sign-ins of as many tokens.
pub fn estates(users: std::ops::Range<usize>, most: usize) -> impl Strategy<Value = Estate> {
    (2..6usize).prop_flat_map(move |groups| {
        let parents = prop::collection::vec(prop::option::of(0..groups), groups);
        let people = prop::collection::vec(people(groups, most), users.clone());
        let service = tokens(None).prop_map(|token| Token { auth_time: None, ..token });
        (parents, people, prop::collection::vec(service, 0..5)).prop_map(|(parents, people, service)| Estate {
            parents,
            people,
            service,
        })
    })
}

/// The five kinds of job, by number.
pub const KINDS: usize = 5;

/// A wish before it is fitted to a company: numbers stand for whatever the company has.
#[derive(Debug, Clone)]
pub struct Draft {
    kind: usize,
    flags: (bool, bool, bool),
    number: usize,
    groups: Vec<usize>,
    clients: Vec<usize>,
    users: Vec<usize>,
    spared: Vec<usize>,
    moments: (Option<i64>, Option<i64>, Option<i64>),
    networks: Vec<Network>,
}

/// Moments that a condition may name: mostly whole seconds, none after the job.
fn moments() -> impl Strategy<Value = i64> {
    let millis = select(&[0, 0, 0, -1, 1, 500, -500][..]);
    (select(&MOMENTS[..]), -1..=1i64, millis)
        .prop_map(|(moment, off, millis)| ((moment + off) * 1_000 + millis).min(INTO_THE_SECOND))
}

fn some<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, most: usize) -> impl Strategy<Value = Vec<T>> {
    let some = prop::collection::vec(strategy, 1..=most);
    prop::option::weighted(0.35, some).prop_map(Option::unwrap_or_default)
}

/// Drafts of a kind, with lists of at most `most` users.
pub fn drafts(kind: impl Strategy<Value = usize>, most: usize) -> impl Strategy<Value = Draft> {
    let number = || 0..1_000_000usize;
    let lists = (some(number(), 3), some(number(), 3), some(number(), most), some(number(), most));
    let moment = || prop::option::weighted(0.35, moments());
    let times = (prop::option::weighted(0.2, moments()), moment(), moment());
    let rest = (lists, times, some(networks(), 3));
    (kind, any::<(bool, bool, bool)>(), number(), rest).prop_map(
        |(kind, flags, number, ((groups, clients, users, spared), moments, networks))| Draft {
            kind,
            flags,
            number,
            groups,
            clients,
            users,
            spared,
            moments,
            networks,
        },
    )
}

impl Draft {
    /// A valid wish for this company.
    pub fn fit(&self, estate: &Estate) -> Wish {
        let (one, two, three) = self.flags;
        let (after, before, unused_since) = self.moments;
        match self.kind {
            0 => {
                let group = self.number % estate.parents.len();
                Wish::Group { group, subgroups: one && !estate.in_cycle(group), spare_admins: two }
            }
            1 => Wish::Client { client: self.number % CLIENTS.len(), refresh_too: one, before },
            2 => Wish::Time {
                before: before.or(if unused_since.is_none() { Some(0) } else { None }),
                unused_since,
                access: one || !two,
                refresh: two || !one,
            },
            3 => {
                let known = |numbers: &[usize]| -> BTreeSet<usize> {
                    let users = numbers.iter().map(|number| number % estate.people.len());
                    users.filter(|user| estate.people[*user].directory.is_some()).collect()
                };
                let groups: BTreeSet<usize> = self.groups.iter().map(|number| number % estate.parents.len()).collect();
                let users = known(&self.users);
                let mut picks = Picks {
                    subgroups: one && !groups.is_empty() && !groups.iter().any(|group| estate.in_cycle(*group)),
                    groups,
                    clients: self.clients.iter().map(|number| number % CLIENTS.len()).collect(),
                    spared: known(&self.spared),
                    users,
                    after: after.filter(|after| before.is_none_or(|before| *after < before)),
                    before,
                    unused_since,
                    networks: self.networks.clone(),
                    spare_admins: two || three,
                };
                if let Some(first) = picks.users.first().filter(|_| picks.users.is_subset(&picks.spared)) {
                    picks.spared.remove(first);
                }
                if picks.names_nothing() {
                    picks.clients.insert(self.number % CLIENTS.len());
                }
                Wish::Conditional(picks)
            }
            _ => Wish::Emergency { spare_admins: one, spare_service: two },
        }
    }
}

/// A company's token rows with an index of its own and long pages: for companies that are too large for the memory
/// store's tiny ones.
pub struct Shelves {
    memory: Arc<Memory>,
    /// Every owner, and the clients of its tokens.
    owners: Vec<(Owner, BTreeSet<ClientId>)>,
}

impl Shelves {
    const PAGE: usize = 150;

    /// The shelves of a company whose rows are in `memory`.
    pub fn of(estate: &Estate, memory: Arc<Memory>) -> Self {
        let mut clients: BTreeMap<Owner, BTreeSet<ClientId>> =
            estate.owners().into_iter().map(|owner| (owner, BTreeSet::new())).collect();
        for held in estate.held() {
            let client: ClientId = id(CLIENTS[held.token.client]);
            let owner = held.user.map_or_else(|| Owner::Service(client.clone()), |user| Owner::User(user_name(user)));
            clients.entry(owner).or_default().insert(client);
        }
        Self { memory, owners: clients.into_iter().collect() }
    }

    fn page(&self, part: u32, of: u32, from: Option<&str>, client: Option<&ClientId>) -> Page<Owner> {
        let from: usize = from.map_or(0, |from| from.parse().unwrap());
        let (part, of) = (usize::try_from(part).unwrap(), usize::try_from(of).unwrap());
        let here = self.owners.iter().enumerate().filter(|(place, _)| place % of == part).map(|(_, owner)| owner);
        let wanted = here.filter(|(_, clients)| client.is_none_or(|client| clients.contains(client)));
        let mut rest = wanted.map(|(owner, _)| owner.clone()).skip(from);
        let items: Vec<Owner> = rest.by_ref().take(Self::PAGE).collect();
        Page { next: rest.next().map(|_| (from + Self::PAGE).to_string()), items }
    }
}

type Answer<'f, T> = BoxFuture<'f, PortResult<T>>;

impl TokenStore for Shelves {
    fn holdings<'a, 'b, 'f>(&'a self, owner: &'b Owner) -> Answer<'f, Holdings>
    where
        'a: 'f,
        'b: 'f,
    {
        self.memory.holdings(owner)
    }

    fn segment<'a, 'b, 'f>(&'a self, part: u32, of: u32, from: Option<&'b str>) -> Answer<'f, Page<(Owner, Holdings)>>
    where
        'a: 'f,
        'b: 'f,
    {
        Box::pin(async move {
            let page = self.page(part, of, from, None);
            let mut items = Vec::new();
            for owner in page.items {
                let holdings = self.memory.holdings(&owner).await?;
                items.push((owner, holdings));
            }
            Ok(Page { items, next: page.next })
        })
    }

    fn owners_at<'a, 'b, 'c, 'f>(
        &'a self,
        client: &'b ClientId,
        shard: u32,
        from: Option<&'c str>,
    ) -> Answer<'f, Page<Owner>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
    {
        let page = self.page(shard, CLIENT_SHARDS, from, Some(client));
        Box::pin(std::future::ready(Ok(page)))
    }

    fn rows<'a, 'f>(&'a self) -> Answer<'f, u64>
    where
        'a: 'f,
    {
        self.memory.rows()
    }

    fn token<'a, 'b, 'c, 'f>(&'a self, owner: &'b Owner, id: &'c TokenId) -> Answer<'f, Option<TokenRow>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
    {
        self.memory.token(owner, id)
    }

    fn opaque<'a, 'b, 'f>(&'a self, id: &'b TokenId) -> Answer<'f, Option<TokenRow>>
    where
        'a: 'f,
        'b: 'f,
    {
        self.memory.opaque(id)
    }

    fn session<'a, 'b, 'c, 'f>(&'a self, user: &'b UserId, id: &'c SessionId) -> Answer<'f, Option<SessionRow>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
    {
        self.memory.session(user, id)
    }

    fn revoke<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        owner: &'b Owner,
        id: &'c TokenId,
        revoked: &'d Revoked,
    ) -> Answer<'f, Option<RevokedBy>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
    {
        self.memory.revoke(owner, id, revoked)
    }

    fn end_session<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        user: &'b UserId,
        id: &'c SessionId,
        revoked: &'d Revoked,
    ) -> Answer<'f, bool>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
    {
        self.memory.end_session(user, id, revoked)
    }
}

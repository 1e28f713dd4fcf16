//! Small companies of any shape, and an oracle that says who must lose what. It is written on its own, from the
//! contract, and shares no rule with the code under test.

use std::collections::{BTreeMap, BTreeSet};

use domain::ids::UserId;
use domain::job::{Facts, Statistics};
use domain::ports::{RecordStore, TokenStore};
use domain::records::{Entity, GroupRecord, MembershipKey, Record, SessionRecord, TokenRecord, UserRecord};
use domain::time::Epoch;
use domain::token::{Owner, RevokedBy, TokenKind};
use proptest::prelude::*;

/// One sign-in: when, relative to the job, and what it holds.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// Seconds after the job's second (negative: before).
    pub at: i64,
    /// Whether tokens name the time of the sign-in themselves, or only their session does.
    pub in_token: bool,
    /// Per token: access or refresh, seconds after the sign-in that it was issued, its lifetime, whether it is revoked.
    pub tokens: Vec<(bool, i64, i64, bool)>,
}

/// One user.
#[derive(Debug, Clone)]
pub struct Member {
    /// The groups, by number.
    pub groups: BTreeSet<usize>,
    /// Whether the directory knows the user, and as what.
    pub role: Option<&'static str>,
    /// `is_admin` in the directory.
    pub is_admin: bool,
    /// The sign-ins.
    pub sign_ins: Vec<SignIn>,
}

/// A company.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Each group's parent, by number; may form cycles.
    pub parents: Vec<Option<usize>>,
    /// The users.
    pub members: Vec<Member>,
}

const ROLES: [Option<&str>; 7] = [
    None,
    Some(""),
    Some("security_admin"),
    Some("system_admin"),
    Some("group_admin"),
    Some("auditor"),
    Some("administrator"),
];

fn sign_ins() -> impl Strategy<Value = SignIn> {
    let token = (any::<bool>(), 0..40i64, -5..60i64, prop::bool::weighted(0.2));
    (-50..10i64, any::<bool>(), prop::collection::vec(token, 0..4)).prop_map(|(at, in_token, tokens)| SignIn {
        at,
        in_token,
        tokens,
    })
}

fn members(groups: usize) -> impl Strategy<Value = Member> {
    (
        prop::collection::btree_set(0..groups, 0..3),
        prop::sample::select(&ROLES[..]),
        prop::bool::weighted(0.1),
        prop::collection::vec(sign_ins(), 0..4),
    )
        .prop_map(|(groups, role, is_admin, sign_ins)| Member { groups, role, is_admin, sign_ins })
}

/// Companies of up to `users` users.
pub fn shapes(users: usize) -> impl Strategy<Value = Shape> {
    (2..7usize).prop_flat_map(move |groups| {
        let parents = prop::collection::vec(prop::option::of(0..groups), groups);
        let members = prop::collection::vec(members(groups), 1..users);
        (parents, members).prop_map(|(parents, members)| Shape { parents, members })
    })
}

/// The name of a group.
pub fn group_name(run: &str, number: usize) -> String {
    format!("{run}-g{number}")
}

/// The id of a user. Not in the order of the numbers.
pub fn user_name(run: &str, number: usize) -> UserId {
    UserId::parse(format!("{run}-{}{number}", ["u", "Ü", "가", "🙂"][number % 4])).unwrap()
}

/// Writes a company into stores, for a job at second `now`.
pub async fn write<S: RecordStore>(store: &S, run: &str, shape: &Shape, now: i64) {
    for record in records(run, shape, now) {
        store.apply(&record).await.unwrap();
    }
}

/// A company as records.
pub fn records(run: &str, shape: &Shape, now: i64) -> Vec<Record> {
    let mut entities = Vec::new();
    for (number, parent) in shape.parents.iter().enumerate() {
        let id = |number| group_name(run, number).try_into().unwrap();
        entities.push(Entity::Group(GroupRecord { id: id(number), name: None, parent_id: parent.map(id) }));
    }
    for (number, member) in shape.members.iter().enumerate() {
        let user = user_name(run, number);
        if let Some(role) = member.role {
            entities.push(Entity::User(UserRecord {
                is_admin: member.is_admin,
                roles: vec![role.to_owned()],
                ..UserRecord::new(user.clone())
            }));
        }
        for group in &member.groups {
            let group_id = group_name(run, *group).try_into().unwrap();
            entities.push(Entity::Membership(MembershipKey { group_id, user_id: user.clone() }));
        }
        for (index, sign_in) in member.sign_ins.iter().enumerate() {
            let session: domain::ids::SessionId = format!("{run}-s{number}-{index}").try_into().unwrap();
            let started_at = Epoch(now + sign_in.at);
            entities.push(Entity::Session(SessionRecord {
                id: session.clone(),
                user_id: user.clone(),
                client_id: None,
                started_at,
                expires_at: Epoch(now + 500),
                ip_address: None,
            }));
            for (which, (access, later, lifetime, revoked)) in sign_in.tokens.iter().enumerate() {
                let issued_at = started_at.plus(*later);
                entities.push(Entity::Token(TokenRecord {
                    id: format!("{run}-t{number}-{index}-{which}").try_into().unwrap(),
                    user_id: Some(user.clone()),
                    client_id: "web".to_owned().try_into().unwrap(),
                    token_type: if *access { TokenKind::Access } else { TokenKind::Refresh },
                    opaque: false,
                    session_id: Some(session.clone()),
                    issued_at,
                    auth_time: sign_in.in_token.then_some(started_at),
                    expires_at: Epoch(now + lifetime),
                    last_used_at: None,
                    scope: None,
                    revoked_at: revoked.then_some(Epoch(now - 1)),
                }));
            }
        }
    }
    entities.into_iter().map(|entity| Record::upsert(1, entity)).collect()
}

/// Who must lose what, by the words of the contract: a group logout at second 0 of everything that stems from a
/// sign-in at or before it, unexpired and unrevoked at the time.
pub fn oracle(shape: &Shape, group: usize, subgroups: bool, spare_admins: bool) -> BTreeMap<usize, Facts> {
    let mut groups = BTreeSet::from([group]);
    // As many rounds as there are groups reach every descendant, whatever the cycles.
    for _ in 0..if subgroups { shape.parents.len() } else { 0 } {
        let under = |child: &usize| shape.parents[*child].is_some_and(|parent| groups.contains(&parent));
        let more: Vec<usize> = (0..shape.parents.len()).filter(under).collect();
        groups.extend(more);
    }
    let mut lost = BTreeMap::new();
    for (number, member) in shape.members.iter().enumerate() {
        let known = member.role.is_some();
        let admin_role = matches!(member.role, Some("security_admin" | "system_admin" | "administrator"));
        let admin = known && (member.is_admin || admin_role);
        if member.groups.is_disjoint(&groups) || (spare_admins && admin) {
            continue;
        }
        let mut facts = Facts::default();
        for sign_in in member.sign_ins.iter().filter(|sign_in| sign_in.at <= 0) {
            facts.sessions += 1;
            for (access, _, lifetime, revoked) in &sign_in.tokens {
                if *lifetime > 0 && !revoked {
                    if *access {
                        facts.access_tokens += 1;
                    } else {
                        facts.refresh_tokens += 1;
                    }
                }
            }
        }
        if facts != Facts::default() {
            lost.insert(number, facts);
        }
    }
    lost
}

/// The statistics of users who lost so much.
pub fn sum<'a>(lost: impl IntoIterator<Item = &'a Facts>) -> Statistics {
    let mut sum = Statistics::default();
    for facts in lost {
        sum.add(&Owner::User(user_name("any", 0)), *facts);
    }
    sum
}

/// What a scan of the rows says a job took from each user.
pub async fn scan<S: TokenStore>(
    store: &S,
    run: &str,
    users: usize,
    job: &domain::ids::JobId,
) -> BTreeMap<usize, Facts> {
    let ours = RevokedBy::Job(job.clone());
    let mut lost = BTreeMap::new();
    for number in 0..users {
        let holdings = store.holdings(&Owner::User(user_name(run, number))).await.unwrap();
        let mut facts = Facts::default();
        for token in holdings.tokens.iter().filter(|token| token.revoked.as_ref().is_some_and(|by| by.by == ours)) {
            match token.kind {
                TokenKind::Access => facts.access_tokens += 1,
                TokenKind::Refresh => facts.refresh_tokens += 1,
            }
        }
        facts.sessions = holdings.sessions.iter().filter(|s| s.ended_by.as_ref() == Some(&ours)).count() as u64;
        if !facts.is_nothing() {
            lost.insert(number, facts);
        }
    }
    lost
}

//! A block: a few users who share nothing with other blocks, the jobs that are made over them, and what must come of
//! each of their tokens. The fates are written down with the block, before any job, from the contract's words.

use domain::ids::{RawToken, TokenId};
use domain::records::{
    ClientRecord, Entity, GroupRecord, MembershipKey, Record, SessionRecord, TokenRecord, UserRecord,
};
use domain::time::Epoch;
use domain::token::TokenKind;
use ops::issuer::Mint;
use serde_json::{Value, json};

use crate::rail::Dice;

/// Users in a block's group.
const MEMBERS: usize = 20;
/// Users beside the group.
const BYSTANDERS: usize = 4;
/// Of the members, those on lists of users.
const LISTED: usize = 10;
/// Of the members, those who are excluded.
const EXCLUDED: usize = 4;
/// The network of every second sign-in.
const NETWORK: &str = "192.0.2.0/24";

/// What a job over a block asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The group.
    Group,
    /// A list of users.
    Users,
    /// A client.
    Client,
    /// A client without its refresh tokens.
    ClientAccess,
    /// The group without some users.
    Excluding,
    /// What the group holds from a network.
    Network,
}

impl Wish {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Group, Self::Users, Self::Client, Self::ClientAccess, Self::Excluding, Self::Network];

    fn covers(self, held: &Held) -> bool {
        let member = held.user < MEMBERS;
        match self {
            Self::Group => member,
            Self::Users => held.user < LISTED,
            Self::Client => held.second,
            Self::ClientAccess => held.second && held.record.token_type == TokenKind::Access,
            Self::Excluding => member && held.user >= EXCLUDED,
            Self::Network => member && held.second,
        }
    }

    /// What becomes of a token that is issued, after the job, to a covered sign-in: `None` where it depends.
    fn refuses_refreshed(self) -> Option<bool> {
        match self {
            Self::Group | Self::Users | Self::Client | Self::Excluding => Some(true),
            // Its refresh token was left alone, so that what it brings later is good.
            Self::ClientAccess => Some(false),
            // The session may live on through tokens from elsewhere.
            Self::Network => None,
        }
    }
}

/// A token of a block.
#[derive(Debug, Clone)]
pub struct Held {
    /// As the store has it.
    pub record: TokenRecord,
    /// What is presented.
    pub raw: String,
    /// The number of its user.
    user: usize,
    /// Whether it is of the user's second sign-in.
    second: bool,
    /// The jobs that cover it, by their number.
    pub covered_by: Vec<usize>,
}

impl Held {
    /// Whether it can be presented to an API.
    pub fn is_access(&self) -> bool {
        self.record.token_type == TokenKind::Access
    }
}

/// A block.
pub struct Block {
    run: String,
    /// Its jobs; two are made at the same time.
    pub wishes: Vec<Wish>,
    /// Whether its users are mailed.
    pub notify: bool,
    /// Its tokens.
    pub tokens: Vec<Held>,
    /// What is to be loaded.
    pub records: Vec<Record>,
}

impl Block {
    /// A block that nobody has seen yet.
    pub fn new(run: String, dice: &Dice, mint: &Mint, now: i64) -> Self {
        let any = || Wish::ALL[usize::try_from(dice.roll(Wish::ALL.len() as u64)).unwrap()];
        let wishes = if dice.roll(3) == 0 { vec![any(), Wish::Group] } else { vec![any()] };
        let mut block = Self { run, wishes, notify: dice.roll(3) == 0, tokens: Vec::new(), records: Vec::new() };
        block.directory();
        for user in 0..MEMBERS + BYSTANDERS {
            for second in [false, true] {
                if user < MEMBERS || !second {
                    let ago = 60 + i64::try_from(dice.roll(20 * 24 * 3_600)).unwrap();
                    block.sign_in(user, second, now - ago, now, mint);
                }
            }
        }
        block
    }

    fn add(&mut self, at: i64, entity: Entity) {
        self.records.push(Record::upsert(at, entity));
    }

    /// The group.
    pub fn group(&self) -> String {
        format!("{}-group", self.run)
    }

    fn client(&self, second: bool) -> String {
        if second { format!("{}-leaked", self.run) } else { "soak-desk".to_owned() }
    }

    fn user(&self, number: usize) -> String {
        format!("{}-{}{number}", self.run, ["u", "Ü", "가", "🙂"][number % 4])
    }

    fn directory(&mut self) {
        let group_id: domain::ids::GroupId = self.group().try_into().unwrap();
        self.add(1, Entity::Group(GroupRecord { id: group_id.clone(), name: None, parent_id: None }));
        for second in [false, true] {
            let id = self.client(second).try_into().unwrap();
            self.add(1, Entity::Client(ClientRecord { id, name: None, secret_sha256: None, may_introspect: false }));
        }
        for number in 0..MEMBERS + BYSTANDERS {
            let user = domain::ids::UserId::parse(self.user(number)).unwrap();
            let email = Some(format!("{}-{number}@example.com", self.run));
            self.add(1, Entity::User(UserRecord { email, ..UserRecord::new(user.clone()) }));
            if number < MEMBERS {
                let key = MembershipKey { group_id: group_id.clone(), user_id: user };
                self.add(1, Entity::Membership(key));
            }
        }
    }

    /// A sign-in with an access and a refresh token.
    fn sign_in(&mut self, user: usize, second: bool, at: i64, now: i64, mint: &Mint) {
        let session = format!("{}-s{user}-{}-{at}", self.run, u8::from(second));
        let address = if second { format!("192.0.2.{user}") } else { format!("10.0.0.{user}") };
        let user_id = domain::ids::UserId::parse(self.user(user)).unwrap();
        let started_at = Epoch(at);
        self.add(
            now * 1_000,
            Entity::Session(SessionRecord {
                id: session.clone().try_into().unwrap(),
                user_id: user_id.clone(),
                client_id: self.client(second).try_into().ok(),
                started_at,
                expires_at: started_at.plus(60 * 24 * 3_600),
                ip_address: Some(address),
            }),
        );
        for token_type in [TokenKind::Access, TokenKind::Refresh] {
            let access = token_type == TokenKind::Access;
            let jwt = access && user.is_multiple_of(2);
            let name = format!("{session}-{}", if access { 'a' } else { 'r' });
            let mut record = TokenRecord {
                id: if jwt { name.clone().try_into().unwrap() } else { TokenId::of_opaque(&RawToken::new(&name)) },
                user_id: Some(user_id.clone()),
                client_id: self.client(second).try_into().unwrap(),
                token_type,
                opaque: !jwt,
                session_id: session.clone().try_into().ok(),
                issued_at: if access { started_at.max(Epoch(now - 600)) } else { started_at },
                auth_time: Some(started_at),
                expires_at: Epoch(now + 4 * 3_600),
                last_used_at: None,
                scope: None,
                revoked_at: None,
            };
            record.issued_at = record.issued_at.min(record.expires_at);
            let raw = if jwt { mint.sign(&record).unwrap() } else { name };
            let mut held = Held { record: record.clone(), raw, user, second, covered_by: Vec::new() };
            held.covered_by = (0..self.wishes.len()).filter(|&number| self.wishes[number].covers(&held)).collect();
            self.add(now * 1_000, Entity::Token(record));
            self.tokens.push(held);
        }
    }

    /// Some of its users sign in once more, after its jobs; nothing covers these tokens. Answers them.
    pub fn sign_in_again(&mut self, at: i64, mint: &Mint) -> Vec<Held> {
        let before = self.tokens.len();
        self.records.clear();
        for user in [0, 1, MEMBERS - 1] {
            self.sign_in(user, false, at, at, mint);
        }
        let again = &mut self.tokens[before..];
        for held in again.iter_mut() {
            held.covered_by.clear();
        }
        again.to_vec()
    }

    /// What refreshing brings to sign-ins that a job has ended, and whether it must be refused.
    pub fn refreshed(&self, now: i64, mint: &Mint) -> Vec<(String, bool)> {
        let jwts = self.tokens.iter().filter(|held| held.is_access() && !held.record.opaque);
        let fates = jwts.filter_map(|held| {
            let fates = held.covered_by.iter().map(|&number| self.wishes[number].refuses_refreshed());
            let fates: Vec<Option<bool>> = fates.collect();
            let refused = if fates.contains(&Some(true)) {
                true
            } else if fates.is_empty() || fates.contains(&None) {
                return None;
            } else {
                false
            };
            Some((mint.refreshed(&held.raw, Epoch(now)).unwrap(), refused))
        });
        fates.take(4).collect()
    }

    /// The path and body of the request for one of its jobs.
    pub fn request(&self, number: usize) -> (&'static str, Value) {
        let users = |range: std::ops::Range<usize>| range.map(|number| self.user(number)).collect::<Vec<String>>();
        let (path, mut body) = match self.wishes[number] {
            Wish::Group => ("/group", json!({ "group_id": self.group() })),
            Wish::Users => ("/conditional", json!({ "conditions": { "users": users(0..LISTED) } })),
            Wish::Client => ("/client", json!({ "client_id": self.client(true) })),
            Wish::ClientAccess => {
                ("/client", json!({ "client_id": self.client(true), "revoke_refresh_tokens": false }))
            }
            Wish::Excluding => {
                let conditions = json!({ "groups": [self.group()], "exclude_users": users(0..EXCLUDED) });
                ("/conditional", json!({ "conditions": conditions }))
            }
            Wish::Network => {
                let conditions = json!({ "groups": [self.group()], "ip_ranges": [NETWORK] });
                ("/conditional", json!({ "conditions": conditions }))
            }
        };
        body["reason"] = "퇴사한 계약자의 모든 로그인을 종료합니다".into();
        body["notify_users"] = self.notify.into();
        body["dry_run"] = false.into();
        (path, body)
    }

    /// The addresses of its users.
    pub fn is_address(&self, address: &str) -> bool {
        address.starts_with(&format!("{}-", self.run))
    }
}

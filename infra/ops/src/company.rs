//! A demo company: nested groups, several clients, admins, service tokens, names in many scripts, users without
//! tokens, tokens that have expired and tokens that are revoked already. The same run makes the same company; another
//! run makes other people in other groups, whom no earlier job has touched.

use chrono::{DateTime, Utc};
use domain::directory::secret_hash;
use domain::ids::{ClientId, GroupId, RawToken, SessionId, TokenId, UserId};
use domain::records::{
    ClientRecord, Entity, GroupRecord, MembershipKey, Record, SessionRecord, TokenRecord, UserRecord,
};
use domain::time::Epoch;
use domain::token::TokenKind;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::failure::{Context as _, Result};
use crate::stack::Person;

/// The client that may introspect in the demo company, and its secret (local stack only).
pub const INTROSPECTOR: (&str, &str) = ("resource-server", "local-only-introspection");

/// How large, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Users.
    pub users: u32,
    /// Of them, in the leaving groups.
    pub contractors: u32,
    /// Names this run's tokens apart from earlier ones'.
    pub run: String,
    /// The moment it is made for; sign-ins lie before it.
    pub now: DateTime<Utc>,
}

/// A token of the company, with what is needed to present it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Its record.
    pub record: TokenRecord,
    /// The opaque token itself; none for a JWT, which the issuer's key can sign again from the record.
    pub opaque: Option<String>,
    /// Whether it should be in the leaving group's job.
    pub leaving: bool,
}

impl Issued {
    /// Whether it is neither expired nor revoked.
    pub fn is_live(&self, now: Epoch) -> bool {
        self.record.revoked_at.is_none() && self.record.expires_at > now
    }
}

/// Everything to load.
pub struct Company {
    /// Users, groups, memberships and clients.
    pub directory: Vec<Record>,
    /// Sessions.
    pub sessions: Vec<Record>,
    /// Tokens.
    pub tokens: Vec<Issued>,
}

const NAMES: [&str; 12] = [
    "김민지",
    "이서준",
    "박하은 👩‍💻",
    "최도윤",
    "Zoë Brontë",
    "José Álvarez",
    "Nguyễn Thị Ánh",
    "O'Neill, Siân",
    "李小龍",
    "محمد علي",
    "Łukasz Żółć 🚀",
    "정<b>예린</b>",
];
const DEPARTMENTS: [&str; 4] = ["engineering", "sales", "support", "finance"];
const CONTRACTOR_GROUPS: [&str; 4] = ["contractors", "contractors-kr", "contractors-eu", "contractors-eu-berlin"];
const CLIENTS: [&str; 4] = ["web-app", "mobile-app", "desktop-app", "partner-portal"];
const SERVICES: [&str; 2] = ["billing-sync", "nightly-reports"];
const SERVICE_TOKENS: u32 = 400;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A number that looks random and is always the same for the same words.
fn dice(words: &[&str], sides: u32) -> u32 {
    let digest = Sha256::digest(words.join("\n").as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % sides.max(1)
}

/// A user's id: scattered like the ids of a real issuer.
fn user_id(run: &str, number: u32) -> String {
    let digest = Sha256::digest(format!("{run} user {number}").as_bytes());
    let hex = hex::encode(&digest[..16]);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn id<T: TryFrom<String>>(text: impl Into<String>) -> Result<T>
where
    T::Error: std::fmt::Display,
{
    let text = text.into();
    T::try_from(text.clone()).context(text)
}

impl Plan {
    /// Ten thousand users, more than a thousand of them leaving.
    pub fn demo(now: DateTime<Utc>) -> Self {
        Self { users: 10_000, contractors: 1_250, run: now.format("%y%m%d%H%M%S%3f").to_string(), now }
    }

    /// The group that the demo logs out with its subgroups.
    pub fn leaving(&self) -> String {
        self.group("contractors")
    }

    fn group(&self, name: &str) -> String {
        format!("{name}-{}", self.run)
    }

    fn at(&self) -> i64 {
        self.now.timestamp_millis()
    }

    /// Makes the company; `people` are those who can really sign in.
    pub fn company(&self, people: &[Person]) -> Result<Company> {
        let mut company = Company { directory: self.groups_and_clients()?, sessions: Vec::new(), tokens: Vec::new() };
        for number in 0..self.users {
            self.add_user(number, &mut company)?;
        }
        for person in people {
            self.add_person(person, &mut company)?;
        }
        for number in 0..SERVICE_TOKENS {
            let client = SERVICES[number as usize % SERVICES.len()];
            let issued_at =
                Epoch(self.now.timestamp() - i64::from(dice(&[&self.run, "service", &number.to_string()], 3_000)));
            let (opaque, token) = (format!("bl-{}-s{number}", self.run), number);
            company.tokens.push(Issued {
                record: TokenRecord {
                    id: TokenId::of_opaque(&RawToken::new(&opaque)),
                    user_id: None,
                    client_id: id(client)?,
                    token_type: TokenKind::Access,
                    opaque: true,
                    session_id: None,
                    issued_at,
                    auth_time: None,
                    expires_at: issued_at.plus(HOUR + i64::from(token % 60)),
                    last_used_at: None,
                    scope: Some("reports:read".to_owned()),
                    revoked_at: None,
                },
                opaque: Some(opaque),
                leaving: false,
            });
        }
        Ok(company)
    }

    fn groups_and_clients(&self) -> Result<Vec<Record>> {
        let group = |name: &str, shown: &str, parent: Option<&str>| -> Result<Entity> {
            let parent_id = parent.map(|parent| id::<GroupId>(self.group(parent))).transpose()?;
            Ok(Entity::Group(GroupRecord { id: id(self.group(name))?, name: Some(shown.to_owned()), parent_id }))
        };
        let mut entities = vec![
            group("company", "주식회사 데모 🏢", None)?,
            group("engineering", "Engineering", Some("company"))?,
            group("sales", "영업", Some("company"))?,
            group("support", "Support", Some("company"))?,
            group("finance", "Finance", Some("company"))?,
            group("contractors", "Contractors", Some("company"))?,
            group("contractors-kr", "협력사 (한국)", Some("contractors"))?,
            group("contractors-eu", "Contractors Europe", Some("contractors"))?,
            group("contractors-eu-berlin", "Berlin 🐻", Some("contractors-eu"))?,
        ];
        let client = |name: &str, secret: Option<&str>| -> Result<Entity> {
            Ok(Entity::Client(ClientRecord {
                id: id(name)?,
                name: Some(name.to_owned()),
                secret_sha256: secret.map(secret_hash),
                may_introspect: secret.is_some(),
            }))
        };
        for name in CLIENTS.into_iter().chain(SERVICES) {
            entities.push(client(name, None)?);
        }
        entities.push(client(INTROSPECTOR.0, Some(INTROSPECTOR.1))?);
        Ok(entities.into_iter().map(|entity| Record::upsert(self.at(), entity)).collect())
    }

    fn join(&self, group: &str, user: &UserId, company: &mut Company) -> Result<()> {
        let key = MembershipKey { group_id: id(self.group(group))?, user_id: user.clone() };
        company.directory.push(Record::upsert(self.at(), Entity::Membership(key)));
        Ok(())
    }

    fn add_user(&self, number: u32, company: &mut Company) -> Result<()> {
        let user: UserId = id(user_id(&self.run, number))?;
        let contractor = number < self.contractors;
        // A few contractors are admins: the job spares them.
        let is_admin = number.is_multiple_of(100);
        let name = NAMES[number as usize % NAMES.len()];
        company.directory.push(Record::upsert(
            self.at(),
            Entity::User(UserRecord {
                id: user.clone(),
                email: Some(format!("user{number}@example.com")),
                name: Some(format!("{name} {number}")),
                locale: Some(if number.is_multiple_of(2) { "ko-KR" } else { "en-GB" }.to_owned()),
                is_admin,
                roles: if number % 100 == 50 { vec!["system_admin".to_owned()] } else { vec![] },
                permissions: vec![],
                managed_group_ids: vec![],
                workspaces: vec![format!("ws-{}", number % 7)],
            }),
        ));
        if contractor {
            let group = CONTRACTOR_GROUPS[number as usize % CONTRACTOR_GROUPS.len()];
            self.join(group, &user, company)?;
            if number.is_multiple_of(9) {
                // In two of the leaving groups, and still to be counted once.
                self.join(CONTRACTOR_GROUPS[(number as usize + 1) % CONTRACTOR_GROUPS.len()], &user, company)?;
            }
        } else {
            self.join(DEPARTMENTS[number as usize % DEPARTMENTS.len()], &user, company)?;
        }
        // One in twenty never signed in.
        if number % 20 == 7 {
            return Ok(());
        }
        let spared = is_admin || number % 100 == 50;
        let sign_ins = if number.is_multiple_of(5) { 3 } else { 2 };
        for sign_in in 0..sign_ins {
            self.add_sign_in(number, sign_in, &user, contractor && !spared, company)?;
        }
        Ok(())
    }

    fn add_sign_in(
        &self,
        number: u32,
        sign_in: u32,
        user: &UserId,
        leaving: bool,
        company: &mut Company,
    ) -> Result<()> {
        let name = format!("{number}-{sign_in}");
        let ago = i64::from(dice(&[&self.run, &name], u32::try_from(20 * DAY).unwrap_or(u32::MAX))) + 60;
        let started_at = Epoch(self.now.timestamp() - ago);
        let session: SessionId = id(format!("sid-{}-{name}", self.run))?;
        let client: ClientId = id(CLIENTS[(number + sign_in) as usize % CLIENTS.len()])?;
        company.sessions.push(Record::upsert(
            self.at(),
            Entity::Session(SessionRecord {
                id: session.clone(),
                user_id: user.clone(),
                client_id: Some(client.clone()),
                started_at,
                expires_at: started_at.plus(60 * DAY),
                ip_address: Some(if number.is_multiple_of(3) {
                    format!("2001:db8::{number:x}")
                } else {
                    format!("10.{}.{}.{}", number % 7, number / 250 % 250, number % 250)
                }),
            }),
        ));
        // The access token was refreshed within the last half hour; the sign-in may be weeks old.
        let refreshed =
            Epoch(self.now.timestamp() - i64::from(dice(&[&self.run, &name, "refreshed"], 1_800)) - 5).max(started_at);
        let state = dice(&[&self.run, &name, "state"], 100);
        for kind in [TokenKind::Access, TokenKind::Refresh] {
            let access = kind == TokenKind::Access;
            let jwt = access && number.is_multiple_of(2);
            let raw = format!("bl-{}-{}{name}", self.run, if access { 'a' } else { 'r' });
            let (issued_at, lifetime) = if access { (refreshed, 2 * HOUR) } else { (started_at, 60 * DAY) };
            // A few have expired, and a few were revoked by the issuer, before anything happens here.
            let expires_at = if state < 2 { Epoch(self.now.timestamp() - 1_000) } else { issued_at.plus(lifetime) };
            let revoked_at = (state == 2).then(|| Epoch(self.now.timestamp() - 30));
            company.tokens.push(Issued {
                record: TokenRecord {
                    id: if jwt { id(&*raw)? } else { TokenId::of_opaque(&RawToken::new(&raw)) },
                    user_id: Some(user.clone()),
                    client_id: client.clone(),
                    token_type: kind,
                    opaque: !jwt,
                    session_id: Some(session.clone()),
                    issued_at: issued_at.min(expires_at),
                    auth_time: Some(started_at),
                    expires_at,
                    last_used_at: Some(refreshed),
                    scope: Some("openid profile".to_owned()),
                    revoked_at,
                },
                opaque: (!jwt).then_some(raw),
                leaving,
            });
        }
        Ok(())
    }

    fn add_person(&self, person: &Person, company: &mut Company) -> Result<()> {
        let user: UserId = id(&*person.id)?;
        let manages = person.roles.iter().any(|role| role == "group_admin");
        company.directory.push(Record::upsert(
            self.at(),
            Entity::User(UserRecord {
                id: user.clone(),
                email: Some(person.email.clone()),
                name: person.email.split('@').next().map(str::to_owned),
                locale: Some("ko-KR".to_owned()),
                is_admin: false,
                roles: person.roles.clone(),
                permissions: vec![],
                managed_group_ids: if manages { vec![id(self.group("contractors-eu"))?] } else { vec![] },
                workspaces: vec![],
            }),
        ));
        // The member leaves with the contractors; the security admin is among them, too, and is spared.
        if person.roles.is_empty() || person.roles.iter().any(|role| role == "security_admin") {
            self.join("contractors", &user, company)?;
        }
        Ok(())
    }
}

impl Company {
    /// All records, directory first.
    pub fn records(&self, at: i64) -> Vec<Record> {
        let tokens = self.tokens.iter().map(|token| Record::upsert(at, Entity::Token(token.record.clone())));
        self.directory.iter().chain(&self.sessions).cloned().chain(tokens).collect()
    }
}

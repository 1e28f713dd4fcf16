//! What a job covers, against an oracle in the contract's words over plain numbers (spec §4), at and around every boundary.

use std::net::Ipv4Addr;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::cutoff::{KEPT_SECONDS, Subject};
use crate::directory::Actor;
use crate::ids::{SessionId, TokenId};
use crate::time::from_millis;
use crate::token::Revoked;

/// The second in which the job is accepted; it is so many milliseconds old by then.
const SECOND: i64 = 1_900_000_000;
const INTO_IT: i64 = 400;
const AGE: i64 = 1_000;

fn id<T: TryFrom<String>>(text: impl Into<String>) -> T {
    T::try_from(text.into()).unwrap_or_else(|_| unreachable!("a valid id"))
}

fn moment(millis_after: i64) -> DateTime<Utc> {
    from_millis(SECOND * 1_000 + millis_after)
}

/// A job's conditions in plain data; moments are milliseconds after the job's second.
#[allow(clippy::struct_excessive_bools, reason = "the conditions that there are, in all combinations")]
#[derive(Debug, Clone, Default)]
struct Wish {
    kind: u8,
    access: bool,
    refresh: bool,
    clients: Vec<u8>,
    has_people: bool,
    issued_after: Option<i64>,
    issued_before: Option<i64>,
    unused_since: Option<i64>,
    /// Networks of the form 10.N.0.0/16.
    networks: Vec<u8>,
    spares_services: bool,
}

const GROUP: u8 = 0;
const CLIENT: u8 = 1;
const TIME: u8 = 2;
const CONDITIONAL: u8 = 3;
const EMERGENCY: u8 = 4;

impl Wish {
    fn conditions(&self) -> Conditions {
        let at = |millis: Option<i64>| millis.map(moment);
        match self.kind {
            GROUP => Conditions::GroupBased { group_id: id("g"), include_subgroups: false, exclude_admin_users: true },
            CLIENT => Conditions::ClientBased {
                client_id: id("c0"),
                revoke_refresh_tokens: self.refresh,
                created_before: at(self.issued_before),
            },
            TIME => Conditions::TimeBased {
                created_before: at(self.issued_before),
                last_used_before: at(self.unused_since),
                token_types: match (self.access, self.refresh) {
                    (true, false) => Kinds::AccessOnly,
                    (false, true) => Kinds::RefreshOnly,
                    _ => Kinds::Both,
                },
            },
            CONDITIONAL => Conditions::Conditional(Box::new(Filter {
                users: if self.has_people { BTreeSet::from([id("u")]) } else { BTreeSet::new() },
                clients: self.clients.iter().map(|n| id(format!("c{n}"))).collect(),
                created_after: at(self.issued_after),
                created_before: at(self.issued_before),
                last_used_before: at(self.unused_since),
                ip_ranges: self.networks.iter().filter_map(|n| format!("10.{n}.0.0/16").parse().ok()).collect(),
                ..Filter::default()
            })),
            _ => Conditions::Emergency {
                exclude_admin_sessions: false,
                preserve_service_tokens: self.spares_services,
                authorized_by: "x".to_owned(),
            },
        }
    }

    fn selector(&self) -> Selector {
        let actor = Actor { id: id("admin"), email: None, name: None };
        Selector::of(&Job::new(id("job"), self.conditions(), actor, String::new(), moment(INTO_IT)))
    }
}

/// A token in plain data; times are seconds after the job's.
#[derive(Debug, Clone)]
struct Token {
    is_refresh: bool,
    client: u8,
    issued: i64,
    signed_in: Option<i64>,
    last_used: Option<i64>,
    expires: i64,
    /// 0: not; 1: by this job; 2: by somebody else.
    revoked: u8,
    /// Of the session, or of one that nobody knows.
    in_session: bool,
}

#[derive(Debug, Clone)]
struct Session {
    started: i64,
    expires: i64,
    /// 10.N.0.1, as IPv4 or as a dual-stack server writes it.
    address: Option<(u8, bool)>,
    ended: u8,
}

fn by(who: u8) -> Option<RevokedBy> {
    match who {
        1 => Some(RevokedBy::Job(id("job"))),
        2 => Some(RevokedBy::User),
        _ => None,
    }
}

fn holdings(is_user: bool, tokens: &[Token], session: Option<&Session>) -> Holdings {
    let at = |seconds: i64| Epoch(SECOND + seconds);
    let owner = if is_user { Owner::User(id("u")) } else { Owner::Service(id("c0")) };
    let row = |(number, token): (usize, &Token)| TokenRow {
        id: id::<TokenId>(format!("t{number}")),
        owner: owner.clone(),
        kind: if token.is_refresh { TokenKind::Refresh } else { TokenKind::Access },
        client: id(format!("c{}", token.client)),
        session: Some(id::<SessionId>(if token.in_session { "s" } else { "unknown" })),
        opaque: false,
        issued_at: at(token.issued),
        signed_in_at: token.signed_in.map(at),
        expires_at: at(token.expires),
        last_used_at: token.last_used.map(at),
        scope: None,
        revoked: by(token.revoked).map(|by| Revoked { at: at(0), by }),
    };
    let sessions = session.map(|session| SessionRow {
        id: id("s"),
        user: id("u"),
        client: None,
        started_at: at(session.started),
        expires_at: at(session.expires),
        issuer_sid: None,
        ip_address: session.address.map(|(n, mapped)| {
            let v4 = Ipv4Addr::new(10, n, 0, 1);
            if mapped { v4.to_ipv6_mapped().to_string() } else { v4.to_string() }
        }),
        sealed: None,
        ended_by: by(session.ended),
    });
    Holdings { tokens: tokens.iter().enumerate().map(row).collect(), sessions: sessions.into_iter().collect() }
}

/// Whether the job means a token, leaving aside whether it is alive. Moments are compared as they are, to the millisecond.
fn means(wish: &Wish, is_user: bool, token: &Token, session: Option<&Session>) -> bool {
    let session = session.filter(|_| token.in_session);
    let (kind, issued) = (wish.kind, token.issued * 1_000);
    let (access, refresh) = match kind {
        CLIENT => (true, wish.refresh),
        // Neither means both.
        TIME => (wish.access || !wish.refresh, wish.refresh || !wish.access),
        _ => (true, true),
    };
    let by_client = match kind {
        CLIENT => token.client == 0,
        CONDITIONAL => wish.clients.is_empty() || wish.clients.contains(&token.client),
        _ => true,
    };
    let services = match kind {
        GROUP => false,
        CONDITIONAL => !wish.has_people && wish.networks.is_empty(),
        EMERGENCY => !wish.spares_services,
        _ => true,
    };
    // CUT-4: jobs that spare one kind or name a time of issue compare the issue, all others the sign-in.
    let names_issue = matches!(kind, CLIENT | TIME | CONDITIONAL) && wish.issued_before.is_some();
    let in_time = if names_issue {
        wish.issued_before.is_none_or(|before| issued < before) && token.issued <= 0
    } else if access && refresh {
        token.signed_in.or(session.map(|session| session.started)).unwrap_or(token.issued) <= 0
    } else {
        token.issued <= 0
    };
    let since = if matches!(kind, TIME | CONDITIONAL) { wish.unused_since } else { None };
    let after = if kind == CONDITIONAL { wish.issued_after } else { None };
    let from_there = || {
        let from = session.filter(|session| session.ended != 1).and_then(|session| session.address);
        from.is_some_and(|(n, _)| wish.networks.contains(&n))
    };
    (if token.is_refresh { refresh } else { access })
        && by_client
        && (is_user || services)
        && in_time
        && since.is_none_or(|since| token.last_used.unwrap_or(token.issued) * 1_000 < since)
        && after.is_none_or(|after| issued > after)
        && (kind != CONDITIONAL || wish.networks.is_empty() || from_there())
}

/// Which tokens the job covers, by number, and whether the session.
fn oracle(wish: &Wish, is_user: bool, tokens: &[Token], session: Option<&Session>) -> (Vec<usize>, bool) {
    let alive = |token: &Token| token.revoked == 0 && token.expires > 0;
    let covered = |token: &Token| token.revoked == 1 || (alive(token) && means(wish, is_user, token, session));
    let numbers = (0..tokens.len()).filter(|number| covered(&tokens[*number])).collect();
    let Some(session) = session else { return (numbers, false) };
    let of_people = match wish.kind {
        GROUP | EMERGENCY => true,
        CONDITIONAL => {
            wish.clients.is_empty()
                && wish.networks.is_empty()
                && wish.issued_after.is_none()
                && wish.issued_before.is_none()
                && wish.unused_since.is_none()
        }
        _ => false,
    };
    let mut of_session = tokens.iter().filter(|token| token.in_session);
    let ends = if wish.kind == CLIENT && !wish.refresh {
        false
    } else if of_people {
        session.started <= 0
    } else {
        // SCOPE-3: when no live token of it is left, of which the job has taken one.
        tokens.iter().any(|token| token.in_session && covered(token))
            && of_session.all(|token| !alive(token) || means(wish, is_user, token, Some(session)))
    };
    (numbers, session.ended == 1 || (session.ended == 0 && session.expires > 0 && ends))
}

fn check(wish: &Wish, is_user: bool, tokens: &[Token], session: Option<&Session>) {
    let selector = wish.selector();
    let holdings = holdings(is_user, tokens, session);
    let covered = selector.covered(&holdings);
    let (numbers, ends) = oracle(wish, is_user, tokens, session);
    let names: Vec<String> = numbers.iter().map(|number| format!("t{number}")).collect();
    let found: Vec<&str> = covered.tokens.iter().map(|token| token.id.as_str()).collect();
    assert_eq!(found, names, "{wish:?} {tokens:?} {session:?}");
    assert_eq!(!covered.sessions.is_empty(), ends, "{wish:?} {tokens:?} {session:?}");

    // What is denied where no cutoff says it: also what has expired so short a time ago that some verifier may take it.
    let is_denied =
        |token: &Token| token.revoked == 0 && token.expires > -KEPT_SECONDS && means(wish, is_user, token, session);
    let denied: Vec<String> =
        (0..tokens.len()).filter(|number| is_denied(&tokens[*number])).map(|number| format!("t{number}")).collect();
    let found: Vec<&str> = selector.denied(&holdings).map(|token| token.id.as_str()).collect();
    assert_eq!(found, denied, "{wish:?} {tokens:?} {session:?}");

    // The counts are those of the rows, and each row is either lost or left.
    let count =
        |wanted: &dyn Fn(&Token) -> bool| numbers.iter().filter(|number| wanted(&tokens[**number])).count() as u64;
    let facts = covered.facts();
    assert_eq!((facts.access_tokens, facts.refresh_tokens), (count(&|t| !t.is_refresh), count(&|t| t.is_refresh)));
    assert_eq!(facts.sessions, u64::from(ends));
    let (lost, left) = (covered.lost(), covered.left());
    assert_eq!(lost.access_tokens + lost.refresh_tokens, count(&|token| token.revoked == 1));
    assert_eq!(left.access_tokens + left.refresh_tokens, count(&|token| token.revoked == 0));
    assert_eq!(lost.sessions, u64::from(ends && session.is_some_and(|session| session.ended == 1)));
    assert_eq!(lost.sessions + left.sessions, facts.sessions);

    check_cutoffs(wish, &selector, is_user, tokens, session);
}

/// The cutoffs of a job say what it means, and no more, wherever a cutoff can say it (`[CUT-1]`).
fn check_cutoffs(wish: &Wish, selector: &Selector, is_user: bool, tokens: &[Token], session: Option<&Session>) {
    let per_token = wish.kind == CONDITIONAL && (wish.issued_after.is_some() || !wish.networks.is_empty())
        || matches!(wish.kind, TIME | CONDITIONAL) && wish.unused_since.is_some();
    let names_people = wish.kind == GROUP || wish.kind == CONDITIONAL && wish.has_people;
    let reach = match (per_token, names_people) {
        (true, _) => Reach::PerToken,
        (false, true) => Reach::PerPerson,
        (false, false) => Reach::AtOnce,
    };
    assert_eq!(selector.reach(), reach);
    if reach == Reach::PerToken || (reach == Reach::PerPerson && !is_user) {
        return;
    }
    let cutoffs = selector.cutoffs(AGE);
    for (token, row) in tokens.iter().zip(&holdings(is_user, tokens, session).tokens) {
        let started = session.filter(|_| token.in_session).map(|session| Epoch(SECOND + session.started));
        let subject = Subject {
            kind: row.kind,
            user: row.owner.user().cloned(),
            client: Some(row.client.clone()),
            session: row.session.clone(),
            issued_at: row.issued_at,
            signed_in_at: row.sign_in(started),
            spared_by: vec![],
        };
        let refused = cutoffs.iter().any(|cutoff| cutoff.hits(&subject));
        assert_eq!(refused, means(wish, is_user, token, session), "{wish:?} {token:?}");
        for cutoff in &cutoffs {
            // No sign-in is later than its token.
            let signed_in_at = subject.signed_in_at.min(subject.issued_at);
            assert!(!refused || cutoff.retires_at >= signed_in_at.plus(AGE + 60), "it outlives the cutoff");
        }
    }
}

/// Seconds around those that matter.
fn seconds() -> impl Strategy<Value = i64> {
    prop_oneof![-12..-8i64, -2..3i64]
}

/// Moments around the same seconds, some of them within one.
fn moments() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(
        (prop_oneof![-12..-8i64, -2..1i64], prop_oneof![Just(0i64), Just(1), Just(INTO_IT)])
            .prop_map(|(second, millis)| second * 1_000 + millis),
    )
}

prop_compose! {
    fn wishes()(kind in 0..5u8, access: bool, refresh: bool, clients in prop::collection::vec(0..2u8, 0..2),
                has_people: bool, issued_after in moments(), issued_before in moments(), unused_since in moments(),
                networks in prop::collection::vec(0..2u8, 0..2), spares_services: bool) -> Wish {
        Wish { kind, access, refresh, clients, has_people, issued_after, issued_before, unused_since, networks, spares_services }
    }
}
prop_compose! {
    fn tokens()(is_refresh: bool, client in 0..2u8, issued in seconds(), signed_in in prop::option::of(seconds()),
                last_used in prop::option::of(seconds()), expires in prop_oneof![4 => Just(100i64), 1 => -1..2i64],
                revoked in prop_oneof![4 => Just(0u8), 1 => 1..3u8], in_session in prop::bool::weighted(0.8)) -> Token {
        Token { is_refresh, client, issued, signed_in, last_used, expires, revoked, in_session }
    }
}
prop_compose! {
    fn sessions()(started in seconds(), expires in prop_oneof![4 => Just(100i64), 1 => -1..2i64],
                  address in prop::option::of((0..3u8, any::<bool>())),
                  ended in prop_oneof![4 => Just(0u8), 1 => 1..3u8]) -> Session {
        // An ended session has lost its address.
        Session { started, expires, address: address.filter(|_| ended == 0), ended }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn scope_1_to_5_a_job_covers_what_the_contract_says_of_each_holding_and_its_cutoffs_say_the_same(
        wish in wishes(), tokens in prop::collection::vec(tokens(), 0..4), session in prop::option::of(sessions()),
        is_user in prop::bool::weighted(0.85),
    ) {
        let session = session.filter(|_| is_user);
        check(&wish, is_user, &tokens, session.as_ref());
    }
}

#[test]
fn scope_6_nothing_of_a_sign_in_of_the_next_second_is_covered_and_all_of_the_jobs_own_second_is() {
    let token = Token {
        is_refresh: false,
        client: 0,
        issued: 5,
        signed_in: Some(0),
        last_used: None,
        expires: 100,
        revoked: 0,
        in_session: false,
    };
    for kind in [GROUP, CLIENT, CONDITIONAL, EMERGENCY] {
        let wish = Wish { kind, access: true, refresh: true, has_people: true, ..Wish::default() };
        let selector = wish.selector();
        for (signed_in, covered) in [(-1, true), (0, true), (1, false)] {
            let held = holdings(true, &[Token { signed_in: Some(signed_in), ..token.clone() }], None);
            assert_eq!(!selector.covered(&held).tokens.is_empty(), covered, "{kind}: {signed_in}");
        }
        for (expires, denied, covered) in
            [(-121, false, false), (-120, false, false), (-119, true, false), (0, true, false), (1, true, true)]
        {
            let held = holdings(true, &[Token { expires, ..token.clone() }], None);
            assert_eq!(!selector.covered(&held).tokens.is_empty(), covered, "{kind}: expires {expires}");
            assert_eq!(selector.denied(&held).count() == 1, denied, "{kind}: expires {expires}");
        }
    }
}

#[test]
fn cut_4_created_before_is_strict_to_the_millisecond() {
    let at = |issued| Token {
        is_refresh: true,
        client: 0,
        issued,
        signed_in: None,
        last_used: None,
        expires: 100,
        revoked: 0,
        in_session: false,
    };
    let covered = |before: i64, issued: i64| {
        let wish = Wish { kind: TIME, access: true, refresh: true, issued_before: Some(before), ..Wish::default() };
        !wish.selector().covered(&holdings(true, &[at(issued)], None)).tokens.is_empty()
    };
    assert_eq!([-11, -10, -9].map(|issued| covered(-10_000, issued)), [true, false, false], "iat < T");
    assert_eq!([-11, -10, -9].map(|issued| covered(-9_999, issued)), [true, true, false], "T is a millisecond later");
}

#[test]
fn cut_5_a_jobs_cutoffs_live_until_the_last_sign_in_they_can_hit_is_too_old() {
    let emergency = Wish { kind: EMERGENCY, ..Wish::default() };
    assert_eq!(emergency.selector().retires_at(AGE), Epoch(SECOND + AGE + KEPT_SECONDS));
    let old = Wish { kind: TIME, issued_before: Some(-10_000), ..Wish::default() };
    assert_eq!(old.selector().retires_at(AGE), Epoch(SECOND - 11 + AGE + KEPT_SECONDS));
    assert_eq!(old.selector().cutoffs(AGE)[0].at, Epoch(SECOND - 11));
}

#[test]
fn scope_4_a_job_says_where_its_rows_are_and_whom_it_spares() {
    let clients = Wish { kind: CONDITIONAL, clients: vec![0, 1], ..Wish::default() };
    let selector = clients.selector();
    assert!(matches!(selector.source(), Source::Clients(clients) if clients.len() == 2));
    let scopes: Vec<Scope> = selector.cutoffs(AGE).into_iter().map(|cutoff| cutoff.scope).collect();
    assert_eq!(scopes, [Scope::Client(id("c0")), Scope::Client(id("c1"))], "one for each client");
    assert!(!selector.spares_people());
    let people = Wish { has_people: true, ..clients };
    assert!(matches!(people.selector().source(), Source::People(people) if people.users.len() == 1));
    let group = Wish { kind: GROUP, ..Wish::default() };
    assert!(matches!(group.selector().source(), Source::People(people) if people.groups.len() == 1));
    assert!(group.selector().spares_people(), "admins");
    assert_eq!(group.selector().cutoffs(AGE)[0].spares, Spares::default(), "they were never frozen into a chunk");
    let emergency = Wish { kind: EMERGENCY, spares_services: true, ..Wish::default() };
    assert!(matches!(emergency.selector().source(), Source::Everyone));
    let spares = emergency.selector().cutoffs(AGE)[0].spares;
    assert_eq!(spares, Spares { service_tokens: true, listed_users: false });

    let excluding = |users: &[&str]| {
        let exclude_users = users.iter().map(|user| id(*user)).collect();
        let filter =
            Filter { exclude_users, created_before: Some(moment(0) - TimeDelta::days(1)), ..Filter::default() };
        let actor = Actor { id: id("admin"), email: None, name: None };
        let conditions = Conditions::Conditional(Box::new(filter));
        Selector::of(&Job::new(id("job"), conditions, actor, String::new(), moment(0)))
    };
    assert!(excluding(&["u"]).spares_people() && !excluding(&[]).spares_people());
    let listed = excluding(&["u"]).cutoffs(AGE)[0].spares;
    assert_eq!(listed, Spares { service_tokens: false, listed_users: true });
    let list = BTreeSet::from([id("u")]);
    assert!(is_spared(&Owner::User(id("u")), &list) && !is_spared(&Owner::User(id("v")), &list));
    assert!(!is_spared(&Owner::Service(id("u")), &list), "a client is no user");
}

//! The decision against an oracle that shares nothing with it but the plain data: every cutoff there ever was is kept,
//! and each is asked by the contract's words (`[CUT-3]`, `[CUT-4]`, `[CHECK-1]`).

use proptest::prelude::*;

use super::*;
use crate::cutoff::{Basis, Kinds, Spares};

/// Longer than all the times here are apart, but for tests of the age itself.
const AGE: i64 = 1_000;
const LIMITS: Limits = Limits { max_sign_in_age: AGE };

/// A cutoff in plain data: the names of what it is for (a user, a client, a session), when, and what it is like.
#[allow(clippy::struct_excessive_bools, reason = "what cutoffs are like, in all combinations")]
#[derive(Debug, Clone)]
struct Ban {
    user: Option<u8>,
    client: Option<u8>,
    session: Option<u8>,
    at: i64,
    by_sign_in: bool,
    access: bool,
    refresh: bool,
    spares_services: bool,
    spares_list: bool,
    job: u8,
}

/// A token in plain data.
#[derive(Debug, Clone)]
struct Pass {
    is_refresh: bool,
    user: Option<u8>,
    client: Option<u8>,
    session: Option<u8>,
    issued: i64,
    signed_in: i64,
    expires: i64,
    /// The jobs on whose lists its user is.
    listed_by: Vec<u8>,
    is_denied: bool,
}

/// The contract, word by word.
fn must_be_refused(bans: &[Ban], pass: &Pass, now: i64) -> bool {
    // "leeway ≤ 60 s", and nothing that outlives its denylist entry.
    if now >= pass.expires + 60 || now >= pass.signed_in + AGE + 60 || pass.is_denied {
        return true;
    }
    for ban in bans {
        if ban.user.is_some() && ban.user != pass.user {
            continue;
        }
        if ban.client.is_some() && ban.client != pass.client {
            continue;
        }
        if ban.session.is_some() && ban.session != pass.session {
            continue;
        }
        if if pass.is_refresh { !ban.refresh } else { !ban.access } {
            continue;
        }
        if ban.spares_services && pass.user.is_none() {
            continue;
        }
        if ban.spares_list && pass.listed_by.contains(&ban.job) {
            continue;
        }
        if (if ban.by_sign_in { pass.signed_in } else { pass.issued }) <= ban.at {
            return true;
        }
    }
    false
}

fn user(n: u8) -> UserId {
    UserId::try_from(format!("사용자{n}")).unwrap_or_else(|_| unreachable!("a valid id"))
}
fn client(n: u8) -> ClientId {
    ClientId::try_from(format!("c{n}")).unwrap_or_else(|_| unreachable!("a valid id"))
}
fn session(n: u8) -> SessionId {
    SessionId::try_from(format!("s{n}")).unwrap_or_else(|_| unreachable!("a valid id"))
}
fn job(n: u8) -> JobId {
    JobId::try_from(format!("j{n}")).unwrap_or_else(|_| unreachable!("a valid id"))
}

fn cutoff(ban: &Ban) -> Cutoff {
    let scope = match (ban.user, ban.client, ban.session) {
        (_, _, Some(s)) => Scope::Session(session(s)),
        (Some(u), Some(c), _) => Scope::UserClient(user(u), client(c)),
        (Some(u), None, _) => Scope::User(user(u)),
        (None, Some(c), _) => Scope::Client(client(c)),
        (None, None, None) => Scope::Everything,
    };
    Cutoff {
        scope,
        basis: if ban.by_sign_in { Basis::SignIn } else { Basis::Issued },
        kinds: match (ban.access, ban.refresh) {
            (true, false) => Kinds::AccessOnly,
            (false, true) => Kinds::RefreshOnly,
            _ => Kinds::Both,
        },
        spares: Spares { service_tokens: ban.spares_services, listed_users: ban.spares_list },
        at: Epoch(ban.at),
        job: job(ban.job),
        retires_at: Epoch(ban.at + AGE + 60),
    }
}

fn facts(pass: &Pass) -> TokenFacts {
    TokenFacts {
        id: TokenId::try_from("t".to_owned()).unwrap_or_else(|_| unreachable!("a valid id")),
        kind: if pass.is_refresh { TokenKind::Refresh } else { TokenKind::Access },
        user: pass.user.map(user),
        client: pass.client.map(client),
        session: pass.session.map(session),
        issued_at: Epoch(pass.issued),
        signed_in_at: Epoch(pass.signed_in),
        expires_at: Epoch(pass.expires),
    }
}

/// The decision by what a denylist says: of the scopes that are asked about, what is kept of them.
fn decided(bans: &[Ban], pass: &Pass, now: i64) -> Option<Refusal> {
    let scopes = facts(pass).scopes();
    decided_by(bans.iter().map(cutoff).filter(|cutoff| scopes.contains(&cutoff.scope)).collect(), pass, now)
}

fn decided_by(cutoffs: CutoffSet, pass: &Pass, now: i64) -> Option<Refusal> {
    let facts = facts(pass);
    let answer =
        Answer { cutoffs, token_revoked: pass.is_denied, spared_by: pass.listed_by.iter().copied().map(job).collect() };
    decide(&facts, &answer, LIMITS, Epoch(now))
}

prop_compose! {
    fn bans()(u in prop::option::of(0..2u8), c in prop::option::of(0..2u8), s in prop::option::weighted(0.2, 0..2u8),
              at in 1..20i64, by_sign_in: bool, kinds in 0..3u8, spares_services: bool, spares_list: bool,
              job in 0..2u8) -> Ban {
        let (user, client) = if s.is_some() { (None, None) } else { (u, c) };
        let (access, refresh) = (kinds != 1, kinds != 2);
        Ban { user, client, session: s, at, by_sign_in, access, refresh, spares_services, spares_list, job }
    }
}
prop_compose! {
    fn passes()(is_refresh: bool, user in prop::option::weighted(0.8, 0..2u8),
                client in prop::option::weighted(0.9, 0..2u8), session in prop::option::of(0..2u8), issued in 0..22i64,
                age in 0..5i64, life in prop_oneof![Just(500i64), -5..5i64],
                listed_by in prop::collection::vec(0..2u8, 0..2), is_denied in prop::bool::weighted(0.05)) -> Pass {
        let expires = issued + life;
        Pass { is_refresh, user, client, session, issued, signed_in: issued - age, expires, listed_by, is_denied }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn cut_3_a_token_is_refused_exactly_if_any_cutoff_there_ever_was_says_so(
        bans in prop::collection::vec(bans(), 0..8), pass in passes(),
        now in prop_oneof![20..90i64, (AGE + 40)..(AGE + 90)],
    ) {
        let refused = must_be_refused(&bans, &pass, now);
        prop_assert_eq!(decided(&bans, &pass, now).is_some(), refused);
        // A denylist that says more than it was asked changes nothing.
        prop_assert_eq!(decided_by(bans.iter().map(cutoff).collect(), &pass, now).is_some(), refused);
    }

    /// More cutoffs never let anything in again.
    #[test]
    fn cut_3_no_further_cutoff_of_whatever_scope_brings_a_token_back(
        bans in prop::collection::vec(bans(), 1..8), pass in passes()
    ) {
        let refused = |bans: &[Ban]| decided(bans, &pass, 30).is_some();
        for taken in 0..bans.len() {
            prop_assert!(!refused(&bans[..taken]) || refused(&bans[..=taken]), "at {taken}");
        }
    }
}

const BAN: Ban = Ban {
    user: None,
    client: None,
    session: None,
    at: 10,
    by_sign_in: true,
    access: true,
    refresh: true,
    spares_services: false,
    spares_list: false,
    job: 0,
};
const PASS: Pass = Pass {
    is_refresh: false,
    user: Some(0),
    client: Some(0),
    session: Some(0),
    issued: 100,
    signed_in: 100,
    expires: 900,
    listed_by: vec![],
    is_denied: false,
};

/// All scopes that apply to [`PASS`], the widest first.
fn nested() -> [Ban; 5] {
    [
        BAN,
        Ban { client: Some(0), ..BAN },
        Ban { user: Some(0), ..BAN },
        Ban { user: Some(0), client: Some(0), ..BAN },
        Ban { session: Some(0), ..BAN },
    ]
}

/// Two public CVEs: a parent's cutoff, older but not zero, hid the newer one of a child, or the other way round.
#[test]
fn cut_3_an_older_cutoff_of_one_scope_does_not_hide_the_newer_one_of_another() {
    for (one, wide) in nested().into_iter().enumerate() {
        for (other, narrow) in nested().into_iter().enumerate() {
            for (older, newer) in [(99, 100), (1, 100), (99, 99), (50, 101)] {
                let bans = [Ban { at: older, ..wide.clone() }, Ban { at: newer, ..narrow.clone() }];
                let refused = decided(&bans, &PASS, 200).is_some();
                assert_eq!(refused, newer >= 100, "{one} at {older}, {other} at {newer}");
            }
        }
    }
}

#[test]
fn cut_4_a_token_of_the_cutoffs_second_and_before_is_refused_and_of_the_next_is_not_in_every_scope() {
    for ban in nested() {
        for (time, refused) in [(99, true), (100, true), (101, false)] {
            let ban = Ban { at: 100, ..ban.clone() };
            let by_sign_in = Pass { signed_in: time, issued: 150, ..PASS };
            assert_eq!(
                decided(std::slice::from_ref(&ban), &by_sign_in, 200).is_some(),
                refused,
                "auth_time {time}, {ban:?}"
            );
            let issued = Ban { by_sign_in: false, ..ban.clone() };
            let by_issue = Pass { signed_in: 50, issued: time, ..PASS };
            assert_eq!(decided(&[issued], &by_issue, 200).is_some(), refused, "iat {time}, {ban:?}");
        }
    }
}

#[test]
fn cut_4_a_token_refreshed_from_an_old_sign_in_dies_with_it_and_an_old_token_of_its_issue_alone() {
    let refreshed = Pass { signed_in: 100, issued: 140, ..PASS };
    assert!(matches!(decided(&[Ban { at: 120, ..BAN }], &refreshed, 200), Some(Refusal::CutOff(_))));
    assert_eq!(decided(&[Ban { at: 120, by_sign_in: false, ..BAN }], &refreshed, 200), None);
}

#[test]
fn check_1_the_last_second_of_a_token_and_of_a_sign_in_is_the_one_before_leeway_ends() {
    for (now, refusal) in [(959, None), (960, Some(Refusal::Expired)), (961, Some(Refusal::Expired))] {
        assert_eq!(decided(&[], &PASS, now), refusal, "exp + 60 = 960, and it is {now}");
    }
    let for_ever = Pass { expires: i64::MAX, ..PASS };
    let too_old = || Some(Refusal::SignInTooOld);
    for (now, refusal) in [(1_159, None), (1_160, too_old()), (1_161, too_old())] {
        assert_eq!(decided(&[], &for_ever, now), refusal, "auth_time + 1000 + 60 = 1160, and it is {now}");
    }
}

#[test]
fn cut_5_a_cutoff_may_be_forgotten_from_the_second_in_which_verifiers_refuse_its_tokens_by_themselves() {
    let ban = Ban { at: 100, ..BAN };
    let newest = Pass { signed_in: 100, expires: i64::MAX, ..PASS };
    let retires_at = cutoff(&ban).retires_at.0;
    for now in [retires_at - 1, retires_at, retires_at + 1] {
        let kept: &[Ban] = if now < retires_at { std::slice::from_ref(&ban) } else { &[] };
        assert!(decided(kept, &newest, now).is_some(), "accepted at {now}");
    }
    assert_eq!(decided(&[], &newest, retires_at - 1), None, "a second earlier it is still needed");
}

#[test]
fn cut_3_whom_a_cutoff_spares_another_of_the_same_scope_does_not() {
    let sparing = Ban { spares_list: true, spares_services: true, at: 100, ..BAN };
    let listed = Pass { listed_by: vec![0], ..PASS };
    let service = Pass { user: None, session: None, ..PASS };
    for spared in [&listed, &service] {
        assert_eq!(decided(std::slice::from_ref(&sparing), spared, 200), None);
        let older = Ban { at: 100, ..BAN };
        assert!(decided(&[sparing.clone(), older], spared, 200).is_some(), "an older one without exceptions");
    }
    let of_another_job = Ban { job: 1, ..sparing.clone() };
    assert!(decided(&[of_another_job], &listed, 200).is_some(), "another job's list");
    let newer = Ban { at: 150, ..sparing.clone() };
    assert_eq!(decided(&[sparing, newer], &listed, 200), None, "the same job's list");
}

#[test]
fn check_2_a_revoked_token_is_refused_as_such_and_names_the_latest_of_several_cutoffs() {
    let denied = Pass { is_denied: true, ..PASS };
    assert_eq!(decided(&[Ban { at: 500, ..BAN }], &denied, 200), Some(Refusal::TokenRevoked));
    let bans = [
        Ban { at: 110, job: 0, ..BAN },
        Ban { at: 130, job: 1, user: Some(0), ..BAN },
        Ban { at: 120, client: Some(0), ..BAN },
    ];
    let Some(Refusal::CutOff(named)) = decided(&bans, &PASS, 200) else { panic!("it is cut off") };
    assert_eq!((named.at, named.job), (Epoch(130), job(1)));
}

#[test]
fn scope_7_a_tokens_rows_are_its_users_and_a_service_tokens_its_clients() {
    assert_eq!(facts(&PASS).owner(), Some(Owner::User(user(0))));
    assert_eq!(facts(&Pass { user: None, ..PASS }).owner(), Some(Owner::Service(client(0))));
    assert_eq!(facts(&Pass { user: None, client: None, ..PASS }).owner(), None);
}

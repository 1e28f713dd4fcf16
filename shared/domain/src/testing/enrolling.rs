//! What a store of accounts must do.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::accounts::keep::KeptToken;
use crate::accounts::ports::AccountStore;
use crate::accounts::session::{Claim, SignIn, Status};
use crate::accounts::{Account, Failure, Kept, Provider, SecretRef};
use crate::directory::Actor;
use crate::ids::{ClientId, RawToken, SignInId, TokenId, UserId};
use crate::ports::Step;
use crate::time::Epoch;

/// An account of this user, at a provider.
pub fn account(user: &UserId, issuer: &str) -> Account {
    Account {
        user: user.clone(),
        name: Some("김광현 👩‍💻".to_owned()),
        sign_in_name: None,
        active: true,
        provider: Provider::Oidc { issuer: issuer.to_owned(), authorization_endpoint: None, token_endpoint: None },
        client: ClientId::parse("mail client").unwrap(),
        secret: Some(SecretRef::SecretsManager("batch-logout/accounts/mail".to_owned())),
        redirect_uri: "https://api.example.com/api/v1/accounts/auth/callback".to_owned(),
        scopes: vec!["Mail.Send".to_owned(), "offline_access".to_owned()],
    }
}

fn sign_in(run: &str, number: u8, user: &UserId, now: DateTime<Utc>) -> SignIn {
    SignIn {
        id: SignInId::parse(format!("{run}-{number}")).unwrap(),
        user: user.clone(),
        by: Actor { id: UserId::parse("admin").unwrap(), email: None, name: Some("관리자".to_owned()) },
        status: Status::Pending,
        state: format!("{run}-state-{number}"),
        sealed: Some("sealed".to_owned()),
        code: None,
        claim: None,
        failure: None,
        started_at: now,
        received_at: None,
        expires_at: now + TimeDelta::minutes(10),
        slot: number,
        revision: 0,
    }
}

fn kept(revision: &str, now: DateTime<Utc>) -> Kept {
    let token = |name: &str| KeptToken {
        id: TokenId::of_opaque(&RawToken::new(name)),
        issued_at: now.into(),
        expires_at: Epoch::from(now).plus(3_600),
    };
    Kept {
        revision: revision.to_owned(),
        sealed: Some("sealed".to_owned()),
        client: ClientId::parse("mail client").unwrap(),
        access: token("a"),
        refresh: Some(token("r")),
        signed_in_at: now.into(),
        synced_at: now,
        trouble: None,
        claim: None,
    }
}

/// Accounts, slots and sign-ins: nothing is taken twice, and what belongs together happens together or not at all.
/// Its slots are numbered so that no sign-in in earnest wants them.
pub async fn enrolling<S: AccountStore>(store: &S, run: &str, now: DateTime<Utc>) {
    // The stores keep milliseconds.
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap();
    let user = |name: &str| UserId::parse(format!("{run}-{name}")).unwrap();
    let names = ["b", "a", "ㅎ", "🙂", "Z", "é"];
    for name in names {
        store.enrol(&account(&user(name), "https://login.example.com")).await.unwrap();
    }
    let ordered: Vec<UserId> = names.map(user).into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let mut found: Vec<UserId> = Vec::new();
    loop {
        let page = store.accounts(found.last(), 4).await.unwrap();
        assert!(page.len() <= 4);
        let before = found.len();
        found.extend(page.into_iter().map(|enrolled| enrolled.account.user));
        if found.len() == before {
            break;
        }
    }
    let found: Vec<UserId> = found.into_iter().filter(|found| found.as_str().starts_with(run)).collect();
    assert_eq!(found, ordered, "each once, in byte order");
    assert_eq!(store.account(&user("nobody")).await.unwrap(), None);

    let (a, b) = (user("a"), user("b"));
    let first = sign_in(run, 207, &a, now);
    assert_eq!(store.begin(&first, None).await.unwrap(), Step::Taken);
    assert_eq!(store.sign_in(&first.id).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.sign_in_of(&first.state).await.unwrap().as_ref(), Some(&first.id));
    assert_eq!(store.sign_in_of("invented").await.unwrap(), None);
    let other = SignIn { slot: 207, ..sign_in(run, 208, &b, now) };
    assert_eq!(store.begin(&other, None).await.unwrap(), Step::Lost, "the slot is held");
    let stranger = SignInId::parse("somebody else's").unwrap();
    assert_eq!(store.begin(&other, Some(&stranger)).await.unwrap(), Step::Lost, "by another than was thought");
    assert_eq!(store.sign_in(&other.id).await.unwrap(), None, "nothing of it was written");
    assert_eq!(store.sign_in_of(&other.state).await.unwrap(), None);
    let slots = store.slots().await.unwrap();
    let slot = slots.iter().find(|slot| slot.number == 207).unwrap();
    assert_eq!((&slot.sign_in, &slot.user, slot.expires_at), (&first.id, &a, first.expires_at));

    // One change is made, the same one by somebody else is not; the slot follows.
    let later = now + TimeDelta::minutes(9);
    let received = first.received("sealed code".to_owned(), later);
    assert_eq!(store.change(&received, None).await.unwrap(), Step::Taken);
    assert_eq!(store.change(&first.failed(Failure::NoCode), None).await.unwrap(), Step::Lost);
    assert_eq!(store.sign_in(&first.id).await.unwrap().as_ref(), Some(&received));
    let slots = store.slots().await.unwrap();
    let slot = slots.iter().find(|slot| slot.number == 207).unwrap();
    assert_eq!(slot.expires_at, later + TimeDelta::minutes(5), "it may take until then");
    let claimed = received.claimed(Claim { id: "one".to_owned(), at: later });
    let rival = received.claimed(Claim { id: "two".to_owned(), at: later });
    assert_eq!(store.change(&claimed, None).await.unwrap(), Step::Taken);
    assert_eq!(store.change(&rival, None).await.unwrap(), Step::Lost, "a claim is one worker's");

    // Completed: the tokens are there, the slot is free. Or none of it.
    let completed = claimed.over(Status::Completed, None);
    let nobodys = SignIn { user: user("nobody"), ..completed.clone() };
    assert_eq!(store.change(&nobodys, Some(&kept("1", now))).await.unwrap(), Step::Lost, "no such account");
    assert!(store.slots().await.unwrap().iter().any(|slot| slot.number == 207));
    assert_eq!(store.change(&completed, Some(&kept("1", now))).await.unwrap(), Step::Taken);
    assert_eq!(store.account(&a).await.unwrap().unwrap().kept, Some(kept("1", now)));
    assert!(!store.slots().await.unwrap().iter().any(|slot| slot.number == 207));
    let stored = store.sign_in(&first.id).await.unwrap().unwrap();
    assert_eq!((stored.status, &stored.sealed, &stored.code), (Status::Completed, &None, &None));

    // Enrolling again changes settings, not tokens; another's tokens are not touched.
    let changed = Account { active: false, ..account(&a, "https://other.example.com") };
    store.enrol(&changed).await.unwrap();
    let enrolled = store.account(&a).await.unwrap().unwrap();
    assert_eq!((enrolled.account, enrolled.kept), (changed, Some(kept("1", now))));
    assert_eq!(store.account(&b).await.unwrap().unwrap().kept, None);

    // Tokens are replaced by comparison.
    assert_eq!(store.change_kept(&a, &kept("1", now), &kept("2", now)).await.unwrap(), Step::Taken);
    assert_eq!(store.change_kept(&a, &kept("1", now), &kept("3", now)).await.unwrap(), Step::Lost);
    assert_eq!(store.change_kept(&b, &kept("1", now), &kept("3", now)).await.unwrap(), Step::Lost, "it has none");
    assert_eq!(store.account(&a).await.unwrap().unwrap().kept, Some(kept("2", now)));

    // A slot whose time has passed goes to another; the late end of the first leaves that one alone.
    let (old, new) = (sign_in(run, 209, &a, now), SignIn { slot: 209, ..sign_in(run, 210, &b, now) });
    assert_eq!(store.begin(&old, None).await.unwrap(), Step::Taken);
    assert_eq!(store.begin(&new, Some(&old.id)).await.unwrap(), Step::Taken);
    assert_eq!(store.change(&old.received(String::new(), now), None).await.unwrap(), Step::Lost, "it has no slot");
    assert_eq!(store.change(&old.failed(Failure::Interrupted), None).await.unwrap(), Step::Taken);
    let slots = store.slots().await.unwrap();
    assert!(slots.iter().any(|slot| slot.number == 209 && slot.sign_in == new.id));
    assert_eq!(store.change(&new.over(Status::Expired, Some(Failure::Expired)), None).await.unwrap(), Step::Taken);
    assert!(!store.slots().await.unwrap().iter().any(|slot| slot.number == 209));
}

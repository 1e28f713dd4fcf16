#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use super::*;
use crate::cutoff::KEPT_SECONDS;
use crate::decision::Limits;
use crate::ids::ClientId;
use crate::ports::{DenylistStore as _, Entry, SignInStore as _};
use crate::testing::{Memory, SeededIds, TestClock};
use crate::time::from_millis;

const NOW: i64 = 10_000;

fn user() -> UserId {
    UserId::parse("u").unwrap()
}

fn session() -> SessionId {
    SessionId::parse("s").unwrap()
}

fn site() -> (Arc<Memory>, SignOuts) {
    let (store, ids) = (Arc::new(Memory::default()), Arc::new(SeededIds::new(1)));
    let limits = Limits { max_sign_in_age: 100_000 };
    let denier = Denier { denylist: store.clone(), cache: Arc::new(Memory::default()), ids, limits };
    let clock = Arc::new(TestClock::at(from_millis(NOW * 1_000)));
    (store.clone(), SignOuts { tokens: store, denier, clock })
}

/// A token that expired so long ago, of a sign-in that a clock ahead of ours has dated.
fn row(ago: i64) -> TokenRow {
    TokenRow {
        id: TokenId::parse("t").unwrap(),
        owner: Owner::User(user()),
        client: ClientId::parse("web").unwrap(),
        kind: TokenKind::Access,
        opaque: true,
        session: Some(session()),
        issued_at: Epoch(NOW + 30),
        signed_in_at: Some(Epoch(NOW + 30)),
        expires_at: Epoch(NOW - ago),
        last_used_at: None,
        scope: None,
        revoked: None,
    }
}

/// A verifier whose clock is a minute behind takes it for another minute: whoever was told that it is ended would see it
/// accepted.
#[tokio::test]
async fn cut_5_whoever_ends_a_token_denies_it_for_as_long_as_any_verifier_takes_it() {
    let by = RevokedBy::User;
    for ago in [-1, 0, 1, 59, 60, 61, KEPT_SECONDS - 1, KEPT_SECONDS, KEPT_SECONDS + 1] {
        for way in 0..3 {
            let (store, sign_outs) = site();
            let row = row(ago);
            store.add_tokens(std::slice::from_ref(&row)).await.unwrap();
            match way {
                0 => drop(sign_outs.grant(&row, &by).await.unwrap()),
                1 => drop(sign_outs.session(&user(), &session(), &by, None).await.unwrap()),
                _ => drop(sign_outs.everything(&user(), &by, None).await.unwrap()),
            }
            let denied = Entry::Token(row.id.clone(), row.expires_at.plus(KEPT_SECONDS));
            let is_denied = store.entries(None).await.unwrap().items.contains(&denied);
            assert_eq!(is_denied, ago < KEPT_SECONDS, "{ago} s after it expired, way {way}");
        }
    }
}

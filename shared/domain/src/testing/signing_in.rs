//! What every store must do with sign-ins through our own token endpoint.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failed unwrap is a failed test")]

use crate::ids::{ClientId, SessionId, TokenId, UserId};
use crate::ports::{RecordStore, SignInStore, TokenLookup, TokenStore};
use crate::records::{Entity, Key, Record, SessionKey, TokenKey};
use crate::time::Epoch;
use crate::token::{Owner, Revoked, RevokedBy, SessionRow, TokenKind, TokenRow};

fn id<T: TryFrom<String>>(text: String) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(text).unwrap()
}

fn session(user: &UserId, name: String) -> SessionRow {
    SessionRow {
        id: id(name),
        user: user.clone(),
        client: Some(ClientId::parse("web").unwrap()),
        started_at: Epoch(100),
        expires_at: Epoch(4_000_000_000),
        issuer_sid: Some(SessionId::parse("그들의 이름 🙂").unwrap()),
        ip_address: Some("2001:db8::1".to_owned()),
        sealed: Some("sealed-1".to_owned()),
        ended_by: None,
    }
}

fn row(user: &UserId, name: String, kind: TokenKind, session: &SessionId) -> TokenRow {
    TokenRow {
        id: id(name),
        owner: Owner::User(user.clone()),
        kind,
        client: ClientId::parse("web").unwrap(),
        session: Some(session.clone()),
        opaque: kind == TokenKind::Refresh,
        issued_at: Epoch(200),
        signed_in_at: Some(Epoch(100)),
        expires_at: Epoch(4_000_000_000),
        last_used_at: None,
        scope: Some("openid".to_owned()),
        revoked: None,
    }
}

/// Sessions and tokens of sign-ins: written, used, ended, and never brought back.
pub async fn signing_in<S: TokenStore + SignInStore + RecordStore>(store: &S, run: &str) {
    let user: UserId = id(format!("{run}-나"));
    let (mine, theirs) = (session(&user, format!("{run}-s1")), session(&user, format!("{run}-s2")));
    assert_eq!(store.sessions(&user).await.unwrap(), []);
    store.add_session(&mine, Epoch(4_000_000_000)).await.unwrap();
    store.add_session(&theirs, Epoch(4_000_000_000)).await.unwrap();
    assert_eq!(store.session(&user, &mine.id).await.unwrap().as_ref(), Some(&mine));

    let access = row(&user, format!("{run}-a"), TokenKind::Access, &mine.id);
    let refresh = row(&user, format!("{run}-r"), TokenKind::Refresh, &mine.id);
    store.add_tokens(&[access.clone(), refresh.clone()]).await.unwrap();
    store.add_tokens(&[access.clone(), refresh.clone()]).await.unwrap();
    assert_eq!(store.token(&access.owner, &access.id).await.unwrap().as_ref(), Some(&access));
    assert_eq!(store.opaque(&refresh.id).await.unwrap().as_ref(), Some(&refresh));
    assert_eq!(store.sessions(&user).await.unwrap(), [mine.clone(), theirs.clone()], "sessions, and no tokens");

    // The issuer's own report of the same token comes later and calls the sign-in by the issuer's name.
    let reported = super::contract::token(access.id.as_str(), &user, 200, 4_000_000_000);
    let reported = crate::records::TokenRecord { session_id: mine.issuer_sid.clone(), ..reported };
    store.apply(&Record::upsert(900_000, Entity::Token(reported))).await.unwrap();
    let known = store.token(&access.owner, &access.id).await.unwrap().unwrap();
    assert_eq!(known.session.as_ref(), Some(&mine.id), "a sign-in through us keeps its name");
    assert_eq!(store.sign_in_of(&user, None, &access.id).await.unwrap(), Some(Epoch(100)), "CUT-4");
    let later =
        TokenRow { signed_in_at: Some(Epoch(180)), ..row(&user, format!("{run}-again"), TokenKind::Access, &mine.id) };
    store.add_tokens(std::slice::from_ref(&later)).await.unwrap();
    let said = store.sign_in_of(&user, Some(&mine.id), &later.id).await.unwrap();
    assert_eq!(said, Some(Epoch(180)), "CUT-4: a session may hold several sign-ins");
    let unknown = TokenId::parse("nobody's").unwrap();
    assert_eq!(store.sign_in_of(&user, Some(&mine.id), &unknown).await.unwrap(), Some(Epoch(100)));
    assert_eq!(store.sign_in_of(&user, mine.issuer_sid.as_ref(), &unknown).await.unwrap(), None);

    let put_off = SessionRow { expires_at: Epoch(4_000_000_500), sealed: Some("sealed-2".to_owned()), ..mine.clone() };
    assert!(store.touch_session(&put_off, Epoch(4_000_000_000)).await.unwrap(), "SESS-2: its end is put off");
    assert_eq!(store.session(&user, &mine.id).await.unwrap().as_ref(), Some(&put_off));
    assert!(
        !store.touch_session(&session(&user, format!("{run}-none")), Epoch(4_000_000_000)).await.unwrap(),
        "there is none to use"
    );
    assert_eq!(store.session(&user, &id(format!("{run}-none"))).await.unwrap(), None, "nor does using make one");

    store.touch_token(&refresh.owner, &refresh.id, Epoch(250)).await.unwrap();
    let touched = TokenRow { last_used_at: Some(Epoch(250)), ..refresh.clone() };
    assert_eq!(store.token(&refresh.owner, &refresh.id).await.unwrap(), Some(touched));
    store.touch_token(&refresh.owner, &id(format!("{run}-none")), Epoch(250)).await.unwrap();
    assert_eq!(store.token(&refresh.owner, &id(format!("{run}-none"))).await.unwrap(), None, "using makes none");

    let revoked = Revoked { at: Epoch(300), by: RevokedBy::User };
    assert!(store.end_session(&user, &mine.id, &revoked).await.unwrap());
    assert_eq!(store.revoke(&access.owner, &access.id, &revoked).await.unwrap(), Some(RevokedBy::User));
    let ended = store.session(&user, &mine.id).await.unwrap().unwrap();
    assert_eq!((&ended.ended_by, &ended.sealed, &ended.ip_address), (&Some(RevokedBy::User), &None, &None));
    assert!(
        !store.touch_session(&put_off, Epoch(4_000_000_000)).await.unwrap(),
        "an ended session does not come back by being used"
    );
    assert_eq!(store.session(&user, &mine.id).await.unwrap().unwrap().ended_by, Some(RevokedBy::User));
    store.add_tokens(std::slice::from_ref(&access)).await.unwrap();
    let still = store.token(&access.owner, &access.id).await.unwrap().unwrap();
    assert_eq!(still.revoked, Some(revoked), "writing a token again does not bring it back");

    // The issuer's news of the end may overtake the writing of the token.
    let early = row(&user, format!("{run}-early"), TokenKind::Access, &theirs.id);
    let key = TokenKey {
        id: early.id.clone(),
        user_id: Some(user.clone()),
        client_id: early.client.clone(),
        expires_at: None,
    };
    store.apply(&Record::delete(1_000, Key::Token(key))).await.unwrap();
    store.add_tokens(std::slice::from_ref(&early)).await.unwrap();
    let known = store.token(&early.owner, &early.id).await.unwrap().unwrap();
    assert_eq!(known.revoked.map(|revoked| revoked.by), Some(RevokedBy::Issuer));

    store
        .apply(&Record::delete(2_000, Key::Session(SessionKey { id: theirs.id.clone(), user_id: user.clone() })))
        .await
        .unwrap();
    assert!(!store.touch_session(&theirs, Epoch(4_000_000_000)).await.unwrap(), "the issuer's end is an end");

    // A service token has no user; it lies with its client.
    let service = TokenRow {
        owner: Owner::Service(ClientId::parse(format!("{run}-machine")).unwrap()),
        session: None,
        signed_in_at: None,
        ..row(&user, format!("{run}-service"), TokenKind::Access, &theirs.id)
    };
    store.add_tokens(std::slice::from_ref(&service)).await.unwrap();
    assert_eq!(store.token(&service.owner, &service.id).await.unwrap(), Some(service));
}

//! Records of the ingest queue and of import files, and what becomes of them.

use std::sync::Arc;

use domain::decision::decide;
use domain::ids::UserId;
use domain::ingest::Ingest;
use domain::ports::{Applied, TokenStore as _};
use domain::records::{Change, Entity, Key, Record};
use domain::testing::Memory;
use domain::time::{Clock as _, Epoch, from_millis};
use domain::token::{Owner, RevokedBy};

use super::{NOW, wait};
use crate::door::Door;
use crate::fleet::{Fleet, LIMITS};

/// A record as it came off the wire; applied, looked at from all sides, and its user signed out.
pub fn records(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(record) = Record::parse(text) else { return false };
    let written = serde_json::to_string(&record).unwrap();
    assert_eq!(Record::parse(&written), Ok(record.clone()), "{written}");
    wait(apply(&record));
    true
}

async fn apply(record: &Record) {
    let door = Door::over(Fleet::in_memory(from_millis(NOW * 1_000)), domain::testing::Habits::default());
    let fleet = &door.fleet;
    fleet.guard().await.unwrap();
    let ingest = Ingest { records: Arc::<Memory>::clone(&fleet.store), sign_outs: fleet.sign_outs() };
    assert_eq!(ingest.apply(record).await.unwrap(), Applied::Written);
    assert_eq!(ingest.apply(record).await.unwrap(), Applied::Stale, "it came twice");
    if let Some(at) = record.at.checked_sub(1) {
        let older = Record { at, ..record.clone() };
        assert_eq!(ingest.apply(&older).await.unwrap(), Applied::Stale, "an older one comes later");
    }
    let Some(owner) = owner(record) else { return };
    let holdings = fleet.store.holdings(&owner).await.unwrap();
    let ended = matches!(&record.change, Change::Delete(_));
    assert!(!ended || holdings.tokens.iter().all(|row| row.revoked.is_some()), "a deleted token is over");
    let Some(user) = owner.user() else { return };
    // Nothing that is in the table keeps its user from looking at the sessions, or from ending all of them.
    let listed = door.sessions().list(user).await.unwrap();
    assert!(listed.len() <= holdings.sessions.len());
    fleet.sign_outs().everything(user, &RevokedBy::User, None).await.unwrap();
    assert_eq!(door.sessions().list(user).await.unwrap(), []);
    for row in &holdings.tokens {
        let facts = door.inspector().facts_of(row).await.unwrap();
        let refused = fleet.checker().check(&facts).await.unwrap().refusal.is_some();
        assert!(refused, "everything was signed out: {facts:?}");
        let now = Epoch::from(fleet.clock.now());
        let by_itself = decide(&facts, &domain::decision::Answer::default(), LIMITS, now).is_some();
        assert!(by_itself || row.expires_at.plus(60) > now, "an expired token is refused by itself");
    }
}

fn owner(record: &Record) -> Option<Owner> {
    let user = |user: &UserId| Some(Owner::User(user.clone()));
    match &record.change {
        Change::Upsert(Entity::Token(token)) => {
            Some(token.user_id.clone().map_or_else(|| Owner::Service(token.client_id.clone()), Owner::User))
        }
        Change::Delete(Key::Token(token)) => Some(token.owner()),
        Change::Upsert(Entity::Session(session)) => user(&session.user_id),
        Change::Delete(Key::Session(session)) => user(&session.user_id),
        _ => None,
    }
}

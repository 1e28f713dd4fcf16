//! What every store must do when affected users are told. Part of the contract suites.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::contract::job;
use crate::ids::{GroupId, JobId, UserId};
use crate::job::{Facts, Fate};
use crate::notice::name_key;
use crate::notify::{Mark, NoticeCounts, NoticeStore, Outcome, Recipient, Told, Trouble};
use crate::ports::{Directory, JobStore, NewJob, RecordStore, Step};
use crate::records::{Entity, Record, UserRecord};
use crate::token::Owner;

async fn told<S: JobStore>(store: &S, job: &JobId, user: &UserId) -> Option<Told> {
    let page = store.affected_users(job, 0, None, 100).await.unwrap();
    page.into_iter().find(|line| &line.user == user).unwrap().notice
}

/// Each notice is claimed once, and its outcome stands with the user and in the sums.
pub async fn telling<S: JobStore + NoticeStore>(store: &S, run: &str, now: DateTime<Utc>) {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap();
    let later = now + TimeDelta::seconds(3);
    let job = job(&format!("{run}-j"), &GroupId::parse("g").unwrap(), now);
    store.create(NewJob::plain(&job)).await.unwrap();
    let user = |name: &str| UserId::parse(format!("{run}-{name}")).unwrap();
    let (kim, lee) = (user("김 🔒"), user("lee"));
    let facts = Facts { access_tokens: 1, ..Facts::default() };
    let both = [&kim, &lee].map(|user| (Owner::User(user.clone()), facts));
    store.record_affected(&job.id, 0, Fate::Lost, &both, now).await.unwrap();
    let of = Recipient { job: &job.id, chunk: 0, user: &kim };
    assert_eq!(told(store, &job.id, &kim).await, None);

    assert_eq!(store.claim(of, "one", now).await.unwrap(), Step::Taken);
    assert_eq!(store.claim(of, "one", now).await.unwrap(), Step::Taken, "a write whose answer was lost");
    assert_eq!(store.claim(of, "two", now).await.unwrap(), Step::Lost, "MAIL-3: at most one");
    let claimed = told(store, &job.id, &kim).await.unwrap();
    assert_eq!(claimed, Told { at: now, outcome: None, trouble: None });
    store.release(of, "two").await.unwrap();
    assert_eq!(store.claim(of, "two", now).await.unwrap(), Step::Lost, "another's claim cannot be given back");
    store.release(of, "one").await.unwrap();
    assert_eq!(told(store, &job.id, &kim).await, None);
    assert_eq!(store.claim(of, "two", now).await.unwrap(), Step::Taken);

    store.conclude(of, "one", &Outcome::Rejected("x".to_owned()), later).await.unwrap();
    assert_eq!(told(store, &job.id, &kim).await.unwrap().outcome, None, "who holds no claim says nothing");
    store.conclude(of, "two", &Outcome::Sent, later).await.unwrap();
    store.release(of, "two").await.unwrap();
    assert_eq!(store.claim(of, "two", later).await.unwrap(), Step::Lost, "MAIL-3: what was sent is not sent again");
    store.record_affected(&job.id, 0, Fate::Lost, &both, later).await.unwrap();
    assert_eq!(told(store, &job.id, &kim).await.unwrap().sent_at(), Some(later), "a late count does not undo it");

    let affected = store.affected(&job.id, 0, Fate::Lost).await.unwrap();
    assert_eq!(affected, both.into(), "a notice is nothing that was lost");

    for outcome in [Outcome::Unknown, Outcome::NoAddress, Outcome::Rejected("MessageRejected".to_owned())] {
        let of = Recipient { user: &lee, ..of };
        assert_eq!(
            store.claim(of, "three", now).await.unwrap(),
            if outcome == Outcome::Unknown { Step::Taken } else { Step::Lost }
        );
        store.conclude(of, "three", &outcome, later).await.unwrap();
        assert_eq!(told(store, &job.id, &lee).await.unwrap().outcome, Some(outcome));
    }

    let mark = |claim: &str| Mark { job: job.id.clone(), chunk: 0, claim: claim.to_owned() };
    assert!(!store.note_trouble(&mark("one"), Trouble::Bounced, later).await.unwrap());
    assert!(!store.note_trouble(&Mark { chunk: 1, ..mark("two") }, Trouble::Bounced, later).await.unwrap());
    for trouble in [Trouble::Bounced, Trouble::Bounced, Trouble::Complained, Trouble::Refused] {
        assert!(store.note_trouble(&mark("two"), trouble, later).await.unwrap());
        let told = told(store, &job.id, &kim).await.unwrap();
        assert_eq!((told.trouble, told.sent_at()), (Some(trouble), Some(later)));
    }
    assert_eq!(told(store, &job.id, &lee).await.unwrap().trouble, None);

    let none = NoticeCounts::default();
    let some = NoticeCounts { sent: 3, rejected: 1, unknown: 2, unaddressed: 4 };
    let more = NoticeCounts { sent: 5, unknown: 0, ..some };
    assert_eq!(store.notice_counts(&job.id, 0).await.unwrap(), none);
    assert_eq!(store.commit_notices(&job.id, 0, none, some).await.unwrap(), Step::Taken);
    assert_eq!(store.commit_notices(&job.id, 0, none, more).await.unwrap(), Step::Lost, "counted once");
    assert_eq!(store.commit_notices(&job.id, 16, none, some).await.unwrap(), Step::Taken);
    assert_eq!(store.commit_notices(&job.id, 0, some, more).await.unwrap(), Step::Taken);
    assert_eq!(store.notice_counts(&job.id, 0).await.unwrap(), more);
    let sum = NoticeCounts { sent: 8, rejected: 2, unknown: 2, unaddressed: 8 };
    assert_eq!(store.tally(&job.id).await.unwrap().notices, sum, "the difference is added to the job's");
}

/// Which texts are names of users: those they have or had, however they are written.
pub async fn names<S: Directory + RecordStore>(store: &S, run: &str) {
    let name = |number: u32| format!("{run} 김 민지 É{number}");
    for number in 0..250 {
        let id = UserId::parse(format!("{run}-{number}")).unwrap();
        let user = UserRecord { name: Some(name(number)), ..UserRecord::new(id) };
        store.apply(&Record::upsert(1, Entity::User(user))).await.unwrap();
    }
    let renamed = UserRecord::new(UserId::parse(format!("{run}-0")).unwrap());
    store.apply(&Record::upsert(2, Entity::User(renamed))).await.unwrap();
    let keys: Vec<String> = (0..500).filter_map(|number| name_key(&name(number))).collect();
    assert_eq!(keys[1], name_key(&format!("{run}  김민지 e\u{301}1").to_uppercase()).unwrap());
    let known: BTreeSet<String> = keys[..250].iter().cloned().collect();
    assert_eq!(store.known_names(&keys).await.unwrap(), known);
    assert!(store.known_names(&[]).await.unwrap().is_empty());
}

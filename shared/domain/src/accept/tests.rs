//! Who is let in at the edges of limits, plans and the directory.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::cutoff::Kinds;
use crate::decision::Limits;
use crate::job::ChunkResult;
use crate::ports::RecordStore as _;
use crate::records::{Entity, GroupRecord, Record};
use crate::testing::{Memory, MemoryQueue, SeededIds, TestClock};
use crate::time::from_millis;

fn now() -> DateTime<Utc> {
    from_millis(1_900_000_000_000)
}

fn acceptor(store: &Arc<Memory>) -> Acceptor {
    let (clock, ids) = (Arc::new(TestClock::at(now())), Arc::new(SeededIds::new(1)));
    Acceptor {
        directory: store.clone(),
        estimator: Estimator { directory: store.clone(), tokens: store.clone() },
        effector: Effector {
            jobs: store.clone(),
            denylist: store.clone(),
            cache: Arc::new(Memory::default()),
            clock: clock.clone(),
            ids: ids.clone(),
            limits: Limits { max_sign_in_age: 1_000 },
        },
        queue: Arc::new(MemoryQueue::default()),
        auditor: Auditor { log: store.clone(), clock, ids },
    }
}

fn id(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

fn actor(name: &str) -> Actor {
    Actor { id: UserId::parse(name).unwrap(), email: None, name: None }
}

fn emergency() -> Conditions {
    let authorized_by = "CISO".to_owned();
    Conditions::Emergency { exclude_admin_sessions: false, preserve_service_tokens: false, authorized_by }
}

#[tokio::test]
async fn spec_3_an_emergency_that_ended_without_effect_is_not_counted_and_one_that_may_still_have_it_is() {
    let limit = Limit::of(JobType::Emergency, false);
    let job = |name: &str| Job::new(id(name), emergency(), actor("admin"), String::new(), now());
    for (status, effective_at, is_free) in [
        (Status::Pending, None, false),
        (Status::Processing, None, false),
        (Status::Failed, None, true),
        (Status::Cancelled, None, true),
        (Status::Failed, Some(now()), false),
        (Status::Completed, Some(now()), false),
    ] {
        let store = Arc::new(Memory::default());
        let first = Job { status, effective_at, ..job("first") };
        let slot = Slots::default().take(&first.initiated_by.id, limit, now(), &first.id);
        store.create(NewJob { slot: Some(&slot), ..NewJob::plain(&first) }).await.unwrap();
        let answer = acceptor(&store).slots(&job("second"), limit).await;
        match answer {
            Ok((slots, standing)) => {
                assert!(is_free && standing.remaining == 1, "{status:?}");
                assert_eq!(slots, slot.after, "what is stored has to be what was read");
            }
            Err(refused) => assert!(!is_free && matches!(refused, Refused::RateLimited(_)), "{status:?}: {refused}"),
        }
    }
}

#[tokio::test]
async fn ekey_1_nothing_that_is_not_a_person_starts_an_emergency() {
    let store = Arc::new(Memory::default());
    let reason = "an emergency that nobody ordered".to_owned();
    let request = Request { reason, ..Request::of(emergency(), Priority::Immediate) };
    let answer = acceptor(&store).accept(By::Schedule, request).await;
    assert!(matches!(answer, Err(Refused::WrongKey(_))));
    assert_eq!(store.jobs(std::collections::BTreeMap::len), 0);
}

#[tokio::test]
async fn api_4_a_plan_is_executed_by_its_own_admin_for_its_own_conditions_within_a_quarter_of_an_hour() {
    let store = Arc::new(Memory::default());
    let acceptor = acceptor(&store);
    let conditions =
        |token_types| Conditions::TimeBased { created_before: Some(now()), last_used_before: None, token_types };
    let job = |name: &str, by: &str, kinds| Job::new(id(name), conditions(kinds), actor(by), String::new(), now());
    let plan = |name: &str, status, age| {
        let (created_at, plan) = (now() - age, PlanCursor { chunks: 1, frozen: true, ..PlanCursor::default() });
        Job { status, created_at, plan, dry_run: true, ..job(name, "admin", Kinds::Both) }
    };
    let lately = TimeDelta::minutes(15);
    for (plan, is_counted) in [
        (plan("good", Status::Completed, lately), true),
        (plan("old", Status::Completed, lately + TimeDelta::milliseconds(1)), true),
        (plan("counting", Status::Processing, lately), true),
        (plan("uncounted", Status::Completed, lately), false),
        (Job { dry_run: false, ..plan("real", Status::Completed, lately) }, true),
    ] {
        store.create(NewJob::plain(&plan)).await.unwrap();
        if is_counted {
            let result = ChunkResult::done(Statistics::default());
            store.commit_chunk(&plan.id, 0, None, result).await.unwrap();
        }
    }
    let refused = async |job: &Job, plan: &str| match acceptor
        .check_confirmed(job, &Lists::default(), Some(&id(plan)), None)
        .await
    {
        Ok(_) => String::new(),
        Err(Refused::StalePlan(why)) => why,
        Err(other) => panic!("{other}"),
    };
    let mine = job("mine", "admin", Kinds::Both);
    assert_eq!(refused(&mine, "good").await, "");
    for (job, plan, why) in [
        (&mine, "old", "older than 15 minutes"),
        (&mine, "counting", "not finished"),
        (&mine, "uncounted", "never counted"),
        (&mine, "real", "not known"),
        (&mine, "none", "not known"),
        (&job("theirs", "other", Kinds::Both), "good", "somebody else"),
        (&job("wider", "admin", Kinds::AccessOnly), "good", "other conditions"),
    ] {
        assert!(refused(job, plan).await.contains(why), "{plan}: {why}");
    }
}

#[tokio::test]
async fn scope_1_of_groups_that_contain_each_other_only_one_by_one_is_said_whom_a_job_would_hit() {
    let store = Arc::new(Memory::default());
    let group = |name: &str| GroupId::parse(name).unwrap();
    for (name, parent) in [("a", "b"), ("b", "a")] {
        let record = GroupRecord { id: group(name), name: None, parent_id: Some(group(parent)) };
        store.apply(&Record::upsert(1, Entity::Group(record))).await.unwrap();
    }
    let acceptor = acceptor(&store);
    let checked = async |name: &str, include_subgroups| {
        let conditions =
            Conditions::GroupBased { group_id: group(name), include_subgroups, exclude_admin_users: false };
        acceptor.check_names(&conditions).await
    };
    assert!(matches!(checked("a", true).await, Err(Refused::GroupCycle(_))));
    assert!(checked("a", false).await.is_ok());
    assert!(matches!(checked("c", false).await, Err(Refused::UnknownGroup(unknown)) if unknown == group("c")));
}

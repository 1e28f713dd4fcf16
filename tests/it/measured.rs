//! What jobs are measured by (`[RUN-5]`): each job's effect and end once, whoever brings it about.

use chrono::{DateTime, TimeDelta, Utc};
use domain::conditions::Conditions;
use domain::cutoff::Kinds;
use domain::ids::{GroupId, JobId};
use domain::job::Job;
use domain::plan::Planned;
use domain::ports::{JobStore as _, NewJob, RecordStore as _};
use domain::records::{Entity, GroupRecord, Record};
use domain::settle::{Settled, Try};
use domain::testing::{Memory, contract};
use domain::time::{Clock as _, from_millis};
use tests::fleet::Fleet;

fn now() -> DateTime<Utc> {
    from_millis(1_800_000_000_000)
}

async fn created(fleet: &Fleet<Memory, Memory>, conditions: Conditions) -> JobId {
    let id = JobId::parse("measured").unwrap();
    let by = contract::job("by", &GroupId::parse("g").unwrap(), now()).initiated_by;
    let job = Job::new(id.clone(), conditions, by, "what is measured".to_owned(), now());
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    fleet.clock.advance(TimeDelta::milliseconds(40));
    id
}

#[tokio::test]
async fn run_5_a_job_that_its_last_chunk_makes_effective_is_measured_there() {
    let fleet = Fleet::in_memory(now());
    fleet.guard().await.unwrap();
    let unused = Some(now() - TimeDelta::days(30));
    let conditions = Conditions::TimeBased { created_before: None, last_used_before: unused, token_types: Kinds::Both };
    let id = created(&fleet, conditions).await;
    let planned = fleet.planner().plan(&id, fleet.clock.now() + TimeDelta::hours(1)).await.unwrap();
    assert_eq!(planned, Planned::Finished { effective_millis: None, closed: None });
    let mut closed = Vec::new();
    for chunk in fleet.queue.take_chunks() {
        if let Settled::Through(ended) = fleet.settle(&chunk, Try::First).await.unwrap() {
            closed.extend(ended);
        }
    }
    let [closed] = &closed[..] else { panic!("it ends once: {closed:?}") };
    assert_eq!((closed.settled_millis, closed.effective_millis), (40, Some(40)));
}

#[tokio::test]
async fn run_5_a_job_of_nobody_is_measured_by_its_planner() {
    let fleet = Fleet::in_memory(now());
    fleet.guard().await.unwrap();
    let group_id = GroupId::parse("empty").unwrap();
    let group = GroupRecord { id: group_id.clone(), name: None, parent_id: None };
    fleet.store.apply(&Record::upsert(1, Entity::Group(group))).await.unwrap();
    let conditions = Conditions::GroupBased { group_id, include_subgroups: true, exclude_admin_users: true };
    let id = created(&fleet, conditions).await;
    let planned = fleet.planner().plan(&id, fleet.clock.now() + TimeDelta::hours(1)).await.unwrap();
    let Planned::Finished { effective_millis: Some(40), closed: Some(closed) } = planned else { panic!("{planned:?}") };
    assert_eq!((closed.settled_millis, closed.effective_millis), (40, None), "the effect is told once");
}

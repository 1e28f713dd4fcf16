//! Time from a job's acceptance to "every verifier refuses", by number of users.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::conditions::Conditions;
use domain::effect::Effector;
use domain::ids::{GroupId, UserId};
use domain::job::Job;
use domain::plan::Planner;
use domain::ports::{JobStore as _, NewJob};
use domain::records::{Entity, MembershipKey, Record, UserRecord};
use domain::source::SystemIds;
use domain::testing::{MemoryQueue, contract};
use domain::time::{Clock as _, SystemClock};

use super::Figure;
use crate::environment::unique;
use crate::fleet::LIMITS;
use crate::redis_server::RedisServer;
use crate::store::Store;

const USERS: [u32; 3] = [1_000, 10_000, 100_000];

fn user(number: u32) -> UserId {
    UserId::parse(format!("00000000-0000-4000-8000-{number:012}")).unwrap()
}

fn records(number: u32, group_id: &GroupId) -> [Record; 2] {
    let user_id = user(number);
    let record = UserRecord {
        email: Some(format!("user{number}@example.com")),
        name: Some("김민지".to_owned()),
        ..UserRecord::new(user_id.clone())
    };
    let member = MembershipKey { group_id: group_id.clone(), user_id };
    [Record::upsert(1, Entity::User(record)), Record::upsert(1, Entity::Membership(member))]
}

async fn millis(users: u32) -> i64 {
    let (store, redis, clock) = (Store::start().await, RedisServer::start(), Arc::new(SystemClock));
    let dynamo = store.dynamo().await;
    let group_id = GroupId::parse(unique("group")).unwrap();
    let all: Vec<Record> = (0..users).flat_map(|number| records(number, &group_id)).collect();
    for batch in all.chunks(5_000) {
        dynamo.load(batch).await.unwrap();
    }
    let cache = redis.denylist(clock.clone()).await;
    cache.warm_up().await;
    let conditions =
        Conditions::GroupBased { group_id: group_id.clone(), include_subgroups: false, exclude_admin_users: true };
    let job = Job { conditions, ..contract::job(&unique("job"), &group_id, clock.now()) };
    dynamo.create(NewJob::plain(&job)).await.unwrap();
    let (jobs, denylist, ids) = (dynamo.clone(), dynamo.clone(), Arc::new(SystemIds));
    let effector = Effector { jobs, denylist, cache, clock: clock.clone(), ids, limits: LIMITS };
    let (directory, tokens, queue) = (dynamo.clone(), dynamo.clone(), Arc::new(MemoryQueue::default()));
    let planner = Planner { directory, tokens, effector, queue };
    planner.plan(&job.id, clock.now() + TimeDelta::minutes(10)).await.unwrap();
    let done = dynamo.get(&job.id).await.unwrap().unwrap();
    assert_eq!(done.plan.users, u64::from(users));
    (done.effective_at.unwrap() - job.created_at).num_milliseconds()
}

/// Measures.
pub async fn run() -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut smallest = None;
    for users in USERS {
        let millis = millis(users).await;
        let floor = *smallest.get_or_insert(millis);
        #[allow(clippy::cast_precision_loss, reason = "milliseconds")]
        let per_user = millis as f64 / floor as f64 / (f64::from(users) / f64::from(USERS[0]));
        figures.push(Figure {
            name: format!("time to effective, group of {users} users"),
            value: format!("{millis} ms"),
            floor: format!("{} users: {floor} ms", USERS[0]),
            ratio: format!("{per_user:.2} per user"),
        });
    }
    figures
}

//! The planner streams: its memory does not grow with the number of users.

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use domain::conditions::Conditions;
use domain::ids::{GroupId, UserId};
use domain::job::Job;
use domain::messages::PlanMessage;
use domain::ports::{JobStore as _, NewJob};
use domain::records::{Entity, MembershipKey, Record};
use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};
use tests::environment::unique;
use tests::function::{Function, Outcome};
use tests::redis_server::RedisServer;
use tests::sink::sink;
use tests::store::{Store, variables};

async fn peak_kib(users: u32) -> u64 {
    let (store, redis, queue) = (Store::start().await, RedisServer::start(), sink().await);
    let dynamo = store.dynamo().await;
    let run = unique("memory");
    let group_id = GroupId::parse(&*run).unwrap();
    let numbers: Vec<u32> = (0..users).collect();
    for numbers in numbers.chunks(5_000) {
        let member = |number: &u32| {
            let user_id = UserId::parse(format!("00000000-0000-4000-8000-{number:012}")).unwrap();
            Record::upsert(1, Entity::Membership(MembershipKey { group_id: group_id.clone(), user_id }))
        };
        dynamo.load(&numbers.iter().map(member).collect::<Vec<_>>()).await.unwrap();
    }
    let conditions =
        Conditions::GroupBased { group_id: group_id.clone(), include_subgroups: false, exclude_admin_users: true };
    let job = Job { conditions, ..contract::job(&run, &group_id, SystemClock.now()) };
    dynamo.create(NewJob::plain(&job)).await.unwrap();

    let mut variables = variables(&store.endpoint);
    variables.extend(
        [
            ("AWS_ENDPOINT_URL_SQS", queue.clone()),
            ("PLAN_QUEUE_URL", format!("{queue}/plan")),
            ("CHUNK_QUEUE_URL", format!("{queue}/chunk")),
            ("REDIS_URL", redis.url()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let mut planner = Function::start("plan-job", &variables).await;
    let mut message = SqsMessage::default();
    message.message_id = Some("m".to_owned());
    message.body = Some(serde_json::to_string(&PlanMessage::new(job.id.clone())).unwrap());
    let mut event = SqsEvent::default();
    event.records = vec![message];
    let Outcome::Answered(answer) = planner.invoke(&event).await else { panic!("the planner died") };
    assert_eq!(answer["batchItemFailures"].as_array().map(Vec::len), Some(0), "{answer}");
    let done = dynamo.get(&job.id).await.unwrap().unwrap();
    assert_eq!((done.plan.users, done.emitted), (u64::from(users), true));
    planner.peak_memory_kib()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_of_100_000_users_needs_less_than_10_mb_more_than_that_of_1_000() {
    let (small, large) = (peak_kib(1_000).await, peak_kib(100_000).await);
    assert!(large < small + 10 * 1024, "{small} KiB for 1,000 users, {large} KiB for 100,000");
    println!("plan-job: {small} KiB for 1,000 users, {large} KiB for 100,000");
}

//! The real worker binary, killed at ten different moments of a chunk: after redelivery nothing is left and nothing is
//! counted twice (`[CUT-6]`).

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use chrono::{DateTime, Utc};
use domain::conditions::Conditions;
use domain::ids::GroupId;
use domain::job::{Job, Statistics, Status};
use domain::messages::ChunkMessage;
use domain::ports::{JobStore as _, NewJob};
use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};
use tests::company::{self, Member, Shape, SignIn, group_name, oracle, scan};
use tests::environment::unique;
use tests::fleet::Fleet;
use tests::function::{Function, Outcome};
use tests::proxy::{self, Kill};
use tests::store::{Store, variables};

fn shape() -> Shape {
    let sign_in = |at| SignIn { at, in_token: true, tokens: vec![(true, 1, 5_000, false), (false, 0, 5_000, false)] };
    let member = |number: usize| Member {
        groups: [0].into(),
        role: Some(""),
        is_admin: false,
        sign_ins: (0..=number % 3).map(|n| sign_in(-10 - i64::try_from(n).unwrap())).collect(),
    };
    Shape { parents: vec![None], members: (0..30).map(member).collect() }
}

fn event(bodies: &[String], receives: u32) -> SqsEvent {
    let message = |(index, body): (usize, &String)| {
        let mut message = SqsMessage::default();
        message.message_id = Some(format!("m{index}"));
        message.body = Some(body.clone());
        message.attributes.insert("ApproximateReceiveCount".to_owned(), receives.to_string());
        message
    };
    let mut event = SqsEvent::default();
    event.records = bodies.iter().enumerate().map(message).collect();
    event
}

async fn planned(store: &Store, run: &str, now: DateTime<Utc>) -> (Job, Vec<String>) {
    let redis = tests::redis_server::RedisServer::start();
    let clock = std::sync::Arc::new(SystemClock);
    let fleet = Fleet::over(store.dynamo().await, redis.denylist(clock).await, now);
    fleet.guard().await.unwrap();
    company::write(fleet.store.as_ref(), run, &shape(), now.timestamp()).await;
    let group_id = GroupId::parse(group_name(run, 0)).unwrap();
    let conditions =
        Conditions::GroupBased { group_id: group_id.clone(), include_subgroups: false, exclude_admin_users: true };
    let job = Job { conditions, notify_users: false, ..contract::job(run, &group_id, now) };
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let chunks = fleet.plan(&job.id).await;
    assert_eq!(chunks.len(), 1);
    let bodies = chunks.into_iter().map(|chunk| serde_json::to_string(&ChunkMessage::new(chunk)).unwrap());
    (job, bodies.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_6_a_worker_killed_at_ten_moments_leaves_nothing_behind_and_counts_nothing_twice() {
    let store = Store::start().await;
    let dynamo = store.dynamo().await;
    let now = SystemClock.now();

    // How many calls a chunk takes when nobody interferes.
    let (_, bodies) = planned(&store, &unique("calls"), now).await;
    let (endpoint, calls) = proxy::start(&store.endpoint, None).await;
    let mut worker = Function::start("revoke-chunk", &variables(&endpoint)).await;
    worker.ready().await;
    calls.aim_at(0);
    worker.invoke(&event(&bodies, 1)).await;
    let total = calls.count();
    drop(worker);
    assert!(total > 100, "a chunk of thirty users takes {total} calls");

    let moments = [1, 2, total / 8, total / 4, total / 2, 3 * total / 4, total - 3, total - 2, total - 1, total];
    for (index, moment) in moments.into_iter().enumerate() {
        let run = unique("kill");
        let (job, bodies) = planned(&store, &run, now).await;
        let kill = if index.is_multiple_of(2) { Kill::Before(moment) } else { Kill::After(moment) };
        let (endpoint, calls) = proxy::start(&store.endpoint, Some(kill)).await;
        let mut worker = Function::start("revoke-chunk", &variables(&endpoint)).await;
        worker.ready().await;
        calls.aim_at(worker.pid());
        let outcome = worker.invoke(&event(&bodies, 1)).await;
        assert!(matches!(&outcome, Outcome::Failed(why) if why.contains("signal: 9")), "{kill:?}: {outcome:?}");

        let mut worker = Function::start("revoke-chunk", &variables(&store.endpoint)).await;
        let Outcome::Answered(answer) = worker.invoke(&event(&bodies, 2)).await else {
            panic!("the second worker died")
        };
        assert_eq!(answer["batchItemFailures"].as_array().map(Vec::len), Some(0), "{answer}");
        let expected = oracle(&shape(), 0, false, true);
        assert_eq!(scan(dynamo.as_ref(), &run, 30, &job.id).await, expected, "{kill:?}: the rows");
        let sum: Statistics = tests::company::sum(expected.values());
        assert_eq!(dynamo.tally(&job.id).await.unwrap().statistics, sum, "{kill:?}: the numbers");
        assert_eq!(dynamo.get(&job.id).await.unwrap().unwrap().status, Status::Completed, "{kill:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_returned_and_does_not_hold_up_the_others() {
    let store = Store::start().await;
    let (job, mut bodies) = planned(&store, &unique("poison"), SystemClock.now()).await;
    bodies.insert(0, "{\"v\":1}".to_owned());
    bodies.insert(1, bodies[1].replace("\"v\":1", "\"v\":99"));
    let mut worker = Function::start("revoke-chunk", &variables(&store.endpoint)).await;
    let Outcome::Answered(answer) = worker.invoke(&event(&bodies, 1)).await else { panic!("the worker died") };
    let mut failed: Vec<&str> = answer["batchItemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["itemIdentifier"].as_str().unwrap())
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, ["m0", "m1"]);
    assert_eq!(store.dynamo().await.get(&job.id).await.unwrap().unwrap().status, Status::Completed);
}

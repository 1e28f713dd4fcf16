//! A group logout from plan to close, over companies of any shape, against an oracle that shares no code with it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::conditions::Conditions;
use domain::ids::{GroupId, UserId};
use domain::job::{ChunkRef, Facts, Fate, Job, Status};
use domain::ports::{DenylistCache, JobStore as _, NewJob};
use domain::settle::Try;
use domain::testing::contract;
use domain::time::{Clock as _, Epoch};
use domain::token::Owner;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tests::company::{self, Shape, group_name, oracle, scan, shapes, user_name};
use tests::environment::unique;
use tests::fleet::{AllPorts, Fleet};
use tests::redis_server::RedisServer;
use tests::store::Store;

const NOW: i64 = 1_900_000_000;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

/// A deadline that gives all the time it needs.
fn later() -> DateTime<Utc> {
    now() + TimeDelta::hours(1)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn group_job(name: &str, group: &str, subgroups: bool, spare_admins: bool) -> Job {
    let group_id = GroupId::parse(group).unwrap();
    let conditions = Conditions::GroupBased {
        group_id: group_id.clone(),
        include_subgroups: subgroups,
        exclude_admin_users: spare_admins,
    };
    Job { conditions, ..contract::job(name, &group_id, now()) }
}

/// What is recorded of a job's users.
async fn recorded<S: AllPorts>(store: &S, run: &str, users: usize, job: &Job) -> BTreeMap<usize, Facts> {
    let mut recorded = BTreeMap::new();
    for chunk in 0..job.plan.chunks {
        for (user, facts) in store.affected(&job.id, chunk, Fate::Lost).await.unwrap() {
            let number = (0..users).find(|number| Some(&user_name(run, *number)) == user.user()).unwrap();
            assert!(recorded.insert(number, facts).is_none(), "SCOPE-1: {user:?} is in two chunks");
        }
    }
    recorded
}

/// Runs one job, delivering every message as `order` says, and checks every number against the oracle.
async fn check<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    shape: &Shape,
    (group, subgroups, spare_admins): (usize, bool, bool),
    order: impl Fn(Vec<ChunkRef>) -> Vec<ChunkRef>,
) {
    let run = unique("c");
    company::write(fleet.store.as_ref(), &run, shape, NOW).await;
    let job = group_job(&run, &group_name(&run, group), subgroups, spare_admins);
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let chunks = fleet.plan(&job.id).await;
    assert!(fleet.job(&job.id).await.effective_at.is_some());

    let expected = oracle(shape, group, subgroups, spare_admins);
    check_verifiers(fleet, &run, shape, &expected, (group, subgroups, spare_admins)).await;
    for chunk in order(chunks) {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }

    let job = fleet.job(&job.id).await;
    assert_eq!(job.status, Status::Completed);
    let users = shape.members.len();
    assert_eq!(scan(fleet.store.as_ref(), &run, users, &job.id).await, expected, "the rows");
    assert_eq!(recorded(fleet.store.as_ref(), &run, users, &job).await, expected, "the affected users");
    let statistics = fleet.store.tally(&job.id).await.unwrap().statistics;
    assert_eq!(statistics, company::sum(expected.values()), "SCOPE-7: the statistics");
}

/// While nothing is settled yet, every verifier already refuses exactly what the job covers.
async fn check_verifiers<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    run: &str,
    shape: &Shape,
    expected: &BTreeMap<usize, Facts>,
    job: (usize, bool, bool),
) {
    for (number, member) in shape.members.iter().enumerate() {
        let user = user_name(run, number);
        let holdings = fleet.store.holdings(&Owner::User(user.clone())).await.unwrap();
        for token in &holdings.tokens {
            if token.expires_at <= Epoch(NOW) || token.revoked.is_some() {
                continue;
            }
            let sign_in = token.sign_in(holdings.session_start(token));
            let facts = domain::decision::TokenFacts {
                id: token.id.clone(),
                kind: token.kind,
                user: Some(user.clone()),
                client: Some(token.client.clone()),
                session: token.session.clone(),
                issued_at: token.issued_at,
                signed_in_at: sign_in,
                expires_at: token.expires_at,
            };
            let refused = fleet.checker().check(&facts).await.unwrap().refusal.is_some();
            let covered = expected.contains_key(&number) && sign_in.0 <= NOW;
            assert_eq!(refused, covered, "SCOPE-6: {job:?} {member:?} {token:?}");
        }
    }
}

fn jobs() -> impl Strategy<Value = (Shape, usize, bool, bool)> {
    shapes(40).prop_flat_map(|shape| {
        let groups = shape.parents.len();
        (Just(shape), 0..groups, any::<bool>(), any::<bool>())
    })
}

#[test]
fn scope_1_a_group_job_takes_exactly_what_the_oracle_says_over_a_thousand_companies() {
    let mut runner = TestRunner::new(Config::with_cases(1_000));
    runner
        .run(&(jobs(), any::<u64>()), |((shape, group, subgroups, spare_admins), seed)| {
            runtime().block_on(async {
                let fleet = Fleet::in_memory(now());
                fleet.guard().await.unwrap();
                check(&fleet, &shape, (group, subgroups, spare_admins), |chunks| shuffle(thrice(chunks), seed)).await;
            });
            Ok(())
        })
        .unwrap();
}

fn thrice(chunks: Vec<ChunkRef>) -> Vec<ChunkRef> {
    [chunks.clone(), chunks.clone(), chunks].concat()
}

fn shuffle(mut chunks: Vec<ChunkRef>, seed: u64) -> Vec<ChunkRef> {
    let mut state = seed | 1;
    for index in (1..chunks.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chunks.swap(index, usize::try_from(state >> 33).unwrap() % (index + 1));
    }
    chunks
}

#[tokio::test]
async fn cut_6_every_message_three_times_in_random_order_changes_no_number_on_real_stores() {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let fleet = real(&store, &redis).await;
    fleet.guard().await.unwrap();
    let mut runner = TestRunner::deterministic();
    for seed in 0..12 {
        let (shape, group, subgroups, spare_admins) = jobs().new_tree(&mut runner).unwrap().current();
        check(&fleet, &shape, (group, subgroups, spare_admins), |chunks| shuffle(thrice(chunks), seed)).await;
    }
}

/// Real stores: only there do workers that run at once really take turns.
async fn real(store: &Store, redis: &RedisServer) -> tests::fleet::RealFleet {
    let clock = std::sync::Arc::new(domain::testing::TestClock::at(now()));
    Fleet::over(store.dynamo().await, redis.denylist(clock).await, now())
}

/// 1,050 users in two groups, each with one sign-in of two tokens; every third is in both groups.
async fn large<S: AllPorts, C>(fleet: &Fleet<S, C>, run: &str) -> Shape {
    let sign_in =
        || company::SignIn { at: -10, in_token: true, tokens: vec![(true, 1, 50, false), (false, 0, 55, false)] };
    let member = |number: usize| company::Member {
        groups: if number.is_multiple_of(3) { [0, 1].into() } else { [number % 2].into() },
        role: Some(""),
        is_admin: number == 5,
        sign_ins: vec![sign_in()],
    };
    let shape = Shape { parents: vec![None, Some(0)], members: (0..1_050).map(member).collect() };
    company::write(fleet.store.as_ref(), run, &shape, NOW).await;
    shape
}

#[tokio::test]
async fn cut_6_workers_at_the_same_chunk_at_once_count_once() {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let fleet = real(&store, &redis).await;
    fleet.guard().await.unwrap();
    let shape = large(&fleet, "big").await;
    let job = group_job("big", &group_name("big", 0), true, true);
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let chunks = fleet.plan(&job.id).await;
    assert_eq!(chunks.len(), 11);
    let settler = fleet.settler();
    let all = thrice(chunks);
    let settled = futures::future::join_all(all.iter().map(|chunk| settler.settle(chunk, Try::First, later()))).await;
    assert!(settled.iter().all(Result::is_ok));
    let expected = oracle(&shape, 0, true, true);
    assert_eq!(expected.len(), 1_049);
    let tally = fleet.store.tally(&job.id).await.unwrap();
    assert_eq!((tally.done, tally.statistics.total_users_affected, tally.statistics.tokens()), (11, 1_049, 2_098));
    assert_eq!(fleet.job(&job.id).await.status, Status::Completed);
}

#[tokio::test]
async fn a_chunk_that_fails_for_good_fails_the_job_and_settling_it_later_completes_it() {
    let fleet = Fleet::in_memory(now());
    fleet.guard().await.unwrap();
    large(&fleet, "big").await;
    let job = group_job("big", &group_name("big", 0), true, true);
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let mut chunks = fleet.plan(&job.id).await;
    // Its frozen users cannot be read: the chunk's store is away.
    let lost = chunks.pop().unwrap();
    for chunk in &chunks {
        fleet.settle(chunk, Try::First).await.unwrap();
    }
    let broken = domain::settle::Settler { tokens: std::sync::Arc::new(down()), ..fleet.settler() };
    assert!(broken.settle(&lost, Try::First, later()).await.is_err());
    assert_eq!(fleet.job(&job.id).await.status, Status::Processing, "it will come again");
    assert!(broken.settle(&lost, Try::Last, later()).await.is_err());
    assert_eq!(fleet.job(&job.id).await.status, Status::Failed);
    assert_eq!(fleet.store.tally(&job.id).await.unwrap().statistics.errors, 1);
    fleet.settle(&lost, Try::First).await.unwrap();
    assert_eq!(fleet.job(&job.id).await.status, Status::Completed);
    let statistics = fleet.store.tally(&job.id).await.unwrap().statistics;
    assert_eq!((statistics.errors, statistics.total_users_affected), (0, 1_049));
}

fn down() -> domain::testing::Memory {
    let memory = domain::testing::Memory::default();
    memory.set_down(true);
    memory
}

#[tokio::test]
async fn two_planners_of_one_job_freeze_every_user_once() {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let fleet = real(&store, &redis).await;
    fleet.guard().await.unwrap();
    large(&fleet, "big").await;
    let job = group_job("big", &group_name("big", 0), true, false);
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let planner = fleet.planner();
    let deadline = now() + TimeDelta::minutes(5);
    let both = futures::join!(planner.plan(&job.id, deadline), planner.plan(&job.id, deadline));
    assert!(both.0.is_ok() || both.1.is_ok(), "{both:?}");
    let users = domain::ports::DenylistStore::chunks(fleet.store.as_ref(), &job.id, None, 100).await.unwrap();
    let mut users: Vec<UserId> = users.into_iter().flat_map(|chunk| chunk.users).collect();
    assert_eq!(users.len(), 1_050);
    users.dedup();
    assert_eq!(users.len(), 1_050);
}

#[tokio::test]
async fn a_planner_out_of_time_leaves_the_rest_to_the_next_and_the_redrive_finds_what_was_never_started() {
    let fleet = Fleet::in_memory(now());
    fleet.guard().await.unwrap();
    large(&fleet, "big").await;
    let job = group_job("big", &group_name("big", 0), true, true);
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    // The message was lost: after a minute the re-drive sends another, and not before.
    assert_eq!(fleet.redriver().redrive().await.unwrap().plans, 0);
    fleet.clock.advance(TimeDelta::seconds(60));
    let pushed = fleet.redriver().redrive().await.unwrap();
    assert_eq!((pushed.plans, pushed.stuck, pushed.looked_at), (1, 1, 1), "RUN-5: it is counted as stuck");
    assert_eq!(fleet.redriver().redrive().await.unwrap().stuck, 0, "it was given a push just now");
    assert_eq!(fleet.queue.take_plans(), std::slice::from_ref(&job.id));
    // No time at all: it only hands the job on.
    let planned = fleet.planner().plan(&job.id, fleet.clock.now()).await.unwrap();
    assert_eq!(planned, domain::plan::Planned::ToBeContinued);
    assert_eq!(fleet.queue.take_plans(), std::slice::from_ref(&job.id));
    let chunks = fleet.plan(&job.id).await;
    // The chunks' messages are lost, too.
    drop(chunks);
    assert_eq!(fleet.redriver().redrive().await.unwrap().chunks, 0, "the queue is given time to redeliver");
    fleet.clock.advance(domain::redrive::CHUNK_PATIENCE);
    let pushed = fleet.redriver().redrive().await.unwrap();
    assert_eq!((pushed.chunks, pushed.stuck), (11, 1));
    for chunk in fleet.queue.take_chunks() {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    assert_eq!(fleet.job(&job.id).await.status, Status::Completed);
}

#[tokio::test]
async fn api_3_a_population_too_large_for_a_request_is_counted_by_the_workers_and_nothing_is_ended() {
    let fleet = Fleet::in_memory(now());
    fleet.guard().await.unwrap();
    let shape = large(&fleet, "big").await;
    let mut job = group_job("big-dry", &group_name("big", 0), true, true);
    job.dry_run = true;
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    for chunk in fleet.plan(&job.id).await {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    let done = fleet.job(&job.id).await;
    assert_eq!((done.status, done.effective_at), (Status::Completed, None));
    let statistics = fleet.store.tally(&job.id).await.unwrap().statistics;
    assert_eq!((statistics.total_users_affected, statistics.tokens()), (1_049, 2_098));
    assert!(scan(fleet.store.as_ref(), "big", shape.members.len(), &job.id).await.is_empty());
    check_verifiers(&fleet, "big", &shape, &BTreeMap::new(), (0, true, true)).await;
}

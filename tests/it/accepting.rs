//! The door: who may, how often, how sure, how it is repeated, confirmed with a key, and called off.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use domain::accept::{Accepted, Answer, By, FieldError, Refused, Request};
use domain::audit::{Action, Level, Origin};
use domain::cancel::NotCancelled;
use domain::clean_up::clean_up;
use domain::conditions::{Conditions, Filter};
use domain::cutoff::Kinds;
use domain::directory::User;
use domain::emergency::{NoKey, PresentedKey};
use domain::ids::{ClientId, GroupId, JobId, UserId};
use domain::job::{Job, Priority, Status, Tally};
use domain::ports::{DenylistCache, JobStore as _, NewJob, RecordStore as _};
use domain::records::{ClientRecord, Entity, MembershipKey, Record, UserRecord};
use domain::settings::CleanUp;
use domain::settle::Try;
use domain::testing::Memory;
use proptest::prelude::*;
use tests::company::{self, Shape, SignIn, group_name, user_name};
use tests::fleet::{AllPorts, Fleet, RealFleet};
use tests::redis_server::RedisServer;
use tests::store::Store;

const NOW: i64 = 1_900_000_000;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

fn admin() -> User {
    User {
        roles: vec!["security_admin".to_owned()],
        email: Some("admin@example.com".to_owned()),
        name: Some("김 보안".to_owned()),
        ..User::unknown(UserId::parse("the-admin").unwrap())
    }
}

/// So many users in group 0 of `run`, each with one sign-in of two tokens.
async fn staff<S: AllPorts, C>(fleet: &Fleet<S, C>, run: &str, users: usize) {
    let sign_in = || SignIn { at: -10, in_token: true, tokens: vec![(true, 1, 50, false), (false, 0, 55, false)] };
    let member = |_| company::Member { groups: [0].into(), role: None, is_admin: false, sign_ins: vec![sign_in()] };
    let shape = Shape { parents: vec![None], members: (0..users).map(member).collect() };
    company::write(fleet.store.as_ref(), run, &shape, NOW).await;
}

async fn fleet() -> Fleet<Memory, Memory> {
    let fleet = Fleet::in_memory(now());
    fleet.guard().await.unwrap();
    fleet
}

async fn real(store: &Store, redis: &RedisServer) -> RealFleet {
    let clock = std::sync::Arc::new(domain::testing::TestClock::at(now()));
    let fleet = Fleet::over(store.dynamo().await, redis.denylist(clock).await, now());
    fleet.guard().await.unwrap();
    fleet
}

fn group(run: &str) -> Request {
    let conditions = Conditions::GroupBased {
        group_id: GroupId::parse(group_name(run, 0)).unwrap(),
        include_subgroups: false,
        exclude_admin_users: true,
    };
    Request { reason: "열 글자가 넘는 이유입니다".to_owned(), ..Request::of(conditions, Priority::Normal) }
}

fn emergency() -> Request {
    let conditions = Conditions::Emergency {
        exclude_admin_sessions: true,
        preserve_service_tokens: true,
        authorized_by: "security-team".to_owned(),
    };
    let reason = "Critical security breach detected".to_owned();
    Request { reason, ..Request::of(conditions, Priority::Immediate) }
}

async fn accept<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    user: &User,
    request: Request,
) -> Result<Answer, Refused> {
    fleet.acceptor().accept(By::User { user, desk: &fleet.desk() }, request).await
}

fn started(answer: Result<Answer, Refused>) -> Job {
    match answer.unwrap().accepted {
        Accepted::Started { job, .. } => job,
        Accepted::Counted { .. } => panic!("a dry run"),
    }
}

#[tokio::test]
async fn api_4_more_than_a_thousand_users_need_the_code_of_a_plan_that_is_fresh_own_and_undrifted() {
    let fleet = fleet().await;
    staff(&fleet, "big", 1_001).await;
    let plan = accept(&fleet, &admin(), Request { dry_run: true, ..group("big") }).await.unwrap();
    let Accepted::Counted { job: plan, statistics } = plan.accepted else { panic!("counted at once") };
    assert_eq!((statistics.total_users_affected, statistics.tokens()), (1_001, 2_002));
    let code = "CONFIRM_GROUP_BASED_1001";
    let with = |plan_id: Option<&JobId>, code: Option<&str>| Request {
        plan_id: plan_id.cloned(),
        confirmation_code: code.map(str::to_owned),
        ..group("big")
    };
    let me = admin();
    let refused = accept(&fleet, &me, with(None, None)).await.unwrap_err();
    assert!(matches!(refused, Refused::Unconfirmed { users: 1_001, .. }));
    assert!(refused.to_string().contains(code), "it says what to send: {refused}");
    let wrong = accept(&fleet, &me, with(Some(&plan.id), Some("CONFIRM_GROUP_BASED_1"))).await;
    assert!(matches!(wrong, Err(Refused::Unconfirmed { .. })));
    let other = User { id: UserId::parse("another-admin").unwrap(), ..admin() };
    let stolen = accept(&fleet, &other, with(Some(&plan.id), Some(code))).await.unwrap_err();
    assert!(stolen.to_string().contains("belongs to somebody else"), "{stolen}");
    let elsewhere = Request { conditions: emergency().conditions, ..with(Some(&plan.id), Some(code)) };
    let elsewhere = Request { dry_run: false, reason: emergency().reason, ..elsewhere };
    assert!(accept(&fleet, &me, elsewhere).await.is_err(), "a plan of another kind");
    assert_eq!(started(accept(&fleet, &me, with(None, Some(code))).await).status, Status::Pending);
    let answer = accept(&fleet, &me, with(Some(&plan.id), Some(code))).await.unwrap();
    let Accepted::Started { size, .. } = answer.accepted else { panic!("a real run") };
    assert_eq!((size.users, size.tokens), (Some(1_001), Some(2_002)), "API-2: estimates where they can be had");

    // Eleven percent more users since.
    for number in 0..120 {
        let user_id = user_name("more", number);
        let member = MembershipKey { group_id: GroupId::parse(group_name("big", 0)).unwrap(), user_id };
        fleet.store.apply(&Record::upsert(1, Entity::Membership(member))).await.unwrap();
    }
    let drifted = accept(&fleet, &me, with(Some(&plan.id), Some(code))).await.unwrap_err();
    assert!(drifted.to_string().contains("was made for 1001 users, but there are 1121 now"), "{drifted}");
    let uncounted = Job { id: JobId::parse("uncounted").unwrap(), ..plan.clone() };
    fleet.store.create(NewJob::plain(&uncounted)).await.unwrap();
    let refused = accept(&fleet, &me, with(Some(&uncounted.id), None)).await.unwrap_err();
    assert!(refused.to_string().contains("was never counted"), "{refused}");
    fleet.clock.advance(TimeDelta::minutes(16));
    let old = accept(&fleet, &me, with(Some(&plan.id), Some(code))).await.unwrap_err();
    assert!(old.to_string().contains("is older than 15 minutes"), "{old}");
}

#[tokio::test]
async fn api_4_what_cannot_be_counted_in_a_request_needs_the_plan_that_the_workers_count() {
    let fleet = fleet().await;
    staff(&fleet, "huge", 2_100).await;
    let by_time = |dry_run, plan_id: Option<&JobId>, code: Option<&str>| Request {
        dry_run,
        plan_id: plan_id.cloned(),
        confirmation_code: code.map(str::to_owned),
        reason: "Cleanup of everything that is old".to_owned(),
        ..Request::of(
            Conditions::TimeBased { created_before: Some(now()), last_used_before: None, token_types: Kinds::Both },
            Priority::Normal,
        )
    };
    let me = admin();
    assert!(matches!(accept(&fleet, &me, by_time(false, None, None)).await, Err(Refused::NeedsPlan)));
    let plan = started(accept(&fleet, &me, by_time(true, None, None)).await);
    let early = accept(&fleet, &me, by_time(false, Some(&plan.id), None)).await.unwrap_err();
    assert!(early.to_string().contains("is not finished"), "{early}");
    for chunk in fleet.plan(&plan.id).await {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    let counted = fleet.store.tally(&plan.id).await.unwrap().statistics;
    assert_eq!((counted.total_users_affected, counted.tokens()), (2_100, 4_200));
    let unsure = accept(&fleet, &me, by_time(false, Some(&plan.id), None)).await;
    assert!(matches!(unsure, Err(Refused::Unconfirmed { users: 2_100, .. })));
    let job = started(accept(&fleet, &me, by_time(false, Some(&plan.id), Some("CONFIRM_TIME_BASED_2100"))).await);
    assert!(job.effective_at.is_some(), "CUT-1: effective before the answer");
}

#[tokio::test]
async fn api_5_a_repeated_request_answers_with_the_first_job_and_another_body_is_refused() {
    let fleet = fleet().await;
    staff(&fleet, "small", 3).await;
    let me = admin();
    let with = |key: &str, request: Request| Request { idempotency_key: Some(key.to_owned()), ..request };
    let first = accept(&fleet, &me, with("k1", group("small"))).await.unwrap();
    assert_eq!(first.standing.unwrap().remaining, 9);
    let first = started(Ok(first));
    let again = accept(&fleet, &me, with("k1", group("small"))).await.unwrap();
    assert!(again.standing.is_none(), "a repetition takes no slot");
    assert_eq!(started(Ok(again)).id, first.id);
    let other = Request { notify_users: true, ..group("small") };
    assert!(matches!(accept(&fleet, &me, with("k1", other)).await, Err(Refused::KeyReused)));
    assert_ne!(started(accept(&fleet, &me, with("k2", group("small"))).await).id, first.id);
    let somebody = User { id: UserId::parse("somebody").unwrap(), ..admin() };
    assert_ne!(started(accept(&fleet, &somebody, with("k1", group("small"))).await).id, first.id);

    let dry = || with("dry", Request { dry_run: true, ..group("small") });
    let Accepted::Counted { job: one, statistics } = accept(&fleet, &me, dry()).await.unwrap().accepted else {
        panic!("counted")
    };
    let Accepted::Counted { job: two, statistics: same } = accept(&fleet, &me, dry()).await.unwrap().accepted else {
        panic!("counted")
    };
    assert_eq!((one.id, statistics), (two.id, same));
    fleet.clock.advance(TimeDelta::hours(24));
    assert_ne!(started(accept(&fleet, &me, with("k1", group("small"))).await).id, first.id, "after 24 hours");
}

#[tokio::test]
async fn spec_3_of_two_hundred_requests_at_once_exactly_ten_are_accepted() {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let fleet = real(&store, &redis).await;
    staff(&fleet, "busy", 2).await;
    let me = admin();
    let answers = futures::future::join_all((0..200).map(|_| accept(&fleet, &me, group("busy")))).await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    let limited = answers.iter().filter(|answer| matches!(answer, Err(Refused::RateLimited(_)))).count();
    assert_eq!((accepted, limited), (10, 190));
    assert_eq!(fleet.store.jobs_by_time(Some(&me.id), None, 100).await.unwrap().len(), 10);
    let Err(Refused::RateLimited(standing)) = accept(&fleet, &me, group("busy")).await else { panic!("limited") };
    assert_eq!((standing.remaining, standing.reset_seconds), (0, 3_600));
    let other = User { id: UserId::parse("other").unwrap(), ..admin() };
    assert!(accept(&fleet, &other, group("busy")).await.is_ok(), "the limit is each actor's own");
    assert!(accept(&fleet, &me, Request { dry_run: true, ..group("busy") }).await.is_ok(), "dry runs have their own");
    fleet.clock.advance(TimeDelta::hours(1));
    assert!(accept(&fleet, &me, group("busy")).await.is_ok(), "an hour later");
}

#[tokio::test]
async fn authz_2_every_refusal_of_permission_limit_or_key_is_audited() {
    let fleet = fleet().await;
    staff(&fleet, "small", 3).await;
    let nobody = User::unknown(UserId::parse("nobody").unwrap());
    let origin = Origin { source_ip: Some("192.0.2.9".to_owned()), ..Origin::default() };
    let request = Request { origin: origin.clone(), ..group("small") };
    assert!(matches!(accept(&fleet, &nobody, request).await, Err(Refused::Forbidden("batch_logout:execute:group"))));
    let group_admin = User { roles: vec!["group_admin".to_owned()], ..nobody.clone() };
    assert!(matches!(accept(&fleet, &group_admin, group("small")).await, Err(Refused::UnmanagedGroup)));
    assert!(matches!(accept(&fleet, &admin(), emergency()).await, Err(Refused::WrongKey(_))));
    for _ in 0..11 {
        let _ = accept(&fleet, &admin(), group("small")).await;
    }
    let job = JobId::parse("any").unwrap();
    let refused = fleet.canceller().cancel(&nobody, &job, "long enough a reason", &origin).await;
    assert!(matches!(refused, Err(NotCancelled::Refused(Refused::Forbidden(_)))));
    assert!(fleet.desk().request(&nobody, &origin).await.is_err());
    let audit = fleet.store.audit();
    let refusals: Vec<_> = audit.iter().filter(|entry| !entry.success).collect();
    let actions: Vec<Action> = refusals.iter().map(|entry| entry.action).collect();
    assert_eq!(
        actions,
        [
            Action::PermissionDenied,
            Action::PermissionDenied,
            Action::EmergencyKeyVerificationFailed,
            Action::RateLimited,
            Action::PermissionDenied,
            Action::PermissionDenied
        ]
    );
    assert_eq!((refusals[0].origin.source_ip.as_deref(), refusals[0].level), (Some("192.0.2.9"), Level::Warning));
    assert_eq!(audit.iter().filter(|entry| entry.action == Action::BatchLogoutInitiated).count(), 10);
}

/// The digits of the newest mail.
fn digits<S, C>(fleet: &Fleet<S, C>) -> PresentedKey {
    PresentedKey::new(digits_of(&fleet.mailer.sent().last().unwrap().text))
}

fn digits_of(text: &str) -> String {
    let mut runs = text.split(|c: char| !c.is_ascii_digit());
    runs.find(|run| run.len() == 6).expect("six digits").to_owned()
}

fn with_key(key: &PresentedKey) -> Request {
    Request { emergency_key: Some(key.clone()), ..emergency() }
}

#[tokio::test]
async fn ekey_1_a_correct_key_works_once_and_parallel_double_use_gives_one_job() {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let fleet = real(&store, &redis).await;
    staff(&fleet, "co", 3).await;
    let me = admin();
    let sent = fleet.desk().request(&me, &Origin::default()).await.unwrap();
    assert_eq!(sent.expires_at, now() + TimeDelta::minutes(5));
    let mail = fleet.mailer.sent().pop().unwrap();
    assert_eq!(mail.to, "admin@example.com");
    let key = digits(&fleet);
    let answers = futures::future::join_all((0..4).map(|_| accept(&fleet, &me, with_key(&key)))).await;
    let jobs: Vec<Job> = answers.into_iter().filter_map(Result::ok).map(|answer| started(Ok(answer))).collect();
    assert_eq!(jobs.len(), 1, "EKEY-1: consumed by its first use");
    assert!(jobs[0].effective_at.is_some(), "CUT-1: effective before the answer");
    assert_eq!(jobs[0].priority, Priority::Immediate);
    fleet.clock.advance(TimeDelta::hours(25));
    assert!(matches!(accept(&fleet, &me, with_key(&key)).await, Err(Refused::WrongKey(_))), "it is used up");
}

#[tokio::test]
async fn ekey_1_five_wrong_tries_kill_a_key_over_any_number_of_connections_and_an_old_one_is_refused() {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let fleet = real(&store, &redis).await;
    let me = admin();
    let request = async || fleet.desk().request(&me, &Origin::default()).await;
    request().await.unwrap();
    let key = digits(&fleet);
    let wrong = PresentedKey::new("99999x");
    let guesses = futures::future::join_all((0..50).map(|_| accept(&fleet, &me, with_key(&wrong)))).await;
    assert!(guesses.iter().all(|guess| matches!(guess, Err(Refused::WrongKey(_)))));
    assert!(matches!(accept(&fleet, &me, with_key(&key)).await, Err(Refused::WrongKey(_))), "dead after five tries");

    request().await.unwrap();
    let old = digits(&fleet);
    for _ in 0..4 {
        assert!(accept(&fleet, &me, with_key(&wrong)).await.is_err());
    }
    request().await.unwrap();
    let new = digits(&fleet);
    assert!(matches!(accept(&fleet, &me, with_key(&old)).await, Err(Refused::WrongKey(_))), "replaced");
    let Err(NoKey::Refused(Refused::RateLimited(standing))) = request().await else { panic!("three in an hour") };
    assert_eq!((standing.limit.count, standing.minutes()), (3, 60));
    fleet.clock.advance(TimeDelta::minutes(5));
    assert!(matches!(accept(&fleet, &me, with_key(&new)).await, Err(Refused::WrongKey(_))), "expired");
    let other = User { id: UserId::parse("other").unwrap(), ..admin() };
    fleet.clock.advance(TimeDelta::hours(1));
    request().await.unwrap();
    let mine = digits(&fleet);
    assert!(matches!(accept(&fleet, &other, with_key(&mine)).await, Err(Refused::WrongKey(_))), "somebody else's");
    assert!(accept(&fleet, &me, with_key(&mine)).await.is_ok());
    let keyless = accept(&fleet, &me, emergency()).await;
    assert!(matches!(keyless, Err(Refused::RateLimited(_))), "one in 24 hours");
}

#[tokio::test]
async fn ekey_1_a_drill_needs_no_key_a_key_needs_an_address_and_a_mail_that_fails_is_told() {
    let fleet = fleet().await;
    staff(&fleet, "co", 3).await;
    let drill = accept(&fleet, &admin(), Request { dry_run: true, ..emergency() }).await.unwrap();
    let Accepted::Counted { statistics, .. } = drill.accepted else { panic!("counted") };
    assert_eq!(statistics.tokens(), 6);
    let homeless = User { email: None, ..admin() };
    assert!(matches!(fleet.desk().request(&homeless, &Origin::default()).await, Err(NoKey::NoAddress)));
    fleet.mailer.set_down(true);
    let failed = fleet.desk().request(&admin(), &Origin::default()).await;
    assert!(matches!(failed, Err(NoKey::Refused(Refused::Port(_)))));
    let key = PresentedKey::new("123456");
    assert!(!format!("{key:?} {:?}", with_key(&key)).contains("123456"), "a key never shows in a log");
}

#[tokio::test]
async fn cut_1_an_emergency_whose_cutoff_redis_cannot_take_is_accepted_refused_by_the_store_and_told_again() {
    let fleet = fleet().await;
    staff(&fleet, "co", 3).await;
    fleet.desk().request(&admin(), &Origin::default()).await.unwrap();
    fleet.cache.set_down(true);
    let job = started(accept(&fleet, &admin(), with_key(&digits(&fleet))).await);
    assert_eq!(job.effective_at, None, "not claimed");
    let deadline = now() + TimeDelta::minutes(5);
    let failed = fleet.planner().plan(&job.id, deadline).await;
    assert!(failed.is_err(), "to be tried again: {failed:?}");
    assert_eq!(fleet.job(&job.id).await.effective_at, None);
    fleet.cache.set_down(false);
    for chunk in fleet.plan(&job.id).await.into_iter().chain(fleet.queue.take_chunks()) {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    let done = fleet.job(&job.id).await;
    assert!(done.effective_at.is_some());
    assert_eq!(fleet.store.tally(&job.id).await.unwrap().statistics.tokens(), 6);
}

/// How many calls an emergency makes to the store before its answer.
async fn calls_of_an_emergency(users: usize) -> u64 {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let direct = real(&store, &redis).await;
    staff(&direct, "co", users).await;
    let (endpoint, calls) = tests::proxy::start(&store.endpoint, None).await;
    let counted = store.behind(endpoint);
    let fleet = real(&counted, &redis).await;
    fleet.desk().request(&admin(), &Origin::default()).await.unwrap();
    let key = digits(&fleet);
    let (begun, job) = (calls.count(), started(accept(&fleet, &admin(), with_key(&key)).await));
    assert!(job.effective_at.is_some());
    calls.count() - begun
}

#[tokio::test]
async fn cut_2_an_emergency_is_effective_after_as_many_calls_whatever_the_number_of_users_and_tokens() {
    let (few, many) = (calls_of_an_emergency(2).await, calls_of_an_emergency(600).await);
    assert_eq!(few, many);
    assert!(many <= 10, "{many} calls");
}

#[tokio::test]
async fn cut_1_client_and_created_before_jobs_are_effective_before_the_answer_and_last_used_ones_chunk_by_chunk() {
    let fleet = fleet().await;
    staff(&fleet, "co", 3).await;
    let client_id = ClientId::parse("web").unwrap();
    let record = ClientRecord { id: client_id.clone(), name: None, secret_sha256: None, may_introspect: false };
    fleet.store.apply(&Record::upsert(1, Entity::Client(record))).await.unwrap();
    let by_time = |created_before, last_used_before| Conditions::TimeBased {
        created_before,
        last_used_before,
        token_types: Kinds::Both,
    };
    let client = |revoke_refresh_tokens, created_before| Conditions::ClientBased {
        client_id: client_id.clone(),
        revoke_refresh_tokens,
        created_before,
    };
    let moment = Some(now() - TimeDelta::seconds(60));
    for (conditions, at_once) in [
        (client(true, None), true),
        (client(false, None), true),
        (client(true, moment), true),
        (by_time(moment, None), true),
        (by_time(None, moment), false),
        (by_time(moment, moment), false),
    ] {
        let me = User {
            id: UserId::parse(format!("{conditions:?}").chars().take(99).collect::<String>()).unwrap(),
            ..admin()
        };
        let request =
            Request { reason: "long enough a reason".to_owned(), ..Request::of(conditions.clone(), Priority::High) };
        let job = started(accept(&fleet, &me, request).await);
        assert_eq!(job.effective_at.is_some(), at_once, "{conditions:?}");
        for chunk in fleet.plan(&job.id).await {
            assert_eq!(fleet.job(&job.id).await.effective_at.is_some(), at_once, "{conditions:?}: not too early");
            fleet.settle(&chunk, Try::First).await.unwrap();
        }
        assert!(fleet.job(&job.id).await.effective_at.is_some(), "{conditions:?}");
    }
}

#[tokio::test]
async fn the_chunks_of_each_priority_have_queues_of_their_own() {
    let fleet = fleet().await;
    staff(&fleet, "co", 3).await;
    fleet.desk().request(&admin(), &Origin::default()).await.unwrap();
    let urgent = started(accept(&fleet, &admin(), with_key(&digits(&fleet))).await);
    let normal = started(accept(&fleet, &admin(), group("co")).await);
    let high = started(accept(&fleet, &admin(), Request { priority: Priority::High, ..group("co") }).await);
    for (job, priority) in [(urgent, Priority::Immediate), (normal, Priority::Normal), (high, Priority::High)] {
        fleet.planner().plan(&job.id, now() + TimeDelta::minutes(5)).await.unwrap();
        let chunks = fleet.queue.take_chunks_with_priority();
        assert!(!chunks.is_empty() && chunks.iter().all(|(_, of)| *of == priority), "{priority:?}: {chunks:?}");
    }
}

#[tokio::test]
async fn api_1_what_the_directory_does_not_know_is_refused_by_name() {
    let fleet = fleet().await;
    staff(&fleet, "co", 3).await;
    let me = admin();
    let client_id = ClientId::parse("known").unwrap();
    let record = ClientRecord { id: client_id.clone(), name: None, secret_sha256: None, may_introspect: false };
    fleet.store.apply(&Record::upsert(1, Entity::Client(record))).await.unwrap();
    fleet.store.apply(&Record::upsert(1, Entity::User(UserRecord::new(user_name("co", 0))))).await.unwrap();
    let conditional = |filter: Filter| Request {
        reason: "Security audit requirement".to_owned(),
        ..Request::of(Conditions::Conditional(Box::new(filter)), Priority::Normal)
    };
    let clients = |names: &[&str]| names.iter().map(|name| ClientId::parse(*name).unwrap()).collect::<BTreeSet<_>>();
    let unknown = Filter { clients: clients(&["known", "ghost"]), ..Filter::default() };
    let refused = accept(&fleet, &me, conditional(unknown)).await.unwrap_err();
    assert!(matches!(&refused, Refused::UnknownClient(id) if id.as_str() == "ghost"), "{refused}");
    let users = BTreeSet::from([user_name("co", 0), UserId::parse("ghost").unwrap()]);
    let refused = accept(&fleet, &me, conditional(Filter { users, ..Filter::default() })).await.unwrap_err();
    let Refused::Invalid(errors) = refused else { panic!("{refused}") };
    assert_eq!(errors, [FieldError::new("/conditions/users", "there is no user ghost")]);
    let groups = BTreeSet::from([GroupId::parse("ghosts").unwrap()]);
    let refused = accept(&fleet, &me, conditional(Filter { groups, ..Filter::default() })).await.unwrap_err();
    assert!(matches!(refused, Refused::UnknownGroup(_)));
    let known = Filter { clients: clients(&["known"]), ..Filter::default() };
    assert!(accept(&fleet, &me, conditional(known)).await.is_ok());
}

#[tokio::test]
async fn spec_12_the_daily_clean_up_makes_each_of_its_jobs_once_a_day_through_the_same_door() {
    let fleet = fleet().await;
    staff(&fleet, "co", 3).await;
    let policy = CleanUp { inactive_days: Some(30), max_token_age_days: Some(365) };
    let jobs = clean_up(&fleet.acceptor(), policy).await.unwrap();
    assert_eq!(jobs.len(), 2);
    assert_eq!(clean_up(&fleet.acceptor(), policy).await.unwrap(), jobs, "a second run changes nothing");
    let job = fleet.job(&jobs[0]).await;
    assert_eq!(job.initiated_by.id.as_str(), "system:schedule");
    assert!(job.effective_at.is_some(), "a created_before job is effective at once");
    for id in &jobs {
        for chunk in fleet.plan(id).await {
            fleet.settle(&chunk, Try::First).await.unwrap();
        }
        assert_eq!(fleet.job(id).await.status, Status::Completed);
    }
    fleet.clock.advance(TimeDelta::hours(24));
    assert_ne!(clean_up(&fleet.acceptor(), policy).await.unwrap(), jobs, "the next day has its own");
    let off = CleanUp { inactive_days: None, max_token_age_days: None };
    assert!(clean_up(&fleet.acceptor(), off).await.unwrap().is_empty());
}

fn accounted(tally: &Tally) -> (u64, u64, u64) {
    let sum = |of: fn(&domain::job::Statistics) -> u64| of(&tally.statistics) + of(&tally.left);
    (sum(|s| s.access_tokens_revoked), sum(|s| s.refresh_tokens_revoked), sum(|s| s.sessions_terminated))
}

/// Cancels a job of 350 users after so many of its four chunks, and settles the rest of its messages.
async fn cancel_after<S: AllPorts, C: DenylistCache + 'static>(fleet: &Fleet<S, C>, run: &str, settled: usize) {
    staff(fleet, run, 350).await;
    let me = User { id: UserId::parse(format!("{run}-admin")).unwrap(), ..admin() };
    let job = started(accept(fleet, &me, group(run)).await);
    let chunks = fleet.plan(&job.id).await;
    assert_eq!(chunks.len(), 4);
    for chunk in &chunks[..settled] {
        fleet.settle(chunk, Try::First).await.unwrap();
    }
    let cancelled = fleet.canceller().cancel(&me, &job.id, "잘못된 그룹을 골랐습니다", &Origin::default()).await;
    let (stopped, then) = cancelled.unwrap();
    assert_eq!(stopped.status, Status::Cancelled);
    for chunk in &chunks {
        fleet.settle(chunk, Try::First).await.unwrap();
    }
    let tally = fleet.store.tally(&job.id).await.unwrap();
    assert_eq!(tally.statistics, then.statistics, "API-7: after the answer no chunk starts");
    assert_eq!(tally.statistics.total_users_affected, (settled * 100).min(350) as u64);
    assert_eq!(accounted(&tally), (350, 350, 350), "API-7: revoked + not revoked = planned");
    assert_eq!((tally.done, tally.cancelled), (settled as u64, 4 - settled as u64));
    assert!(!fleet.store.open_jobs().await.unwrap().contains(&job.id), "all is counted");
    let again = fleet.canceller().cancel(&me, &job.id, "one more time, please", &Origin::default()).await;
    assert!(matches!(again, Err(NotCancelled::Ended("cancelled"))));
}

#[tokio::test]
async fn api_7_cancelling_at_the_beginning_midway_and_at_the_last_chunk_accounts_for_every_row() {
    let fleet = fleet().await;
    for settled in 0..4 {
        cancel_after(&fleet, &format!("stop{settled}"), settled).await;
    }
    let (store, redis) = (Store::start().await, RedisServer::start());
    cancel_after(&real(&store, &redis).await, "real", 2).await;
}

#[tokio::test]
async fn api_7_a_finished_unknown_or_unplanned_job_is_conflict_not_found_and_nothing() {
    let fleet = fleet().await;
    staff(&fleet, "co", 3).await;
    let me = admin();
    let cancel = async |id: &JobId| fleet.canceller().cancel(&me, id, "long enough a reason", &Origin::default()).await;
    assert!(matches!(cancel(&JobId::parse("ghost").unwrap()).await, Err(NotCancelled::Unknown)));
    let job = started(accept(&fleet, &me, group("co")).await);
    let short = fleet.canceller().cancel(&me, &job.id, "oops", &Origin::default()).await;
    assert!(matches!(short, Err(NotCancelled::Refused(Refused::Invalid(_)))));
    let (stopped, tally) = cancel(&job.id).await.unwrap();
    assert_eq!((stopped.plan.chunks, tally), (0, Tally::default()));
    assert!(fleet.plan(&job.id).await.is_empty(), "a cancelled job is not planned");
    let by_time =
        Conditions::TimeBased { created_before: Some(now()), last_used_before: None, token_types: Kinds::Both };
    let dry = Job::new(JobId::parse("dry").unwrap(), by_time, (&me).into(), "counts only".to_owned(), now());
    let dry = Job { dry_run: true, ..dry };
    fleet.store.create(NewJob::plain(&dry)).await.unwrap();
    let chunks = fleet.plan(&dry.id).await;
    cancel(&dry.id).await.unwrap();
    assert!(!fleet.store.open_jobs().await.unwrap().contains(&dry.id), "a dry run that is called off is done with");
    for chunk in chunks {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    assert_eq!(fleet.store.tally(&dry.id).await.unwrap(), Tally::default(), "and nobody goes on counting");
    let done = started(accept(&fleet, &me, group("co")).await);
    for chunk in fleet.plan(&done.id).await {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    assert!(matches!(cancel(&done.id).await, Err(NotCancelled::Ended("completed"))));
    let entries = fleet.store.audit();
    assert_eq!(entries.iter().filter(|entry| entry.action == Action::BatchLogoutCancelled).count(), 2);
}

/// Workers at a whole-table job on real stores, with a cancel in the middle of them.
#[tokio::test(flavor = "multi_thread")]
async fn api_7_a_cancel_that_races_with_workers_leaves_exact_numbers() {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let fleet = real(&store, &redis).await;
    staff(&fleet, "race", 400).await;
    let me = admin();
    fleet.desk().request(&me, &Origin::default()).await.unwrap();
    let job = started(accept(&fleet, &me, with_key(&digits(&fleet))).await);
    let chunks = fleet.plan(&job.id).await;
    let (settler, deadline) = (fleet.settler(), now() + TimeDelta::hours(1));
    let work = futures::future::join_all(chunks.iter().map(|chunk| settler.settle(chunk, Try::First, deadline)));
    let canceller = fleet.canceller();
    let cancel = async {
        tokio::task::yield_now().await;
        canceller.cancel(&me, &job.id, "long enough a reason", &Origin::default()).await
    };
    let (settled, stopped) = tokio::join!(work, cancel);
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    let tally = fleet.store.tally(&job.id).await.unwrap();
    assert_eq!(accounted(&tally), (400, 400, 400), "API-7: revoked + not revoked = planned ({stopped:?})");
    let rows = company::scan(fleet.store.as_ref(), "race", 400, &job.id).await;
    let revoked: u64 = rows.values().map(|facts| facts.access_tokens + facts.refresh_tokens).sum();
    assert_eq!(revoked, tally.statistics.tokens(), "SCOPE-7: the numbers are the rows'");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn api_9_a_cursor_of_another_list_caller_or_day_is_refused(garbage in "\\PC{0,60}", other in "[a-z]{1,8}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fleet = fleet().await;
            staff(&fleet, "co", 2).await;
            let me = admin();
            for _ in 0..3 {
                started(accept(&fleet, &me, group("co")).await);
                fleet.clock.advance(TimeDelta::seconds(1));
            }
            let lister = fleet.lister();
            let list = async |user: &User, filter: domain::lists::Filter, cursor: Option<&str>| {
                lister.jobs(user, filter, 2, cursor).await
            };
            let first = list(&me, domain::lists::Filter::default(), None).await.unwrap();
            let cursor = first.next_cursor.clone().unwrap();
            let second = list(&me, domain::lists::Filter::default(), Some(&cursor)).await.unwrap();
            assert_eq!((first.items.len(), second.items.len(), second.next_cursor.is_none()), (2, 1, true));
            let stranger = User { id: UserId::parse(other).unwrap(), ..admin() };
            let narrower = domain::lists::Filter { status: Some(Status::Failed), ..Default::default() };
            assert!(list(&me, domain::lists::Filter::default(), Some(&garbage)).await.is_err());
            assert!(list(&stranger, domain::lists::Filter::default(), Some(&cursor)).await.is_err());
            assert!(list(&me, narrower, Some(&cursor)).await.is_err());
            fleet.clock.advance(TimeDelta::hours(25));
            assert!(list(&me, domain::lists::Filter::default(), Some(&cursor)).await.is_err());
        });
    }
}

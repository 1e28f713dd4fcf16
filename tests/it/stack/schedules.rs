//! The scheduled work (spec §12) on the stack: from its files, from its schedules, twice, and killed half-way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use adapters::s3::S3Heads;
use chrono::TimeDelta;
use domain::audit::Action;
use domain::audit::check::Examiner;
use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::directory::Actor;
use domain::ids::{GroupId, JobId, UserId};
use domain::job::{ChunkOutcome, ChunkResult, PlanCursor, Statistics, Status};
use domain::ports::{CacheAnswer, DenylistCache as _, DenylistStore as _, JobStore as _, NewJob};
use domain::testing::contract;
use domain::time::{Clock as _, Epoch, SystemClock};
use ops::stack::Stack;
use serde_json::{Value, json};
use tests::environment::{root, stack, unique};
use tests::function::{Function, Outcome};
use tests::invoke::{call, invoke, logged};
use tests::proxy::{self, Kill};
use tests::store;

/// The files of `events/scheduled/`, by name.
fn files() -> BTreeMap<String, Value> {
    let folder = std::fs::read_dir(root().join("events/scheduled")).unwrap();
    let read = |path: std::path::PathBuf| {
        let event = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), event)
    };
    folder.map(|file| read(file.unwrap().path())).collect()
}

async fn run(stack: &Stack, file: &str) -> Value {
    invoke(stack, &stack.scheduled, &format!("scheduled/{file}")).await
}

/// What is deployed: each schedule, with what it sends to which function.
async fn schedules(stack: &Stack) -> Vec<Value> {
    let listed = call(stack, "scheduler", "GET", "/schedules", Vec::new()).await.json;
    let mut found = Vec::new();
    for summary in listed["Schedules"].as_array().unwrap() {
        let path = format!("/schedules/{}", summary["Name"].as_str().unwrap());
        found.push(call(stack, "scheduler", "GET", &path, Vec::new()).await.json);
    }
    found.retain(|schedule| schedule["Target"]["Arn"].as_str().unwrap().ends_with(&stack.scheduled));
    found
}

fn input(schedule: &Value) -> Value {
    serde_json::from_str(schedule["Target"]["Input"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn every_schedule_sends_the_event_of_a_file_and_every_file_has_its_schedule() {
    let stack = stack();
    let mut deployed: Vec<String> =
        schedules(&stack).await.iter().map(|schedule| input(schedule).to_string()).collect();
    let mut kept: Vec<String> = files().values().map(Value::to_string).collect();
    deployed.sort();
    kept.sort();
    assert_eq!(deployed, kept, "template.yaml, and events/scheduled");
}

/// Each schedule is copied with its target, to be due at once: nobody waits for the first of the month.
#[tokio::test]
async fn every_schedule_does_its_work_when_it_is_due() {
    let stack = stack();
    let now = SystemClock.now();
    let due = (now - TimeDelta::seconds(5)).format("at(%Y-%m-%dT%H:%M:%S)").to_string();
    let mut tasks = Vec::new();
    for schedule in schedules(&stack).await {
        let copy = json!({
            "ScheduleExpression": due,
            "FlexibleTimeWindow": { "Mode": "OFF" },
            "ActionAfterCompletion": "DELETE",
            "Target": schedule["Target"],
        });
        let path = format!("/schedules/{}", unique("due"));
        let made = call(&stack, "scheduler", "POST", &path, copy.to_string().into_bytes()).await;
        assert!(made.status.is_success(), "{}", made.json);
        tasks.push(serde_json::from_value::<scheduled::Task>(input(&schedule)).unwrap());
    }
    let begun = Instant::now();
    for task in tasks {
        let task = format!("\"task\":\"{task:?}\"");
        let done = |line: &String| line.contains("\"scheduled task done\"") && line.contains(&task);
        while !logged(&stack, &stack.scheduled, now).await.iter().any(done) {
            assert!(begun.elapsed().as_secs() < 90, "{task} was not done by its schedule");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
}

/// A job whose last worker died before it could close it.
async fn left_open(stack: &Stack, name: &str) -> JobId {
    let (store, now) = (stack.store().await, SystemClock.now());
    let mut job = contract::job(name, &GroupId::parse(name).unwrap(), now);
    job.initiated_by = Actor { id: UserId::parse(name).unwrap(), email: None, name: None };
    (job.status, job.effective_at, job.emitted) = (Status::Processing, Some(now), true);
    job.plan = PlanCursor { chunks: 1, users: 1, frozen: true, last_user: None };
    store.create(NewJob::plain(&job)).await.unwrap();
    let done = ChunkResult { outcome: ChunkOutcome::Done, ..ChunkResult::done(Statistics::default()) };
    store.commit_chunk(&job.id, 0, None, done).await.unwrap();
    job.id
}

/// A cutoff that no token can match any more, and one that some can, of a time so long ago that none does.
async fn cutoffs(stack: &Stack, name: &str) -> (Cutoff, Cutoff) {
    let now = Epoch::from(SystemClock.now());
    let cutoff = |name: &str, retires_at| Cutoff {
        scope: Scope::Everything,
        basis: Basis::SignIn,
        kinds: Kinds::Both,
        // A list of its own, so that no other cutoff hides it.
        spares: Spares { listed_users: true, ..Spares::default() },
        at: Epoch(1),
        job: JobId::parse(name).unwrap(),
        retires_at,
    };
    // The clocks of the function and of a verifier may differ by an hour.
    let (over, alive) = (cutoff(name, now.plus(-3_700)), cutoff(&format!("{name}-alive"), now.plus(-3_000)));
    stack.store().await.put_cutoffs(&[over.clone(), alive.clone()]).await.unwrap();
    (over, alive)
}

async fn listed(stack: &Stack, cutoff: &Cutoff) -> bool {
    let token = contract::facts(&unique("t"), "t", SystemClock.now().timestamp());
    stack.store().await.ask(&token).await.unwrap().cutoffs.iter().any(|listed| listed.job == cutoff.job)
}

async fn entries_of(stack: &Stack, job: &JobId) -> Vec<Action> {
    use domain::audit::{JobTrail as _, TrailLine};
    let found = stack.store().await.of_job(job, None, 10).await.unwrap().items;
    found.into_iter().map(|found| TrailLine::from(found).entry.unwrap().0.action).collect()
}

#[tokio::test]
async fn every_task_changes_nothing_when_it_is_run_a_second_time() {
    let stack = stack();
    let job = left_open(&stack, &unique("twice")).await;
    let (over, alive) = cutoffs(&stack, &unique("twice")).await;
    run(&stack, "redrive.json").await;
    assert_eq!(run(&stack, "redrive.json").await["closed"], 0);
    assert_eq!(entries_of(&stack, &job).await, [Action::BatchLogoutCompleted], "closed, once");

    run(&stack, "cache-guard.json").await;
    assert_eq!(run(&stack, "cache-guard.json").await, json!({ "outcome": "complete" }));
    let verified = json!({ "outcome": "complete", "concerns": [] });
    assert_eq!(run(&stack, "verify-cache.json").await, verified);
    assert_eq!(run(&stack, "verify-cache.json").await, verified);

    assert!(run(&stack, "retire-cutoffs.json").await["retired"].as_u64() >= Some(1));
    assert_eq!(run(&stack, "retire-cutoffs.json").await, json!({ "retired": 0 }));
    assert_eq!((listed(&stack, &over).await, listed(&stack, &alive).await), (false, true));

    let cleaned = run(&stack, "clean-up.json").await;
    assert_eq!(run(&stack, "clean-up.json").await, cleaned);

    run(&stack, "publish-audit-heads.json").await;
    assert_eq!(run(&stack, "publish-audit-heads.json").await["number"], Value::Null, "nothing new");
    while run(&stack, "check-audit.json").await["through"] != true {}
    let checked = run(&stack, "check-audit.json").await;
    assert_eq!((&checked["through"], &checked["entries"]), (&json!(true), &json!(0)));
}

#[tokio::test]
async fn cut_5_a_cache_that_is_set_up_to_forget_is_told_apart_before_it_forgets() {
    let stack = stack();
    let service = aws_sdk_elasticache::Client::new(&stack.aws().await);
    let groups = service.describe_replication_groups().send().await.unwrap().replication_groups.unwrap();
    let [group] = &groups[..] else { panic!("one cache: {groups:?}") };
    let node = group.member_clusters()[0].clone();
    let nodes = service.describe_cache_clusters().cache_cluster_id(node).send().await.unwrap();
    let parameters = nodes.cache_clusters()[0].cache_parameter_group().unwrap();
    let set = async |policy: &str| {
        let policy = aws_sdk_elasticache::types::ParameterNameValue::builder()
            .parameter_name("maxmemory-policy")
            .parameter_value(policy)
            .build();
        let change = service.modify_cache_parameter_group().parameter_name_values(policy);
        let change = change.cache_parameter_group_name(parameters.cache_parameter_group_name().unwrap());
        change.send().await.unwrap();
    };
    set("allkeys-lru").await;
    let found = run(&stack, "verify-cache.json").await;
    set("noeviction").await;
    let concerns = found["concerns"].as_array().unwrap();
    assert!(!concerns.is_empty(), "{found}");
    for concern in concerns {
        let said = concern.as_str().unwrap();
        assert!(said.ends_with("is allkeys-lru, not noeviction"), "{said}");
    }
    assert_eq!(run(&stack, "verify-cache.json").await["concerns"], json!([]));
}

/// The scheduled function's own binary, as it is deployed, but behind a proxy that kills it.
pub fn variables(stack: &Stack, endpoint: &str) -> HashMap<String, String> {
    let mut variables = store::variables(endpoint);
    let (tables, queues) = (&stack.tables, &stack.queues);
    let ours = [
        ("AWS_REGION", &stack.region),
        ("AWS_ACCESS_KEY_ID", &stack.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &stack.secret_access_key),
        ("TOKENS_TABLE", &tables.tokens),
        ("DIRECTORY_TABLE", &tables.directory),
        ("JOBS_TABLE", &tables.jobs),
        ("DENYLIST_TABLE", &tables.denylist),
        ("AUDIT_TABLE", &tables.audit),
        ("AUDIT_HEADS_BUCKET", &stack.audit_heads_bucket),
        ("REPORTS_BUCKET", &stack.reports_bucket),
        ("REDIS_URL", &stack.redis_url),
        ("PLAN_QUEUE_URL", &queues.plan),
        ("PLAN_QUEUE_URL_HIGH", &queues.plan_high),
        ("PLAN_QUEUE_URL_IMMEDIATE", &queues.plan_immediate),
        ("CHUNK_QUEUE_URL", &queues.chunk),
        ("CHUNK_QUEUE_URL_HIGH", &queues.chunk_high),
        ("CHUNK_QUEUE_URL_IMMEDIATE", &queues.chunk_immediate),
    ];
    variables.extend(ours.map(|(name, value)| (name.to_owned(), value.clone())));
    // Nobody's token is as old as that.
    variables.insert("CLEAN_UP_MAX_TOKEN_AGE_DAYS".to_owned(), "3650".to_owned());
    // As they are deployed.
    variables.insert("AUDITOR_EMAILS".to_owned(), "auditor@example.com=ko,audit-office@example.com".to_owned());
    variables
}

/// Runs a task and kills it at one of its calls to AWS, before or after it is done. False if it had not so many.
pub async fn killed(stack: &Stack, task: &Value, kill: Kill) -> bool {
    let (endpoint, calls) = proxy::start(&stack.endpoint_url, Some(kill)).await;
    let mut function = Function::start("scheduled", &variables(stack, &endpoint)).await;
    function.ready().await;
    calls.aim_at(function.pid());
    match function.invoke(task).await {
        Outcome::Failed(why) if why.contains("signal: 9") => true,
        Outcome::Answered(_) => false,
        Outcome::Failed(why) => panic!("{task} at {kill:?}: {why}"),
    }
}

/// Kills a task at its calls: at each of them, or, if there are many, at the first, the last and some between. What a
/// run leaves behind is checked after the next one. Says how often it was killed.
async fn killed_everywhere(stack: &Stack, file: &str, mut left: impl AsyncFnMut(bool)) -> u64 {
    let task = &files()[file];
    left(false).await;
    let (endpoint, calls) = proxy::start(&stack.endpoint_url, None).await;
    let mut function = Function::start("scheduled", &variables(stack, &endpoint)).await;
    function.ready().await;
    calls.aim_at(0);
    let Outcome::Answered(_) = function.invoke(task).await else { panic!("{file} fails") };
    let total = calls.count();
    let at_the_edges = |number: &u64| *number <= 4 || number + 4 > total || number.is_multiple_of(12);
    let mut times = 0;
    for number in (1..=total).filter(at_the_edges) {
        left(false).await;
        // What the first has done, the second need not do: it may have fewer calls.
        for kill in [Kill::Before(number), Kill::After(number)] {
            times += u64::from(killed(stack, task, kill).await);
        }
        run(stack, file).await;
        left(true).await;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_killed_at_any_call_is_finished_by_the_next_and_nothing_is_written_down_twice() {
    let stack = stack();
    let mut job = None;
    let times = killed_everywhere(&stack, "redrive.json", async |after| {
        if after {
            let closed: &JobId = job.as_ref().unwrap();
            assert_eq!(entries_of(&stack, closed).await, [Action::BatchLogoutCompleted]);
        } else {
            job = Some(left_open(&stack, &unique("killed")).await);
        }
    });
    let times = times.await;
    assert!(times >= 4, "{times}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_killed_at_any_call_leaves_no_cache_that_is_believed_and_the_next_finishes_it() {
    let stack = stack();
    let cache = stack.cache().await.unwrap();
    let client = redis::Client::open(stack.redis_url.clone()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let token = contract::facts(&unique("x"), "t", SystemClock.now().timestamp());
    let times = killed_everywhere(&stack, "cache-guard.json", async |after| {
        if after {
            assert!(matches!(cache.ask(&token).await.unwrap(), CacheAnswer::Complete(_)));
        } else {
            redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
        }
    });
    let times = times.await;
    assert!(times >= 3, "{times}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retiring_killed_at_any_call_forgets_what_it_must_and_nothing_else() {
    let stack = stack();
    let mut both = None;
    let times = killed_everywhere(&stack, "retire-cutoffs.json", async |after| {
        if after {
            let (over, alive) = both.as_ref().unwrap();
            assert_eq!((listed(&stack, over).await, listed(&stack, alive).await), (false, true));
        } else {
            both = Some(cutoffs(&stack, &unique("killed")).await);
        }
    });
    let times = times.await;
    assert!(times >= 2, "{times}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_killed_again_and_again_makes_one_job_a_day() {
    let stack = stack();
    let task = &files()["clean-up.json"];
    let mut moments = 0;
    // Each run goes on where the one before was killed.
    while killed(&stack, task, Kill::Before(moments + 1)).await && killed(&stack, task, Kill::After(moments + 1)).await
    {
        moments += 1;
    }
    assert!(moments >= 1, "{moments}");
    let mut function = Function::start("scheduled", &variables(&stack, &stack.endpoint_url)).await;
    let Outcome::Answered(first) = function.invoke(task).await else { panic!("the clean-up fails") };
    assert_eq!(function.invoke(task).await, Outcome::Answered(first.clone()));
    let [job] = &first["jobs"].as_array().unwrap()[..] else { panic!("one job: {first}") };
    let job = JobId::parse(job.as_str().unwrap()).unwrap();
    let begun = entries_of(&stack, &job).await.into_iter().filter(|action| *action == Action::BatchLogoutInitiated);
    assert_eq!(begun.count(), 1, "accepted once");
    let actor = Actor::schedule().id;
    let mut made = stack.store().await.jobs_by_time(Some(&actor), None, 100).await.unwrap();
    let midnight = SystemClock.now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    made.retain(|job| job.created_at >= midnight);
    assert_eq!(made.iter().map(|job| &job.id).collect::<Vec<_>>(), [&job], "one job, however often it was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_2_a_publication_or_a_check_killed_at_any_call_is_finished_by_the_next() {
    let stack = stack();
    let heads: Arc<S3Heads> = Arc::new(S3Heads::new(&stack.aws().await, stack.audit_heads_bucket.clone()));
    let examiner = Examiner { trail: stack.store().await, heads };
    let published = killed_everywhere(&stack, "publish-audit-heads.json", async |after| {
        if after {
            assert_eq!(examiner.examine().await.unwrap().verdict.defects, []);
        } else {
            // Something new to publish.
            left_open(&stack, &unique("killed")).await;
            run(&stack, "redrive.json").await;
        }
    });
    let published = published.await;
    assert!(published >= 3, "{published}");

    // A day is checked once, so that it is killed on the way to its end.
    let task = &files()["check-audit.json"];
    for number in [2, 3, 5] {
        killed(&stack, task, Kill::Before(number)).await;
        killed(&stack, task, Kill::After(number)).await;
    }
    let begun = Instant::now();
    while run(&stack, "check-audit.json").await["through"] != true {
        assert!(begun.elapsed().as_secs() < 60, "the check does not end");
    }
}

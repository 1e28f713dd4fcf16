//! The most memory that the real planner and the real worker ever use, for 10^6 tokens against 10^4. What varies is the
//! number of users; each holds four tokens.

use std::collections::HashMap;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use chrono::TimeDelta;
use domain::conditions::Conditions;
use domain::cutoff::Kinds;
use domain::job::Job;
use domain::messages::{ChunkMessage, PlanMessage};
use domain::ports::{JobStore as _, NewJob};
use domain::time::{Clock as _, SystemClock};

use super::figure::{Figure, number};
use super::job::{Company, Site, plan};
use crate::environment::unique;
use crate::function::{Function, Outcome};
use crate::sink::sink;
use crate::store::variables;

const TOKENS_PER_USER: u32 = 4;
/// Every so many tokens one is old enough for the worker's job.
const OLD_EVERY: u32 = 100;
const FEW: u32 = 2_500;
const MANY: u32 = 250_000;

fn event(message: &impl serde::Serialize) -> SqsEvent {
    let mut record = SqsMessage::default();
    record.message_id = Some("m".to_owned());
    record.body = Some(serde_json::to_string(message).unwrap());
    let mut event = SqsEvent::default();
    event.records = vec![record];
    event
}

async fn deliver(function: &mut Function, message: &impl serde::Serialize) {
    let Outcome::Answered(answer) = function.invoke(&event(message)).await else { panic!("the function died") };
    assert_eq!(answer["batchItemFailures"].as_array().map(Vec::len), Some(0), "{answer}");
}

fn megabytes(function: &Function) -> f64 {
    number(function.peak_memory_kib()) / 1e3
}

/// A planner that plans a job of all users by name, in megabytes.
async fn planner(site: &Site, company: Company, variables: &HashMap<String, String>) -> f64 {
    let job = company.job(&unique("job"), SystemClock.now());
    site.fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let mut planner = Function::start("plan-job", variables).await;
    deliver(&mut planner, &PlanMessage::new(job.id.clone())).await;
    let done = site.fleet.job(&job.id).await;
    assert_eq!((done.plan.users, done.emitted), (u64::from(company.users), true));
    megabytes(&planner)
}

/// A worker that looks at all tokens and ends the old ones, in megabytes.
async fn worker(site: &Site, company: Company, variables: &HashMap<String, String>) -> f64 {
    let now = SystemClock.now();
    let created_before = Some(now - TimeDelta::hours(12));
    let conditions = Conditions::TimeBased { created_before, last_used_before: None, token_types: Kinds::Both };
    let job = Job { conditions, ..company.job(&unique("job"), now) };
    let chunks = plan(&site.fleet, &job).await;
    let mut worker = Function::start("revoke-chunk", variables).await;
    for chunk in chunks {
        deliver(&mut worker, &ChunkMessage::new(chunk)).await;
    }
    let ended = site.fleet.store.tally(&job.id).await.unwrap().statistics;
    assert_eq!(ended.tokens(), u64::from(company.all() / OLD_EVERY));
    megabytes(&worker)
}

async fn both(users: u32) -> (f64, f64) {
    let company = Company { old_every: Some(OLD_EVERY), ..Company::of("rs", users, TOKENS_PER_USER) };
    let (site, queue) = (Site::with(company).await, sink().await);
    let mut variables = variables(&site.store.endpoint);
    variables.extend(
        [
            ("AWS_ENDPOINT_URL_SQS", queue.clone()),
            ("PLAN_QUEUE_URL", format!("{queue}/plan")),
            ("CHUNK_QUEUE_URL", format!("{queue}/chunk")),
            ("REDIS_URL", site.redis.url()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    (planner(&site, company, &variables).await, worker(&site, company, &variables).await)
}

/// Measures.
pub async fn run() -> Vec<Figure> {
    let (few, many) = (both(FEW).await, both(MANY).await);
    let tokens = |users| users * TOKENS_PER_USER;
    let figure =
        |name: String, many, few| Figure::measured(name, "MB", format!("{} tokens", tokens(FEW)), vec![(many, few)]);
    vec![
        figure(format!("plan-job: most memory, {MANY} users with {} tokens", tokens(MANY)), many.0, few.0),
        figure(
            format!("revoke-chunk: most memory, {} tokens looked at, every hundredth ended", tokens(MANY)),
            many.1,
            few.1,
        ),
    ]
}

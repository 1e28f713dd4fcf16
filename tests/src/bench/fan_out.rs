//! The planner's fan-out against bare sends of as many messages.

use std::time::Instant;

use adapters::sqs::Sqs;
use domain::conditions::Conditions;
use domain::cutoff::Kinds;
use domain::job::{ChunkRef, Job, PlanCursor};
use domain::messages::ChunkMessage;
use domain::plan::Planner;
use domain::ports::{JobStore as _, NewJob};
use domain::settings::Queues;
use domain::time::{Clock as _, SystemClock};
use futures::stream::{self, StreamExt as _};

use super::figure::{Figure, number};
use super::job::{Company, Site};
use crate::environment::unique;
use crate::sink::sink;

/// As many as a job has at most.
const MESSAGES: u32 = 1_000;
const BATCH: usize = 10;
const AT_ONCE: usize = 8;
const ROUNDS: usize = 9;

/// A job of everything, planned but for its messages.
fn planned(id: &str) -> Job {
    let now = SystemClock.now();
    let conditions =
        Conditions::TimeBased { created_before: Some(now), last_used_before: None, token_types: Kinds::Both };
    let plan = PlanCursor { chunks: MESSAGES, frozen: true, ..PlanCursor::default() };
    Job { conditions, plan, effective_at: Some(now), ..Company::of("fo", 0, 0).job(id, now) }
}

/// Messages a second, sent by the planner.
async fn by_planner(planner: &Planner, site: &Site) -> f64 {
    let job = planned(&unique("job"));
    site.fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let begun = Instant::now();
    planner.plan(&job.id, SystemClock.now() + chrono::TimeDelta::minutes(1)).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(site.fleet.job(&job.id).await.emitted);
    number(MESSAGES) / seconds
}

/// Messages a second, sent by a client that does nothing else.
async fn bare(client: &aws_sdk_sqs::Client, queue: &str) -> f64 {
    let job = planned(&unique("job"));
    let begun = Instant::now();
    stream::iter((0..MESSAGES).collect::<Vec<_>>().chunks(BATCH).map(<[u32]>::to_vec))
        .for_each_concurrent(AT_ONCE, |numbers| {
            let entries = numbers.into_iter().enumerate().map(|(index, number)| {
                let chunk = ChunkRef { job_id: job.id.clone(), number, first_user: None };
                let body = serde_json::to_string(&ChunkMessage::new(chunk)).unwrap();
                let entry = aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder().id(index.to_string());
                entry.message_body(body).build().unwrap()
            });
            let send = client.send_message_batch().queue_url(queue).set_entries(Some(entries.collect()));
            async move {
                send.send().await.unwrap();
            }
        })
        .await;
    number(MESSAGES) / begun.elapsed().as_secs_f64()
}

/// Measures, in turn. The queue takes everything and keeps nothing.
pub async fn run() -> Vec<Figure> {
    let (site, endpoint) = (Site::start().await, sink().await);
    let queue = format!("{endpoint}/chunk");
    let aws = adapters::aws::local(&endpoint, "us-east-1", "test", "test").await;
    let queues = Queues { normal: queue.clone(), high: queue.clone(), immediate: queue.clone() };
    let sqs = std::sync::Arc::new(Sqs::new(&aws, Some(queues.clone()), Some(queues)));
    let mut planner = Planner { queue: sqs, ..site.fleet.planner() };
    planner.effector.clock = std::sync::Arc::new(SystemClock);
    let client = aws_sdk_sqs::Client::new(&aws);
    // Both have their connections.
    by_planner(&planner, &site).await;
    bare(&client, &queue).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let floor = bare(&client, &queue).await;
        rounds.push((by_planner(&planner, &site).await, floor));
    }
    let name = format!("chunk messages sent per second by the planner, {MESSAGES} of a job");
    vec![Figure::measured(name, "/s", "bare sends of as many, ten to a request", rounds)]
}

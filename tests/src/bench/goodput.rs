//! How much of what one partition of DynamoDB can take settling gets done: the whole table of tokens behind the limit of a
//! partition, 1,000 write units a second, with a tenth of a second saved up at most.

use std::time::Instant;

use domain::job::Status;
use domain::time::{Clock as _, SystemClock};

use super::figure::{Figure, number};
use super::job::{Company, Site, plan, settle, settler};
use super::throttle;
use crate::environment::unique;

const LIMIT: f64 = 1_000.0;
const ROUNDS: usize = 3;

/// Measures. The workers' own way with refusals is what is measured: the SDK's retries, and the queue's.
pub async fn run() -> Vec<Figure> {
    let company = Company::of("gp", 1_500, 4);
    let (mut goodput, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let plain = Site::with(company).await;
        let (endpoint, limit) = throttle::start(&plain.store.endpoint, LIMIT).await;
        let store = plain.store.behind(endpoint);
        let dynamo = store.dynamo().await;
        let site = Site::over(store, dynamo).await;
        let job = company.job(&unique("job"), SystemClock.now());
        let chunks = plan(&site.fleet, &job).await;
        let settler = settler(&site.fleet);
        limit.counted();
        let begun = Instant::now();
        settle(&settler, &chunks).await;
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(site.fleet.job(&job.id).await.status, Status::Completed);
        let (taken, too_much) = limit.counted();
        assert_eq!(taken, u64::from(company.all()), "every row is written once");
        goodput.push((number(taken) / seconds, LIMIT));
        refused.push((number(too_much), number(taken)));
    }
    vec![
        Figure::measured("token rows settled per second behind one partition's limit", "/s", "the limit", goodput),
        Figure::measured("updates that the limit refuses on the way", "", "updates it takes", refused),
    ]
}

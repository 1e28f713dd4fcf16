//! What a million revoked tokens cost on AWS by the units counted here, beside the naive design's.
//!
//! The naive design ends tokens one by one, each by a message of its own: an entry on the denylist for each token, and a
//! transaction of the token's row and the job's counter, so that the numbers are right. Sessions are updated one by
//! one. Its messages are sent, received and deleted one by one, and each is an invocation.
//!
//! Prices: on demand, us-east-1, as the service's pricing pages say in November 2026 (DynamoDB's since November 2024), without any
//! free tier. Left out is what does not grow with the tokens: the cache's nodes, storage, logs, alarms.

use std::time::Instant;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};

use super::figure::{Figure, number};
use super::job::CHUNKS_AT_ONCE;
use super::meter::{Count, Meter};
use super::settle;
use crate::store::Store;

/// Dollars for a million write units, read units, SQS requests and invocations; and for a GB-second, on arm64.
const WRITE_UNITS: f64 = 0.625;
const READ_UNITS: f64 = 0.125;
const SQS_REQUESTS: f64 = 0.40;
const INVOCATIONS: f64 = 0.20;
const GB_SECOND: f64 = 0.000_013_333_4;
/// A function's memory (`MemorySize` in `template.yaml`).
const GIGABYTES: f64 = 0.5;
/// Messages in one request that sends them; one that receives or deletes them has as many as an invocation.
const SENT_AT_ONCE: f64 = 10.0;

/// Tokens that the naive design ends here.
const TOKENS: u32 = 1_000;
/// Tokens of each session, in both.
const TOKENS_PER_SESSION: u32 = 2;

/// What a number of tokens took.
struct Bill {
    tokens: f64,
    units: Count,
    sqs: f64,
    invocations: f64,
    seconds: f64,
}

impl Bill {
    /// Dollars for a million tokens: DynamoDB, and all of it.
    fn per_million(&self) -> (f64, f64) {
        let dynamo = self.units.written * WRITE_UNITS + self.units.read * READ_UNITS;
        let lambda = self.invocations * INVOCATIONS + self.seconds * GIGABYTES * GB_SECOND * 1e6;
        (dynamo / self.tokens, (dynamo + self.sqs * SQS_REQUESTS + lambda) / self.tokens)
    }
}

async fn ours(store: &Store) -> Bill {
    let run = settle::one(store, "cost").await;
    let chunks = number(run.chunks);
    let per_invocation = number(CHUNKS_AT_ONCE);
    Bill {
        tokens: number(settle::TOKENS),
        units: Count {
            written: run.planned.written + run.settled.written,
            read: run.planned.read + run.settled.read,
            ..Count::default()
        },
        sqs: chunks / SENT_AT_ONCE + 2.0 * chunks / per_invocation,
        invocations: chunks / per_invocation,
        seconds: run.seconds,
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

async fn put(client: &Client, table: &str, keys: [(&str, &str); 2], rest: &[(&str, AttributeValue)]) {
    let mut put = client.put_item().table_name(table);
    for (name, value) in keys {
        put = put.item(name, text(value));
    }
    for (name, value) in rest {
        put = put.item(*name, value.clone());
    }
    put.send().await.unwrap();
}

/// One update of a row, and of a counter in the same transaction.
fn update(table: &str, keys: [(&str, &str); 2], expression: &str, value: AttributeValue) -> TransactWriteItem {
    let mut update = Update::builder().table_name(table).update_expression(expression);
    for (name, value) in keys {
        update = update.key(name, text(value));
    }
    let update = update.expression_attribute_values(":value", value).build().unwrap();
    TransactWriteItem::builder().update(update).build()
}

async fn naive(store: &Store) -> Bill {
    let meter = Meter::default();
    let client = meter.client(store).await;
    let number_of = |number: u32| AttributeValue::N(number.to_string());
    for token in 0..TOKENS {
        let id = format!("T#naive-{token}");
        let row = [("kind", text("access_token")), ("client_shard", text("00#web")), ("iat", number_of(1))];
        put(&client, "tokens", [("owner", "U#naive"), ("item", &id)], &row).await;
    }
    meter.take();
    let begun = Instant::now();
    for token in 0..TOKENS {
        let id = format!("T#naive-{token}");
        put(&client, "denylist", [("pk", &id), ("sk", "-")], &[("ttl", number_of(1))]).await;
        let row = update("tokens", [("owner", "U#naive"), ("item", &id)], "SET revoked_at = :value", number_of(1));
        let counter = update("jobs", [("pk", "J#naive"), ("sk", "-")], "ADD revoked :value", number_of(1));
        client.transact_write_items().transact_items(row).transact_items(counter).send().await.unwrap();
        if token % TOKENS_PER_SESSION == 0 {
            let session = client.update_item().table_name("tokens").key("owner", text("U#naive"));
            let session =
                session.key("item", text(&format!("S#naive-{token}"))).update_expression("SET ended_at = :at");
            session.expression_attribute_values(":at", number_of(1)).send().await.unwrap();
        }
    }
    let tokens = number(TOKENS);
    Bill { tokens, units: meter.take(), sqs: 3.0 * tokens, invocations: tokens, seconds: begun.elapsed().as_secs_f64() }
}

/// Counts, and computes.
pub async fn run() -> Vec<Figure> {
    let store = Store::start().await;
    let (ours, naive) = (ours(&store).await, naive(&store).await);
    let (dynamo, all) = ours.per_million();
    let (naive_dynamo, naive_all) = naive.per_million();
    let floor = "naive design: an entry, a message and a transaction for each token";
    let units = |bill: &Bill| bill.units.written / bill.tokens;
    vec![
        Figure::counted("write units per token, planned and settled", "WU", units(&ours), floor, units(&naive)),
        Figure::counted("dollars per million tokens: DynamoDB", "$", dynamo, floor, naive_dynamo),
        Figure::counted(
            "dollars per million tokens: DynamoDB, SQS, and Lambda for as long as it takes here",
            "$",
            all,
            floor,
            naive_all,
        ),
    ]
}

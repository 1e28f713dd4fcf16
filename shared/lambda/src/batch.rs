//! Working through an SQS batch: one bad message never fails the others.

use std::future::Future;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::{DateTime, Utc};
use domain::error::WorkError;
use futures::stream::{self, StreamExt as _};

/// Messages of one batch that are worked on at the same time.
const AT_ONCE: usize = 10;

/// A worker stops this long before the function would be ended, so that its last step is never cut off.
const MARGIN_MILLIS: i64 = 20_000;

/// When the worker of this invocation should leave the rest to the next.
pub fn deadline(context: &lambda_runtime::Context) -> DateTime<Utc> {
    let end = i64::try_from(context.deadline).unwrap_or(i64::MAX);
    domain::time::from_millis(end.saturating_sub(MARGIN_MILLIS))
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its body.
    pub body: String,
    /// How often it has been delivered, this time included.
    pub receives: u32,
}

impl From<&SqsMessage> for Message {
    fn from(message: &SqsMessage) -> Self {
        let receives = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        Self { body: message.body.clone().unwrap_or_default(), receives: receives.unwrap_or(1) }
    }
}

/// Runs a worker over a batch. What is to be retried is reported by id; what was dropped is logged and done with.
pub async fn run<W, F>(event: SqsEvent, work: W) -> SqsBatchResponse
where
    W: Fn(Message) -> F,
    F: Future<Output = Result<(), WorkError>>,
{
    let outcomes = stream::iter(event.records.iter().map(|record| {
        let outcome = work(Message::from(record));
        async move {
            match outcome.await {
                Ok(()) => None,
                Err(WorkError::Drop(cause)) => {
                    tracing::warn!(message_id = ?record.message_id, cause, "message dropped");
                    None
                }
                Err(WorkError::Retry(cause)) => {
                    tracing::warn!(message_id = ?record.message_id, cause, "message to be retried");
                    Some(record.message_id.clone().unwrap_or_default())
                }
            }
        }
    }));
    let failed: Vec<Option<String>> = outcomes.buffer_unordered(AT_ONCE).collect().await;
    let mut response = SqsBatchResponse::default();
    let failures = failed.iter().flatten().count();
    tracing::info!(messages = failed.len(), failures, "batch done");
    response.batch_item_failures = failed
        .into_iter()
        .flatten()
        .map(|id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    response
}

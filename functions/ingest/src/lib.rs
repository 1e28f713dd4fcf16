//! Takes token, session, user, group, membership and client records from a queue.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use domain::ingest::Ingest;
use lambda_kit::batch;
use lambda_runtime::{Error, LambdaEvent};

/// Works through a batch of records.
pub async fn handle(event: LambdaEvent<SqsEvent>, ingest: &Ingest) -> Result<SqsBatchResponse, Error> {
    Ok(batch::run(event.payload, |message| async move { ingest.take(&message.body).await.map(|_| ()) }).await)
}

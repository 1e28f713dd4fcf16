//! SQS behind the work-queue port. Payloads carry a version; old versions stay readable.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use domain::error::PortError;
use domain::ids::JobId;
use domain::job::ChunkRef;
use domain::messages::{ChunkMessage, PlanMessage};
use domain::ports::{PortResult, WorkQueue};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

/// Messages in one `SendMessageBatch`.
const BATCH: usize = 10;
const BATCHES_AT_ONCE: usize = 8;

/// The workers' queues.
#[derive(Debug, Clone)]
pub struct Sqs {
    client: Client,
    plan_url: String,
    chunk_url: String,
}

impl Sqs {
    /// Builds the client once, before the first event.
    pub fn new(config: &SdkConfig, plan_url: String, chunk_url: String) -> Self {
        Self { client: Client::new(config), plan_url, chunk_url }
    }

    async fn send_batch(&self, chunks: &[ChunkRef]) -> PortResult<()> {
        let entries = chunks.iter().enumerate().map(|(index, chunk)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
            entry.message_body(body(&ChunkMessage::new(chunk.clone()))?).build().map_err(failed)
        });
        let request = self.client.send_message_batch().queue_url(&self.chunk_url);
        let request = request.set_entries(Some(entries.collect::<PortResult<_>>()?));
        let answer = request.send().await.map_err(|error| failed(aws_sdk_sqs::error::DisplayErrorContext(&error)))?;
        match answer.failed().first() {
            // All of them are sent again: a chunk that comes twice does no harm.
            Some(entry) => Err(failed(entry.message().unwrap_or(entry.code()))),
            None => Ok(()),
        }
    }
}

fn failed(cause: impl ToString) -> PortError {
    PortError::Unavailable { service: "SQS", cause: cause.to_string() }
}

fn body(message: &impl serde::Serialize) -> PortResult<String> {
    serde_json::to_string(message).map_err(failed)
}

#[async_trait]
impl WorkQueue for Sqs {
    async fn send_plan(&self, job: &JobId) -> PortResult<()> {
        let request =
            self.client.send_message().queue_url(&self.plan_url).message_body(body(&PlanMessage::new(job.clone()))?);
        request.send().await.map_err(|error| failed(aws_sdk_sqs::error::DisplayErrorContext(&error)))?;
        Ok(())
    }

    async fn send_chunks(&self, chunks: &[ChunkRef]) -> PortResult<()> {
        stream::iter(chunks.chunks(BATCH).map(<[_]>::to_vec))
            .map(|batch| async move { self.send_batch(&batch).await })
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }
}

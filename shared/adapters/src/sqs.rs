//! SQS behind the work-queue port. Payloads carry a version; old versions stay readable.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use chrono::TimeDelta;
use domain::accounts::ports::ExchangeQueue;
use domain::error::PortError;
use domain::ids::{JobId, SignInId};
use domain::job::{ChunkRef, NoticeRef, Priority};
use domain::messages::{ChunkMessage, ExchangeMessage, NoticeMessage, PlanMessage};
use domain::ports::{PortResult, WorkQueue};
use domain::settings::Queues;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

/// Messages in one `SendMessageBatch`.
const BATCH: usize = 10;
const BATCHES_AT_ONCE: usize = 8;

/// The workers' queues.
#[derive(Debug, Clone)]
pub struct Sqs {
    client: Client,
    plan: Option<Queues>,
    chunk: Option<Queues>,
    notices: Option<String>,
    exchanges: Option<String>,
}

fn no_queue() -> PortError {
    failed("this function has no such queue")
}

/// The queue of a priority. A function that sends no such work has none.
fn queue_of(queues: Option<&Queues>, priority: Priority) -> PortResult<&str> {
    let queues = queues.ok_or_else(no_queue)?;
    Ok(match priority {
        Priority::Normal => &queues.normal,
        Priority::High => &queues.high,
        Priority::Immediate => &queues.immediate,
    })
}

impl Sqs {
    /// Builds the client once, before the first event.
    pub fn new(config: &SdkConfig, plan: Option<Queues>, chunk: Option<Queues>) -> Self {
        Self { client: Client::new(config), plan, chunk, notices: None, exchanges: None }
    }

    /// With the queue of users to be told.
    #[must_use]
    pub fn with_notices(self, queue: String) -> Self {
        Self { notices: Some(queue), ..self }
    }

    /// With the queue of accounts' codes to be exchanged.
    #[must_use]
    pub fn with_exchanges(self, queue: String) -> Self {
        Self { exchanges: Some(queue), ..self }
    }

    async fn send_batch(&self, chunks: &[ChunkRef], priority: Priority) -> PortResult<()> {
        let entries = chunks.iter().enumerate().map(|(index, chunk)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
            entry.message_body(body(&ChunkMessage::new(chunk.clone()))?).build().map_err(failed)
        });
        let request = self.client.send_message_batch().queue_url(queue_of(self.chunk.as_ref(), priority)?);
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
    async fn send_plan(&self, job: &JobId, priority: Priority) -> PortResult<()> {
        let request = self.client.send_message().queue_url(queue_of(self.plan.as_ref(), priority)?);
        let request = request.message_body(body(&PlanMessage::new(job.clone()))?);
        request.send().await.map_err(|error| failed(aws_sdk_sqs::error::DisplayErrorContext(&error)))?;
        Ok(())
    }

    async fn send_chunks(&self, chunks: &[ChunkRef], priority: Priority) -> PortResult<()> {
        stream::iter(chunks.chunks(BATCH).map(<[_]>::to_vec))
            .map(|batch| async move { self.send_batch(&batch, priority).await })
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    async fn send_notice(&self, notice: &NoticeRef, delay: TimeDelta) -> PortResult<()> {
        let request = self.client.send_message().queue_url(self.notices.as_deref().ok_or_else(no_queue)?);
        let request = request.message_body(body(&NoticeMessage::new(notice.clone()))?);
        let request = request.delay_seconds(i32::try_from(delay.num_seconds()).unwrap_or(i32::MAX));
        request.send().await.map_err(|error| failed(aws_sdk_sqs::error::DisplayErrorContext(&error)))?;
        Ok(())
    }
}

#[async_trait]
impl ExchangeQueue for Sqs {
    async fn send_exchange(&self, sign_in: &SignInId) -> PortResult<()> {
        let request = self.client.send_message().queue_url(self.exchanges.as_deref().ok_or_else(no_queue)?);
        let request = request.message_body(body(&ExchangeMessage::new(sign_in.clone()))?);
        request.send().await.map_err(|error| failed(aws_sdk_sqs::error::DisplayErrorContext(&error)))?;
        Ok(())
    }
}

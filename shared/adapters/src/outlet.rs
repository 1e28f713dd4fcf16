//! SQS behind the outlet of the audit trail: the SIEM's queue, the alerts' queue, and dead letters.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use domain::audit::Entry;
use domain::error::PortError;
use domain::messages::AlertMessage;
use domain::ports::PortResult;
use domain::settings::Outlets;
use domain::siem::Outlet;
use domain::siem::alert::HELD_BACK;
use serde_json::Value;

/// Messages in one `SendMessageBatch`.
const BATCH: usize = 10;
/// Bytes in one `SendMessageBatch`, which may hold 262,144 with all that belongs to it.
const BATCH_BYTES: usize = 240_000;

/// The queues that the trail's entries go out by.
#[derive(Debug, Clone)]
pub struct SqsOutlet {
    client: Client,
    queues: Outlets,
}

impl SqsOutlet {
    /// Builds the client once, before the first event.
    pub fn new(config: &SdkConfig, queues: Outlets) -> Self {
        Self { client: Client::new(config), queues }
    }

    async fn send(&self, queue: &str, bodies: Vec<String>, delay: i32) -> PortResult<()> {
        for batch in batches(bodies) {
            let entries = batch.into_iter().enumerate().map(|(index, body)| {
                let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body);
                entry.delay_seconds(delay).build().map_err(failed)
            });
            let entries = entries.collect::<PortResult<_>>()?;
            let request = self.client.send_message_batch().queue_url(queue).set_entries(Some(entries));
            let answer = request.send().await.map_err(|error| failed(DisplayErrorContext(&error)))?;
            if let Some(entry) = answer.failed().first() {
                // All of them come again: who reads them knows what comes twice.
                return Err(failed(entry.message().unwrap_or(entry.code())));
            }
        }
        Ok(())
    }
}

/// As few batches as can be, in order. A body that is too large for any goes alone, for SQS to say so.
fn batches(bodies: Vec<String>) -> Vec<Vec<String>> {
    let (mut batches, mut bytes) = (Vec::<Vec<String>>::new(), 0);
    for body in bodies {
        bytes += body.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes <= BATCH_BYTES => batch.push(body),
            _ => {
                bytes = body.len();
                batches.push(vec![body]);
            }
        }
    }
    batches
}

fn failed(cause: impl ToString) -> PortError {
    PortError::Unavailable { service: "SQS", cause: cause.to_string() }
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(Value::to_string).collect()
}

#[async_trait]
impl Outlet for SqsOutlet {
    async fn events(&self, events: &[Value]) -> PortResult<()> {
        self.send(&self.queues.siem, texts(events), 0).await
    }

    async fn alerts(&self, entries: &[Entry]) -> PortResult<()> {
        let body = |entry: &Entry| serde_json::to_string(&AlertMessage::new(entry.clone())).map_err(failed);
        let bodies = entries.iter().map(body).collect::<PortResult<_>>()?;
        self.send(&self.queues.alerts, bodies, i32::try_from(HELD_BACK.num_seconds()).unwrap_or_default()).await
    }

    async fn set_aside(&self, unreadable: &[Value]) -> PortResult<()> {
        self.send(&self.queues.dead_letters, texts(unreadable), 0).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use serde_json::json;

    use super::*;
    use crate::answering::Answering;

    async fn outlet(service: &Answering) -> SqsOutlet {
        let [siem, alerts, dead_letters] =
            ["siem", "alerts", "dead"].map(|name| format!("https://sqs.example/1/{name}"));
        SqsOutlet::new(&service.config().await, Outlets { siem, alerts, dead_letters })
    }

    fn all_taken(asked: &Value) -> (u16, String) {
        let ids = asked["Entries"].as_array().unwrap().iter().map(|entry| entry["Id"].clone());
        let taken: Vec<Value> = ids.map(|id| json!({ "Id": id, "MessageId": "m", "MD5OfMessageBody": "x" })).collect();
        (200, json!({ "Successful": taken, "Failed": [] }).to_string())
    }

    #[tokio::test]
    async fn audit_3_events_go_out_whole_in_order_and_in_batches_that_sqs_takes() {
        let service = Answering::saying(all_taken).await;
        let event = |number: usize| json!({ "number": number, "text": "위험 🔑".repeat(number * 100) });
        let events: Vec<Value> = (0..60).map(event).collect();
        outlet(&service).await.events(&events).await.unwrap();
        let mut sent = Vec::new();
        for request in service.requests() {
            assert_eq!(request["QueueUrl"], "https://sqs.example/1/siem");
            let bodies: Vec<&str> = request["Entries"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["MessageBody"].as_str().unwrap())
                .collect();
            assert!(bodies.len() <= 10 && bodies.iter().map(|body| body.len()).sum::<usize>() <= BATCH_BYTES);
            sent.extend(bodies.into_iter().map(|body| serde_json::from_str::<Value>(body).unwrap()));
        }
        assert_eq!(sent, events);
        assert!(service.requests().len() < 12, "batches are filled");
    }

    #[tokio::test]
    async fn audit_3_one_event_that_is_not_taken_fails_the_whole() {
        let service = Answering::saying(|asked| {
            let (status, body) = all_taken(asked);
            let mut answer: Value = serde_json::from_str(&body).unwrap();
            answer["Successful"].as_array_mut().unwrap().pop();
            answer["Failed"] = json!([{ "Id": "1", "Code": "InternalError", "SenderFault": false }]);
            (status, answer.to_string())
        });
        let error = outlet(&service.await).await.events(&[json!(1), json!(2)]).await.unwrap_err();
        assert!(error.to_string().contains("InternalError"), "{error}");
    }
}

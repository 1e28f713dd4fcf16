//! Looking at dead letters and sending them back to where they came from.
//!
//! As `StartMessageMoveTask` does on AWS, but by hand: message by message, so that it works wherever SQS is spoken, and
//! says what was done. A message is deleted only after it was sent, so that one that is interrupted comes twice.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use domain::error::PortError;
use domain::ports::PortResult;

/// For how long a message that is being looked at is hidden from others, in seconds.
const HIDDEN: i32 = 30;
/// Messages received at a time.
const BATCH: i32 = 10;

/// Queues of dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    client: Client,
}

/// What became of a queue's messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many were sent back, by queue.
    pub back: BTreeMap<String, usize>,
    /// Those of which nobody knows where they came from; they were left.
    pub stay: usize,
}

fn failed<E: std::error::Error + 'static>(error: E) -> PortError {
    PortError::Unavailable { service: "SQS", cause: DisplayErrorContext(&error).to_string() }
}

impl DeadLetters {
    /// Builds the client once.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// About how many there are.
    pub async fn count(&self, queue: &str) -> PortResult<usize> {
        let count = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(queue).attribute_names(count.clone());
        let answer = request.send().await.map_err(failed)?;
        let count = answer.attributes().and_then(|attributes| attributes.get(&count));
        Ok(count.and_then(|count| count.parse().ok()).unwrap_or_default())
    }

    /// Sends every message back to the queue that gave it up.
    pub async fn redrive(&self, queue: &str) -> PortResult<Moved> {
        let mut moved = Moved::default();
        loop {
            let messages = self.receive(queue).await?;
            if messages.is_empty() {
                return Ok(moved);
            }
            for message in messages {
                let source = DeadLetters::source(&message);
                let parts = source.zip(message.body()).zip(message.receipt_handle());
                let Some(((source, body), receipt)) = parts else {
                    moved.stay += 1;
                    continue;
                };
                let address = self.client.get_queue_url().queue_name(&source).send().await.map_err(failed)?;
                let address = address.queue_url().unwrap_or_default();
                self.client.send_message().queue_url(address).message_body(body).send().await.map_err(failed)?;
                self.client.delete_message().queue_url(queue).receipt_handle(receipt).send().await.map_err(failed)?;
                *moved.back.entry(source).or_default() += 1;
            }
        }
    }

    async fn receive(&self, queue: &str) -> PortResult<Vec<Message>> {
        let receive = self.client.receive_message().queue_url(queue).max_number_of_messages(BATCH);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        let received = receive.visibility_timeout(HIDDEN).send().await.map_err(failed)?;
        Ok(received.messages.unwrap_or_default())
    }

    /// The name of the queue that a message came from, by its ARN.
    fn source(message: &Message) -> Option<String> {
        let source = message.attributes()?.get(&MessageSystemAttributeName::DeadLetterQueueSourceArn)?;
        source.rsplit(':').next().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use serde_json::json;

    use super::*;
    use crate::answering::Answering;

    #[tokio::test]
    async fn a_dead_letter_goes_back_to_its_own_queue_before_it_is_deleted_and_a_stray_one_stays() {
        let arn = "arn:aws:sqs:eu-central-1:1:chunks-high";
        let from = json!({ "DeadLetterQueueSourceArn": arn });
        let letters = json!({ "Messages": [
            { "MessageId": "1", "ReceiptHandle": "r1", "Body": "위험 🔑", "Attributes": from },
            { "MessageId": "2", "ReceiptHandle": "r2", "Body": "by hand", "Attributes": {} },
        ] });
        let answers = [
            letters.to_string(),
            json!({ "QueueUrl": "https://sqs.example/1/chunks-high" }).to_string(),
            json!({ "MessageId": "3" }).to_string(),
            "{}".to_owned(),
            json!({ "Messages": [] }).to_string(),
        ];
        let answers: Vec<(u16, &str)> = answers.iter().map(|answer| (200, answer.as_str())).collect();
        let service = Answering::start(&answers).await;
        let moved = DeadLetters::new(&service.config().await).redrive("https://sqs.example/1/dead").await.unwrap();
        assert_eq!(moved, Moved { back: BTreeMap::from([("chunks-high".to_owned(), 1)]), stay: 1 });
        let asked = service.requests();
        assert_eq!(asked[1], json!({ "QueueName": "chunks-high" }));
        assert_eq!(asked[2], json!({ "QueueUrl": "https://sqs.example/1/chunks-high", "MessageBody": "위험 🔑" }));
        assert_eq!(asked[3], json!({ "QueueUrl": "https://sqs.example/1/dead", "ReceiptHandle": "r1" }));
    }

    #[tokio::test]
    async fn a_dead_letter_that_cannot_be_sent_is_not_deleted() {
        let arn = "arn:aws:sqs:eu-central-1:1:chunks";
        let from = json!({ "DeadLetterQueueSourceArn": arn });
        let letter = json!({ "MessageId": "1", "ReceiptHandle": "r1", "Body": "x", "Attributes": from });
        let (letters, address) =
            (json!({ "Messages": [letter] }).to_string(), json!({ "QueueUrl": "https://q/1/c" }).to_string());
        let refusal = r#"{"__type":"AccessDenied","message":"no"}"#;
        let service = Answering::start(&[(200, &letters), (200, &address), (400, refusal)]).await;
        let error = DeadLetters::new(&service.config().await).redrive("https://q/1/dead").await.unwrap_err();
        assert!(error.to_string().contains("AccessDenied"), "{error}");
        assert!(service.requests().iter().all(|asked| asked["ReceiptHandle"].is_null()), "{:?}", service.requests());
    }
}

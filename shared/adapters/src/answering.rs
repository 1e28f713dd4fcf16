//! For tests: an AWS service that gives prepared answers and remembers what it was asked.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::VecDeque;

use aws_config::SdkConfig;
use serde_json::Value;

use crate::serving::{Reply, Serving};

/// Status and JSON.
type Answer = (u16, String);

/// What a request says; null if it has no body.
fn asked_for(body: &str) -> Value {
    if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() }
}

/// A service on this machine. It ends with the test.
pub struct Answering(Serving);

impl Answering {
    /// Starts one that gives these answers in turn (status and JSON), and none to whoever asks more often.
    pub async fn start(answers: &[(u16, &str)]) -> Self {
        let mut answers: VecDeque<Answer> =
            answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        Self::saying(move |_| answers.pop_front().unwrap_or((400, "{}".to_owned()))).await
    }

    /// Starts one that answers what it is asked.
    pub async fn saying(mut say: impl FnMut(&Value) -> Answer + Send + 'static) -> Self {
        let serving = Serving::start(move |asked| {
            let (status, body) = say(&asked_for(&asked.body));
            Reply::Answer(status, body)
        });
        Self(serving.await)
    }

    /// How clients find it.
    pub async fn config(&self) -> SdkConfig {
        crate::aws::local(&self.0.url(""), "eu-central-1", "key", "secret").await
    }

    /// The bodies it was sent.
    pub fn requests(&self) -> Vec<Value> {
        self.0.asked().iter().map(|asked| asked_for(&asked.body)).collect()
    }
}

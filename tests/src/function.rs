//! A function's real binary, behind a Lambda Runtime API that hands it the events a test wants.
//!
//! Source of the interface: "Using the Lambda runtime API for custom runtimes", AWS Lambda developer guide.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Mutex, mpsc};

use crate::environment;

/// How a function answered an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With this.
    Answered(serde_json::Value),
    /// With an error, or it died.
    Failed(String),
}

struct Desk {
    events: Mutex<mpsc::Receiver<String>>,
    outcomes: mpsc::Sender<Outcome>,
    ready: mpsc::Sender<()>,
}

/// A running function.
pub struct Function {
    process: Child,
    events: mpsc::Sender<String>,
    outcomes: mpsc::Receiver<Outcome>,
    ready: mpsc::Receiver<()>,
}

async fn next(State(desk): State<Arc<Desk>>) -> Response {
    let _ = desk.ready.try_send(());
    match desk.events.lock().await.recv().await {
        Some(event) => {
            let deadline = (i64::MAX / 1_000).to_string();
            let headers = [
                ("lambda-runtime-aws-request-id", "request"),
                ("lambda-runtime-deadline-ms", deadline.as_str()),
                ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:test"),
            ];
            (headers, event).into_response()
        }
        // The test has ended: the function waits until it is killed.
        None => std::future::pending().await,
    }
}

async fn answered(State(desk): State<Arc<Desk>>, Path(_): Path<String>, body: Bytes) -> http::StatusCode {
    let answer = serde_json::from_slice(&body).unwrap_or(serde_json::Value::Null);
    let _ = desk.outcomes.send(Outcome::Answered(answer)).await;
    http::StatusCode::ACCEPTED
}

async fn failed(State(desk): State<Arc<Desk>>, body: String) -> http::StatusCode {
    let _ = desk.outcomes.send(Outcome::Failed(body)).await;
    http::StatusCode::ACCEPTED
}

impl Function {
    /// Starts a binary with these variables.
    pub async fn start(name: &str, variables: &HashMap<String, String>) -> Self {
        let (events, from_events) = mpsc::channel(16);
        let (to_outcomes, outcomes) = mpsc::channel(16);
        let (to_ready, ready) = mpsc::channel(16);
        let desk = Arc::new(Desk { events: Mutex::new(from_events), outcomes: to_outcomes, ready: to_ready });
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .route("/2018-06-01/runtime/init/error", post(failed))
            .with_state(desk);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let process = Command::new(environment::binary(name))
            .env_clear()
            .envs(variables)
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", address.to_string().as_str()),
                ("AWS_LAMBDA_FUNCTION_NAME", name),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "test"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "test"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, events, outcomes, ready }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it asks for its first event.
    pub async fn ready(&mut self) {
        let mut alive = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            tokio::select! {
                ready = self.ready.recv() => return ready.expect("the function asks for an event"),
                _ = alive.tick() => if let Some(status) = self.process.try_wait().unwrap() {
                    panic!("the function ended before it asked for an event: {status}");
                },
            }
        }
    }

    /// Hands it an event and waits for its answer; a function that dies has failed.
    pub async fn invoke(&mut self, event: &impl serde::Serialize) -> Outcome {
        self.events.send(serde_json::to_string(event).unwrap()).await.unwrap();
        let mut alive = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            tokio::select! {
                outcome = self.outcomes.recv() => return outcome.expect("the desk is open"),
                _ = alive.tick() => if let Some(status) = self.process.try_wait().unwrap() {
                    return Outcome::Failed(format!("the process ended: {status}"));
                },
            }
        }
    }

    /// The most memory it ever used, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel tells VmHWM");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

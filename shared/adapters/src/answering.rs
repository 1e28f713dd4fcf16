//! For tests: an AWS service that gives prepared answers and remembers what it was asked.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

/// Status and JSON.
type Answer = (u16, String);

struct Talk {
    answer: Box<dyn FnMut(&Value) -> Answer + Send>,
    requests: Vec<Value>,
}

/// A service on this machine. It ends with the test.
pub struct Answering {
    address: SocketAddr,
    talk: Arc<Mutex<Talk>>,
}

impl Answering {
    /// Starts one that gives these answers in turn (status and JSON), and none to whoever asks more often.
    pub async fn start(answers: &[(u16, &str)]) -> Self {
        let mut answers: VecDeque<Answer> =
            answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        Self::saying(move |_| answers.pop_front().unwrap_or((400, "{}".to_owned()))).await
    }

    /// Starts one that answers what it is asked.
    pub async fn saying(say: impl FnMut(&Value) -> Answer + Send + 'static) -> Self {
        let talk = Arc::new(Mutex::new(Talk { answer: Box::new(say), requests: Vec::new() }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let service = Self { address: listener.local_addr().unwrap(), talk: talk.clone() };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let talk = talk.clone();
                let answer = service_fn(move |request| answer(talk.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        service
    }

    /// How clients find it.
    pub async fn config(&self) -> SdkConfig {
        crate::aws::local(&format!("http://{}", self.address), "eu-central-1", "key", "secret").await
    }

    /// The bodies it was sent.
    pub fn requests(&self) -> Vec<Value> {
        self.talk.lock().unwrap().requests.clone()
    }
}

async fn answer(talk: Arc<Mutex<Talk>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut talk = talk.lock().unwrap();
    let asked = serde_json::from_slice(&body).unwrap();
    let (status, body) = (talk.answer)(&asked);
    talk.requests.push(asked);
    Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
}

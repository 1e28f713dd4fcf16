//! For tests: an HTTP server on this machine that answers as it is told and remembers what it was asked.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Asked {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub enum Reply {
    /// It answers with a status and a body.
    Answer(u16, String),
    /// It sends the client elsewhere.
    Redirect(String),
    /// It takes the request and says nothing.
    Never,
}

type Replies = Box<dyn FnMut(&Asked) -> Reply + Send>;

struct Talk {
    asked: Vec<Asked>,
    replies: Replies,
}

/// A server. It ends with the test.
pub struct Serving {
    address: SocketAddr,
    talk: Arc<Mutex<Talk>>,
}

impl Serving {
    /// Starts one.
    pub async fn start(replies: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let talk = Arc::new(Mutex::new(Talk { asked: Vec::new(), replies: Box::new(replies) }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), talk: talk.clone() };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let talk = talk.clone();
                let answer = service_fn(move |request| answer(talk.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        server
    }

    /// From now on it answers otherwise.
    pub fn change(&self, replies: impl FnMut(&Asked) -> Reply + Send + 'static) {
        self.talk.lock().unwrap().replies = Box::new(replies);
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.talk.lock().unwrap().asked.clone()
    }

    /// How often it was asked for a path.
    pub fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path == path).count()
    }
}

async fn answer(talk: Arc<Mutex<Talk>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
    let asked = Asked { method, path, headers: head.headers, body };
    let reply = {
        let mut talk = talk.lock().unwrap();
        talk.asked.push(asked.clone());
        (talk.replies)(&asked)
    };
    let (builder, body) = match reply {
        Reply::Answer(status, body) => (Response::builder().status(status), body),
        Reply::Redirect(to) => (Response::builder().status(307).header("location", to), String::new()),
        Reply::Never => std::future::pending().await,
    };
    Ok(builder.body(Full::from(body)).unwrap())
}

//! A proxy before a store that counts its calls, can kill their sender at any of them, and can lose some.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// When the sender is killed, counted in calls to the store, or loses its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Instead of forwarding this call.
    Before(u64),
    /// After the store has done this call, before the sender hears of it.
    After(u64),
    /// Nobody is killed, but every so many calls are not forwarded.
    LoseCall(u64),
    /// Nobody is killed, but the store's answer to every so many calls is lost.
    LoseAnswer(u64),
}

/// What the proxy knows.
#[derive(Default)]
pub struct Calls {
    count: AtomicU64,
    /// The process to kill, once known; 0 for none.
    pub victim: AtomicU64,
}

impl Calls {
    /// Calls seen so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Counts from zero again, and has this process killed from now on.
    pub fn aim_at(&self, pid: u32) {
        self.count.store(0, Ordering::SeqCst);
        self.victim.store(u64::from(pid), Ordering::SeqCst);
    }

    fn kill(&self) {
        let pid = self.victim.swap(0, Ordering::SeqCst);
        if pid != 0 {
            let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
            assert!(killed.success(), "the process is there to be killed");
        }
    }
}

/// Starts a proxy before a store; it ends with the runtime.
pub async fn start(upstream: &str, kill: Option<Kill>) -> (String, Arc<Calls>) {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(Calls::default());
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (upstream, shared) = (upstream.to_owned(), Arc::clone(&calls));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (client, upstream, calls) = (client.clone(), upstream.clone(), Arc::clone(&shared));
            let service =
                service_fn(move |request| forward(request, client.clone(), upstream.clone(), Arc::clone(&calls), kill));
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(connection), service)
                    .await;
            });
        }
    });
    (endpoint, calls)
}

async fn forward(
    request: Request<Incoming>,
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: String,
    calls: Arc<Calls>,
    kill: Option<Kill>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let number = calls.count.fetch_add(1, Ordering::SeqCst) + 1;
    if kill == Some(Kill::Before(number)) {
        calls.kill();
        return Err("killed before the call".into());
    }
    if matches!(kill, Some(Kill::LoseCall(every)) if number.is_multiple_of(every)) {
        return Err("the call is lost".into());
    }
    let (mut parts, body) = request.into_parts();
    let asked = parts.uri.path_and_query().map_or("/", |asked| asked.as_str());
    parts.uri = format!("{upstream}{asked}").parse()?;
    let body = body.collect().await?.to_bytes();
    let answer = client.request(Request::from_parts(parts, Full::new(body))).await?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    if kill == Some(Kill::After(number)) {
        calls.kill();
        return Err("killed after the call".into());
    }
    if matches!(kill, Some(Kill::LoseAnswer(every)) if number.is_multiple_of(every)) {
        return Err("the answer is lost".into());
    }
    Ok(Response::from_parts(parts, Full::new(body)))
}

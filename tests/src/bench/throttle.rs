//! A store that takes no more than so many write units a second in its table of tokens, as one partition of DynamoDB
//! does: what is too much is refused, at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Units that can be saved up, in seconds of the limit.
const BURST: f64 = 0.1;
const REFUSED: &str = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"The level of configured provisioned throughput for the table was exceeded"}"#;

/// What is left of the limit.
pub struct Limit {
    per_second: f64,
    left: Mutex<(f64, Instant)>,
    counted: Mutex<(u64, u64)>,
}

impl Limit {
    fn of(per_second: f64) -> Self {
        let left = Mutex::new((per_second * BURST, Instant::now()));
        Self { per_second, left, counted: Mutex::default() }
    }

    fn take(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        let now = Instant::now();
        let more = (now - left.1).as_secs_f64() * self.per_second;
        *left = ((left.0 + more).min(self.per_second * BURST), now);
        let taken = left.0 >= 1.0;
        if taken {
            left.0 -= 1.0;
        }
        let mut counted = self.counted.lock().unwrap();
        if taken {
            counted.0 += 1;
        } else {
            counted.1 += 1;
        }
        taken
    }

    /// Units taken and requests refused until now; counting begins anew.
    pub fn counted(&self) -> (u64, u64) {
        std::mem::take(&mut self.counted.lock().unwrap())
    }
}

/// Starts one before a store; it ends with the runtime.
pub async fn start(upstream: &str, per_second: f64) -> (String, Arc<Limit>) {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let limit = Arc::new(Limit::of(per_second));
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (upstream, shared) = (upstream.to_owned(), Arc::clone(&limit));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (client, upstream, limit) = (client.clone(), upstream.clone(), Arc::clone(&shared));
            let service =
                service_fn(move |request| forward(request, client.clone(), upstream.clone(), Arc::clone(&limit)));
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(connection), service)
                    .await;
            });
        }
    });
    (endpoint, limit)
}

async fn forward(
    request: Request<Incoming>,
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: String,
    limit: Arc<Limit>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let (mut parts, body) = request.into_parts();
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let updates = target.ends_with(".UpdateItem");
    let body = body.collect().await?.to_bytes();
    // Token and session rows are smaller than 1 KB, so that each of their updates is one unit.
    let asked: serde_json::Value = if updates { serde_json::from_slice(&body)? } else { serde_json::Value::Null };
    if asked["TableName"] == "tokens" && !limit.take() {
        let refused =
            Response::builder().status(StatusCode::BAD_REQUEST).header("content-type", "application/x-amz-json-1.0");
        return Ok(refused.body(Full::new(Bytes::from_static(REFUSED.as_bytes())))?);
    }
    let path = parts.uri.path_and_query().map_or("/", |asked| asked.as_str());
    parts.uri = format!("{upstream}{path}").parse()?;
    let answer = client.request(Request::from_parts(parts, Full::new(body))).await?;
    let (parts, body) = answer.into_parts();
    Ok(Response::from_parts(parts, Full::new(body.collect().await?.to_bytes())))
}

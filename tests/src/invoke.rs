//! Calls to the stack's AWS that no client of ours makes: invoking a function by hand, asking for its schedules.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::time::{Clock as _, SystemClock};
use http::Request;
use http::request::Builder;
use http_body_util::Full;
use ops::stack::Stack;
use ops::web::{Answer, Web};
use serde_json::{Value, json};

use crate::environment::root;

/// Calls a service under the stack's root key.
pub async fn call(stack: &Stack, service: &str, method: &str, path: &str, body: Vec<u8>) -> Answer {
    send(stack, service, Request::builder().method(method).uri(path), body).await
}

async fn send(stack: &Stack, service: &str, request: Builder, body: Vec<u8>) -> Answer {
    let asked = request.body(()).unwrap();
    let (method, path) = (asked.method().clone(), asked.uri());
    let url = format!("{}{path}", stack.endpoint_url);
    let identity = Credentials::new(&stack.access_key_id, &stack.secret_access_key, None, None, "local stack").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&stack.region)
        .name(service)
        .time(SystemClock.now().into())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let host = stack.endpoint_url.trim_start_matches("http://");
    let headers = [("host", host)].into_iter();
    let signable = SignableRequest::new(method.as_str(), &url, headers, SignableBody::Bytes(&body)).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let request = Request::builder().method(method).uri(&url).header("host", host);
    let mut request = request.body(Full::new(Bytes::from(body))).unwrap();
    request.headers_mut().extend(asked.headers().clone());
    instructions.apply_to_request_http1x(&mut request);
    Web::default().send(request).await.unwrap()
}

/// Calls an operation of a service that speaks JSON, such as `secretsmanager.CreateSecret`.
pub async fn operate(stack: &Stack, service: &str, target: &str, body: &Value) -> Value {
    let request = Request::builder()
        .method("POST")
        .uri("/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", target);
    let answer = send(stack, service, request, body.to_string().into_bytes()).await;
    assert!(answer.status.is_success(), "{target}: {} {}", answer.status, answer.json);
    answer.json
}

/// Invokes a function with a file of `events/`, and gives back what it answers.
pub async fn invoke(stack: &Stack, function: &str, event: &str) -> Value {
    invoke_with(stack, function, std::fs::read(root().join("events").join(event)).unwrap()).await
}

/// Invokes a function with any event, and gives back what it answers.
pub async fn invoke_with(stack: &Stack, function: &str, event: Vec<u8>) -> Value {
    let path = format!("/2015-03-31/functions/{function}/invocations");
    let answer = call(stack, "lambda", "POST", &path, event).await;
    let failed = answer.headers.get("x-amz-function-error");
    assert!(answer.status.is_success() && failed.is_none(), "{function}: {} {}", answer.status, answer.json);
    answer.json
}

/// What a function has logged since then, however it was invoked.
pub async fn logged(stack: &Stack, function: &str, since: DateTime<Utc>) -> Vec<String> {
    let asked = json!({ "logGroupName": format!("/aws/lambda/{function}"), "startTime": since.timestamp_millis() });
    let found = operate(stack, "logs", "Logs_20140328.FilterLogEvents", &asked).await;
    let events = found["events"].as_array().unwrap_or_else(|| panic!("{found}"));
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

//! The stack's AWS, asked by hand under its root key: functions invoked with an event from `events/`, and whatever no
//! client library at hand has.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use domain::time::{Clock as _, SystemClock};
use http::Request;
use http_body_util::Full;
use ops::stack::Stack;
use ops::web::{Answer, Web};
use serde_json::Value;

use crate::environment::root;

/// Signs a request (Signature Version 4) and sends it.
async fn signed(stack: &Stack, service: &str, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
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
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("host", host)]).collect();
    let signable = SignableRequest::new("POST", url, headers.iter().copied(), SignableBody::Bytes(&body)).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let request = headers.iter().fold(Request::post(url), |request, (name, value)| request.header(*name, *value));
    let mut request = request.body(Full::new(Bytes::from(body))).unwrap();
    instructions.apply_to_request_http1x(&mut request);
    Web::default().send(request).await.unwrap()
}

/// Calls an operation of a service that speaks JSON, such as `secretsmanager.CreateSecret`.
pub async fn call(stack: &Stack, service: &str, target: &str, body: &Value) -> Value {
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
    let answer = signed(stack, service, &stack.endpoint_url, &headers, body.to_string().into_bytes()).await;
    assert!(answer.status.is_success(), "{target}: {} {}", answer.status, answer.json);
    answer.json
}

/// Invokes a function with a file of `events/`, under the stack's root key, and gives back what it answers.
pub async fn invoke(stack: &Stack, function: &str, event: &str) -> Value {
    let event = std::fs::read(root().join("events").join(event)).unwrap();
    let url = format!("{}/2015-03-31/functions/{function}/invocations", stack.endpoint_url);
    let answer = signed(stack, "lambda", &url, &[], event).await;
    let failed = answer.headers.get("x-amz-function-error");
    assert!(answer.status.is_success() && failed.is_none(), "{function}: {} {}", answer.status, answer.json);
    answer.json
}

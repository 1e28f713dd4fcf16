#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use domain::ids::JobId;
use domain::testing::TestClock;
use serde_json::{Value, json};

use super::*;
use crate::answering::Answering;

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(DateTime::from_timestamp(1_800_000_000, 0).unwrap()))
}

fn mail() -> Mail {
    Mail::new("kim@example.com", "로그아웃 안내", "글".to_owned(), "<p>글</p>".to_owned())
}

fn mark() -> Mark {
    Mark { job: JobId::parse("3f0c-1").unwrap(), chunk: 7, claim: "c-9".to_owned() }
}

fn post_of(config: &SdkConfig) -> SesPost {
    SesPost::new(config, "no-reply@example.com".to_owned(), Some("notices".to_owned()), clock())
}

/// What comes of one mail when SES answers this, and what SES was asked.
async fn answered(status: u16, body: &str) -> (Result<(), NotSent>, Vec<Value>) {
    let service = Answering::start(&[(status, body), (200, r#"{"MessageId":"again"}"#)]).await;
    let sent = post_of(&service.config().await).post(&mail(), &mark()).await;
    (sent, service.requests())
}

#[tokio::test]
async fn mail_3_a_notice_carries_what_finds_its_row_and_nobodys_address_but_the_recipients() {
    let (sent, requests) = answered(200, r#"{"MessageId":"1"}"#).await;
    assert_eq!(sent, Ok(()));
    let utf8 = |text: &str| json!({ "Data": text, "Charset": "UTF-8" });
    let body = json!({ "Text": utf8("글"), "Html": utf8("<p>글</p>") });
    let tag = |name: &str, value: &str| json!({ "Name": name, "Value": value });
    assert_eq!(
        requests,
        [json!({
            "FromEmailAddress": "no-reply@example.com",
            "Destination": { "ToAddresses": ["kim@example.com"] },
            "Content": { "Simple": { "Subject": utf8("로그아웃 안내"), "Body": body } },
            "EmailTags": [tag("job", "3f0c-1"), tag("chunk", "7"), tag("claim", "c-9")],
            "ConfigurationSetName": "notices",
        })]
    );
}

#[tokio::test]
async fn mail_3_a_refusal_is_final_a_throttle_is_not_and_whatever_else_is_unknown() {
    let error = |code: &str| format!(r#"{{"__type":"{code}","message":"about kim@example.com"}}"#);
    for (status, code) in [
        (400, "MessageRejected"),
        (400, "MailFromDomainNotVerifiedException"),
        (400, "AccountSuspendedException"),
        (400, "SendingPausedException"),
        (400, "BadRequestException"),
        (404, "NotFoundException"),
    ] {
        let (sent, requests) = answered(status, &error(code)).await;
        assert_eq!(sent, Err(NotSent::Rejected(code.to_owned())), "without the message, which may hold an address");
        assert_eq!(requests.len(), 1);
    }
    for (status, code) in [
        (429, "TooManyRequestsException"),
        (400, "LimitExceededException"),
        (400, "Throttling"),
        (403, "AccessDeniedException"),
        (400, "ExpiredTokenException"),
    ] {
        let (sent, requests) = answered(status, &error(code)).await;
        assert_eq!(sent, Err(NotSent::Later(code.to_owned())));
        assert_eq!(requests.len(), 1, "the SDK must not try again by itself");
    }
    for status in [500, 503] {
        let (sent, requests) = answered(status, &error("InternalFailure")).await;
        assert!(matches!(sent, Err(NotSent::Unknown(_))), "{sent:?}");
        assert_eq!(requests.len(), 1, "what may have been sent is not sent again");
    }
    let (sent, requests) = answered(200, "no JSON").await;
    assert!(matches!(sent, Err(NotSent::Unknown(_))), "{sent:?}");
    assert_eq!(requests.len(), 1);
}

#[tokio::test]
async fn audit_4_a_mail_without_a_row_is_sent_once_and_its_failures_are_told_apart_as_a_notices_are() {
    let ok = (200, r#"{"MessageId":"1"}"#);
    let rejected = (400, r#"{"__type":"MessageRejected","message":"no"}"#);
    let service = Answering::start(&[ok, rejected, (500, "{}"), ok]).await;
    let post = post_of(&service.config().await);
    assert_eq!(post.send_once(&mail()).await, Ok(()));
    assert_eq!(post.send_once(&mail()).await, Err(NotSent::Rejected("MessageRejected".to_owned())));
    assert!(matches!(post.send_once(&mail()).await, Err(NotSent::Unknown(_))));
    let requests = service.requests();
    assert_eq!(requests.len(), 3, "the SDK must not try again by itself");
    assert!(requests[0]["EmailTags"].is_null() && requests[0]["ConfigurationSetName"].is_null(), "{}", requests[0]);
}

#[tokio::test]
async fn mail_3_what_was_never_connected_was_not_sent_and_what_broke_off_may_have_been() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let config = crate::aws::local(&address, "eu-central-1", "key", "secret").await;
    let sent = post_of(&config).post(&mail(), &mark()).await;
    assert!(matches!(sent, Err(NotSent::Later(_))), "{sent:?}");

    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", rude.local_addr().unwrap());
    let hang_up = tokio::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        let (mut stream, _) = rude.accept().await.unwrap();
        stream.read_exact(&mut [0; 200]).await.unwrap();
    });
    let config = crate::aws::local(&address, "eu-central-1", "key", "secret").await;
    let sent = post_of(&config).post(&mail(), &mark()).await;
    assert!(matches!(sent, Err(NotSent::Unknown(_))), "{sent:?}");
    hang_up.await.unwrap();
}

#[tokio::test]
async fn mail_3_the_rate_is_the_accounts_remembered_for_a_while_and_the_least_if_nobody_says() {
    let quota = r#"{"SendQuota":{"MaxSendRate":40.0,"Max24HourSend":1.0,"SentLast24Hours":0.0}}"#;
    let service = Answering::start(&[(200, quota), (403, "{}"), (403, "{}")]).await;
    let clock = clock();
    let config = service.config().await;
    let post = SesPost::new(&config, "no-reply@example.com".to_owned(), None, clock.clone());
    assert!((post.rate().await - 40.0).abs() < f64::EPSILON);
    assert!((post.rate().await - 40.0).abs() < f64::EPSILON);
    assert_eq!(service.requests().len(), 1, "remembered");
    clock.advance(RATE_LIFETIME);
    assert!((post.rate().await - 40.0).abs() < f64::EPSILON, "the last one known");
    let post = SesPost::new(&config, "no-reply@example.com".to_owned(), None, clock);
    assert!((post.rate().await - LEAST_RATE).abs() < f64::EPSILON);
}

#[tokio::test]
async fn mail_3_a_turn_that_does_not_come_in_time_is_none() {
    let quota = r#"{"SendQuota":{"MaxSendRate":1.0,"Max24HourSend":1.0,"SentLast24Hours":0.0}}"#;
    let service = Answering::start(&[(200, quota)]).await;
    let clock = clock();
    let post = SesPost::new(&service.config().await, "no-reply@example.com".to_owned(), None, clock.clone());
    let soon = clock.now() + TimeDelta::milliseconds(500);
    assert!(post.turn(soon).await, "the first");
    assert!(!post.turn(soon).await, "the second is more than two seconds away");
    assert!(!post.turn(clock.now() - TimeDelta::seconds(1)).await);
}

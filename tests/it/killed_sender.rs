//! The real sender of notices, killed at calls to a mail service of the test's own: whoever comes after it tells nobody
//! twice, and every number is what the mail service says (`[MAIL-3]`).

use std::sync::{Arc, Mutex};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::TimeDelta;
use domain::ids::{GroupId, UserId};
use domain::job::{Facts, Fate, NoticeRef};
use domain::messages::NoticeMessage;
use domain::notify::CLAIM_PATIENCE;
use domain::ports::{JobStore as _, NewJob, RecordStore as _};
use domain::records::{Entity, Record, UserRecord};
use domain::testing::{Memory, MemoryPost, contract};
use domain::time::{Clock as _, SystemClock};
use domain::token::Owner;
use serde_json::{Value, json};
use tests::environment::unique;
use tests::fleet::Fleet;
use tests::function::{Function, Outcome};
use tests::proxy::{self, Kill};
use tests::store::{Store, variables};

const USERS: u64 = 30;

/// A mail service that takes everything: where it is, and whom it took a mail for.
async fn mail_service() -> (String, Arc<Mutex<Vec<String>>>) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let keep = taken.clone();
    let quota = json!({ "SendQuota": { "MaxSendRate": 2_000.0, "Max24HourSend": 50_000.0, "SentLast24Hours": 0.0 } });
    let take = async move |Json(mail): Json<Value>| {
        let to = mail["Destination"]["ToAddresses"][0].as_str().unwrap().to_owned();
        keep.lock().unwrap().push(to);
        Json(json!({ "MessageId": "1" }))
    };
    let routes = Router::new()
        .route("/v2/email/account", get(async move || Json(quota)))
        .route("/v2/email/outbound-emails", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (endpoint, taken)
}

fn event(notice: &NoticeRef) -> SqsEvent {
    let mut message = SqsMessage::default();
    message.message_id = Some("m".to_owned());
    message.body = Some(serde_json::to_string(&NoticeMessage::new(notice.clone())).unwrap());
    let mut event = SqsEvent::default();
    event.records.push(message);
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_3_a_sender_killed_while_it_sends_is_followed_by_one_that_tells_nobody_twice() {
    let store = Store::start().await;
    let dynamo = store.dynamo().await;
    let calls = [1, 2, 3, USERS / 2, USERS, USERS + 1];
    for kill in calls.into_iter().flat_map(|call| [Kill::Before(call), Kill::After(call)]) {
        let (run, now) = (unique("sender"), SystemClock.now());
        let job = contract::job(&run, &GroupId::parse("g").unwrap(), now);
        dynamo.create(NewJob::plain(&job)).await.unwrap();
        for number in 0..USERS {
            let id = UserId::parse(format!("{run}-{number}")).unwrap();
            let user = UserRecord { email: Some(format!("user{number}@example.com")), ..UserRecord::new(id.clone()) };
            dynamo.apply(&Record::upsert(1, Entity::User(user))).await.unwrap();
            let facts = Facts { sessions: 1, ..Facts::default() };
            dynamo.record_affected(&job.id, 0, Fate::Lost, &[(Owner::User(id), facts)], now).await.unwrap();
        }
        let notice = NoticeRef { job_id: job.id.clone(), chunk: 0, after: None };

        let (service, taken) = mail_service().await;
        let (endpoint, calls) = proxy::start(&service, Some(kill)).await;
        let mut variables = variables(&store.endpoint);
        variables.insert("AWS_ENDPOINT_URL_SESV2".to_owned(), endpoint);
        let mut sender = Function::start("send-notices", &variables).await;
        sender.ready().await;
        calls.aim_at(sender.pid());
        let outcome = sender.invoke(&event(&notice)).await;
        assert!(matches!(&outcome, Outcome::Failed(why) if why.contains("signal: 9")), "{kill:?}: {outcome:?}");

        // The queue's patience is longer than anybody's claim.
        let fleet = Fleet::over(dynamo.clone(), Arc::new(Memory::default()), now + CLAIM_PATIENCE * 3);
        let post = Arc::new(MemoryPost::new(fleet.clock.clone(), TimeDelta::milliseconds(1)));
        let notifier = fleet.notifier(post.clone());
        for _ in 0..2 {
            let deadline = fleet.clock.now() + TimeDelta::minutes(1);
            assert!(notifier.notify(&notice, deadline).await.unwrap().finished, "{kill:?}");
        }
        let mut told = taken.lock().unwrap().clone();
        told.extend(post.sent().into_iter().map(|(mail, _)| mail.to));
        let mails = told.len();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), mails, "{kill:?}: nobody is told twice");
        let counts = dynamo.tally(&job.id).await.unwrap().notices;
        assert_eq!(counts.sent + counts.unknown, USERS, "{kill:?}: {counts:?}");
        assert!((counts.sent..=counts.sent + counts.unknown).contains(&(mails as u64)), "{kill:?}: {counts:?}");
        assert!(counts.unknown <= 16, "{kill:?}: {counts:?}");
    }
}

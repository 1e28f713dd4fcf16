//! Tells others of the audit trail (`[AUDIT-3]`). What starts it:
//!
//! - the audit table's stream: warnings and criticals go to the SIEM's queue, criticals to the alerts' queue, too;
//! - the alerts' queue: the security team gets a mail;
//! - an event from `events/export-audit/`, by hand: a time of the trail goes out again.
//!
//! The stream's records fail all together: those that were sent by then are sent again, and known by their ids.

use aws_lambda_events::event::sqs::SqsEvent;
use chrono::{DateTime, Utc};
use domain::audit::verify::Found;
use domain::messages::AlertMessage;
use domain::siem::alert::{Alerted, Alerter};
use domain::siem::{Exported, Exporter, Period};
use domain::time::Clock;
use lambda_kit::{batch, metrics};
use lambda_runtime::{Error, LambdaEvent};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the function needs.
#[derive(Clone)]
pub struct Deps {
    /// Hands entries on.
    pub exporter: Exporter,
    /// Mails alerts.
    pub alerter: Alerter,
    /// Reads what the stream says was written.
    pub of_stream: fn(&Value) -> Found,
}

/// Something to do.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// By hand.
    Replay(Replay),
    /// From the stream.
    Stream(Stream),
    /// From the queue.
    Alerts(SqsEvent),
}

/// A time of the trail that goes out again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    replay: Times,
}

/// From when to when, and where an earlier run left off.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    #[serde(default)]
    from: Option<String>,
}

/// Records of the stream.
#[derive(Debug, Clone, Deserialize)]
pub struct Stream {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Debug, Clone, Deserialize)]
struct Record {
    dynamodb: Change,
}

#[derive(Debug, Clone, Deserialize)]
struct Change {
    #[serde(rename = "NewImage")]
    new_image: Value,
}

/// Does what the event asks for.
pub async fn handle(event: LambdaEvent<Event>, deps: &Deps) -> Result<Value, Error> {
    let (deadline, clock) = (batch::deadline(&event.context), deps.exporter.clock.as_ref());
    match event.payload {
        Event::Stream(stream) => {
            let found = stream.records.iter().map(|record| (deps.of_stream)(&record.dynamodb.new_image)).collect();
            told(clock, deps.exporter.export(found).await?);
            Ok(Value::Null)
        }
        Event::Alerts(event) => {
            let response = batch::run(event, |message| async move {
                let outcome = match AlertMessage::parse(&message.body) {
                    Ok(message) => deps.alerter.tell(&message.entry).await,
                    Err(error) => Err(error),
                };
                metrics::alerted(
                    clock,
                    outcome.as_ref().is_ok_and(|alerted| *alerted == Alerted::Sent),
                    outcome.is_err(),
                );
                outcome.map(drop)
            });
            Ok(serde_json::to_value(response.await)?)
        }
        Event::Replay(Replay { replay: Times { since, until, from } }) => {
            let (done, next) = deps.exporter.replay(Period { since, until, from }, deadline).await?;
            told(clock, done);
            let Exported { events, alerts, set_aside } = done;
            // To go on, the event is sent again with `from`.
            Ok(json!({ "events": events, "alerts": alerts, "set_aside": set_aside, "from": next }))
        }
    }
}

fn told(clock: &dyn Clock, done: Exported) {
    metrics::exported(clock, done);
    tracing::info!(?done, "told of the audit trail");
}

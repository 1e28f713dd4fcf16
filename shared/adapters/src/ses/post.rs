//! SES behind the port of notices: each mail is sent once, at the pace that the account allows.
//!
//! One call for each mail, not SES's bulk call: that renders templates of its own from data, and ours are rendered
//! here, where the compiler checks them and one place escapes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::types::MessageTag;
use chrono::{DateTime, TimeDelta, Utc};
use domain::mail::{Mail, MailOnce, NotSent, Post};
use domain::notify::Mark;
use domain::time::Clock;
use tokio::sync::Mutex;

use super::pace::{LEAST_RATE, Pace};
use super::request;

/// How long the account's rate is remembered.
const RATE_LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// What SES answers when it takes nothing for now.
const BUSY: [&str; 5] =
    ["TooManyRequestsException", "LimitExceededException", "Throttling", "ThrottlingException", "RequestThrottled"];
/// What keeps out every mail, and is put right by somebody: nothing that is to be held against one user.
const LOCKED_OUT: [&str; 7] = [
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Sends notices from one address.
pub struct SesPost {
    client: Client,
    account: Client,
    from: String,
    configuration_set: Option<String>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    rate: Mutex<Option<(f64, DateTime<Utc>)>>,
}

impl SesPost {
    /// Builds the clients once, before the first event. `configuration_set` says where SES reports bounces to.
    pub fn new(config: &SdkConfig, from: String, configuration_set: Option<String>, clock: Arc<dyn Clock>) -> Self {
        // SES does not recognise a mail that it is given again, so the SDK must not try again by itself (`[MAIL-3]`).
        let once = aws_sdk_sesv2::config::Builder::from(config).retry_config(RetryConfig::disabled()).build();
        let (pace, rate) = (Pace::default(), Mutex::default());
        let client = Client::from_conf(once);
        Self { client, account: Client::new(config), from, configuration_set, clock, pace, rate }
    }

    /// The mails per second that the account may send; the last one known if SES does not say.
    async fn rate(&self) -> f64 {
        // Held while SES is asked, so that those who send at the same time ask once.
        let mut known = self.rate.lock().await;
        let now = self.clock.now();
        if let Some((rate, at)) = *known
            && now - at < RATE_LIFETIME
        {
            return rate;
        }
        let last = known.map_or(LEAST_RATE, |(rate, _)| rate);
        let rate = match self.account.get_account().send().await {
            Ok(account) => account.send_quota.map_or(last, |quota| quota.max_send_rate),
            Err(error) => {
                let error = aws_sdk_sesv2::error::DisplayErrorContext(&error);
                tracing::warn!(%error, rate = last, "SES does not say how fast it may be asked");
                last
            }
        };
        *known = Some((rate, now));
        rate
    }
}

/// What an error says of whether the mail went out.
fn not_sent(error: &SdkError<SendEmailError>) -> NotSent {
    let code = error.code().unwrap_or_default();
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            if BUSY.contains(&code) || status == 429 || LOCKED_OUT.contains(&code) || status == 403 {
                NotSent::Later(code.to_owned())
            } else if (400..500).contains(&status) {
                NotSent::Rejected(code.to_owned())
            } else {
                NotSent::Unknown(format!("{status} {code}"))
            }
        }
        SdkError::ConstructionFailure(_) => NotSent::Rejected("ConstructionFailure".to_owned()),
        _ if never_connected(error) => NotSent::Later("no connection".to_owned()),
        _ => NotSent::Unknown(aws_sdk_sesv2::error::DisplayErrorContext(error).to_string()),
    }
}

/// Whether the connection was not even made, so that nothing can have been sent over it.
fn never_connected(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<hyper_util::client::legacy::Error>())
        .any(hyper_util::client::legacy::Error::is_connect)
}

#[async_trait]
impl Post for SesPost {
    async fn turn(&self, deadline: DateTime<Utc>) -> bool {
        let left = (deadline - self.clock.now()).to_std().unwrap_or(Duration::ZERO);
        let turn = async {
            let rate = self.rate().await;
            self.pace.turn(rate).await;
        };
        tokio::time::timeout(left, turn).await.is_ok()
    }

    async fn post(&self, mail: &Mail, mark: &Mark) -> Result<(), NotSent> {
        let mut request =
            request(&self.client, &self.from, mail).map_err(|cause| NotSent::Rejected(cause.to_string()))?;
        for (name, value) in mark.tags() {
            let tag = MessageTag::builder().name(name).value(value).build();
            request = request.email_tags(tag.map_err(|cause| NotSent::Rejected(cause.to_string()))?);
        }
        let sent = request.set_configuration_set_name(self.configuration_set.clone()).send().await;
        match sent {
            Ok(_) => {
                self.pace.go_on();
                Ok(())
            }
            Err(error) => {
                let not_sent = not_sent(&error);
                if matches!(not_sent, NotSent::Later(_)) {
                    self.pace.slow_down();
                }
                Err(not_sent)
            }
        }
    }
}

#[async_trait]
impl MailOnce for SesPost {
    async fn send_once(&self, mail: &Mail) -> Result<(), NotSent> {
        let request = request(&self.client, &self.from, mail).map_err(|cause| NotSent::Rejected(cause.to_string()))?;
        request.send().await.map(|_| ()).map_err(|error| not_sent(&error))
    }
}

#[cfg(test)]
mod tests;

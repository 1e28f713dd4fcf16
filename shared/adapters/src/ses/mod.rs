//! SES behind the mailer ports: single mails here, notices by the thousand in [`SesPost`].

mod pace;
mod post;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::operation::send_email::builders::SendEmailFluentBuilder;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};
use domain::error::PortError;
use domain::mail::{Mail, Mailer};
use domain::ports::PortResult;

pub use pace::WORKERS;
pub use post::SesPost;

/// Sends from one address.
#[derive(Debug, Clone)]
pub struct Ses {
    client: Client,
    from: String,
}

impl Ses {
    /// Builds the client once, before the first event. SES must have verified the address or its domain.
    pub fn new(config: &SdkConfig, from: String) -> Self {
        Self { client: Client::new(config), from }
    }
}

fn failed(cause: impl ToString) -> PortError {
    PortError::Unavailable { service: "SES", cause: cause.to_string() }
}

fn utf8(text: &str) -> PortResult<Content> {
    Content::builder().data(text).charset("UTF-8").build().map_err(failed)
}

/// A mail as SES is asked to send it.
fn request(client: &Client, from: &str, mail: &Mail) -> PortResult<SendEmailFluentBuilder> {
    let body = Body::builder().text(utf8(&mail.text)?).html(utf8(&mail.html)?).build();
    let message = Message::builder().subject(utf8(&mail.subject)?).body(body).build();
    let request = client.send_email().from_email_address(from);
    let request = request.destination(Destination::builder().to_addresses(&mail.to).build());
    Ok(request.content(EmailContent::builder().simple(message).build()))
}

#[async_trait]
impl Mailer for Ses {
    async fn send(&self, mail: &Mail) -> PortResult<()> {
        request(&self.client, &self.from, mail)?
            .send()
            .await
            .map_err(|error| failed(aws_sdk_sesv2::error::DisplayErrorContext(&error)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use serde_json::json;

    use super::*;
    use crate::answering::Answering;

    #[tokio::test]
    async fn a_mail_goes_out_in_utf_8_with_both_bodies() {
        let service = Answering::start(&[(200, r#"{"MessageId":"1"}"#)]).await;
        let ses = Ses::new(&service.config().await, "security@example.com".to_owned());
        let mail = Mail::new("kim@example.com", "긴급\r\nBcc: x", "키 🔑".to_owned(), "<p>키 🔑</p>".to_owned());
        ses.send(&mail).await.unwrap();
        let utf8 = |text: &str| json!({ "Data": text, "Charset": "UTF-8" });
        let body = json!({ "Text": utf8("키 🔑"), "Html": utf8("<p>키 🔑</p>") });
        let wanted = json!({
            "FromEmailAddress": "security@example.com",
            "Destination": { "ToAddresses": ["kim@example.com"] },
            "Content": { "Simple": { "Subject": utf8("긴급 Bcc: x"), "Body": body } },
        });
        assert_eq!(service.requests(), [wanted]);
    }

    #[tokio::test]
    async fn a_mail_that_is_not_taken_is_an_error() {
        let refusal = (400, r#"{"__type":"MessageRejected","message":"Email address is not verified."}"#);
        let service = Answering::start(&[refusal]).await;
        let ses = Ses::new(&service.config().await, "security@example.com".to_owned());
        let error = ses.send(&Mail::new("a@b.c", "s", "123456".to_owned(), "123456".to_owned())).await.unwrap_err();
        assert!(matches!(error, PortError::Unavailable { service: "SES", .. }), "{error}");
        assert!(error.to_string().contains("not verified") && !error.to_string().contains("123456"), "{error}");
    }
}
